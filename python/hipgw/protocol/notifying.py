"""NOTIFY: telling a peer what is wrong, and listening when it tells (RFC 7401 §5.3.6, §6.13)."""

from ipaddress import IPv6Address

from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.protocol import reachability
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core, Dropped, receiver, require
from hipgw.protocol.drops import DropReason
from hipgw.protocol.path import Path
from hipgw.protocol.peer_identity import identity_of
from hipgw.protocol.protection import sign, signature_holds
from hipgw.protocol.versions.registry import VERSIONS
from hipgw.wire.notify import NotifyType, is_error, name_of
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import HostId, Notification


def send(
    core: Core,
    local: LocalIdentity,
    peer_hit: IPv6Address,
    error: NotifyType,
    path: Path,
    now: float,
    data: bytes = b"",
    *,
    longest: int | None = None,
) -> None:
    """Tell a peer of an error; at most twice a second to one address.

    Nothing is sent if it has more than *longest* octets.

    Only for peers that have solved a puzzle or share a session: a signature costs more than most
    packets that could ask for one.
    """
    if not core.notify_limit.allow(path.remote, now):
        return
    host_id = VERSIONS[local.public.version].host_id(local.public)
    packet = sign(PacketType.NOTIFY, local, peer_hit, (Notification(error, data), host_id))
    if longest is None or len(packet) <= longest:
        core.send(packet, path, peer_hit)


def keep_alive(core: Core, association: Association, path: Path) -> None:
    """Send a packet that means nothing, so that NATs on the path go on (RFC 5770 §4.7, §5.3).

    It is the same one each time: with thousands of peers the signatures would cost too much.
    """
    session = association.session
    if session is None:
        return
    if not session.keepalive:
        session.keepalive = sign(
            PacketType.NOTIFY,
            association.local,
            association.peer_hit,
            (Notification(NotifyType.NAT_KEEPALIVE, b""),),
        )
    core.send(session.keepalive, path, association.peer_hit)


def handle(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Remember what a peer complains of; it changes no state by itself (§5.3.6). Raises Dropped."""
    local = receiver(core, packet)
    association = core.find(local.hit, packet.sender_hit)
    if association is None:
        raise Dropped(DropReason.NO_ASSOCIATION)
    if not core.notify_limit.allow((path.remote, "in"), now):
        raise Dropped(DropReason.RATE_LIMIT)
    exchange = association.initiating
    peer: HostIdentity
    if association.session is not None:
        peer = association.session.peer
    elif exchange is not None and exchange.session is not None:
        peer = exchange.session.peer
    else:
        peer = identity_of(core, require(packet, HostId), packet)
    if not signature_holds(packet, peer):
        raise Dropped(DropReason.BAD_SIGNATURE)
    if path.relay_to is None:
        # A keepalive may be all that comes by a NAT that has forgotten.
        reachability.source_seen(core, association, path, now)
    for notification in packet.all(Notification):
        if is_error(notification.notify_type) and exchange is not None:
            exchange.notified = name_of(notification.notify_type)
