"""One daemon for one state directory."""

from pathlib import Path

import pytest

from hipgw.errors import PlatformError
from hipgw.platform.instance import FILE_NAME, InstanceLock


def test_the_second_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    first = InstanceLock(directory)
    with pytest.raises(PlatformError, match="Another hipgw is running"):
        InstanceLock(directory)
    first.release()
    assert not list(directory.iterdir())
    InstanceLock(directory).release()


def test_what_a_killed_daemon_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch(0o600)
    InstanceLock(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_a_removed_file_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The last holder removes the file between open and lock: a new one has to be made.
    from hipgw.platform import instance

    flock = instance.fcntl.flock
    removed = []

    def remove_first(fd: int, how: int) -> None:
        if not removed:
            removed.append(True)
            (tmp_path / FILE_NAME).unlink()
        flock(fd, how)

    monkeypatch.setattr(instance.fcntl, "flock", remove_first)
    lock = InstanceLock(tmp_path)
    monkeypatch.undo()
    assert (tmp_path / FILE_NAME).exists()
    with pytest.raises(PlatformError):
        InstanceLock(tmp_path)
    lock.release()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlatformError, match="cannot be opened"):
        InstanceLock(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
