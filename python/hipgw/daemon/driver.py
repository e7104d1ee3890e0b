"""Runs the HIP machine: hands it bytes and the time, and performs what it asks for."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address

from hipgw.daemon.puzzles import PuzzleRunner
from hipgw.daemon.transport import ControlTransport
from hipgw.errors import HipgwError, LocalProtocolError
from hipgw.identity.hit import hit_version
from hipgw.naming.finder import PeerFinder
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.compat import PROFILES
from hipgw.protocol.effects import (
    CancelPuzzle,
    Effect,
    Established,
    Failed,
    InstallSA,
    Lookup,
    Met,
    MoveSA,
    PathMtuChanged,
    RemoveSA,
    SendDatagram,
    SendStun,
    SolvePuzzle,
)
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.nat.reflexive import Reflexive
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.protocol.rendezvous.ways import WAYS_MAX
from hipgw.roles.security_associations import PathMtu, SecurityAssociations
from hipgw.roles.versions import VersionPolicy
from hipgw.roles.without_data import WithoutData
from hipgw.wire.icmp import TooBig

_log = logging.getLogger(__name__)

IMPATIENCE_S = 2.0
"""How long a peer may be silent that is called, until it is looked up."""


class HipDriver:
    """Joins the sans-IO machine with the sockets, the data plane and the clock.

    Everything here runs on the event loop's thread. The machine's clock is `time.monotonic`: that
    of the loop has the same zero but counts whole milliseconds. `listener` gets every effect that
    is news rather than a request (state changes, traces, …).
    """

    def __init__(
        self,
        machine: HipMachine,
        transport: ControlTransport,
        associations: SecurityAssociations | WithoutData,
        directory: PeerDirectory,
        listener: Callable[[Effect], None],
        versions: VersionPolicy,
        finder: PeerFinder,
        *,
        is_barred: Callable[[IPv6Address], bool] = lambda _hit: False,
    ) -> None:
        """*is_barred*: whether a HIT is not to be called, whoever has found it."""
        self.machine = machine
        self._transport = transport
        self._associations = associations
        self._directory = directory
        self._listener = listener
        self._versions = versions
        self._finder = finder
        self._is_barred = is_barred
        self._loop = asyncio.get_running_loop()
        self._puzzles = PuzzleRunner(self._loop, self._puzzle_solved)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_when: float | None = None
        """As the machine said it; what the loop makes of it has fewer digits."""
        self._retries: dict[IPv6Address, asyncio.TimerHandle] = {}
        self._waiting: dict[IPv6Address, Peer] = {}
        """Those that `_retries` is about."""
        self._wanted: dict[IPv6Address, dict[int, float]] = {}
        """Lifetimes of the services that are wanted of peers, by type."""
        self._in_each_version: dict[IPv6Address, tuple[IPv6Address, ...]] = {}
        """Peers that are talked to by all these HITs at once, by the preferred one."""
        self._met: dict[IPv6Address, Path] = {}
        """Who has answered opportunistic calls that are not over yet, and where."""
        self._impatient: set[IPv6Address] = set()
        """Peers that are looked up if they do not answer soon."""

    # -- inputs ------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, path: Path) -> None:
        """A HIP packet came in (without any UDP marker)."""
        self.perform(self.machine.datagram_received(data, path, time.monotonic()))

    def data_received(self, spi: int) -> None:
        """The first authentic ESP packet of an inbound security association came in."""
        self.perform(self.machine.data_received(spi, time.monotonic()))

    def traffic_seen(self, hits: Iterable[IPv6Address]) -> None:
        """Data flowed to or from these peers: their associations are in use."""
        now = time.monotonic()
        for hit in hits:
            self.machine.traffic_seen(hit, now)
        self._arm()

    def connect(self, peer: Peer) -> None:
        """Begin a base exchange with a peer, unless one is under way or done.

        If it fails and the peer may be talked to in another version of HIP, that is tried. A peer
        that was not reached where it was thought to be, or of which nothing is known, is looked up
        first.
        """
        now = self._directory.by_hit(peer.hit)
        if now is None:
            return
        if (hits := self._in_each_version.get(now.hit)) is not None:
            for hit in hits:
                if not self.machine.is_up(hit):
                    self._connect_by(now, hit)
            return
        if self.is_up(now.hit):
            return
        if self._finder.wanted(now):
            self._finder.refresh(now, self._connect_found)
        else:
            self._connect_by(now, now.hit)

    def call_whoever(self, address: IPAddress, transport: Transport) -> None:
        """Call a machine of which the address alone is known (RFC 7401 §4.1.8).

        `Met` tells who it is, if anybody answers. Raises LocalProtocolError if that is not allowed,
        or there is no way to there.
        """
        local = self._transport.source_address(address)
        if local is None:
            raise LocalProtocolError(f"there is no route to {address}")
        path = Path(local, address, transport, self._transport.udp_port)
        self.perform(self.machine.connect(None, [path], time.monotonic()))

    def connect_in_each_version(self, peer: Peer, hits: Sequence[IPv6Address]) -> None:
        """Have an association by each of these HITs of a peer, instead of by the best of them."""
        self._in_each_version[peer.hit] = tuple(hits)

    def _connect_found(self, peer: Peer | None) -> None:
        if peer is not None and not self.is_up(peer.hit):
            self._connect_by(peer, peer.hit)

    def lost(self, hit: IPv6Address) -> None:
        """A peer is not heard any more: before it is called again, it is looked up."""
        if (peer := self._directory.by_hit(hit)) is not None:
            self._finder.failed(peer)

    def _paths(self, peer: Peer, hit: IPv6Address) -> list[Path]:
        """Where a peer is called, in order; empty without a route to anywhere."""
        compat = PROFILES[peer.compat(hit)]

        def transport(address: IPAddress) -> Transport:
            return Transport.UDP if peer.udp and compat.takes_udp(address) else Transport.RAW

        own_port = self._transport.udp_port
        # In this order (RFC 8005 §4): what else is known of a host that moves may be out of date.
        paths = [
            Path(local, address, transport(address), own_port, server.port, by_rendezvous=True)
            for server in peer.rendezvous
            for address in server.addresses
            if (local := self._transport.source_address(address)) is not None
        ][:WAYS_MAX]
        paths += [
            Path(local, address, transport(address), own_port, peer.port)
            for address in peer.addresses
            if (local := self._transport.source_address(address)) is not None
        ]
        paths += [
            Path(local, address, Transport.UDP, self._transport.udp_port, port)
            for address, port in peer.relays
            if (local := self._transport.source_address(address)) is not None
        ]
        return paths

    def _connect_by(self, peer: Peer, hit: IPv6Address) -> None:
        if self._directory.by_hit(hit) is None:
            return  # it is no peer any more
        if any(map(self._is_barred, peer.hits)):
            self._listener(Failed(self.machine.local_hit, peer.hit, "it is kept out"))
            return
        paths = self._paths(peer, hit)
        if not paths:
            # No network yet, or the route is gone: the same as silence, so it is tried again.
            reason = "there is no route to it" if peer.located else "nobody knows its address"
            self._finder.failed(peer)
            self._listener(Failed(self.machine.local_hit, peer.hit, reason))
            return
        try:
            self.perform(self.machine.connect(hit, paths, time.monotonic()))
        except LocalProtocolError as error:
            self._failed(Failed(self.machine.local_hit, hit, str(error)))
            return
        if not self._finder.is_fresh(peer):
            self._impatient.add(peer.hit)
            self._loop.call_later(IMPATIENCE_S, self._unanswered, peer.hit, hit)

    def _unanswered(self, primary: IPv6Address, hit: IPv6Address) -> None:
        """A peer does not answer: while it is being called on, see whether it is elsewhere."""
        if primary not in self._impatient:
            return
        self._impatient.discard(primary)
        peer = self._directory.by_hit(primary)
        if peer is not None and not self.is_up(hit) and self._finder.failed(peer):
            self._finder.refresh(peer, lambda found: self._call_elsewhere(found, hit))

    def _call_elsewhere(self, peer: Peer | None, hit: IPv6Address) -> None:
        if peer is not None and hit in peer.hits and self._directory.by_hit(hit) is not None:
            paths = self._paths(peer, hit)
            self.perform(self.machine.found_at(hit, paths, time.monotonic()))

    def _failed(self, effect: Failed) -> None:
        """An exchange has failed: go on with another version of HIP, if there is one."""
        hit = effect.peer_hit
        if hit is not None:
            self._met.pop(hit, None)
        peer = self._directory.by_hit(hit) if hit is not None else None
        each = peer is not None and peer.hit in self._in_each_version
        if peer is not None and hit is not None and not each and not self.is_up(hit):
            other = self._versions.next_hit(peer, hit)
            if other is not None:
                _log.warning(
                    "a peer is called in another version of HIP",
                    extra={"peer": peer.name, "version": hit_version(other)},
                )
                self._loop.call_soon(self._connect_by, peer, other)
                return
            if self._finder.failed(peer):
                self._finder.refresh(peer, lambda found: self._look_elsewhere(effect, peer, found))
                return
        self._listener(effect)

    def _look_elsewhere(self, effect: Failed, before: Peer, found: Peer | None) -> None:
        """An exchange has failed, and the peer was looked up: is there another place to try?"""
        if found is not None and self.is_up(found.hit):
            return
        if found is None or (found.rendezvous, found.addresses) == (
            before.rendezvous,
            before.addresses,
        ):
            self._finder.failed(before)
            self._listener(effect)
            return
        _log.info("a peer is called where it was found", extra={"peer": found.name})
        self._connect_by(found, found.hit)

    def _established(self, effect: Established) -> None:
        """Of several versions of HIP, the one that is preferred stays."""
        hit = effect.peer_hit
        self._impatient.discard(self._directory.primary(hit))
        met = self._met.pop(hit, None)
        if met is not None and self._directory.by_hit(hit) is None:
            self._finder.met(hit, met.remote, udp=met.transport is Transport.UDP)
        self._versions.established(hit)
        self._listener(effect)
        peer = self._directory.by_hit(hit)
        if peer is None or peer.hit in self._in_each_version:
            return
        for other in peer.hits[peer.hits.index(hit) + 1 :]:
            if self.machine.is_up(other):
                self._loop.call_soon(self.close, other, "a newer version of HIP is spoken")

    def active_hit(self, hit: IPv6Address) -> IPv6Address:
        """The HIT that a peer is talked to by; the given one while it is not."""
        peer = self._directory.by_hit(hit)
        candidates = peer.hits if peer is not None else (hit,)
        return next((one for one in candidates if self.machine.is_up(one)), hit)

    def call_later(self, delay_s: float, peer: Peer) -> None:
        """Connect after a delay; a newer call for the same peer replaces the older one."""
        if waiting := self._retries.pop(peer.hit, None):
            waiting.cancel()
        self._waiting[peer.hit] = peer
        self._retries[peer.hit] = self._loop.call_later(delay_s, self._retry, peer)

    def call_off(self, hit: IPv6Address) -> None:
        """A peer is not to be called again after all, by this (preferred) HIT of it."""
        if waiting := self._retries.pop(hit, None):
            waiting.cancel()
        self._waiting.pop(hit, None)

    @property
    def send_errors(self) -> int:
        """HIP packets that the operating system refused to send."""
        return self._transport.send_errors

    def retry_in(self, hit: IPv6Address) -> float | None:
        """Seconds until a peer is called again, None if that is not planned."""
        waiting = self._retries.get(hit)
        return None if waiting is None else max(0.0, waiting.when() - time.monotonic())

    def is_up(self, hit: IPv6Address) -> bool:
        """Whether data can flow to this peer now, in whatever version of HIP."""
        return self.machine.is_up(self.active_hit(hit))

    def close(self, hit: IPv6Address, reason: str) -> None:
        """Close the association with a peer."""
        self.perform(self.machine.close(hit, time.monotonic(), reason=reason))

    def close_all(self) -> None:
        """Tell every peer that its association is over."""
        for waiting in self._retries.values():
            waiting.cancel()
        self._retries.clear()
        self._waiting.clear()
        self.perform(self.machine.close_all(time.monotonic()))

    def ping(self, hit: IPv6Address) -> int:
        """Send one authenticated HIP echo; a `PingReply` with this number may follow.

        Raises LocalProtocolError without an association.
        """
        request, effects = self.machine.ping(hit, time.monotonic())
        self.perform(effects)
        return request

    def path_mtu(self, hit: IPv6Address) -> PathMtu | None:
        """How large packets to a peer may be; None without an association."""
        return self._associations.path_mtu(hit)

    def discover_path_mtu(self, hit: IPv6Address) -> None:
        """Find out how large packets to a peer may be, beginning anew."""
        if (known := self._associations.path_mtu(hit)) is not None:
            mtu = self._associations.known_mtu(known.path)
            self.perform(self.machine.discover_path_mtu(hit, mtu, time.monotonic()))

    def data_flows(self, hit: IPv6Address, *, one_way: bool) -> None:
        """Data went to or came from a peer lately; *one_way*: none came in."""
        self.perform(self.machine.data_flows(hit, time.monotonic(), one_way=one_way))

    def packet_too_big(self, message: TooBig) -> None:
        """An ICMP message came in: a packet was too large for a link."""
        self.perform(self.machine.packet_too_big(message, time.monotonic()))

    def stop(self) -> None:
        """End all timers and searches."""
        if self._timer:
            self._timer.cancel()
        for waiting in self._retries.values():
            waiting.cancel()
        self._puzzles.stop()

    def addresses_changed(self, addresses: Sequence[IPAddress]) -> None:
        """All usable own addresses are these now, the best first."""
        self._associations.pin()
        self.perform(self.machine.addresses_changed(addresses, time.monotonic()))
        if addresses:
            self.retry()

    def retry(self) -> None:
        """Whoever could not be reached may be reachable by now: call everybody at once."""
        for waiting in list(self._waiting.values()):
            self.call_later(0.0, waiting)

    def reflexive_address(self, seen: Reflexive, lifetime_s: float) -> None:
        """A STUN server has told how it sees an own address."""
        self.machine.reflexive_address(seen, time.monotonic(), lifetime_s=lifetime_s)

    def stun_received(self, data: bytes, path: Path) -> None:
        """A STUN message came in that no server was asked for: a peer may check a path by it."""
        self.perform(self.machine.stun_received(data, path, time.monotonic()))

    def source_changed(self, spi: int, source: Path) -> None:
        """Authentic data of an inbound security association came by another path than before."""
        self.perform(self.machine.source_changed(spi, source, time.monotonic()))

    def path_silent(self, hit: IPv6Address) -> None:
        """A peer is not heard any more: look for another path to it."""
        self.perform(self.machine.path_silent(hit, time.monotonic()))

    def sa_used(self, spi: int, packets: int, octets: int) -> None:
        """So much went by a security association (of this inbound SPI, or its pair) by now."""
        self.perform(self.machine.sa_used(spi, packets, octets, time.monotonic()))

    def data_sent(self, hit: IPv6Address) -> None:
        """Data went to a peer lately."""
        self.perform(self.machine.data_sent(hit, time.monotonic()))

    def rekey(self, hit: IPv6Address, *, dh: bool = True) -> None:
        """Renew a peer's ESP keys now. Raises LocalProtocolError without an association."""
        self.perform(self.machine.rekey(hit, time.monotonic(), dh=dh))

    def register(self, hit: IPv6Address, reg_types: Sequence[int], lifetime_s: float) -> None:
        """Want these services of a peer from now on, besides those wanted before (RFC 8003)."""
        wanted = self._wanted.setdefault(hit, {})
        wanted.update(dict.fromkeys(reg_types, lifetime_s))
        # One registration has one lifetime (§4.3 there).
        longest_s = max(wanted.values())
        self.perform(self.machine.register(hit, tuple(wanted), longest_s, time.monotonic()))

    def unregister(self, hit: IPv6Address) -> None:
        """Want no service of a peer any more."""
        self._wanted.pop(hit, None)
        self.perform(self.machine.unregister(hit, time.monotonic()))

    def transit_received(self, data: bytes, transit: Transit, *, inside: bool) -> None:
        """Mobile router: a HIP packet of a client or for one came in."""
        effects = self.machine.transit_received(data, transit, time.monotonic(), inside=inside)
        self.perform(effects)

    def recall(self, hit: IPv6Address, place: Place) -> None:
        """Mobile router: call a client that there was before a restart, where it was then."""
        local = self._transport.source_address(place.address)
        if local is None or self._is_barred(hit):
            return
        path = Path(local, place.address, place.transport, self._transport.udp_port, place.port)
        try:
            self.perform(self.machine.recall(hit, [path], time.monotonic()))
        except LocalProtocolError as error:
            _log.info("a client is not called: %s", error, extra={"peer_hit": str(hit)})

    def outside_changed(self, places: Sequence[Place]) -> None:
        """Mobile router: the own places outside are these now, the best first."""
        self.perform(self.machine.outside_changed(places, time.monotonic()))

    def spis_used(self, public_spis: Sequence[int]) -> None:
        """Mobile router: data flowed by these public SPIs lately."""
        self.machine.spis_used(public_spis, time.monotonic())

    # -- outputs -----------------------------------------------------------------------------

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry out what the machine asked for, in order."""
        for effect in effects:
            try:
                self._perform_one(effect)
            except HipgwError as error:
                # One peer's trouble (a route that is gone, say) must not stop the others.
                _log.warning("cannot perform %s: %s", type(effect).__name__, error)
        self._arm()

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case SendDatagram(data=data, path=path, dont_fragment=dont_fragment):
                self._transport.send(data, path, dont_fragment=dont_fragment)
            case SendStun(data=data, path=path):
                self._transport.send_stun(data, path)
            case InstallSA():
                self._associations.install(effect)
            case MoveSA():
                self._associations.move(effect)
            case RemoveSA():
                self._associations.remove(effect)
            case PathMtuChanged():
                self._associations.set_mtu(effect)
                self._listener(effect)
            case SolvePuzzle():
                self._puzzles.start(effect)
            case CancelPuzzle(request=request):
                self._puzzles.cancel(request)
            case Lookup(peer_hit=hit):
                if (peer := self._directory.by_hit(hit)) and peer.reachable:
                    self._loop.call_soon(self.connect, peer)
            case Failed():
                self._failed(effect)
            case Established():
                self._established(effect)
            case Met(peer_hit=hit, path=path):
                self._met[hit] = path
                self._listener(effect)
            case _:
                self._listener(effect)

    def _puzzle_solved(self, request: int, j: bytes | None) -> None:
        self.perform(self.machine.puzzle_solved(request, j, time.monotonic()))

    def _retry(self, peer: Peer) -> None:
        self._retries.pop(peer.hit, None)
        self._waiting.pop(peer.hit, None)
        self.connect(peer)

    def _arm(self) -> None:
        """Keep one timer, set to when the machine wants to be called next."""
        when = self.machine.next_timer()
        if when == self._timer_when:
            return
        self._timer_when = when
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if when is not None:
            self._timer = self._loop.call_at(when, self._timer_expired)

    def _timer_expired(self) -> None:
        self._timer = None
        self._timer_when = None
        self.perform(self.machine.timer_expired(time.monotonic()))
