"""SPINAT: the HIP packets of clients in a moving network, on their way out and in.

A router sees neither keys nor the insides of what it passes on. What it learns, it learns from
packets of registered clients that come from where they are registered. So strangers' packets cost
it no memory: an I1 or I2 for a client is passed on and forgotten, and the client's R2 makes the
flow.
"""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv6Address

from hipgw.protocol.association import Association
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.mobile_router import proxies
from hipgw.protocol.mobile_router.clients import Client, ClientInfo
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.mobile_router.labels import wire_spi
from hipgw.protocol.mobile_router.packets import address_of, bare, is_from, parse, send
from hipgw.protocol.mobile_router.table import Table
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Transport
from hipgw.protocol.rate_limit import RateLimit, source_key
from hipgw.protocol.registration import ServiceType
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import Ack, EspInfo, LocatorSet, ProxyTicket, Seq, ViaRvs

CLOSED_S = 30.0
"""How long a flow stays after a CLOSE_ACK, which may have to be sent again."""
_WITHOUT_FLOW = frozenset({PacketType.I1, PacketType.I2})
"""What strangers may send to a client."""
_EXCHANGE = frozenset({PacketType.I1, PacketType.R1, PacketType.I2, PacketType.R2})


class MobileRouter:
    """The table of flows, and what is done with each packet. Bytes from outside never raise."""

    def __init__(self, config: MobileRouterConfig, random: Callable[[int], bytes]) -> None:
        self.config = config
        self.table = Table(config)
        self.spis = self.table.spis
        self.outside: tuple[Place, ...] = ()
        """Own places outside, the best first."""
        self.proxies = proxies.Proxies()
        self._callers = RateLimit(config.callers_per_s, random(16))

    # -- packets -----------------------------------------------------------------------------

    def going_out(self, core: Core, data: bytes, transit: Transit, now: float) -> None:
        """Pass on a HIP packet that came from inside. Raises Dropped."""
        packet = parse(data, transit)
        association = self._registered(core, packet.sender_hit)
        if association is None or not is_from(association, transit.source):
            # Whoever is not registered, or uses the HIT of somebody who is.
            raise Dropped(DropReason.NOT_RELAYED)
        client = self.table.client(packet.sender_hit, now)
        kind = packet.packet_type
        flow = self.table.flow(client, packet.receiver_hit)
        if kind in {PacketType.I1, PacketType.I2, PacketType.R2}:
            flow = self.table.begin(core, client, packet, transit)
        elif flow is None and kind is PacketType.UPDATE and packet.get(EspInfo) is not None:
            # An association that the client had before it came here.
            flow = self.table.begin(core, client, packet, transit)
            flow.resumed = True
        if flow is None:
            if kind is not PacketType.R1:
                raise Dropped(DropReason.NO_ASSOCIATION)
            self._leave(core, packet.raw, transit.destination, None)
            return
        flow.touched = now
        if (flow.client, flow.shown) != (transit.source, transit.destination):
            flow.client, flow.shown = transit.source, transit.destination
            self.spis.told(core, flow)
        if kind is not PacketType.R1:
            self._goes_to(core, flow, transit.destination)
        raw = packet.raw
        if kind in {PacketType.I2, PacketType.R2, PacketType.UPDATE}:
            raw = self.spis.with_spi(core, flow, packet, now)
        if kind is PacketType.R2:
            # The client has found the I2 to be genuine.
            if (spi := client.called.pop(packet.receiver_hit, 0)) != 0:
                self.spis.peer_uses(core, flow, spi)
            if not flow.done:
                self.table.finish(client, flow)
        if (ack := packet.get(Ack)) is not None:
            for update_id in ack.update_ids:
                if (spi := flow.offered_spis.pop(update_id, 0)) != 0:
                    self.spis.peer_uses(core, flow, spi)
        self._note_end(flow, kind, now)
        client.packets["out"] += 1
        self._leave(core, raw, transit.destination, flow)

    def coming_in(self, core: Core, data: bytes, transit: Transit, now: float) -> None:
        """Pass on a HIP packet that came from outside for a client. Raises Dropped."""
        packet = parse(data, transit)
        association = self._registered(core, packet.receiver_hit)
        if association is None or association.path is None:
            raise Dropped(DropReason.NOT_OUR_HIT)
        client = self.table.client(packet.receiver_hit, now)
        kind = packet.packet_type
        flow = self.table.flow(client, packet.sender_hit)
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
            if self.proxies.answered(self, core, flow, packet, transit.source):
                return
            self._learn(core, client, flow, packet, now)
            self._note_end(flow, kind, now)
        if kind is PacketType.I2 and (info := packet.get(EspInfo)) is not None:
            client.called[packet.sender_hit] = wire_spi(packet, info.new_spi)
            while len(client.called) > self.config.begun_per_client:
                client.called.popitem(last=False)
        client.packets["in"] += 1
        self._enter(core, packet.raw, transit.source, association, flow)

    # -- inputs besides packets --------------------------------------------------------------

    def outside_changed(self, core: Core, places: Iterable[Place], now: float) -> None:
        """These are the own places outside now, the best first; none while there is no network."""
        places = tuple(dict.fromkeys(places))
        if places == self.outside:
            return
        self.outside = places
        flows = sorted(self.flows(), key=lambda flow: -flow.touched)
        self.proxies.moved(self, core, flows, now)

    def ticket_came(
        self,
        core: Core,
        association: Association,
        ticket: ProxyTicket,
        now: float,
        *,
        peer_spi: int = 0,
    ) -> None:
        """A client gives a ticket for one of its correspondents. Raises Dropped.

        *peer_spi*: what its packets to that one bear, if it says so.
        """
        hit = association.peer_hit
        client = self.table.clients.get(hit)
        flow = client.done.get(ticket.peer_hit) if client is not None else None
        if (
            not self.config.tickets
            or ticket.mobile_hit != hit
            or flow is None
            or self._registered(core, hit) is not association
        ):
            # Of somebody else, or for somebody that it has no association with by this router.
            raise Dropped(DropReason.BAD_TICKET)
        if peer_spi:
            self.spis.peer_uses(core, flow, peer_spi)
        self.proxies.ticket_came(self, core, flow, ticket, now)

    def used(self, public_spis: Iterable[int], now: float) -> None:
        """Data flowed by these public SPIs lately."""
        for spi in public_spis:
            if (flow := self.spis.by_public.get(spi)) is not None:
                flow.touched = max(flow.touched, now)

    def timer_expired(self, core: Core, now: float) -> None:
        """Do what is due."""
        self.proxies.timer_expired(self, core, now)
        self.table.sweep(core, lambda hit: self._registered(core, hit) is not None, now)

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
            path = association.path if association is not None else None
            found.append(
                ClientInfo(
                    hit=hit,
                    place=Place(path.remote, path.transport, path.remote_port) if path else None,
                    correspondents=len(client.done),
                    tickets=sum(flow.ticket is not None for flow in client.done.values()),
                    begun=len(client.begun),
                    packets_in=client.packets["in"],
                    packets_out=client.packets["out"],
                )
            )
        return found

    def association_of(self, core: Core, flow: Flow) -> Association | None:
        """The association with the client of a flow, while it is registered."""
        return self._registered(core, flow.client_hit)

    def place_for(self, flow: Flow) -> Place | None:
        """Where a flow's packets leave from: where they did if that is still there."""
        mine = [one for one in self.outside if one.address.version in flow.peer]
        same = [Place(one.address, flow.transport) for one in mine]
        if flow.outside in same:
            return flow.outside
        return next(iter(same), None)

    def place_of(self, client_hit: IPv6Address, peer_hit: IPv6Address) -> Place | None:
        """The same by HITs; None also if there is no such flow."""
        client = self.clients.get(client_hit)
        flow = self.table.flow(client, peer_hit) if client is not None else None
        return self.place_for(flow) if flow is not None else None

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

    def found(self, core: Core, flow: Flow, place: Place) -> None:
        """A correspondent has shown where it is."""
        self._goes_to(core, flow, place)

    # -- inside ------------------------------------------------------------------------------

    @staticmethod
    def _registered(core: Core, hit: IPv6Address) -> Association | None:
        if core.registrar is None:
            return None
        association = core.registrar.client(hit, ServiceType.MOBILE_ROUTER)
        return association if association is not None and association.state in UP else None

    def _goes_to(self, core: Core, flow: Flow, place: Place) -> None:
        if place.transport is not flow.transport:
            place = Place(place.address, flow.transport)
        family = place.address.version
        if flow.peer.get(family) == place:
            return
        flow.peer[family] = place
        self.spis.told(core, flow)

    def _note_end(self, flow: Flow, kind: PacketType, now: float) -> None:
        if kind is PacketType.CLOSE_ACK:
            flow.touched = now - self.config.unused_s + CLOSED_S

    # -- what correspondents' packets tell ---------------------------------------------------

    def _learn(self, core: Core, client: Client, flow: Flow, packet: HipPacket, now: float) -> None:
        kind = packet.packet_type
        info = packet.get(EspInfo)
        if info is not None and kind is PacketType.R2:
            self.spis.peer_uses(core, flow, wire_spi(packet, info.new_spi))
        seq = packet.get(Seq)
        if info is not None and kind is PacketType.UPDATE and seq is not None:
            self.spis.offers(core, flow, seq.update_id, wire_spi(packet, info.new_spi))
        if kind is PacketType.R1 and (via := packet.get(ViaRvs)) is not None:
            for server in via.addresses[-1:]:
                flow.servers[server.version] = Place(server, flow.transport)
        answers = kind is PacketType.R2 or (
            flow.resumed and kind is PacketType.UPDATE and packet.get(Ack) is not None
        )
        if answers and flow.lent and not flow.done:
            flow.touched = now
            self.table.finish(client, flow)
        listed = packet.get(LocatorSet)
        if listed is not None and kind is PacketType.UPDATE and flow.done:
            for entry in listed.locators[:8]:
                if (address := address_of(entry)) is not None:
                    flow.claimed[address.version] = Place(address, flow.transport)

    # -- sending on --------------------------------------------------------------------------

    def _leave(self, core: Core, raw: bytes, to: Place, flow: Flow | None) -> None:
        version = to.address.version
        source: Place | None
        if flow is None:
            source = next((p for p in self.outside if p.address.version == version), None)
        else:
            source = self.place_for(flow)
            if source is not None and source.address.version != version:
                to = flow.peer[source.address.version]
            if to.transport is not flow.transport:
                to = Place(to.address, flow.transport)
            if flow.outside is None:
                flow.outside = source
        if source is None:
            raise Dropped(DropReason.NO_ROUTE)
        send(core, bare(raw), Place(source.address, to.transport), to)

    def _enter(
        self, core: Core, raw: bytes, source: Place, association: Association, flow: Flow | None
    ) -> None:
        path = association.path
        assert path is not None
        inside = flow.client if flow is not None else Place(path.remote, source.transport)
        if inside.transport is Transport.UDP and flow is None and path.transport is Transport.UDP:
            inside = Place(path.remote, Transport.UDP, path.remote_port)
        if inside.address.version != source.address.version:
            if flow is None:
                raise Dropped(DropReason.NO_ROUTE)
            shown = flow.shown
        else:
            port = source.port if source.transport is inside.transport else HIP_UDP_PORT
            shown = Place(source.address, inside.transport, port)
        send(core, bare(raw), shown, inside)
