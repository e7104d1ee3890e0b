"""SPINAT: the HIP packets of clients in a moving network, on their way out and in.

A router sees neither keys nor the insides of what it passes on. What it learns, it learns from
packets of registered clients that come from where they are registered. So strangers' packets cost
it no memory: an I1 or I2 for a client is passed on and forgotten, and the client's R2 makes the
flow.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv6Address
from operator import attrgetter
from typing import TypeVar

from hipgw.protocol.association import Association
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.mobile_router import carriers, evidence, proxies, silence
from hipgw.protocol.mobile_router.clients import Client, ClientInfo, Hits, describe
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.evidence import ANSWERS_MAX
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.mobile_router.forwarding import begins_anew, enter, leave, place_for
from hipgw.protocol.mobile_router.labels import wire_spi
from hipgw.protocol.mobile_router.packets import (
    at_home,
    is_from,
    parse,
    tail,
)
from hipgw.protocol.mobile_router.table import Table
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import IPAddress
from hipgw.protocol.rate_limit import RateLimit, source_key
from hipgw.protocol.registration import ServiceType
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    Ack,
    EspInfo,
    ProxyTicket,
)

CLOSED_S = 30.0
"""How long a flow stays after a CLOSE_ACK, which may have to be sent again."""
_WITHOUT_FLOW = frozenset({PacketType.I1, PacketType.I2})
"""What strangers may send to a client."""
_EXCHANGE = frozenset({PacketType.I1, PacketType.R1, PacketType.I2, PacketType.R2})


_Kept = TypeVar("_Kept")


class MobileRouter:
    """The table of flows, and what is done with each packet. Bytes from outside never raise."""

    def __init__(self, config: MobileRouterConfig, random: Callable[[int], bytes]) -> None:
        self.config = config
        self.table = Table(config)
        self.spis = self.table.spis
        self.outside: tuple[Place, ...] = ()
        """Own places outside, the best first."""
        self.routers: dict[IPv6Address, Association] = {}
        """Clients that are mobile routers, and may have guests."""
        self.proxies = proxies.Proxies()
        self._callers = RateLimit(config.callers_per_s, random(16))

    # -- packets -----------------------------------------------------------------------------

    def going_out(self, core: Core, data: bytes, transit: Transit, now: float) -> None:
        """Pass on a HIP packet that came from inside. Raises Dropped."""
        packet = parse(data, transit)
        association = self._holder(core, packet.sender_hit, transit.source)
        client = self.table.client(association.peer_hit, now)
        kind = packet.packet_type
        hits = packet.sender_hit, packet.receiver_hit
        flow = self.table.flow(client, hits)
        if kind in {PacketType.I1, PacketType.I2, PacketType.R2}:
            flow = self._begin(core, association, client, packet, transit)
        elif flow is None and kind is PacketType.UPDATE and evidence.resumes(packet):
            # An association that the client had before it came here.
            flow = self._begin(core, association, client, packet, transit)
            flow.resumed = True
        to = self._meant(client, association, packet, transit)
        if flow is None:
            if kind is not PacketType.R1:
                raise Dropped(DropReason.NO_ASSOCIATION)
            if to is None:
                raise Dropped(DropReason.NO_ROUTE)
            leave(self, core, packet.raw + tail(data), to, None)
            return
        flow.touched = now
        silence.broken(flow)
        if kind is PacketType.I1 and not flow.done:
            self.at_new_place(core, flow)
        # What a router inside sends in two ways is taken by the first.
        twice = flow.client.address == transit.source.address and (
            flow.client.transport is not transit.source.transport
        )
        place = flow.client if twice else transit.source
        if flow.done:
            if place.address != flow.client.address:
                # It has moved inside, as its association shows.
                flow.client = place
                self.spis.told(core, flow)
            evidence.remember(flow, packet, place, transit.destination, to)
        else:
            if (flow.client, flow.shown) != (place, transit.destination):
                flow.client, flow.shown = place, transit.destination
                self.spis.told(core, flow)
            if kind is not PacketType.R1 and to is not None:
                self.goes_to(core, flow, to)
        raw = packet.raw
        if kind in {PacketType.I2, PacketType.R2, PacketType.UPDATE}:
            raw = self.spis.with_spi(core, flow, packet, now)
        if kind is PacketType.R2:
            # The client has found the I2 to be genuine.
            called = client.called.pop(hits, ())
            for spi in called:
                self.spis.seen(core, flow, spi)
            if len(called) == 1:
                self.spis.peer_uses(core, flow, called[0])
            info = packet.get(EspInfo)
            if called and info is not None:
                self.spis.prove(core, flow, wire_spi(packet, info.new_spi), now)
            if not flow.done:
                self.table.finish(client, flow)
        if (ack := packet.get(Ack)) is not None:
            for update_id in ack.update_ids:
                if (offers := flow.offers.pop(update_id, None)) is not None:
                    to = evidence.acknowledged(self, core, flow, offers, packet, to)
        if kind is PacketType.I2:
            flow.answers_wanted = ANSWERS_MAX
        flow.closing = kind is PacketType.CLOSE
        if kind is PacketType.CLOSE_ACK:
            self._note_end(flow, now)
        client.packets["out"] += 1
        anew = begins_anew(flow, kind, transit) and self.config.outside is None
        place = leave(self, core, raw + tail(data), to, None if anew else flow, kind)
        evidence.asked(flow, packet, place, now)

    def coming_in(self, core: Core, data: bytes, transit: Transit, now: float) -> None:
        """Pass on a HIP packet that came from outside for a client. Raises Dropped."""
        packet = parse(data, transit)
        hits = packet.receiver_hit, packet.sender_hit
        holders = self._holders(core, packet.receiver_hit)
        if not holders:
            raise Dropped(DropReason.NOT_OUR_HIT)
        # A guest's packet goes to all who say that it is behind them, for lack of a proof.
        flows = [(one, self.table.flow(self.table.client(one, now), hits)) for one in holders]
        known = [(one, flow) for one, flow in flows if flow is not None]
        dropped = None
        for holder, flow in known or flows:
            try:
                self._bring_in(core, packet, packet.raw + tail(data), transit, holder, flow, now)
            except Dropped as reason:
                dropped = reason
        if dropped is not None:
            raise dropped

    def _bring_in(
        self,
        core: Core,
        packet: HipPacket,
        raw: bytes,
        transit: Transit,
        holder: IPv6Address,
        flow: Flow | None,
        now: float,
    ) -> None:
        association = self._registered(core, holder)
        if association is None or association.path is None:
            raise Dropped(DropReason.NOT_OUR_HIT)
        client, kind = self.table.client(holder, now), packet.packet_type
        hits = packet.receiver_hit, packet.sender_hit
        if flow is None and kind is PacketType.R1:
            flow = self.table.answers_anybody(client, packet, transit)
        if flow is None and kind not in _WITHOUT_FLOW:
            raise Dropped(DropReason.NO_ASSOCIATION)
        if (flow is None or not flow.done) and not self._callers.allow(
            source_key(transit.source.address), now
        ):
            raise Dropped(DropReason.RATE_LIMIT)
        if flow is not None:
            if kind not in _EXCHANGE and not flow.done and not flow.resumed:
                raise Dropped(DropReason.UNEXPECTED)
            if self.proxies.answered(self, core, flow, packet, transit.source, now):
                return
            evidence.learn(self, core, client, flow, packet, transit.source, now)
            if kind is PacketType.UPDATE and holder == flow.client_hit:
                silence.asked(core, flow, packet, transit, now)
            if kind is PacketType.CLOSE_ACK and flow.closing:
                self._note_end(flow, now)
        if kind is PacketType.I2 and (info := packet.get(EspInfo)) is not None:
            spis = dict.fromkeys((*client.called.get(hits, ()), wire_spi(packet, info.new_spi)))
            some = tuple(spis)[-ANSWERS_MAX:]
            _keep(client.called, hits, some, self.config.begun_per_client)
        version = transit.source.address.version
        home = flow.client if flow is not None else at_home(association, transit.source)
        if kind in _WITHOUT_FLOW and home.address.version != version:
            # The client answers to this router, which has to know where the stranger is.
            _keep(client.callers, hits, transit.source, self.config.begun_per_client)
        client.packets["in"] += 1
        inside = flow.client if flow is not None else at_home(association, transit.source)
        if flow is not None and flow.done and flow.holder == flow.client_hit:
            anew = kind in {PacketType.R1, PacketType.R2} and self.config.outside is None
            if anew and transit.source.transport is not flow.transport:
                # The answer to a client that begins anew by something else than before.
                inside = Place(inside.address, transit.source.transport)
        enter(core, raw, transit.source, association, inside, flow)

    # -- inputs besides packets --------------------------------------------------------------

    def outside_changed(self, core: Core, places: Iterable[Place], now: float) -> None:
        """These are the own places outside now, the best first; none while there is no network."""
        places = tuple(dict.fromkeys(places))
        if places == self.outside:
            return
        self.outside = places
        self.proxies.moved(self, core, self._latest(), now)

    def _latest(self) -> list[Flow]:
        """All flows, those heard last first."""
        return sorted(self.flows(), key=attrgetter("touched"), reverse=True)

    def ticket_came(
        self,
        core: Core,
        association: Association,
        ticket: ProxyTicket,
        now: float,
        *,
        peer_spi: int = 0,
        own_spi: int = 0,
        newest: bool = False,
        addresses: Iterable[IPAddress] = (),
    ) -> None:
        """A client gives a ticket for one of its correspondents. Raises Dropped.

        *peer_spi*: what its packets to that one bear, if it says so; *own_spi*: by which it takes
        data itself; *newest*: whether it has said nothing later; *addresses*: where that one
        has told it that it is.
        """
        hit = association.peer_hit
        client = self.table.clients.get(hit)
        hits = ticket.mobile_hit, ticket.peer_hit
        flow = self.table.flow(client, hits) if client is not None else None
        if (
            flow is None
            or not (flow.done or flow.resumed)
            or self._registered(core, hit) is not association
        ):
            # Of somebody else, or for somebody that it has no association with by this router.
            raise Dropped(DropReason.BAD_TICKET)
        if peer_spi:
            self.spis.peer_uses(core, flow, peer_spi)
        self.spis.prove(core, flow, own_spi, now, returns=newest)
        path = association.path
        for address in addresses:
            # This host's own one stands for a correspondent that has none of that IP version.
            if path is None or address != path.local:
                flow.claimed[address.version] = Place(address, flow.transport)
        if not self.config.tickets or flow.client_hit != hit:
            return  # for guests, the router that they are behind has the tickets
        self.proxies.ticket_came(self, core, flow, ticket, now)

    def taken_in(self, core: Core, now: float) -> None:
        """A router that this one is inside of passes its clients' packets on from now on.

        It learns of them by what correspondents are told.
        """
        self.proxies.moved(self, core, self._latest(), now, again=True)

    def untold(self, core: Core, place: Place, hits: Iterable[IPv6Address], now: float) -> None:
        """A router that this one is inside of is elsewhere now: tell these correspondents."""
        named = set(hits)
        for flow in self.flows():
            if flow.peer_hit in named:
                flow.told = place
                self.proxies.tell(self, core, flow, now)
        self.proxies.ask(self, core, now)

    def used(self, public_spis: Iterable[int], now: float) -> None:
        """Data flowed by these public SPIs lately."""
        for spi in public_spis:
            if (flow := self.spis.by_public.get(spi)) is not None:
                flow.touched = max(flow.touched, now)

    def timer_expired(self, core: Core, now: float) -> None:
        """Do what is due."""
        self.proxies.timer_expired(self, core, now)
        old = self.table.sweep(core, lambda hit: self._registered(core, hit), now)
        self.proxies.remind(old, now)

    def next_timer(self) -> float | None:
        """When to call `timer_expired` at the latest."""
        times = [self.table.sweep_at, self.proxies.next_timer()]
        return min((when for when in times if when is not None), default=None)

    def flows(self) -> Iterator[Flow]:
        """Those whose base exchange is over."""
        return self.table.flows()

    @property
    def flow_count(self) -> int:
        """Of all, also those whose base exchange is not over."""
        return self.table.count

    @property
    def clients(self) -> dict[IPv6Address, Client]:
        """By HIT."""
        return self.table.clients

    def infos(self, core: Core) -> list[ClientInfo]:
        """All clients that are registered, and those of which something is known yet."""
        known = self.table.clients
        hits = dict.fromkeys([*(core.registrar.clients if core.registrar else ()), *known])
        found = []
        for hit in hits:
            association, client = self._registered(core, hit), known.get(hit, Client())
            if association is None and hit not in known:
                continue
            found.append(describe(hit, client, association))
        return found

    def association_of(self, core: Core, flow: Flow) -> Association | None:
        """The association with the client of a flow, while it is registered."""
        return self._registered(core, flow.holder)

    def place_of(self, client_hit: IPv6Address, peer_hit: IPv6Address) -> Place | None:
        """The same by HITs; None also if there is no such flow."""
        flow = self.table.find((client_hit, peer_hit))
        return place_for(self, flow) if flow is not None else None

    def own_for(self, core: Core, association: Association) -> tuple[IPAddress, ...]:
        """Own addresses that concern a peer: inside ones a client, outside ones all others.

        What is inside means nothing out there, and what is outside changes all the time.
        """
        outside = {place.address for place in self.outside}
        inside = tuple(one for one in core.own_addresses if one not in outside)
        path = association.path
        if self._registered(core, association.peer_hit) is association or (
            path is not None and path.local in inside
        ):
            return inside
        return tuple(one for one in core.own_addresses if one in outside)

    def at_new_place(self, core: Core, flow: Flow) -> None:
        """A flow leaves from somewhere else from now on: by what, has to be found out anew."""
        before = flow.transport
        carriers.begin(self.config, flow)
        after, flow.transport = flow.transport, before
        if carriers.carry(flow, after):
            self.spis.told(core, flow)

    def found(self, core: Core, flow: Flow, place: Place) -> None:
        """A correspondent has shown where it is, and what gets there."""
        if not flow.settled:
            flow.settled = True
            if carriers.carry(flow, place.transport):
                self.spis.told(core, flow)
        self.goes_to(core, flow, place)

    def goes_to(self, core: Core, flow: Flow, place: Place) -> None:
        """Packets for a correspondent go to this place from now on."""
        if place.transport is not flow.transport:
            place = Place(place.address, flow.transport)
        family = place.address.version
        if flow.peer.get(family) == place:
            return
        flow.peer[family] = place
        self.spis.told(core, flow)

    # -- inside ------------------------------------------------------------------------------

    @staticmethod
    def _registered(core: Core, hit: IPv6Address) -> Association | None:
        if core.registrar is None:
            return None
        association = core.registrar.client(hit, ServiceType.MOBILE_ROUTER)
        return association if association is not None and association.state in UP else None

    def _holder(self, core: Core, sender_hit: IPv6Address, source: Place) -> Association:
        """By which client's right a packet passes that comes from inside. Raises Dropped."""
        association = self._registered(core, sender_hit)
        if association is not None:
            if is_from(association, source):
                return association
        elif sender_hit not in core.identities:
            for router in self.routers.values():
                if self._registered(core, router.peer_hit) and is_from(router, source):
                    return router
        # Whoever is not registered, or uses the HIT of somebody who is.
        raise Dropped(DropReason.NOT_RELAYED)

    def _holders(self, core: Core, hit: IPv6Address) -> list[IPv6Address]:
        """Which clients get what comes for a HIT."""
        if self._registered(core, hit) is not None:
            return [hit]
        return [one for one in self.table.guests.get(hit, ()) if one in self.routers]

    def _begin(
        self,
        core: Core,
        association: Association,
        client: Client,
        packet: HipPacket,
        transit: Transit,
    ) -> Flow:
        flow = self.table.begin(core, association.peer_hit, client, packet, transit)
        session = association.session
        if session is not None and session.compat.lends_keymat and not flow.fixed:
            flow.fixed = True
            carriers.begin(self.config, flow)
        return flow

    @staticmethod
    def _meant(
        client: Client, association: Association, packet: HipPacket, transit: Transit
    ) -> Place | None:
        """Where a packet of a client is to go; None for where its flow leads.

        It writes to this host where the correspondent has no address of its IP version.
        """
        path, to = association.path, transit.destination
        if path is None or to.address != path.local:
            return to
        if packet.packet_type not in {PacketType.R1, PacketType.R2}:
            return None
        return client.callers.get((packet.sender_hit, packet.receiver_hit))

    def _note_end(self, flow: Flow, now: float) -> None:
        flow.touched = now - self.config.unused_s + CLOSED_S


def _keep(kept: OrderedDict[Hits, _Kept], hits: Hits, what: _Kept, most: int) -> None:
    """Remember what a stranger says, who displaces the one that was remembered longest."""
    kept[hits] = what
    kept.move_to_end(hits)
    while len(kept) > most:
        kept.popitem(last=False)
