"""UPDATE with SEQ and ACK, and the authenticated echo that rides on it (RFC 7401 §6.11, §6.12)."""

import hmac
from ipaddress import IPv6Address

from hipgw.errors import LocalProtocolError
from hipgw.protocol import probing
from hipgw.protocol.association import (
    PINGS_OUTSTANDING,
    UPDATE_IDS_REMEMBERED,
    Association,
    Ping,
    Session,
)
from hipgw.protocol.core import UP, Core, Dropped, receiver
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import PingReply
from hipgw.protocol.path import Path
from hipgw.protocol.protection import mac_holds, protect, signature_holds
from hipgw.protocol.responder import confirmed
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import Ack, EchoRequestSigned, EchoResponseSigned, Parameter, Seq

NONCE_OCTETS = 16
HALF = 1 << 31
WHOLE = 1 << 32


def ping(core: Core, peer_hit: IPv6Address, now: float) -> int:
    """Send an UPDATE with an echo request; a `PingReply` follows if the peer answers.

    It is not sent again when it is lost, since its loss is what a ping is to show. Raises
    LocalProtocolError without an association.
    """
    for association in core.with_peer(peer_hit):
        session, path = association.session, association.path
        if association.state in UP and session and path:
            break
    else:
        raise LocalProtocolError(
            f"there is no association with {peer_hit}",
            hint="`hipgw connect` makes one; `hipgw associations` lists those there are",
        )
    if len(association.pings) >= PINGS_OUTSTANDING:
        del association.pings[next(iter(association.pings))]
    update_id = session.next_update_id
    session.next_update_id = (update_id + 1) % WHOLE
    nonce = core.random(NONCE_OCTETS)
    request = core.request_number()
    association.pings[update_id] = Ping(request, nonce, now)
    _send(core, association, session, (Seq(update_id), EchoRequestSigned(nonce)), path)
    return request


def handle(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Acknowledge an UPDATE, and take note of what it acknowledges (§6.12). Raises Dropped."""
    local = receiver(core, packet)
    association = core.find(local.hit, packet.sender_hit)
    session = association.session if association is not None else None
    if association is None or session is None or association.state not in UP:
        raise Dropped(DropReason.NO_ASSOCIATION)
    seq, ack = packet.get(Seq), packet.get(Ack)
    if seq is None and ack is None:
        raise Dropped(DropReason.MISSING_PARAMETER)
    if not mac_holds(packet, session.rhash, session.hip_keys.incoming_integrity):
        raise Dropped(DropReason.BAD_MAC)
    if not signature_holds(packet, session.peer):
        raise Dropped(DropReason.BAD_SIGNATURE)
    fresh = seq is None or _note(session, seq.update_id)
    if not fresh:
        # Known already: the acknowledgement may be lost, or somebody plays it again. The answer
        # goes where the peer is known to be, and not too often.
        if not core.update_limit.allow(association.peer_hit, now):
            raise Dropped(DropReason.DUPLICATE)
        path = association.path or path
    else:
        confirmed(core, association, "UPDATE came in")
        association.last_traffic = now
    if ack is not None:
        _acknowledged(core, association, packet, ack, path, now)
    if seq is not None:
        answer: list[Parameter] = [Ack((seq.update_id,))]
        echo = packet.get(EchoRequestSigned)
        if echo is not None:
            answer.append(EchoResponseSigned(echo.data))
        _send(core, association, session, answer, path)


def _acknowledged(
    core: Core, association: Association, packet: HipPacket, ack: Ack, path: Path, now: float
) -> None:
    echo = packet.get(EchoResponseSigned)
    for update_id in ack.update_ids:
        pending = association.pings.get(update_id)
        if pending is None or echo is None:
            continue
        if not hmac.compare_digest(echo.data, pending.nonce):
            raise Dropped(DropReason.BAD_ECHO)
        del association.pings[update_id]
        if pending.probe is not None:
            probing.answered(core, association, pending.probe, now)
            continue
        core.effects.append(
            PingReply(association.peer_hit, pending.request, now - pending.sent, path)
        )


def _note(session: Session, update_id: int) -> bool:
    """Check a peer's Update ID against the circular window (§5.2.16); False if it was seen.

    Raises Dropped if it is too old to tell.
    """
    highest = session.highest_update_id
    if highest < 0 or (update_id - highest - 1) % WHOLE < HALF:
        session.highest_update_id = update_id
    elif (highest - update_id) % WHOLE >= UPDATE_IDS_REMEMBERED:
        raise Dropped(DropReason.DUPLICATE)
    if update_id in session.seen_update_ids:
        return False
    session.seen_update_ids.append(update_id)
    del session.seen_update_ids[:-UPDATE_IDS_REMEMBERED]
    return True


def _send(
    core: Core,
    association: Association,
    session: Session,
    parameters: "list[Parameter] | tuple[Parameter, ...]",
    path: Path,
) -> None:
    packet = protect(
        PacketType.UPDATE,
        association.local,
        association.peer_hit,
        parameters,
        rhash=session.rhash,
        key=session.hip_keys.outgoing_integrity,
    )
    core.send(packet, path, association.peer_hit)
