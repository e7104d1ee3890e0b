"""A record of what hipgw changed on the system, so that it can be undone.

Each change is written down before it is made, so that after a crash the next start knows of all
of them. Undoing what was not made, or is gone already, does nothing.
"""

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from hipgw.errors import PlatformError
from hipgw.platform import links

_log = logging.getLogger(__name__)

FILE_NAME = "changes.json"


class Journal:
    """The changes of one daemon, in one file of its state directory."""

    def __init__(self, directory: Path) -> None:
        """Raises PlatformError if the directory cannot be made."""
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise PlatformError(
                f"{directory} cannot be made: {error.strerror}.",
                hint="`daemon.state_dir` chooses another place.",
            ) from error
        self._file = directory / FILE_NAME
        self._changes: list[dict[str, Any]] = []

    def recover(self) -> int:
        """Undo what a daemon before left behind; returns how many changes that were."""
        try:
            changes = json.loads(self._file.read_text())
            if not isinstance(changes, list):
                raise ValueError("it is no list")
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            _log.warning("the record of earlier changes cannot be read: %s", error)
            return 0
        self._changes = [change for change in changes if isinstance(change, dict)]
        count = len(self._changes)
        self.undo()
        return count

    def create_bridge(self, name: str) -> None:
        """Make a bridge, and remove it on undo. Raises PlatformError."""
        self._record({"kind": "bridge", "name": name})
        links.create_bridge(name)

    def enslave(self, name: str, bridge: str) -> None:
        """Make an interface a port of a bridge and switch it on; undo restores both."""
        self._record({"kind": "port", "name": name, "bridge": bridge, "was_up": links.is_up(name)})
        links.enslave(name, bridge)
        links.set_up(name)

    def undo(self) -> None:
        """Undo everything, the last change first; what cannot be undone is logged."""
        for change in reversed(self._changes):
            try:
                _undo(change)
            except (PlatformError, KeyError, TypeError) as error:
                _log.warning("cannot undo %s: %s", change, error)
        self._changes.clear()
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()

    def hand_over(self, user_id: int, group_id: int) -> None:
        """Let the user that the daemon becomes write and remove the file."""
        os.chown(self._file.parent, user_id, group_id)
        with contextlib.suppress(FileNotFoundError):
            os.chown(self._file, user_id, group_id)

    def _record(self, change: dict[str, Any]) -> None:
        self._changes.append(change)
        draft = self._file.with_suffix(".new")
        with draft.open("w") as file:
            json.dump(self._changes, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)


def _undo(change: dict[str, Any]) -> None:
    name = str(change["name"])
    if not links.exists(name):
        return
    if change["kind"] == "bridge":
        links.delete(name)
    elif change["kind"] == "port":
        if links.master_of(name) == change["bridge"]:
            links.release(name)
        if not change["was_up"]:
            links.set_down(name)
