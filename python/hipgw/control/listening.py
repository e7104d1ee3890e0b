"""A Unix socket that listens under a path: made safely, and never taken from a living daemon."""

import errno
import fcntl
import grp
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hipgw.errors import ControlError

_log = logging.getLogger(__name__)

MODE = 0o660
_BACKLOG = 64
_PROBE_TIMEOUT_S = 2.0


class ListeningSocket:
    """A listening Unix socket of mode 0660, with its path."""

    def __init__(self, path: Path, *, group: str | None = None) -> None:
        """Listen. Raises ControlError, also when another daemon listens there."""
        self.path = path
        group_id = _group_id(group)
        try:
            # Under the lock of the folder, two daemons that start at the same moment do not both
            # find the socket of a dead third one.
            with _locked(path.parent):
                _remove_stale(path)
                self.socket = _listen(path, group_id)
            found = path.stat()
        except OSError as error:
            raise ControlError(
                f"cannot listen at {path}: {error.strerror or error}", hint=_hint(error, path)
            ) from None
        self._file = (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Take the path away, unless it is another's by now."""
        try:
            found = self.path.stat()
            if (found.st_dev, found.st_ino) == self._file:
                self.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            # The next start finds nobody behind it and replaces it.
            _log.warning(
                "control socket stays behind",
                extra={"path": str(self.path), "reason": error.strerror},
            )


def _group_id(group: str | None) -> int:
    if group is None:
        return -1
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ControlError(
            f"this system has no group {group!r}", hint=f"`groupadd --system {group}` makes one"
        ) from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(
            f"cannot listen at {path}: something else has this name",
            hint="remove it, or choose another daemon.control_socket",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except (BlockingIOError, TimeoutError):
            # Its queue is full, so somebody has it open.
            pass
    raise ControlError(
        f"another hipgw listens at {path}",
        hint="stop it with `hipgw stop`, or give this one another daemon.control_socket",
    )


def _listen(path: Path, group_id: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the path the mode that the socket has at bind(), less the umask: the path
        # is never open to others, not even for a moment, whatever the umask of the process.
        os.fchmod(listener.fileno(), MODE)
        listener.bind(str(path))
        try:
            if group_id >= 0:
                os.chown(path, -1, group_id)
            path.chmod(MODE)
            listener.listen(_BACKLOG)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _hint(error: OSError, path: Path) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "run as root, or choose another daemon.control_socket"
    if error.errno == errno.ENOENT:
        return f"make the folder {path.parent} first"
    return ""
