"""Files that are touched while all is well, for a watchdog outside to look at."""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from hipgw.errors import PlatformError


class HeartbeatFiles:
    """One file for each part of the daemon. They stay when it ends: their age is what matters."""

    def __init__(self, folder: Path, parts: Iterable[str]) -> None:
        """Make or take over `heartbeat.<part>` in a folder; raises PlatformError.

        They are kept open, as the daemon may lose the right to open them.
        """
        self._files: dict[str, int] = {}
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            for part in parts:
                # Never through a link: the folder may be another user's.
                self._files[part] = os.open(folder / f"heartbeat.{part}", flags, 0o644)
        except OSError as error:
            self.close()
            raise PlatformError(
                f"The heartbeat files in {folder} cannot be made: {error.strerror}.",
                hint="`endbox.heartbeat_dir` chooses another folder.",
            ) from None

    def touch(self, part: str) -> None:
        """Write to the file, so that its time is now; a full file system is no reason to stop.

        Whoever has lost the right to set a file's time may still write to one that is open.
        """
        with contextlib.suppress(OSError):
            os.pwrite(self._files[part], f"{time.time():.0f}\n".encode(), 0)

    def close(self) -> None:
        """Touch them no more."""
        while self._files:
            os.close(self._files.popitem()[1])
