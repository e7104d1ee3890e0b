"""UPDATE as it comes in (RFC 7401 §6.12), and the authenticated echo that rides on it."""

from ipaddress import IPv6Address

from hipgw.errors import LocalProtocolError
from hipgw.protocol import (
    mobility,
    paths,
    probing,
    reachability,
    rekeying,
    requester,
    update_tasks,
)
from hipgw.protocol.association import (
    PINGS_OUTSTANDING,
    UPDATE_IDS_REMEMBERED,
    Association,
    Ping,
    Session,
)
from hipgw.protocol.core import UP, Core, Dropped, receiver
from hipgw.protocol.drops import DropReason
from hipgw.protocol.echoes import answers, echo_request
from hipgw.protocol.effects import PingReply
from hipgw.protocol.mobile_router import client, correspondent, handed_tickets
from hipgw.protocol.nat import discovery, restart, update_checks
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.protection import mac_holds, signature_holds
from hipgw.protocol.responder import confirmed
from hipgw.protocol.update_tasks import UPDATE_IDS
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    Ack,
    CandidatePriority,
    EchoRequestSigned,
    EchoRequestUnsigned,
    EchoResponseSigned,
    EchoResponseUnsigned,
    EspInfo,
    LocatorSet,
    MappedAddress,
    Parameter,
    PeerPermission,
    ProxyTicket,
    Seq,
)

HALF = UPDATE_IDS // 2


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
    update_id = session.take_update_id()
    nonce, echo = echo_request(session.compat, core.random)
    request = core.request_number()
    association.pings[update_id] = Ping(request, nonce, now)
    parameters = (Seq(update_id), *echo)
    core.send(update_tasks.build(association, session, parameters), path, association.peer_hit)
    return request


