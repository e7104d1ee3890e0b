"""CLOSE and CLOSE_ACK (RFC 7401 §6.14, §6.15)."""

import hmac

from hipgw.protocol.association import Association, ClosingExchange, Session
from hipgw.protocol.core import UP, Core, Dropped, receiver, require
from hipgw.protocol.drops import DropReason
from hipgw.protocol.path import Path
from hipgw.protocol.protection import mac_holds, protect, signature_holds
from hipgw.protocol.transitions import Trigger, may
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import EchoRequestSigned, EchoResponseSigned

NONCE_OCTETS = 16


def begin(core: Core, association: Association, reason: str, now: float) -> None:
    """Send CLOSE; no data flows from here on."""
    session, path = association.session, association.path
    if association.state not in UP or session is None or path is None:
        return
    nonce = core.random(NONCE_OCTETS)
    packet = protect(
        PacketType.CLOSE,
        association.local,
        association.peer_hit,
        (EchoRequestSigned(nonce),),
        rhash=session.rhash,
        key=session.hip_keys.outgoing_integrity,
    )
    association.closing = ClosingExchange(
        packet=packet, nonce=nonce, retransmission=core.retransmission(now)
    )
    association.deadline = None
    core.send(packet, path, association.peer_hit)
    core.move(association, Trigger.LEAVE, reason)
    core.arm(association)
    core.tell_closed(association, reason)


def handle_close(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Acknowledge a CLOSE, also one that comes again (§6.14). Raises Dropped."""
    association, session = _session(core, packet)
    echo = require(packet, EchoRequestSigned)
    if not may(association.state, Trigger.CLOSE):
        raise Dropped(DropReason.UNEXPECTED)
    core.send(
        protect(
            PacketType.CLOSE_ACK,
            association.local,
            association.peer_hit,
            (EchoResponseSigned(echo.data),),
            rhash=session.rhash,
            key=session.hip_keys.outgoing_integrity,
        ),
        path,
        association.peer_hit,
    )
    up = association.state in UP
    core.stop_initiating(association)
    association.closing = None
    association.deadline = now + 2 * core.config.msl_s
    core.move(association, Trigger.CLOSE, "the peer closed it")
    core.arm(association)
    if up:
        core.tell_closed(association, "the peer closed it")


def handle_close_ack(core: Core, packet: HipPacket) -> None:
    """The peer knows: forget the association (§6.15). Raises Dropped."""
    association, _ = _session(core, packet)
    closing = association.closing
    if closing is None or not may(association.state, Trigger.CLOSE_ACK):
        raise Dropped(DropReason.UNEXPECTED)
    echo = require(packet, EchoResponseSigned)
    if not hmac.compare_digest(echo.data, closing.nonce):
        raise Dropped(DropReason.BAD_ECHO)
    core.move(association, Trigger.CLOSE_ACK, "CLOSE_ACK accepted")
    association.session = None
    core.forget(association)


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Send CLOSE again, or forget the association unacknowledged."""
    closing = association.closing
    if closing is None or association.path is None:
        return
    if closing.retransmission.again(now):
        core.send(closing.packet, association.path, association.peer_hit)
        return
    core.move(association, Trigger.EXPIRE, "CLOSE was not acknowledged")
    association.session = None
    core.forget(association)


def _session(core: Core, packet: HipPacket) -> tuple[Association, Session]:
    """The association a packet belongs to, proven by MAC and signature. Raises Dropped."""
    local = receiver(core, packet)
    association = core.find(local.hit, packet.sender_hit)
    session = association.session if association is not None else None
    if association is not None and session is None and association.initiating is not None:
        session = association.initiating.session
    if association is None or session is None:
        raise Dropped(DropReason.NO_ASSOCIATION)
    if not mac_holds(packet, session.rhash, session.hip_keys.incoming_integrity):
        raise Dropped(DropReason.BAD_MAC)
    if not signature_holds(packet, session.peer):
        raise Dropped(DropReason.BAD_SIGNATURE)
    return association, session
