"""The fleet's directory as the daemon runs it: who comes, who goes, and who changes."""

import contextlib
import logging
import os
import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from pathlib import Path

from hipgw.config.schema import FleetConfig, PeerConfig
from hipgw.daemon.directory import peer_of
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.fleet_answers import fleet_answer
from hipgw.daemon.fleet_directory import open_directories
from hipgw.daemon.fleet_peers import FleetPeers, Merged
from hipgw.daemon.naming import NamingPart, NamingServices
from hipgw.daemon.roles import changed_registrars
from hipgw.errors import HipgwError, LocalProtocolError, PlatformError
from hipgw.identity.operator_key import OperatorPublicKey
from hipgw.naming.fleet.book import Book
from hipgw.naming.fleet.entry import Entry
from hipgw.naming.fleet.keeper import FleetKeeper
from hipgw.naming.fleet.source import FleetSource
from hipgw.naming.fleet.store import Store
from hipgw.naming.peers import FLEET, Peer
from hipgw.platform import privileges
from hipgw.roles.endbox import EndboxRole

_STATE_FILE = re.compile(r"[0-9a-f]{32}\.db(-wal|-shm|-journal)?")

_log = logging.getLogger(__name__)


def add_fleet(services: NamingServices) -> None:
    """Add the fleet's directory, which is configured. Raises HipgwError."""
    config = services.around.config.fleet
    if config is None:
        return
    part = FleetPart(services, config)
    services.add(part)
    services.fleet_answer = lambda: fleet_answer(config.name, part.lan, part.keeper)
    services.resolver.add(FleetSource(lambda: part.keeper.valid), cached=False)


class FleetPart(NamingPart):
    """Follows the directory, and has peers and LAN membership follow it."""

    name = "the fleet's directory"

    def __init__(self, services: NamingServices, config: FleetConfig) -> None:
        self._services = services
        self._around = services.around
        self._config = config
        self._peers = FleetPeers(self._around.config, self._around.own_hits)
        self._file = config.state_dir / f"{self._around.own_hits[0].packed.hex()}.db"
        self._made: dict[str, tuple[PeerConfig, Peer]] = {}
        """By name, what each is made of and the peer itself."""
        self._given: dict[IPv6Address, Peer] = {}
        """What the directory was given last."""
        self._helpers: tuple[PeerConfig, ...] = ()
        self.lan: str | None = config.lan
        self.keeper = FleetKeeper(
            open_directories(config),
            Book(config.name, map(OperatorPublicKey.parse, config.operator_keys)),
            Store(self._file),
            self._changed,
        )

    async def prepare(self) -> None:
        """Make the folder for what was known last. Raises PlatformError."""
        _make_folder(self._file, self._around.config.daemon.user)

    async def start(self) -> None:
        """Take up what was known last, and follow the directory."""
        self.keeper.start()

    async def stop(self) -> None:
        """Follow it no longer."""
        await self.keeper.stop()

    # -- changes -----------------------------------------------------------------------------

    def _changed(self, entries: Mapping[str, Entry]) -> None:
        """The entries in force are these now."""
        driver = self._services.driver
        if driver is None:
            return
        merged = self._peers.merge(entries)
        if merged.lan != self.lan:
            _log.info("the LAN of this machine", extra={"lan": merged.lan or "none"})
            self.lan = merged.lan
        membership, directory = self._around.membership, self._around.directory
        were_endboxes = {hit for peer in membership.endboxes for hit in peer.hits.values()}
        membership.change(merged.config, merged.barred)
        wanted = self._wanted(merged)
        gone = [peer for peer in directory if peer.source == FLEET and peer.hit not in wanted]
        for peer in gone:
            directory.remove(peer.hit)
            self._given.pop(peer.hit, None)
            _log.info("a peer has left the fleet", extra=_named(peer))
        for peer in wanted.values():
            self._take(peer)
        self._change_endboxes(driver)
        changed_registrars(self._around.config, directory, self._around.roles)
        # All that follows may send packets; by now everybody knows who is who.
        for info in driver.machine.associations():
            if membership.is_barred(info.peer_hit):
                driver.close(info.peer_hit, "the fleet's operator keeps it out")
        for peer in gone:
            _drop(driver, peer, "it has left the fleet")
        for peer in directory:
            for hit in peer.hits:
                if (hit in were_endboxes) is not membership.is_endbox(hit):
                    _change_segment(driver, peer, joins=membership.is_endbox(peer.hit))
                    break

    def _wanted(self, merged: Merged) -> dict[IPv6Address, Peer]:
        wanted: dict[IPv6Address, Peer] = {}
        directory = self._around.directory
        # Those that others name are looked up for each of these; they are few.
        named = {one for peer in merged.config.peers for one in (*peer.relays, *peer.rvs)}
        helpers = tuple(peer for peer in merged.config.peers if peer.name in named)
        config = merged.config.model_copy(update={"peers": helpers})
        before = self._made if helpers == self._helpers else {}
        self._made, self._helpers = {}, helpers
        for entry in merged.config.peers:
            if entry.name not in merged.fleet:
                continue
            known, peer = before.get(entry.name, (None, None))
            if known is entry and peer is not None:
                wanted[peer.hit] = peer
                self._made[entry.name] = (entry, peer)
                continue
            try:
                peer = peer_of(config, entry, directory.lsi_for, source=FLEET)
            except HipgwError as error:
                _log.warning(
                    "a peer of the fleet cannot be taken in: %s", error, extra={"peer": entry.name}
                )
                continue
            wanted[peer.hit] = peer
            self._made[entry.name] = (entry, peer)
        return wanted

    def _take(self, peer: Peer) -> None:
        """Add a peer to the directory, or bring it up to date."""
        directory = self._around.directory
        known = directory.by_hit(peer.hit)
        new = known is None or known.source != FLEET
        if not new and self._given.get(peer.hit) == peer:
            return  # others may have added where else it was found
        for hit in peer.hits:
            other = directory.by_hit(hit)
            if other is not None and other.hit != peer.hit:
                # Found by another source, under a HIT that is not the preferred one.
                directory.remove(other.hit)
        try:
            directory.add(peer)
        except HipgwError as error:
            _log.warning("a peer of the fleet cannot be taken in: %s", error, extra=_named(peer))
            return
        self._given[peer.hit] = peer
        _log.info(
            "a peer has joined the fleet" if new else "a peer of the fleet has changed",
            extra=_named(peer),
        )

    def _change_endboxes(self, driver: HipDriver) -> None:
        # By HIT: anybody can have a name in the DNS.
        is_endbox = self._around.membership.is_endbox
        members = [peer for peer in self._around.directory if is_endbox(peer.hit)]
        for role in self._around.roles:
            if isinstance(role, EndboxRole):
                for peer in role.change(members):
                    driver.call_off(peer.hit)


