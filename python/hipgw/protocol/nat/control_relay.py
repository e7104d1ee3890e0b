"""The control relay: carries HIP packets between its clients and everybody (RFC 9028 §4.5, §4.8).

What comes for a client gets RELAY_FROM and RELAY_HMAC and goes to where the client is registered.
What comes from a client goes where its RELAY_TO says, if somebody there has spoken to the client
before or the client has permitted it as a peer: the relay does not let itself be pointed at others.
"""

from collections.abc import Callable

from hipgw.identity.hit import is_hit
from hipgw.protocol import notifying
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.nat.data_relay import DataRelay
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.rate_limit import RateLimit, source_key
from hipgw.protocol.registration import Flow, Granted, ServiceType
from hipgw.wire.coverage import relay_hmac_coverage
from hipgw.wire.errors import EmitError
from hipgw.wire.insertion import with_parameters
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HEADER_LENGTH, HipPacket, PacketType
from hipgw.wire.parameters import (
    CandidatePriority,
    NatTraversalMode,
    Nominate,
    RelayFrom,
    RelayHmac,
    RelayTo,
)

FLOW_S = 300.0
"""How long the relay remembers who spoke to a client."""
NOTIFY_PER_S = 10
"""Complaints a second to hosts that need not be genuine: each costs a signature."""
_UDP = 17
_TO_CLIENTS = frozenset(
    {
        PacketType.I1,
        PacketType.I2,
        PacketType.UPDATE,
        PacketType.NOTIFY,
        PacketType.CLOSE,
        PacketType.CLOSE_ACK,
    }
)
"""R1 and R2 answer what a client has sent itself, past this relay."""
_FROM_CLIENTS = frozenset(set(PacketType) - {PacketType.I1, PacketType.I2})
"""What a client begins goes by the relay of its peer."""
_NEEDS_MODE = frozenset({PacketType.R1, PacketType.I2})


