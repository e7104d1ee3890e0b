"""A peer behind a mobile router: the SPI to put on the wire, and UPDATEs that its router sends.

The SPI is lent by the last `EspInfoNoSig` of a packet: that of the outermost router. Whoever puts a
wrong one there is on the way and could as well drop the packets. ICVs are made with the peer's own.
"""

from dataclasses import replace

from hipgw.protocol import mobility, reachability
from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import Core, Dropped, require
from hipgw.protocol.drops import DropReason
from hipgw.protocol.echoes import answers
from hipgw.protocol.effects import MoveSA
from hipgw.protocol.mobile_router import tickets
from hipgw.protocol.mobile_router.labels import wire_spi
from hipgw.protocol.path import Path
from hipgw.wire.coverage import mac_coverage
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    Ack,
    AuthTicket,
    EchoRequestSigned,
    EchoResponseSigned,
    EspInfo,
    EspInfoNoSig,
    HipMac,
    LocatorSet,
    Seq,
)

SILENT_S = 6.0
"""How long a router may take to say so, and how long it counts: longer than the time between the
questions to a silent peer."""


def met(session: Session, packet: HipPacket) -> None:
    """An authentic I2 or R2 has come: note what a router on the way has added."""
    session.wire_spi = wire_spi(packet, session.outbound_spi)
    session.behind_router = packet.get(EspInfoNoSig) is not None
    if session.compat.lends_keymat and packet.get(EspInfoNoSig) is not None:
        session.lent_key = tickets.draw(session)


def updated(core: Core, association: Association, session: Session, packet: HipPacket) -> None:
    """An authentic UPDATE with a LOCATOR_SET or an ESP_INFO that changes nothing has come.

    The peer may be behind a router now, behind another one, or behind none any more.
    """
    labelled = packet.get(EspInfoNoSig) is not None
    if packet.get(LocatorSet) is not None:
        session.has_left = session.behind_router and not labelled
    session.behind_router = session.behind_router or labelled
    info = packet.get(EspInfo)
    if info is None or info.new_spi == session.outbound_spi:
        # Else it is about another one: the keys are being renewed, or have been since it was made.
        _relabel(core, association, session, wire_spi(packet, session.outbound_spi))


def is_by_proxy(packet: HipPacket) -> bool:
    """Whether a router says that it may speak for the sender."""
    return packet.get(AuthTicket) is not None


def may_change_carrier(session: Session, packet: HipPacket) -> bool:
    """Whether an UPDATE may come by UDP where the ones before came by IP alone, or the reverse.

    A router goes by UDP where nothing else gets through (`carriers`). Of other peers' packets only
    somebody on the way makes such copies.
    """
    return session.behind_router or is_by_proxy(packet)


def handle(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    """Take an UPDATE of a peer's router. Raises Dropped.

    It may say where the peer is, which is then verified with the peer itself, or that the peer does
    not answer, and nothing else.
    """
    shown, listed = require(packet, AuthTicket), packet.get(LocatorSet)
    key = tickets.key_of(association, session, shown, now)
    if key is None:
        raise Dropped(DropReason.BAD_TICKET)
    mac = packet.get(HipMac)
    if mac is None or not session.rhash.verify_mac(key, mac_coverage(packet.raw), mac.mac):
        raise Dropped(DropReason.BAD_MAC)
    if listed is None:
        _note_silence(association, session, packet, shown, now)
        return
    if not core.locators_limit.allow(association.peer_hit, now):
        raise Dropped(DropReason.RATE_LIMIT)
    if session.has_left and (packet.version != 1 or shown.key_index <= session.proxied[0]):
        # The router may not know yet. If the peer is back, it says so itself: in HIPv1 routers do
        # not always show that they are there, but then there is a new ticket.
        raise Dropped(DropReason.BAD_TICKET)
    seq = packet.get(Seq)
    if session.compat.lends_keymat:
        # Nothing is numbered. A replay leads to a place where nobody answers the challenge.
        _take(core, association, session, packet, listed, path, now)
        return
    number = require(packet, Seq).update_id
    ticket, highest = session.proxied
    if shown.key_index < ticket:
        raise Dropped(DropReason.BAD_TICKET)
    known = shown.key_index == ticket and number <= highest
    if known and number != highest:
        raise Dropped(DropReason.DUPLICATE)
    if not known:
        session.proxied = shown.key_index, number
        _take(core, association, session, packet, listed, path, now)
    assert seq is not None
    echoes = [EchoResponseSigned(echo.data) for echo in packet.all(EchoRequestSigned)[:1]]
    ack = HipPacket(
        PacketType.UPDATE,
        association.local_hit,
        association.peer_hit,
        (Ack((seq.update_id,)), shown, *echoes),
        version=association.local.version,
    )
    core.send(tickets.protect(ack, session.rhash, key), path, association.peer_hit)


def may_be_cut_off(session: Session, now: float) -> bool:
    """Whether a peer may be without a network, as its router may, that has not shown itself."""
    if not (session.behind_router or session.proxied[0] > 0):
        return False
    return session.silent_at is None or session.silent_at + SILENT_S < now


def _note_silence(
    association: Association, session: Session, packet: HipPacket, shown: AuthTicket, now: float
) -> None:
    """A peer's router has got a question, and the peer has not answered others. Raises Dropped."""
    number = require(packet, Seq).update_id
    if session.compat.lends_keymat or session.has_left:
        raise Dropped(DropReason.UNEXPECTED)
    if (shown.key_index, number) <= session.proxied:
        raise Dropped(DropReason.DUPLICATE)
    asked = [(one.sent, one.nonce) for one in association.pings.values()]
    asked += [(one.sent, one.nonce) for one in association.updates.values()]
    lately = [nonce for sent, nonce in asked if nonce and sent + SILENT_S >= now]
    if not any(answers(packet, nonce) for nonce in lately):
        raise Dropped(DropReason.BAD_ECHO)
    session.proxied = shown.key_index, number
    session.silent_at = now


def _take(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    listed: LocatorSet,
    path: Path,
    now: float,
) -> None:
    one = LocatorSet(tuple(replace(entry, preferred=True) for entry in listed.locators[:1]))
    place = association.mobility
    before = place.applied_update_id
    # In the client's own numbers this counts as no UPDATE at all.
    place.applied_update_id = -1
    try:
        found = mobility.received(core, association, one, before, path, now)
    finally:
        place.applied_update_id = before
    session.has_left = False
    spi = wire_spi(packet, session.outbound_spi)
    if spi != session.wire_spi_before:
        # Else the router had not seen yet that the keys were being renewed.
        _relabel(core, association, session, spi)
    for locator in found:
        reachability.verify(core, association, session, locator, now, arrived=path)
    core.arm(association)


def _relabel(core: Core, association: Association, session: Session, spi: int) -> None:
    if spi == session.wire_spi or not session.outbound_spi:
        return
    session.wire_spi = spi
    path = association.path
    if path is not None:
        hits = association.local_hit, association.peer_hit
        verified = association.mobility.verified
        core.effects.append(MoveSA(*hits, session.outbound_spi, path, verified, session.label))
