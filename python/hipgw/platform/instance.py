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
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(directory / FILE_NAME, flags, 0o600)
        except OSError as error:
            raise PlatformError(
                f"{directory / FILE_NAME} cannot be opened: {error.strerror}.",
                hint="`daemon.state_dir` chooses another place.",
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise PlatformError(
                f"Another hipgw is running with the state directory {directory}.",
                hint="Stop it first with `hipgw stop`; a second daemon needs a `daemon.state_dir`"
                " of its own.",
            ) from None

    def release(self) -> None:
        """Let another daemon have it."""
        os.close(self._fd)