class ControlRelay:
    """Forwards; keeps a bounded number of flows with each client."""

    def __init__(self, config: RegistrarConfig, random: Callable[[int], bytes]) -> None:
        self._config = config
        self._sources = RateLimit(config.packets_per_source, random(16))
        self._clients = RateLimit(config.packets_per_client, random(16))
        self._notified = RateLimit(NOTIFY_PER_S, random(16))

    def forward(self, core: Core, packet: HipPacket, path: Path, now: float) -> None:
        """Relay a packet that is for none of the own HITs. Raises Dropped."""
        registrar = core.registrar
        if registrar is None or path.transport is not Transport.UDP:
            raise Dropped(DropReason.NOT_OUR_HIT)
        if not is_hit(packet.sender_hit):
            raise Dropped(DropReason.BAD_SENDER)
        if packet.get(RelayFrom) is not None or packet.get(RelayHmac) is not None:
            # Nobody may put words into the mouth of the relay, and relays form no chains.
            raise Dropped(DropReason.NOT_RELAYED)
        relay_to = packet.get(RelayTo)
        if relay_to is not None:
            # A client has a limit of its own, and may share its address with others.
            self._from_client(core, packet, relay_to, path, now)
            return
        if not self._sources.allow(source_key(path.remote), now):
            raise Dropped(DropReason.RATE_LIMIT)
        self._to_client(core, packet, path, now)

    # -- inside ------------------------------------------------------------------------------

    def _to_client(self, core: Core, packet: HipPacket, path: Path, now: float) -> None:
        client = self._receiver(core, packet, path)
        if packet.packet_type not in _TO_CLIENTS:
            raise Dropped(DropReason.NOT_RELAYED)
        session, way = client.session, client.path
        if session is None or way is None or way.relay_to is not None:
            raise Dropped(DropReason.NOT_RELAYED)
        if not client.mobility.verified:
            # It says that it has moved there. Strangers' packets are no way to find out.
            raise Dropped(DropReason.NOT_RELAYED)
        if not self._clients.allow(client.peer_hit, now):
            raise Dropped(DropReason.RATE_LIMIT)
        self._check_mode(core, client, packet, path, now)
        source = RelayFrom(path.remote, path.remote_port, _UDP)
        try:
            relayed = with_parameters(packet.raw, [source])
            code = session.rhash.mac(
                session.hip_keys.outgoing_integrity, relay_hmac_coverage(relayed)
            )
            relayed = with_parameters(relayed, [RelayHmac(code)])
        except EmitError:
            raise Dropped(DropReason.MALFORMED) from None
        self._note(client.registrations.granted, path, now)
        core.send(relayed, way, packet.receiver_hit)

    def _from_client(
        self, core: Core, packet: HipPacket, relay_to: RelayTo, path: Path, now: float
    ) -> None:
        registrar = core.registrar
        client = registrar.clients.get(packet.sender_hit) if registrar is not None else None
        way = client.path if client is not None else None
        if (
            client is None
            or way is None
            or (way.remote, way.remote_port) != (path.remote, path.remote_port)
            or way.transport is not Transport.UDP
            or packet.packet_type not in _FROM_CLIENTS
            or relay_to.protocol != _UDP
        ):
            raise Dropped(DropReason.NOT_RELAYED)
        if not self._clients.allow(client.peer_hit, now):
            raise Dropped(DropReason.RATE_LIMIT)
        self._check_mode(core, client, packet, path, now)
        target = self._way_out(client.registrations.granted, relay_to, path, packet, now)
        if target is None:
            if self._notified.allow("client", now):
                notifying.send(
                    core,
                    client.local,
                    packet.sender_hit,
                    NotifyType.MESSAGE_NOT_RELAYED,
                    path,
                    now,
                    packet.raw[:HEADER_LENGTH],
                )
            raise Dropped(DropReason.NOT_RELAYED)
        core.send(packet.raw, target, packet.receiver_hit)

    @staticmethod
    def _receiver(core: Core, packet: HipPacket, path: Path) -> Association:
        """The client that a packet is for: by its HIT, and by the relayed port if it came to one.

        A relayed port needs no registration as control relay (RFC 9028 §4.12.2).
        """
        registrar = core.registrar
        client = registrar.clients.get(packet.receiver_hit) if registrar is not None else None
        if registrar is None or client is None:
            raise Dropped(DropReason.NOT_OUR_HIT)
        owner = registrar.data_relay.owner(path)
        if owner is not None:
            if owner is not client:
                raise Dropped(DropReason.NOT_RELAYED)
        elif _is_check(packet) or (
            ServiceType.RELAY_UDP_HIP not in client.registrations.granted.grants
        ):
            raise Dropped(DropReason.NOT_RELAYED)
        return client

    def _check_mode(
        self, core: Core, client: Association, packet: HipPacket, path: Path, now: float
    ) -> None:
        """An R1 or I2 without a NAT traversal mode leads nowhere: tell its sender (§4.5).

        Who sends an I2 need not be genuine, so the answer must not be longer than it.
        """
        if packet.packet_type not in _NEEDS_MODE or packet.get(NatTraversalMode) is not None:
            return
        if self._notified.allow(packet.packet_type, now):
            notifying.send(
                core,
                client.local,
                packet.sender_hit,
                NotifyType.NO_VALID_NAT_TRAVERSAL_MODE_PARAMETER,
                path,
                now,
                packet.raw[:HEADER_LENGTH],
                longest=len(packet.raw),
            )
        raise Dropped(DropReason.NAT_MODE)

    def _note(self, granted: Granted, path: Path, now: float) -> None:
        """Remember who spoke to a client and which way, the newest last."""
        key = (path.remote, path.remote_port, path.local_port)
        flow = granted.flows.pop(key, None)
        if flow is None and len(granted.flows) >= self._config.flows_per_client:
            # Strangers cannot push out those that the client talks to.
            stranger = next(
                (k for k, f in granted.flows.items() if not f.confirmed), next(iter(granted.flows))
            )
            del granted.flows[stranger]
        confirmed = flow is not None and flow.confirmed and flow.expires > now
        granted.flows[key] = Flow(path, now + FLOW_S, confirmed)

    @staticmethod
    def _way_out(
        granted: Granted, relay_to: RelayTo, path: Path, packet: HipPacket, now: float
    ) -> Path | None:
        """How to send to where RELAY_TO says; None if the client may not.

        The way that the other side came by last is the one that its NAT lets back in. Connectivity
        checks go by a relayed port in any case: data could not take another way (§4.5).
        """
        target = (relay_to.address, relay_to.port)
        lent = {port.port for port in granted.ports}
        check = _is_check(packet)
        for key, flow in reversed(granted.flows.items()):
            if key[:2] == target and flow.expires > now and (not check or key[2] in lent):
                # Everybody gets an R1. What else a client sends shows that it takes the other on.
                flow.confirmed = flow.confirmed or packet.packet_type is not PacketType.R1
                return flow.path
        port = DataRelay.permitted(granted, *target)
        if port is None:
            return None
        return Path(path.local, target[0], Transport.UDP, port.port, target[1])


def _is_check(packet: HipPacket) -> bool:
    """Whether it looks for a path for data."""
    return packet.get(CandidatePriority) is not None or packet.get(Nominate) is not None