def _change_segment(driver: HipDriver, peer: Peer, *, joins: bool) -> None:
    """Have a peer's security associations carry frames, or do so no longer."""
    for hit in peer.hits:
        if not driver.machine.is_up(hit):
            continue
        if joins:
            # New ones are made for the LAN; meanwhile the old ones carry what they did.
            with contextlib.suppress(LocalProtocolError):
                driver.rekey(hit, dh=False)
        else:
            # At once: also what is on its way must not get into the LAN any more.
            driver.close(hit, "it has left the LAN")


def _drop(driver: HipDriver, peer: Peer, reason: str) -> None:
    driver.call_off(peer.hit)
    for hit in peer.hits:
        if driver.machine.associations(hit):
            driver.close(hit, reason)


def _make_folder(file: Path, user: str) -> None:
    """Make the folder of a state file, for the user that the daemon becomes."""
    folder = file.parent
    try:
        if folder.is_dir() and any(not _STATE_FILE.fullmatch(one.name) for one in folder.iterdir()):
            # It will be that user's.
            raise PlatformError(
                f"{folder} has other files than those of fleets.",
                hint="`fleet.state_dir` has to be a folder of its own.",
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0 and user != "root":
            ids = privileges.user_and_group(user)
            os.chown(folder, *ids, follow_symlinks=False)
            for suffix in ("", "-wal", "-shm"):
                one = file.with_name(file.name + suffix)
                with contextlib.suppress(FileNotFoundError):
                    os.chown(one, *ids, follow_symlinks=False)
    except OSError as error:
        raise PlatformError(
            f"{folder}: {error.strerror}.", hint="`fleet.state_dir` chooses another place."
        ) from error


def _named(peer: Peer) -> dict[str, str]:
    return {"peer": peer.name, "peer_hit": str(peer.hit)}
