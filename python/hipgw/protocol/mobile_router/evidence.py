"""What a mobile router believes of what passes: what one end shows to be true of the other.

A packet of a correspondent is believed once the client acknowledges it, and what a client says once
its correspondent does; until then both are kept beside what is known, and displace nothing.
"""

from typing import TYPE_CHECKING

from hipgw.protocol import update_tasks
from hipgw.protocol.core import Core
from hipgw.protocol.mobile_router import carriers, round_trips
from hipgw.protocol.mobile_router.clients import Client
from hipgw.protocol.mobile_router.flows import Change, Flow, Offer
from hipgw.protocol.mobile_router.labels import wire_spi
from hipgw.protocol.mobile_router.packets import address_of
from hipgw.protocol.mobile_router.transit import Place
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    Ack,
    AuthTicket,
    EchoRequestSigned,
    EchoRequestUnsigned,
    EchoResponseSigned,
    EchoResponseUnsigned,
    EspInfo,
    LocatorSet,
    Seq,
    ViaRvs,
)

if TYPE_CHECKING:
    from hipgw.protocol.mobile_router.router import MobileRouter

ANSWERS_MAX = 4
"""SPIs that strangers may have named in R2 or I2."""
CHANGES_MAX = 16
"""Packets of a client that a correspondent may yet answer."""
ASKED_MAX = 4
"""Echoes to a correspondent that are waited for."""


def remember(flow: Flow, packet: HipPacket, client: Place, shown: Place, to: Place | None) -> None:
    """Note what a packet of a client will have changed when the correspondent answers."""
    seq, info = packet.get(Seq), packet.get(EspInfo)
    if packet.packet_type is PacketType.I2:
        number = -1
    elif packet.packet_type is PacketType.UPDATE and seq is not None:
        number = number_of(packet, seq.update_id)
    else:
        return
    spi = wire_spi(packet, info.new_spi) if info is not None else 0
    change = Change(client, shown, to or shown, spi)
    some = flow.changes.setdefault(number, [])
    # What a router inside sends in two ways is one thing.
    guest = flow.holder != flow.client_hit
    twice = guest and any(one.client.address == client.address for one in some)
    if change not in some and not twice and len(some) < ANSWERS_MAX:
        some.append(change)
    while len(flow.changes) > CHANGES_MAX:
        flow.changes.popitem(last=False)


def asked(flow: Flow, packet: HipPacket, place: Place, now: float) -> None:
    """Note what shows, when it comes back, that the correspondent is at a place, and how far."""
    if packet.packet_type is PacketType.I2:
        round_trips.left(flow, -1, now)
    elif packet.packet_type is PacketType.UPDATE and (seq := packet.get(Seq)) is not None:
        round_trips.left(flow, number_of(packet, seq.update_id), now)
    if flow.peer.get(place.address.version) != place or not flow.settled:
        for echo in (*packet.all(EchoRequestSigned), *packet.all(EchoRequestUnsigned)):
            flow.asked[echo.data] = place
        while len(flow.asked) > ASKED_MAX:
            flow.asked.popitem(last=False)


def answered(
    router: "MobileRouter", core: Core, flow: Flow, update_id: int, source: Place, now: float
) -> None:
    """A correspondent has answered a client's packet, so what that says is true."""
    changes = flow.changes.get(update_id, [])
    there = _is_there(flow, source)
    # Without a way of its own the answer may come from another of its addresses.
    genuine = [one for one in changes if there or one.to.address == source.address]
    if len(genuine) != 1:
        return
    (change,) = genuine
    # An answer that comes late is not to undo what came after.
    while next(iter(flow.changes)) != update_id:
        flow.changes.popitem(last=False)
    del flow.changes[update_id]
    if (flow.client, flow.shown) != (change.client, change.shown):
        flow.client, flow.shown = change.client, change.shown
        router.spis.told(core, flow)
    if update_id == -1 and change.shown.transport is not flow.carried:
        flow.carried = change.shown.transport
        router.at_new_place(core, flow)
        flow.settled = True
    if change.to.address.version == change.client.address.version:
        router.goes_to(core, flow, change.to)
    if change.spi:
        router.spis.prove(core, flow, change.spi, now)


