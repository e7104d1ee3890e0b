"""What comes to this host by a relay where it is registered (RFC 9028 §4.5, §5.8).

What comes by a rendezvous server is told apart by FROM and RVS_HMAC, and left to `rendezvous`.
"""

from dataclasses import replace

from hipgw.protocol import notifying
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.rendezvous import client
from hipgw.protocol.states import State
from hipgw.wire.coverage import relay_hmac_coverage
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HEADER_LENGTH, HipPacket, PacketType
from hipgw.wire.parameters import From, RelayFrom, RelayHmac, RvsHmac

_UDP = 17
_RELAYS = frozenset({ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP})
_UP = frozenset({State.R2_SENT, State.ESTABLISHED})
_OWN_MAC = frozenset({PacketType.UPDATE, PacketType.CLOSE, PacketType.CLOSE_ACK})
"""Packets that show by themselves whom they are from: a relay need not vouch for them."""


def unwrap(core: Core, packet: HipPacket, path: Path, now: float) -> Path:
    """The path that leads back to the sender of a packet, by the relay if one has brought it.

    Raises Dropped for a packet that says so and was not brought by one.
    """
    relay_from = packet.get(RelayFrom)
    if packet.get(RvsHmac) is not None or packet.get(From) is not None:
        _refuse_rendezvous(core, packet, path, now)
        return client.unwrap(core, packet, path)
    if relay_from is None:
        return path
    relay = relay_at(core, path)
    if relay is None or relay.session is None or relay_from.protocol != _UDP:
        raise Dropped(DropReason.BAD_RELAY_HMAC)
    if packet.packet_type is PacketType.I1 and not int(packet.receiver_hit):
        raise Dropped(DropReason.OPPORTUNISTIC)
    code = packet.get(RelayHmac)
    if code is None:
        if packet.packet_type not in _OWN_MAC:
            raise Dropped(DropReason.BAD_RELAY_HMAC)
    else:
        session = relay.session
        covered = relay_hmac_coverage(packet.raw)
        if not session.rhash.verify_mac(session.hip_keys.incoming_integrity, covered, code.mac):
            raise Dropped(DropReason.BAD_RELAY_HMAC)
    return replace(path, relay_to=(relay_from.address, relay_from.port))


def relay_at(core: Core, path: Path) -> Association | None:
    """The relay of this host that a packet came from; None if it is none."""
    if path.transport is not Transport.UDP:
        return None
    for hit in core.wanted:
        for association in core.with_peer(hit):
            where = association.path
            if (
                where is not None
                and association.state in _UP
                and (where.remote, where.remote_port) == (path.remote, path.remote_port)
                and _RELAYS & set(association.registrations.held.grants)
            ):
                return association
    return None


def _refuse_rendezvous(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """RVS_HMAC and RELAY_HMAC share keys, so that a relay must not send the former (§7.8)."""
    relay = relay_at(core, path)
    if relay is None:
        return
    notifying.send(
        core,
        relay.local,
        relay.peer_hit,
        NotifyType.RVS_HMAC_PROHIBITED_WITH_RELAY,
        path,
        now,
        packet.raw[:HEADER_LENGTH],
    )
    raise Dropped(DropReason.NOT_RELAYED)
