"""A record of what hipgw changed on the system, so that it can be undone.

Each change is written down before it is made, so that after a crash the next start knows of all
of them. Undoing what was not made, or is gone already, does nothing; and what somebody else has
made or changed since is left alone.
"""

import contextlib
import json
import logging
import os
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

from hipgw.errors import PlatformError
from hipgw.platform import diversion, links, policy_rules, resolv_conf
from hipgw.platform.diversion import Way
from hipgw.platform.xfrm import Xfrm

_log = logging.getLogger(__name__)

FILE_NAME = "changes.json"
_DIVERSION = "diversion"


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
            record = json.loads(self._file.read_text())
            changes = list(record["changes"])
            boot = str(record["boot"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("the record of earlier changes cannot be read: %s", error)
            return 0
        # What was changed before a reboot went with it.
        if boot == _boot_id():
            self._changes = [change for change in changes if isinstance(change, dict)]
        count = len(self._changes)
        self.undo()
        return count

    def create_bridge(self, name: str) -> None:
        """Make a bridge, and remove it on undo. Raises PlatformError."""
        # By its address undo tells it from one of the same name that somebody else made.
        address = links.random_mac()
        self._record({"kind": "bridge", "name": name, "address": address})
        links.create_bridge(name, address)

    def enslave(self, name: str, bridge: str) -> None:
        """Make an interface a port of a bridge and switch it on; undo restores both.

        A port without IPv6 addresses of its own gets none by itself as long as it is one: the
        kernel would announce them in the LAN. Raises PlatformError, also when the interface is
        a port of another bridge already.
        """
        master = links.master_of(name)
        if master is not None:
            raise PlatformError(
                f"{name} is a port of {master} already.",
                hint=f"Take it out of there, or set `endbox.bridge` to {master!r}.",
            )
        if not links.is_silent(name) and not links.has_global_ipv6(name):
            self._record({"kind": "silence", "name": name})
            links.be_silent(name)
        was = [change for change in self._changes if change["kind"] == "port"]
        if not any((change["name"], change["bridge"]) == (name, bridge) for change in was):
            was_up = links.is_up(name)
            self._record({"kind": "port", "name": name, "bridge": bridge, "was_up": was_up})
        links.enslave(name, bridge)
        links.set_up(name)

    def forget_interface(self, name: str) -> None:
        """It has gone, and what was changed on it with it: another one may have its name.

        Raises OSError if that cannot be written down.
        """
        kept = [change for change in self._changes if change.get("name") != name]
        if len(kept) < len(self._changes):
            self._changes = kept
            self._write(kept)

    def kernel_esp(self, hit: IPv6Address, others: IPv6Network) -> None:
        """Before the kernel gets security associations of a HIT with *others*: undo removes them.

        Raises PlatformError.
        """
        self._record({"kind": "xfrm", "name": str(hit), "others": str(others)})

    def record_source_routes(self, tables: range) -> None:
        """Remove hipgw's own routes and rules of these tables on undo, whatever they will be.

        Raises OSError if that cannot be written down: then none may be made.
        """
        self._record({"kind": "source routes", "tables": [tables.start, tables.stop]})

    def record_resolv_conf(self) -> None:
        """Before a name server is put into /etc/resolv.conf: undo takes it out."""
        self._record({"kind": "resolv.conf"})

    def record_diversion(self, way: Way) -> None:
        """Before packets are diverted to a mobile router: undo removes what does so."""
        change = {"kind": _DIVERSION, "way": way}
        if change not in self._changes:  # each time that somebody has removed it
            self._record(change)

    def forget_diversion(self) -> None:
        """It has been removed. What cannot be written down is undone once more."""
        self._changes = [change for change in self._changes if change["kind"] != _DIVERSION]
        with contextlib.suppress(OSError):
            if self._changes:
                self._write(self._changes)
            else:
                self._file.unlink(missing_ok=True)

    def undo(self) -> None:
        """Undo everything, the last change first; what cannot be undone is logged.

        What only root may undo, when the daemon is root no more, is left to the next start.
        """
        left: list[dict[str, Any]] = []
        for change in reversed(self._changes):
            try:
                _undo(change)
            except PermissionError as error:
                _log.warning("the next start of hipgw has to undo %s: %s", change, error)
                left.insert(0, change)
            except (PlatformError, OSError, KeyError, TypeError, ValueError) as error:
                _log.warning("cannot undo %s: %s", change, error)
        self._changes.clear()
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()
        if left:
            try:
                self._write(left)
            except OSError as error:
                _log.warning("%s cannot be written: %s", self._file, error.strerror)

    def hand_over(self, user_id: int, group_id: int) -> None:
        """Let the user that the daemon becomes write and remove the file."""
        os.chown(self._file.parent, user_id, group_id)
        # Other processes of that user may have put a link there in the meantime.
        with contextlib.suppress(FileNotFoundError):
            os.chown(self._file, user_id, group_id, follow_symlinks=False)

    def _record(self, change: dict[str, Any]) -> None:
        self._changes.append(change)
        self._write(self._changes)

    def _write(self, changes: list[dict[str, Any]]) -> None:
        draft = self._file.with_suffix(".new")
        # The directory belongs to the user of an earlier run: root follows no link in it.
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o644), "w") as file:
            json.dump({"boot": _boot_id(), "changes": changes}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)


def _undo(change: dict[str, Any]) -> None:
    if change["kind"] == "source routes":
        first, end = change["tables"]
        policy_rules.flush(range(int(first), int(end)))
        return
    if change["kind"] == "resolv.conf":
        resolv_conf.remove(resolv_conf.PATH)
        return
    if change["kind"] == _DIVERSION:
        diversion.remove(Way(change["way"]))
        return
    name = str(change["name"])
    if change["kind"] == "xfrm":
        _sweep(name, str(change["others"]))
        return
    if not links.exists(name):
        return
    match change["kind"]:
        case "bridge":
            if links.mac_of(name) == change["address"]:
                links.delete(name)
        case "port":
            if links.master_of(name) == change["bridge"]:
                links.release(name)
                if not change["was_up"]:
                    links.set_down(name)
        case "silence":
            links.be_silent(name, silent=False)


def _sweep(hit: str, others: str) -> None:
    """Remove the kernel's security associations and policies of a HIT."""
    kernel = Xfrm()
    try:
        kernel.sweep(IPv6Address(hit), IPv6Network(others))
    except OSError as error:
        raise PlatformError(f"XFRM: {error.strerror}.") from error
    finally:
        kernel.close()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
