"""The folder of what was known last is the fleet's alone."""

from pathlib import Path

import pytest

from hipgw.daemon.fleet import _make_folder
from hipgw.errors import PlatformError

FILE = "2001002200000000000000000000000a.db"


def test_a_folder_of_its_own_is_made_and_used_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "fleet" / FILE
    _make_folder(file, "root")
    assert file.parent.stat().st_mode & 0o777 == 0o700
    for suffix in ("", "-wal", "-shm"):
        file.with_name(FILE + suffix).touch()
    _make_folder(file, "root")


def test_the_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "host.pem").touch()
    with pytest.raises(PlatformError, match="other files") as caught:
        _make_folder(tmp_path / FILE, "nobody")
    assert "of its own" in caught.value.hint
    (tmp_path / "file").touch()
    with pytest.raises(PlatformError):
        _make_folder(tmp_path / "file" / FILE, "root")