def handle(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Acknowledge an UPDATE, do what it asks for, and note what it acknowledges. Raises Dropped."""
    local = receiver(core, packet)
    association = core.find(local.hit, packet.sender_hit)
    session = association.session if association is not None else None
    if association is None or session is None or association.state not in UP:
        raise Dropped(DropReason.NO_ASSOCIATION)
    known = association.path
    if known is None or (
        path.transport is not known.transport
        and not correspondent.may_change_carrier(session, packet)
    ):
        # What anybody can make of a packet on its way; the ports of locators would be lost.
        raise Dropped(DropReason.UNEXPECTED)
    if correspondent.is_by_proxy(packet):
        correspondent.handle(core, association, session, packet, path, now)
        return
    seq, ack = packet.get(Seq), packet.get(Ack)
    unnumbered = seq is None and ack is None
    ticket = packet.get(ProxyTicket) if unnumbered and session.compat.lends_keymat else None
    unnumbered = unnumbered and ticket is None
    if unnumbered and not _may_be_unnumbered(session, packet):
        raise Dropped(DropReason.MISSING_PARAMETER)
    if not mac_holds(packet, session.rhash, session.hip_keys.incoming_integrity):
        raise Dropped(DropReason.BAD_MAC)
    if not signature_holds(packet, session.peer):
        raise Dropped(DropReason.BAD_SIGNATURE)
    relay = core.registrar.data_relay if core.registrar is not None else None
    if packet.get(PeerPermission) is not None and (
        relay is None or not relay.may_permit(core, association, packet)
    ):
        # Not even acknowledged: nothing of it is in force (RFC 9028 §4.12.1).
        raise Dropped(DropReason.NOT_RELAYED)
    if ticket is not None:
        handed_tickets.take_one(core, association, ticket, now)
        return
    if unnumbered:
        _verify_listed(core, association, session, packet, path, now)
        return
    if seq is not None and not _is_new(session, seq.update_id):
        _answer_again(core, association, session, packet, seq.update_id, path, now)
        return
    if seq is not None:
        confirmed(core, association, "UPDATE came in", now)
        association.last_traffic = association.mobility.heard_at = now
    try:
        _acknowledged(core, association, packet, path, now)
        requester.answered(core, association, packet, now, path)
        if seq is None or association.session is not session or association.state not in UP:
            return
        _process(core, association, session, packet, seq.update_id, path, now)
    except Dropped:
        # Not done, so it must not be acknowledged when it comes again.
        if seq is not None:
            session.seen_update_ids.remove(seq.update_id)
        raise


def _process(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    update_id: int,
    path: Path,
    now: float,
) -> None:
    """Do what a new UPDATE asks for and acknowledge it (§6.12.1).

    ESP_INFO comes before LOCATOR_SET, which may name the new SPI (RFC 8046 §5.3).
    """
    answer = [Ack((update_id,)), *_echoes(packet, path)]
    if core.registrar is not None:
        answer += core.registrar.update(core, association, packet, path, now)
    if core.mobile_router is not None:
        handed_tickets.take(core, association, session, packet, now)
    info, locator_set = packet.get(EspInfo), packet.get(LocatorSet)
    if locator_set is not None and not core.locators_limit.allow(association.peer_hit, now):
        # Each makes this host write to several addresses, which may be somebody else's.
        raise Dropped(DropReason.RATE_LIMIT)
    if locator_set is not None or (info is not None and info.old_spi == info.new_spi):
        correspondent.updated(core, association, session, packet)
    rekey: list[Parameter] = []
    if info is not None:
        rekey = rekeying.received(core, association, session, packet, info, path, now)
    if association.state not in UP:
        # It has withdrawn all that data could go by.
        core.send(update_tasks.build(association, session, answer), path, association.peer_hit)
        return
    task = update_checks.received(core, association, session, packet, path, now, answer)
    if task is None:
        task = restart.received(core, association, session, packet, path, now, answer)
    if task is not None:
        session.remember_answer(update_id, task.packet, path)
        return
    unverified = []
    if locator_set is not None:
        unverified = mobility.received(core, association, locator_set, update_id, path, now)
        client.changed(core, association, now)
    elif discovery.is_request(packet):
        pass  # from whatever address: it is not to be remembered (RFC 9028 §4.2)
    elif path.relay_to is None and packet.get(CandidatePriority) is None:
        reachability.source_seen(core, association, path, now)
    elif packet.get(CandidatePriority) is None:
        update_checks.peer_seen(core, association, path, now)
    if rekey and unverified and session.compat.moves_with_rekey:
        challenge = reachability.verify(
            core, association, session, unverified[0], now, arrived=path, answer=[*rekey, *answer]
        )
        if challenge is not None:
            rekeying.answered(session, challenge)
            session.remember_answer(update_id, challenge.packet, path)
            rekey, answer = [], []
    if rekey:
        task = update_tasks.begin(
            core,
            association,
            session,
            [*rekey, *answer],
            [path],
            now,
            acknowledged=rekeying.acknowledged,
            abandoned=rekeying.abandoned,
            routes=paths.current,
        )
        rekeying.answered(session, task)
        session.remember_answer(update_id, task.packet, path)
        answer = []
    here = (path.remote, path.locator_port)
    for locator in unverified:
        # The answer goes back the way the packet came: a NAT may hide where that is, and what the
        # peer lists need not be reachable.
        carried = answer if locator.key == here else []
        challenge = reachability.verify(
            core, association, session, locator, now, arrived=path, answer=carried
        )
        if challenge is not None and carried:
            session.remember_answer(update_id, challenge.packet, challenge.path)
            answer = []
    if answer:
        reply = update_tasks.build(association, session, answer)
        session.remember_answer(update_id, reply, path)
        core.send(reply, path, association.peer_hit)
    core.arm(association)


def _echoes(packet: HipPacket, path: Path) -> list[Parameter]:
    """What is sent back of what the peer sent, and where that was seen to come from.

    MAPPED_ADDRESS (RFC 9028 §5.12) tells a peer behind a NAT so; others may ignore it.
    """
    echoes: list[Parameter] = [
        EchoResponseSigned(echo.data) for echo in packet.all(EchoRequestSigned)
    ]
    echoes += [EchoResponseUnsigned(echo.data) for echo in packet.all(EchoRequestUnsigned)]
    if echoes and path.transport is Transport.UDP:
        echoes.append(MappedAddress(*(path.relay_to or (path.remote, path.remote_port))))
    return echoes


def _answer_again(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    update_id: int,
    source: Path,
    now: float,
) -> None:
    """The acknowledgement was lost, or somebody plays the UPDATE again (§6.12.1 step 2).

    The same answer goes to the same place, so that a replay leads to nobody else, and not too
    often. If the peer asks from another of its addresses, or either end is not there any more, a
    mere acknowledgement goes to where it is: the answer itself may bear a nonce that proves who is
    at the old place.
    """
    if not core.update_limit.allow(association.peer_hit, now):
        raise Dropped(DropReason.DUPLICATE)
    if not association.mobility.verified:
        # The first copy may have come from somebody who was faster than the peer.
        reachability.source_seen(core, association, source, now)
    answer, where = session.answers.get(update_id, (b"", None))
    moved = where != source and paths.is_active(association, source)
    if (
        where is not None
        and not moved
        and core.is_own(where)
        and not paths.is_deprecated(association, where)
    ):
        core.send(answer, where, association.peer_hit)
        return
    to = source if moved else association.path
    if to is not None:
        parameters = (Ack((update_id,)), *_echoes(packet, source))
        reply = update_tasks.build(association, session, parameters)
        core.send(reply, to, association.peer_hit)


def _may_be_unnumbered(session: Session, packet: HipPacket) -> bool:
    """Whether an UPDATE that neither asks nor acknowledges is taken of this peer.

    Only before any that is numbered: later, somebody may play an old one again.
    """
    return (
        session.compat.unnumbered_locators
        and session.highest_update_id < 0
        and packet.get(LocatorSet) is not None
    )


def _verify_listed(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    """Take the addresses that an UPDATE without SEQ lists; there is nothing to acknowledge."""
    if not core.locators_limit.allow(association.peer_hit, now):
        raise Dropped(DropReason.RATE_LIMIT)
    confirmed(core, association, "UPDATE came in", now)
    before = session.highest_update_id
    for locator_set in packet.all(LocatorSet)[:1]:
        for locator in mobility.received(core, association, locator_set, before, path, now):
            reachability.verify(core, association, session, locator, now, arrived=path)
    core.arm(association)


def _acknowledged(
    core: Core, association: Association, packet: HipPacket, path: Path, now: float
) -> None:
    mapped = packet.get(MappedAddress)
    if mapped is not None and path == association.path and packet.get(Ack) is not None:
        association.mobility.mapped = (mapped.address, mapped.port)
    for update_id in _meant(association, packet):
        if update_tasks.finish(core, association, update_id, packet, path, now):
            continue
        _pong(core, association, packet, update_id, path, now)


def _meant(association: Association, packet: HipPacket) -> tuple[int, ...]:
    """The own Update IDs that a packet acknowledges, in full."""
    ack, session = packet.get(Ack), association.session
    if ack is None:
        if session is None or not session.compat.echo_acknowledges:
            return ()
        asked = [task for task in association.updates.values() if task.nonce]
        return tuple(task.update_id for task in asked if answers(packet, task.nonce))
    if session is None or not session.compat.short_ack:
        return ack.update_ids
    low = {update_id & 0xFF for update_id in ack.update_ids}
    waiting = (*association.updates, *association.pings)
    return tuple(update_id for update_id in waiting if update_id & 0xFF in low)


def _pong(
    core: Core, association: Association, packet: HipPacket, update_id: int, path: Path, now: float
) -> None:
    pending = association.pings.get(update_id)
    if pending is None:
        return
    if not answers(packet, pending.nonce):
        if packet.get(EchoResponseSigned) is None and packet.get(EchoResponseUnsigned) is None:
            return  # the echo may come by itself
        raise Dropped(DropReason.BAD_ECHO)
    del association.pings[update_id]
    if pending.probe is not None:
        probing.answered(core, association, pending.probe, now)
        return
    update_tasks.measure(association, now - pending.sent)
    core.effects.append(PingReply(association.peer_hit, pending.request, now - pending.sent, path))


def _is_new(session: Session, update_id: int) -> bool:
    """Check a peer's Update ID against the circular window (§5.2.16); False if it was seen.

    Raises Dropped if it is too old to tell.
    """
    highest = session.highest_update_id
    if highest < 0 or (update_id - highest - 1) % UPDATE_IDS < HALF:
        session.highest_update_id = update_id
    elif (highest - update_id) % UPDATE_IDS >= UPDATE_IDS_REMEMBERED:
        raise Dropped(DropReason.DUPLICATE)
    if update_id in session.seen_update_ids:
        return False
    session.seen_update_ids.append(update_id)
    del session.seen_update_ids[:-UPDATE_IDS_REMEMBERED]
    return True