def learn(
    router: "MobileRouter",
    core: Core,
    client: Client,
    flow: Flow,
    packet: HipPacket,
    source: Place,
    now: float,
) -> None:
    """Take note of what a packet of a correspondent says, before the client has seen it."""
    kind = packet.packet_type
    info = packet.get(EspInfo)
    expected = False
    if info is not None and kind is PacketType.R2 and flow.answers_wanted:
        # Only what comes from where the I2 went; whoever forges that is one of a few.
        expected = _is_there(flow, source)
        first = flow.answers_wanted == ANSWERS_MAX
        if expected:
            flow.answers_wanted -= 1
            note = router.spis.peer_uses if first else router.spis.seen
            note(core, flow, wire_spi(packet, info.new_spi))
            round_trips.answered(flow, [-1], now)
            answered(router, core, flow, -1, source, now)
    seq = packet.get(Seq)
    if kind is PacketType.UPDATE and seq is not None:
        spi = wire_spi(packet, info.new_spi) if info is not None else 0
        listed = packet.get(LocatorSet)
        addresses = [address_of(one) for one in listed.locators[:8]] if listed else []
        places = {one.version: Place(one, flow.transport) for one in addresses if one}
        echoes = (*packet.all(EchoRequestSigned), *packet.all(EchoRequestUnsigned))
        nonces = tuple(echo.data for echo in echoes[:2])
        offer = Offer(source, nonces, spi, tuple(places.values()))
        router.spis.offered(core, flow, seq.update_id, offer)
    if kind is PacketType.UPDATE and (ack := packet.get(Ack)) is not None:
        numbers = [number_of(packet, one) for one in ack.update_ids[:ANSWERS_MAX]]
        if _is_there(flow, source):
            round_trips.answered(flow, numbers, now)
        for number in numbers:
            answered(router, core, flow, number, source, now)
    if kind is PacketType.R1 and (via := packet.get(ViaRvs)) is not None:
        for server in via.addresses[-1:]:
            flow.servers[server.version] = Place(server, flow.transport)
    for echo in (*packet.all(EchoResponseSigned), *packet.all(EchoResponseUnsigned)):
        place = flow.asked.get(echo.data)
        if place is not None and place.address == source.address:
            # Nobody else knows what was sent there.
            del flow.asked[echo.data]
            router.found(core, flow, source)
    if kind is PacketType.R1 and not flow.settled and not flow.done:
        flow.settled = True
        carriers.carry(flow, source.transport)
    answers = expected or (
        flow.resumed and kind is PacketType.UPDATE and packet.get(Ack) is not None
    )
    if answers and flow.lent and not flow.done:
        flow.touched = now
        router.table.finish(client, flow)
        if flow.resumed and not router.config.tickets:
            router.proxies.tell(router, core, flow, now)
            router.proxies.ask(router, core, now)


def acknowledged(
    router: "MobileRouter",
    core: Core,
    flow: Flow,
    offers: list[Offer],
    packet: HipPacket,
    to: Place | None,
) -> Place | None:
    """A client has acknowledged an UPDATE, so what that says is true; where the answer goes.

    If there are several of that number, it is the one whose echo the client has sent back.
    Where the correspondent is, the client itself shows by where it writes to, unless it has no
    address of that IP version. Then it is where the UPDATE came from, if it says so too: it
    might be a copy that somebody has made.
    """
    echoes = {one.data for one in packet.all(EchoResponseSigned)}
    echoes |= {one.data for one in packet.all(EchoResponseUnsigned)}
    genuine = [one for one in offers if echoes & set(one.nonces)]
    if len(genuine if genuine else offers) != 1:
        return to if to is not None else offers[0].source
    (offer,) = genuine or offers
    if offer.spi:
        router.spis.peer_uses(core, flow, offer.spi)
    for place in offer.listed:
        flow.claimed[place.address.version] = place
    source = offer.source
    version = source.address.version
    if version == flow.client.address.version:
        return to
    claim = flow.claimed.get(version)
    if claim is not None and claim.address == source.address:
        router.goes_to(core, flow, source)
    return source


def resumes(packet: HipPacket) -> bool:
    """Whether an UPDATE tells enough of an association that was made elsewhere."""
    told = packet.get(AuthTicket) is not None and packet.get(LocatorSet) is not None
    return told or packet.get(EspInfo) is not None


def _is_there(flow: Flow, source: Place) -> bool:
    """Whether the correspondent is known to be there, or says so."""
    there = (*flow.peer.values(), *flow.claimed.values())
    return any(one.address == source.address for one in there)


def number_of(packet: HipPacket, update_id: int) -> int:
    """Names an UPDATE of a client: those in its name have numbers of their own."""
    return update_id if packet.get(AuthTicket) is None else update_id + update_tasks.UPDATE_IDS
