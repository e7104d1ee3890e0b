"""The HIP machine: bytes and the time go in, effects come out (RFC 7401, RFC 7402)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv6Address
from itertools import islice

from hipgw.errors import LocalProtocolError, WireError
from hipgw.identity.hit import hit_version, is_hit
from hipgw.identity.host_identity import LocalIdentity
from hipgw.protocol import (
    closing,
    initiator,
    mobility,
    notifying,
    probing,
    reachability,
    registration_infos,
    rekeying,
    requester,
    responder,
    update_tasks,
    updating,
)
from hipgw.protocol.association import Association, AssociationInfo
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Direction, Effect, PacketTrace
from hipgw.protocol.mobile_router import client, router_check
from hipgw.protocol.mobile_router.clients import ClientInfo
from hipgw.protocol.mobile_router.router import MobileRouter
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.nat import checking, relayed, restart, stun_checks
from hipgw.protocol.nat.control_relay import ControlRelay
from hipgw.protocol.nat.reflexive import Reflexive
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.protocol.registration import RegistrationInfo, ServiceType
from hipgw.protocol.rendezvous.server import RendezvousServer
from hipgw.protocol.states import State
from hipgw.protocol.transitions import Trigger
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.errors import (
    ChecksumError,
    PacketFormatError,
    UnknownCriticalParameterError,
    UnknownPacketTypeError,
    UnsupportedVersionError,
)
from hipgw.wire.icmp import TooBig
from hipgw.wire.packet import HipPacket, PacketType, name_of_type

_REASONS = {
    ChecksumError: DropReason.CHECKSUM,
    UnsupportedVersionError: DropReason.VERSION,
    UnknownPacketTypeError: DropReason.UNKNOWN_TYPE,
    UnknownCriticalParameterError: DropReason.UNKNOWN_CRITICAL,
}
"""Format errors that are counted by themselves; all others are MALFORMED."""
_RELAYS = frozenset({ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP})
_NO_NEW_EXCHANGE = UP | {State.I1_SENT, State.I2_SENT}


class HipMachine:
    """All associations of this host, and everything that exists before one does.

    It does no I/O and reads no clock. `now` is in seconds and must not run backwards; `random`
    returns as many unpredictable octets as it is asked for. Call `timer_expired` when
    `next_timer` says so; ask anew after every call. Bytes from outside never raise: what is
    wrong with them is counted by `DropReason`.
    """

    def __init__(
        self,
        config: MachineConfig,
        identities: Sequence[LocalIdentity],
        random: Callable[[int], bytes],
        now: float,
    ) -> None:
        """*identities*: own Host Identities, the preferred one first; at least one."""
        self._core = Core(config, identities, random, now)
        self._preferred = identities[0]
        registrar = config.registrar
        relays = registrar is not None and (
            registrar.rendezvous is None or bool(_RELAYS & set(registrar.services))
        )
        self._control_relay = ControlRelay(registrar, random) if registrar and relays else None
        if registrar is not None and registrar.mobile_router is not None:
            self._core.mobile_router = MobileRouter(registrar.mobile_router, random)
        clients = self._core.rendezvous
        self._rendezvous = (
            RendezvousServer(clients.config, clients, random) if clients is not None else None
        )

    # -- inputs ------------------------------------------------------------------------------

    def connect(
        self,
        peer_hit: IPv6Address | None,
        paths: Sequence[Path],
        now: float,
        *,
        local_hit: IPv6Address | None = None,
    ) -> list[Effect]:
        """Begin a base exchange, unless one is under way or done.

        The I1 goes along all paths; the one that is answered first is used. A HIT of None is
        opportunistic. Raises LocalProtocolError if it cannot be begun at all.
        """
        core = self._core
        local = self._caller(peer_hit) if local_hit is None else core.identities.get(local_hit)
        if local is None:
            raise LocalProtocolError(f"{local_hit} is not a HIT of this host")
        if peer_hit in core.identities:
            raise LocalProtocolError(f"{peer_hit} is this host itself")
        if peer_hit is None and not core.config.opportunistic:
            raise LocalProtocolError(
                "opportunistic mode is off", hint="set hip.opportunistic = true to allow it"
            )
        if not paths:
            raise LocalProtocolError(f"there is no address to reach {peer_hit} at")
        if peer_hit is not None:
            known = core.find(local.hit, peer_hit)
            if known is not None and known.state in _NO_NEW_EXCHANGE:
                return []
        try:
            initiator.begin(core, local, peer_hit, paths, now)
        except Dropped as dropped:
            core.drops[dropped.reason] += 1
            raise LocalProtocolError("too many associations are being made") from None
        return self._drain()

    def recall(self, peer_hit: IPv6Address, paths: Sequence[Path], now: float) -> list[Effect]:
        """Mobile router: call a client that was registered before this host was restarted.

        As `connect`, and the client is offered the service again as soon as it has answered. With
        many clients the caller does this a few at a time.
        """
        effects = self.connect(peer_hit, paths, now)
        for association in self._core.with_peer(peer_hit):
            if association.initiating is not None:
                association.initiating.recalls = True
        return effects

    def found_at(self, peer_hit: IPv6Address, paths: Sequence[Path], now: float) -> list[Effect]:
        """A peer that is being called and has not answered may be here as well; else nothing."""
        for association in self._core.with_peer(peer_hit):
            initiator.widen(self._core, association, paths, now)
        return self._drain()

    def datagram_received(self, data: bytes, path: Path, now: float) -> list[Effect]:
        """Process one HIP packet, without any UDP marker; never raises."""
        core = self._core
        core.now = now
        if self._rendezvous is not None and self._is_met(self._rendezvous, data, path, now):
            return self._drain()
        name, peer_hit = "?", None
        try:
            packet = self._parse(data, path)
            name, peer_hit = packet.packet_type.name, packet.sender_hit
            core.received[name] += 1
            trace = len(core.effects)
            try:
                if self._is_for_others(packet):
                    self._relay(packet, path, now)
                else:
                    path = relayed.unwrap(core, packet, path, now)
                    self._dispatch(packet, path, now)
            except WireError:
                # What the peer asks for makes a packet that cannot be.
                raise Dropped(DropReason.MALFORMED) from None
            core.effects.insert(
                trace, PacketTrace(Direction.INBOUND, name, peer_hit, path, len(data))
            )
        except Dropped as dropped:
            core.drops[dropped.reason] += 1
            core.effects.append(
                PacketTrace(
                    Direction.INBOUND, name, peer_hit, path, len(data), dropped.reason.value
                )
            )
        return self._drain()

    def transit_received(
        self, data: bytes, transit: Transit, now: float, *, inside: bool
    ) -> list[Effect]:
        """Mobile router: pass on a HIP packet (without any UDP marker); never raises.

        *inside*: whether it came from there. What is for this host itself is for
        `datagram_received`.
        """
        core = self._core
        core.now = now
        router = core.mobile_router
        if router is not None:
            pass_on = router.going_out if inside else router.coming_in
            try:
                pass_on(core, data, transit, now)
            except Dropped as dropped:
                core.drops[dropped.reason] += 1
        return self._drain()

    def outside_changed(self, places: Sequence[Place], now: float) -> list[Effect]:
        """Mobile router: these are the own places outside now, the best first.

        Without any, clients wait for one.
        """
        if self._core.mobile_router is not None:
            self._core.mobile_router.outside_changed(self._core, places, now)
        return self._drain()

    def spis_used(self, public_spis: Sequence[int], now: float) -> None:
        """Mobile router: data flowed by these public SPIs lately."""
        if self._core.mobile_router is not None:
            self._core.mobile_router.used(public_spis, now)

    def outside_place(self, client_hit: IPv6Address, peer_hit: IPv6Address) -> Place | None:
        """Mobile router: where data of a client for a correspondent leaves from.

        None while there is no way. Ask again after `LendSpi`, and when the own places have changed.
        """
        router = self._core.mobile_router
        return router.place_of(client_hit, peer_hit) if router is not None else None

    def mobile_router_clients(self) -> list[ClientInfo]:
        """Mobile router: all that are registered, and where; those of whom `recall` is to know."""
        router = self._core.mobile_router
        return router.infos(self._core) if router is not None else []

    def timer_expired(self, now: float) -> list[Effect]:
        """Do whatever is due."""
        core = self._core
        core.now = now
        if core.mobile_router is not None:
            core.mobile_router.timer_expired(core, now)
        if core.rendezvous is not None:
            core.rendezvous.expire(core, now)
        associations = core.timers.expired(now)
        try:
            for association in associations:
                self._look_at(association, now)
        finally:
            # Also those whose time has moved away, and whatever happens to one of them.
            for association in associations:
                core.arm(association)
        return self._drain()

    def puzzle_solved(self, request: int, j: bytes | None, now: float) -> list[Effect]:
        """The answer to `SolvePuzzle`; None if it was not found in time."""
        try:
            initiator.puzzle_solved(self._core, request, j, now)
        except Dropped as dropped:
            self._core.drops[dropped.reason] += 1
        return self._drain()

    def data_received(self, spi: int, now: float) -> list[Effect]:
        """An authentic ESP packet came in on this inbound SPI: R2 has arrived (§4.4.3)."""
        association = self._core.by_inbound_spi.get(spi)
        if association is not None:
            association.last_traffic = now
            responder.confirmed(self._core, association, "data came in", now)
            rekeying.data_came(self._core, association, spi, now)
        return self._drain()

    def sa_used(self, spi: int, packets: int, octets: int, now: float) -> list[Effect]:
        """So much went by an inbound or outbound security association by now.

        *spi* is the inbound one of the pair, or the outbound one; its keys are renewed in time.
        """
        association = self._core.by_inbound_spi.get(spi)
        if association is not None and association.state in UP:
            rekeying.used(self._core, association, packets, octets, now)
        return self._drain()

    def rekey(self, peer_hit: IPv6Address, now: float, *, dh: bool = True) -> list[Effect]:
        """Renew the ESP keys of a peer now; nothing happens while that is under way.

        Raises LocalProtocolError without an association.
        """
        up = [one for one in self._core.with_peer(peer_hit) if one.state in UP]
        if not up:
            raise LocalProtocolError(
                f"there is no association with {peer_hit}",
                hint="`hipgw connect` makes one; `hipgw associations` lists those there are",
            )
        for association in up:
            rekeying.begin(self._core, association, now, dh=dh)
        return self._drain()

    def addresses_changed(self, addresses: Sequence[IPAddress], now: float) -> list[Effect]:
        """All usable own addresses are these now, of both families, the best first (RFC 8046).

        Without any, associations wait for one. A mobile router tells its clients those inside, and
        everybody else those outside: call `outside_changed` before this.
        """
        self._core.reflexive.keep_only(addresses)
        if self._core.rendezvous is not None:
            # Whom this host cannot write to any more has to be told where it is.
            for hit in self._core.rendezvous.displaced(addresses):
                self._core.rendezvous.wake(self._core, hit)
        mobility.addresses_changed(self._core, addresses, now)
        for association in list(self._core.associations.values()):
            restart.moved(self._core, association, now)
        return self._drain()

    def reflexive_address(self, seen: Reflexive, now: float, *, lifetime_s: float) -> None:
        """A STUN server has told how it sees an own transport address (RFC 9028 §4.2).

        That is a candidate for *lifetime_s* seconds, or until the own address goes.
        """
        if seen.local[0] in self._core.own_addresses:
            self._core.reflexive.learn(seen, now + lifetime_s)

    def stun_received(self, data: bytes, path: Path, now: float) -> list[Effect]:
        """Process a STUN message that answers no question of this host to a server; never raises.

        Peers check paths by them (RFC 5770 §4.6).
        """
        core = self._core
        core.now = now
        core.received["STUN"] += 1
        before, peer_hit, reason = len(core.effects), None, ""
        try:
            association = stun_checks.received(core, data, path, now)
        except Dropped as dropped:
            core.drops[dropped.reason] += 1
            reason = dropped.reason.value
        else:
            if association is not None:
                peer_hit = association.peer_hit
                association.last_traffic = association.mobility.heard_at = now
                responder.confirmed(core, association, "a STUN check came in", now)
        trace = PacketTrace(Direction.INBOUND, "STUN", peer_hit, path, len(data), reason)
        core.effects.insert(before, trace)
        return self._drain()

    def source_changed(self, spi: int, source: Path, now: float) -> list[Effect]:
        """Authentic data on an inbound SPI came by another path than before (a NAT, say).

        Nothing is sent there before the peer is known to be there.
        """
        association = self._core.by_inbound_spi.get(spi)
        if association is not None:
            reachability.source_seen(self._core, association, source, now)
        return self._drain()

    def path_silent(self, peer_hit: IPv6Address, now: float) -> list[Effect]:
        """A peer is not heard any more, though the link is up: try all other pairs of addresses.

        If the path was found by connectivity checks, they are begun anew (RFC 9028 §4.9).
        """
        for association in self._core.with_peer(peer_hit):
            reachability.search(self._core, association, now)
            restart.silent(self._core, association, now)
        return self._drain()

    def data_sent(self, peer_hit: IPv6Address, now: float) -> list[Effect]:
        """Data went to a peer lately, so that no keepalive is due."""
        for association in self._core.with_peer(peer_hit):
            if association.state in UP:
                mobility.data_sent(self._core, association, now)
        return self._drain()

    def traffic_seen(self, peer_hit: IPv6Address, now: float) -> None:
        """Data flowed to or from a peer: its association is in use."""
        self._core.pool.rotate(now)
        for association in self._core.with_peer(peer_hit):
            association.last_traffic = now

    def discover_path_mtu(self, peer_hit: IPv6Address, route_mtu: int, now: float) -> list[Effect]:
        """Find out how large packets to a peer may be, *route_mtu* octets at most (RFC 8899).

        To be called once an association is established and whenever its path changes; begins
        anew each time. `PathMtuChanged` tells what is found.
        """
        for association in self._core.with_peer(peer_hit):
            probing.begin(self._core, association, route_mtu, now)
        return self._drain()

    def data_flows(self, peer_hit: IPv6Address, now: float, *, one_way: bool) -> list[Effect]:
        """Data went to or came from a peer in the last seconds.

        *one_way*: it only went there, so what was sent may have been too large for the path.
        """
        for association in self._core.with_peer(peer_hit):
            probing.data_flows(self._core, association, now, one_way=one_way)
            if not one_way:
                association.mobility.heard_at = now
                reachability.heard(self._core, association, now)
        return self._drain()

    def packet_too_big(self, message: TooBig, now: float) -> list[Effect]:
        """An ICMP message came in: a packet was too large for a link. It may be forged."""
        probing.too_big(self._core, message, now)
        return self._drain()

    def close(
        self, peer_hit: IPv6Address, now: float, *, reason: str = "closed locally"
    ) -> list[Effect]:
        """Close the association with a peer, or stop making one."""
        core = self._core
        for association in core.with_peer(peer_hit):
            if association.initiating is not None:
                core.fail(association, reason, now)
            else:
                closing.begin(core, association, reason, now)
        return self._drain()

    def close_all(self, now: float, *, reason: str = "shutting down") -> list[Effect]:
        """Close every association.

        Of those in compact form a bounded number: each CLOSE is signed. The others find out when
        they renew their registration.
        """
        if self._core.rendezvous is not None:
            self._core.rendezvous.wake_some(self._core)
        for association in list(self._core.associations.values()):
            closing.begin(self._core, association, reason, now)
        return self._drain()

    def ping(self, peer_hit: IPv6Address, now: float) -> tuple[int, list[Effect]]:
        """Send an authenticated echo; `PingReply` bears the number returned here.

        Raises LocalProtocolError without an association.
        """
        request = updating.ping(self._core, peer_hit, now)
        return request, self._drain()

    def register(
        self, peer_hit: IPv6Address, reg_types: Sequence[int], lifetime_s: float, now: float
    ) -> list[Effect]:
        """Want these services of a peer from now on (RFC 8003).

        They are asked for in the next base exchange, or now if there is an association, and
        renewed for as long as that lasts. `RegistrationChanged` tells what becomes of it.
        """
        requester.want(self._core, peer_hit, reg_types, lifetime_s, now)
        return self._drain()

    def unregister(self, peer_hit: IPv6Address, now: float) -> list[Effect]:
        """Want no service of a peer any more."""
        requester.cancel(self._core, peer_hit, now)
        return self._drain()

    # -- views -------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When to call `timer_expired` at the latest; None for never.

        There may turn out to be nothing to do then.
        """
        when, rendezvous = self._core.timers.next(), self._core.rendezvous
        router = self._core.mobile_router
        if router is not None and (due := router.next_timer()) is not None:
            when = due if when is None else min(when, due)
        if rendezvous is not None and (expiry := rendezvous.next_timer()) < math.inf:
            return expiry if when is None else min(when, expiry)
        return when

    def associations(self, peer_hit: IPv6Address | None = None) -> list[AssociationInfo]:
        """Every association, or those with one peer, as others may see them."""
        core = self._core
        known = core.associations.values() if peer_hit is None else core.with_peer(peer_hit)
        return [self._info(association) for association in known]

    def held_registrations(self) -> list[RegistrationInfo]:
        """Those of this host with others."""
        return [one for one in registration_infos.awake(self._core) if not one.registrar]

    def registrations(self, *, most: int | None = None) -> list[RegistrationInfo]:
        """Every registration in force, of this host and with it, or the first *most* of them."""
        return list(islice(registration_infos.everybody(self._core), most))

    def reflexive_addresses(self, now: float) -> list[Reflexive]:
        """Own transport addresses as STUN servers see them, the newest first."""
        return self._core.reflexive.current(now)

    @property
    def association_count(self) -> int:
        """How many associations there are, in whatever state."""
        return len(self._core.associations) + self.resting_count

    @property
    def resting_count(self) -> int:
        """How many of these are kept in compact form, as clients of the rendezvous server."""
        rendezvous = self._core.rendezvous
        return rendezvous.resting_count if rendezvous is not None else 0

    @property
    def rendezvous_count(self) -> int:
        """How many clients are registered for rendezvous here."""
        return len(self._core.rendezvous) if self._core.rendezvous is not None else 0

    def is_up(self, peer_hit: IPv6Address) -> bool:
        """Whether data can flow to a peer now."""
        rendezvous = self._core.rendezvous
        if rendezvous is not None and rendezvous.is_resting(peer_hit):
            return True
        return any(association.state in UP for association in self._core.with_peer(peer_hit))

    def is_behind_router(self, peer_hit: IPv6Address) -> bool:
        """Whether a mobile router has shown itself on the way to a peer."""
        sessions = [one.session for one in self._core.with_peer(peer_hit)]
        return any(one.behind_router or one.proxied[0] > 0 for one in sessions if one is not None)

    @property
    def cut_off(self) -> bool:
        """Whether this host is behind mobile routers, and none of them has a network outside."""
        routers = self._core.mobile_routers.values()
        return bool(routers) and all(one.registrations.held.cut_off for one in routers)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Packets by type, sent, received, and relayed by rendezvous, and drops by reason."""
        core = self._core
        return {
            "sent": dict(core.sent),
            "received": dict(core.received),
            "relayed": dict(self._rendezvous.relayed) if self._rendezvous is not None else {},
            "drops": {reason.value: core.drops[reason] for reason in DropReason},
        }

    def puzzle_difficulty(self, now: float) -> int:
        """K that an Initiator gets at this moment."""
        return self._core.pool.difficulty(now)

    @property
    def local_hit(self) -> IPv6Address:
        """The preferred one of the own HITs."""
        return self._preferred.hit

    @property
    def r1_counter(self) -> int:
        """The current R1 generation."""
        return self._core.pool.counter

    # -- inside ------------------------------------------------------------------------------

    def _caller(self, peer_hit: IPv6Address | None) -> LocalIdentity:
        """The own identity to call a peer with: the preferred one of its HIT's version."""
        if peer_hit is None or not is_hit(peer_hit):
            return self._preferred
        version = hit_version(peer_hit)
        for identity in (self._preferred, *self._core.identities.values()):
            if identity.public.version == version:
                return identity
        raise LocalProtocolError(
            f"this host has no Host Identity of HIP version {version}, and {peer_hit} is of that",
            hint="set identity.key_file_v1 to an RSA or DSA key" if version == 1 else "",
        )

    def _is_met(self, rendezvous: RendezvousServer, data: bytes, path: Path, now: float) -> bool:
        """Whether a datagram was one for the rendezvous server, which has done what it can."""
        core = self._core
        reason = ""
        before = len(core.effects)
        try:
            if rendezvous.takes(data):
                rendezvous.forward(core, data, path, now)
            elif self._control_relay is None and core.is_for_nobody(data):
                # Before any object is made of it: there may be very many.
                raise Dropped(DropReason.NOT_OUR_HIT)
            else:
                return rendezvous.is_idle_talk(core, data, path)
        except Dropped as dropped:
            core.drops[dropped.reason] += 1
            reason = dropped.reason.value
        name, sender = name_of_type(data[2]), IPv6Address(data[8:24])
        trace = PacketTrace(Direction.INBOUND, name, sender, path, len(data), reason)
        core.effects.insert(before, trace)
        return True

    def _parse(self, data: bytes, path: Path) -> HipPacket:
        pseudo = None
        if path.transport is Transport.RAW:
            if path.local is None:
                raise Dropped(DropReason.CHECKSUM)
            pseudo = PseudoHeader(path.remote, path.local)
        try:
            return HipPacket.parse(
                data,
                pseudo,
                strict_order=not self._misorders(data),
                versions=self._core.versions,
            )
        except PacketFormatError as error:
            raise Dropped(_REASONS.get(type(error), DropReason.MALFORMED)) from None

    def _misorders(self, data: bytes) -> bool:
        """Whether the sender, by its HIT in the header, is known not to sort parameters."""
        sender = data[8:24]
        return len(sender) == 16 and self._core.config.compat(IPv6Address(sender)).disordered

    def _is_for_others(self, packet: HipPacket) -> bool:
        """Whether it is for a HIT of somebody else, and this host relays. HIT zero is everybody."""
        return (
            self._control_relay is not None
            and bool(int(packet.receiver_hit))
            and packet.receiver_hit not in self._core.identities
        )

    def _relay(self, packet: HipPacket, path: Path, now: float) -> None:
        if self._control_relay is not None:
            self._control_relay.forward(self._core, packet, path, now)

    def _dispatch(self, packet: HipPacket, path: Path, now: float) -> None:
        core = self._core
        _check_versions(packet)
        match packet.packet_type:
            case PacketType.I1:
                responder.handle_i1(core, packet, path, now)
            case PacketType.R1:
                initiator.handle_r1(core, packet, path, now)
            case PacketType.I2:
                responder.handle_i2(core, packet, path, now)
            case PacketType.R2:
                initiator.handle_r2(core, packet, path, now)
            case PacketType.UPDATE:
                updating.handle(core, packet, path, now)
            case PacketType.NOTIFY:
                notifying.handle(core, packet, path, now)
            case PacketType.CLOSE:
                closing.handle_close(core, packet, path, now)
            case PacketType.CLOSE_ACK:
                closing.handle_close_ack(core, packet)
            case _:
                raise Dropped(DropReason.UNKNOWN_TYPE)

    def _look_at(self, association: Association, now: float) -> None:
        core = self._core
        exchange, leaving = association.initiating, association.closing
        if exchange is not None and exchange.retransmission.when <= now:
            initiator.timer_expired(core, association, now)
        elif leaving is not None and leaving.retransmission.when <= now:
            closing.timer_expired(core, association, now)
        if association.deadline is not None and association.deadline <= now:
            self._deadline(association, now)
        if association.state in UP:
            update_tasks.timer_expired(core, association, now)
        if association.state in UP:
            probing.timer_expired(core, association, now)
            rekeying.timer_expired(core, association, now)
            client.timer_expired(core, association, now)
            router_check.timer_expired(core, association, now)
        if association.state in UP:
            mobility.timer_expired(core, association, now)
        if association.state in UP:
            checking.timer_expired(core, association, now)
            restart.timer_expired(core, association, now)
        if association.state in UP:
            requester.timer_expired(core, association, now)
            if association.registrations.held.unanswered:
                association.registrations.held.unanswered = False
                closing.begin(core, association, "the registrar does not answer", now)
        if association.state in UP and core.registrar is not None:
            core.registrar.timer_expired(core, association, now)
        if core.rendezvous is not None:
            core.rendezvous.timer_expired(core, association, now)
        if (
            association.state is State.ESTABLISHED
            and association.last_traffic + core.config.ual_s <= now
            and association.registrations.needed_until <= now
        ):
            closing.begin(core, association, "unused", now)

    def _deadline(self, association: Association, now: float) -> None:
        association.deadline = None
        if association.state is State.R2_SENT:
            responder.confirmed(self._core, association, "the exchange is complete by now", now)
        elif association.state in {State.CLOSED, State.E_FAILED}:
            self._core.move(association, Trigger.EXPIRE, "forgotten")
            association.session = None
            self._core.forget(association)

    def _drain(self) -> list[Effect]:
        effects, self._core.effects = self._core.effects, []
        return effects

    def _info(self, association: Association) -> AssociationInfo:
        session = association.session
        # What will be used is of interest most while there is no session yet.
        compat = session.compat if session else self._core.config.compat(association.peer_hit)
        return AssociationInfo(
            local_hit=association.local_hit,
            peer_hit=association.peer_hit,
            state=association.state,
            path=association.path,
            initiator=association.initiator,
            established_at=association.established_at,
            exchange_s=association.exchange_s,
            version=association.local.version,
            compat=compat.name,
            peer_identity=session.peer.describe() if session else "",
            dh_group=session.dh_group if session else 0,
            cipher=session.choice.cipher if session else 0,
            esp_suite=session.esp_suite if session else 0,
            inbound_spi=session.inbound_spi if session else 0,
            outbound_spi=session.outbound_spi if session else 0,
            last_traffic=association.last_traffic,
            rekeyed=session.rekeyed if session else 0,
            rtt=association.rtt,
            path_verified=association.mobility.verified,
            locators=tuple(replace(one) for one in association.mobility.locators),
            mapped=association.mobility.mapped,
        )


def _check_versions(packet: HipPacket) -> None:
    """A packet is of the version that its HITs are of: no other can be forced. Raises Dropped."""
    for hit in (packet.sender_hit, packet.receiver_hit):
        if is_hit(hit) and hit_version(hit) != packet.version:
            raise Dropped(DropReason.VERSION)
