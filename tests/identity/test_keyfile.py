import os
import stat
from pathlib import Path

import pytest

from hipgw.errors import IdentityError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import load_key_file, save_key_file

IDENTITY = LocalIdentity.generate("ed25519")
OTHER = LocalIdentity.generate("ecdsa-p256")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_saved_key_is_readable_by_its_owner_only(tmp_path: Path, umask: int) -> None:
    file = tmp_path / "host.pem"
    before = os.umask(umask)
    try:
        save_key_file(file, IDENTITY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_key_file(file).public == IDENTITY.public
    assert load_key_file(str(file)).public == IDENTITY.public
    assert [entry.name for entry in tmp_path.iterdir()] == ["host.pem"]


def test_a_key_is_not_overwritten_unless_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "host.pem"
    save_key_file(file, IDENTITY)
    with pytest.raises(IdentityError, match=r"host\.pem: the key file exists") as caught:
        save_key_file(file, OTHER)
    assert "lost identity" in caught.value.hint
    assert load_key_file(file).public == IDENTITY.public
    save_key_file(file, OTHER, overwrite=True)
    assert load_key_file(file).public == OTHER.public
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["host.pem"]


def test_a_failed_write_leaves_the_old_key_and_no_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "host.pem"
    save_key_file(file, IDENTITY)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdentityError, match="No space left"):
        save_key_file(file, OTHER, overwrite=True)
    assert load_key_file(file).public == IDENTITY.public
    assert [entry.name for entry in tmp_path.iterdir()] == ["host.pem"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"nowhere/host\.pem: .*No such file"):
        save_key_file(tmp_path / "nowhere" / "host.pem", IDENTITY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o610, 0o777])
def test_a_key_that_others_may_know_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "host.pem"
    save_key_file(file, IDENTITY)
    file.chmod(mode)
    with pytest.raises(IdentityError, match=f"open to others .mode {mode:04o}") as caught:
        load_key_file(file)
    assert caught.value.hint == f"chmod 600 {file}"
    file.chmod(0o400)
    assert load_key_file(file).public == IDENTITY.public


def test_a_missing_file_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    file = tmp_path / "host.pem"
    with pytest.raises(IdentityError, match="there is no key file") as caught:
        load_key_file(file)
    assert f"hipgw keygen {file}" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\n", b"\xff" * 99])
def test_a_file_without_a_key_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "host.pem"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(IdentityError, match=r"host\.pem: there is no readable private key"):
        load_key_file(file)


def test_a_file_too_long_for_a_key_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "host.pem"
    file.write_bytes(bytes(65537))
    file.chmod(0o600)
    with pytest.raises(IdentityError, match="too many"):
        load_key_file(file)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="not a regular file"):
        load_key_file(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(IdentityError, match="not a regular file"):
        load_key_file(pipe)
    with pytest.raises(IdentityError, match="cannot be read"):
        load_key_file(tmp_path / ("x" * 300))
