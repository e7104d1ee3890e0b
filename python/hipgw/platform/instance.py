"""One daemon for one state directory."""

import fcntl
import os
from pathlib import Path

from hipgw.errors import PlatformError

FILE_NAME = "lock"


class InstanceLock:
    """Held while a daemon lives; the kernel gives it up when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Raises PlatformError if another daemon has it, or the directory cannot be used."""
        self._file = directory / FILE_NAME
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._fd = self._take()
        except BlockingIOError:
            raise PlatformError(
                f"Another hipgw is running with the state directory {directory}.",
                hint="Stop it first with `hipgw stop`; a second daemon needs a `daemon.state_dir`"
                " of its own.",
            ) from None
        except OSError as error:
            raise PlatformError(
                f"{self._file} cannot be opened: {error.strerror}.",
                hint="`daemon.state_dir` chooses another place.",
            ) from error

    def _take(self) -> int:
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._file, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have removed it between our two calls: then it locks nothing.
                if _is_at(fd, self._file):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def release(self) -> None:
        """Let another daemon have it, and leave no file behind."""
        # While it is held: whoever waits for it finds that it is not this file any more.
        self._file.unlink(missing_ok=True)
        os.close(self._fd)


def _is_at(fd: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), file.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
