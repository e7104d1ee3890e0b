"""Looks after the LAN side of an endbox: ports that come back, and what else keeps frames away."""

import logging

from hipgw.errors import PlatformError
from hipgw.platform import links
from hipgw.platform.journal import Journal
from hipgw.platform.lan_links import LanFault, LanLinks, by_name, lan_faults
from hipgw.platform.rtnetlink import Link, Snapshot

_log = logging.getLogger(__name__)


class LanWatch:
    """Puts back into the bridge what vanished and is there again, and tells what is wrong.

    What somebody takes out of the bridge, or switches off, is told and left as it is: who does that
    may have a reason. So an interface is joined once with a bridge, and again only after either
    of them was gone.
    """

    def __init__(self, lan: LanLinks, journal: Journal) -> None:
        """The interfaces have been made and joined; the first look has to follow."""
        self._lan = lan
        self._journal = journal
        self._joined: set[tuple[int, int]] = set()
        """Interface and bridge, by index."""
        self._known: dict[str, Link] = {}
        """Each port as it was seen in the bridge last; those that are gone as well."""
        self.faults: tuple[LanFault, ...] = ()
        """What is wrong now."""

    def looked(self, snapshot: Snapshot) -> None:
        """Take note of how the links are now: at the start, and whenever they change."""
        there = by_name(snapshot.links)
        if self._join_what_came(there):
            return  # the kernel tells of that as well, and how it went is looked at then
        before, self.faults = self.faults, lan_faults(snapshot.links, self._lan)
        for fault in self.faults:
            if fault not in before:
                _log.warning("%s", fault.message, extra={"code": fault.code, "hint": fault.hint})
        for fault in before:
            if fault not in self.faults:
                _log.info("no longer: %s", fault.message, extra={"code": fault.code})

    def _join_what_came(self, there: dict[str, Link]) -> bool:
        """Join what is new with the bridge; whether anything was changed."""
        bridge = there.get(self._lan.bridge)
        present = {
            (link.index, bridge.index): link
            for name in (self._lan.tap, *self._lan.ports)
            if bridge is not None and (link := there.get(name)) is not None
        }
        new = [link for pair, link in present.items() if pair not in self._joined]
        self._joined = set(present)
        changed = False
        for link in new:
            try:
                if link.name == self._lan.tap:
                    changed |= self._join_tap(link)
                else:
                    changed |= self._join_port(link)
            except (PlatformError, OSError) as error:
                _log.warning("%s is not in the LAN: %s", link.name, error)
        for name in self._lan.ports:
            if bridge and (port := there.get(name)) and port.master == bridge.index:
                self._known[name] = port
        return changed

    def _join_tap(self, tap: Link) -> bool:
        if tap.master:
            return False
        links.enslave(tap.name, self._lan.bridge)
        return True

    def _join_port(self, port: Link) -> bool:
        """As at the start, with the MTU that it had."""
        if port.master:
            return False
        known = self._known.get(port.name)
        if known is None or known.index != port.index:
            self._journal.forget_interface(port.name)
        if known is not None and port.mtu < known.mtu:
            try:
                links.set_mtu(port.name, known.mtu)
            except PlatformError as error:
                _log.warning("%s", error)
        self._journal.enslave(port.name, self._lan.bridge)
        _log.info(
            "LAN port is in the bridge again",
            extra={"port": port.name, "bridge": self._lan.bridge},
        )
        return True
