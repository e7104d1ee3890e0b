"""A datagram came in: whose it is, whether it is well-formed, and which part it is for."""

from collections.abc import Callable
from ipaddress import IPv6Address

from hipgw.errors import WireError
from hipgw.identity.hit import hit_version, is_hit
from hipgw.protocol import closing, initiator, notifying, responder, updating
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Direction, PacketTrace
from hipgw.protocol.mobile_router.transit import Transit
from hipgw.protocol.nat import relayed, stun_checks
from hipgw.protocol.nat.control_relay import ControlRelay
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.rendezvous.server import RendezvousServer
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.errors import (
    ChecksumError,
    PacketFormatError,
    UnknownCriticalParameterError,
    UnknownPacketTypeError,
    UnsupportedVersionError,
)
from hipgw.wire.packet import HipPacket, PacketType, name_of_type

_REASONS = {
    ChecksumError: DropReason.CHECKSUM,
    UnsupportedVersionError: DropReason.VERSION,
    UnknownPacketTypeError: DropReason.UNKNOWN_TYPE,
    UnknownCriticalParameterError: DropReason.UNKNOWN_CRITICAL,
}
"""Format errors that are counted by themselves; all others are MALFORMED."""
_RELAYS = frozenset({ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP})
_NOBODY_BEHIND = frozenset({DropReason.NOT_OUR_HIT, DropReason.NOT_RELAYED})
"""Why a mobile router drops what is neither for nor from a client of its own."""


class Reception:
    """Takes datagrams for this host, and for those whom it relays to."""

    def __init__(self, core: Core, random: Callable[[int], bytes]) -> None:
        self._core = core
        registrar = core.config.registrar
        relays = registrar is not None and (
            registrar.rendezvous is None or bool(_RELAYS & set(registrar.services))
        )
        self._control_relay = ControlRelay(registrar, random) if registrar and relays else None
        clients = core.rendezvous
        self._rendezvous = (
            RendezvousServer(clients.config, clients, random) if clients is not None else None
        )
        self._serves = clients is not None or (
            registrar is not None and bool(_RELAYS & set(registrar.services))
        )

    @property
    def relayed(self) -> dict[str, int]:
        """Packets by type that the rendezvous server has relayed."""
        return dict(self._rendezvous.relayed) if self._rendezvous is not None else {}

    def take(self, data: bytes, path: Path, now: float) -> None:
        """Process one HIP packet, without any UDP marker; never raises."""
        core = self._core
        core.now = now
        if self._rendezvous is not None and self._is_met(self._rendezvous, data, path, now):
            return
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

    def take_stun(self, data: bytes, path: Path, now: float) -> None:
        """Process a peer's STUN message, a check of a path (RFC 5770 §4.6); never raises."""
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

    def take_for_served(
        self, data: bytes, transit: Transit, refusal: DropReason, now: float
    ) -> bool:
        """A mobile router has refused a packet: it may be one for its host to relay all the same.

        A machine that is a rendezvous server or a relay besides has clients that are not behind it,
        and what is written to its own address is for those. False if nobody can be meant.
        """
        to = transit.destination
        if (
            not self._serves
            or refusal not in _NOBODY_BEHIND
            or to.address not in self._core.own_addresses
        ):
            return False
        source = transit.source
        path = Path(to.address, source.address, source.transport, to.port, source.port)
        self.take(data, path, now)
        return True

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


def _check_versions(packet: HipPacket) -> None:
    """A packet is of the version that its HITs are of: no other can be forced. Raises Dropped."""
    for hit in (packet.sender_hit, packet.receiver_hit):
        if is_hit(hit) and hit_version(hit) != packet.version:
            raise Dropped(DropReason.VERSION)
