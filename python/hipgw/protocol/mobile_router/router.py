"""SPINAT: the HIP packets of clients in a moving network, on their way out and in.

A router sees neither keys nor the insides of what it passes on. What it learns, it learns from
packets of registered clients that come from where they are registered. So strangers' packets cost
it no memory: an I1 or I2 for a client is passed on and forgotten, and the client's R2 makes the
flow.

SPIs: a client's SPI is left as it is outside, unless another client or this host has the same one.
So a correspondent need not know that there is a router. It is told the SPI by `EspInfoNoSig` all
the same, which is how one that can take UPDATEs of the router learns of it: in HIPv2 by the type
that others skip, in HIPv1 by the one that OpenHIP knows, and there every other copy of an I2 goes
without, for correspondents that drop what they do not know. Only an SPI that is taken is changed.
A correspondent at another address than the one of the other client may disregard that, as packets
are told apart by their source as well. For one at the same address it is the critical type: if it
drops the packet, the client begins anew and draws another SPI. That is one case in 2^32 for each
two clients of one correspondent.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.errors import WireError
from hipgw.protocol.association import Association
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import ForwardHip, LendSpi, ReturnSpi
from hipgw.protocol.locators import LocatorState
from hipgw.protocol.mobile_router import proxies
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.flows import Flow, Lent
from hipgw.protocol.mobile_router.labels import wire_spi
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Transport
from hipgw.protocol.rate_limit import RateLimit, source_key
from hipgw.protocol.registration import ServiceType
from hipgw.wire.checksum import PseudoHeader, hip_checksum
from hipgw.wire.insertion import with_parameters
from hipgw.wire.packet import HEADER_LENGTH, HipPacket, PacketType, set_checksum
from hipgw.wire.parameters import (
    Ack,
    EspInfo,
    EspInfoNoSig,
    EspInfoNoSigOptional,
    Locator,
    LocatorSet,
    PlainLocator,
    ProxyTicket,
    Seq,
    Solution,
    SpiLocator,
    ViaRvs,
)

SWEEP_S = 5.0
"""Between looks for flows whose client is registered no more."""
PROVEN_MAX, OFFERED_MAX = 2, 2
"""SPIs of a correspondent that are let pass."""
CLOSED_S = 30.0
"""How long a flow stays after a CLOSE_ACK, which may have to be sent again."""
_WITHOUT_FLOW = frozenset({PacketType.I1, PacketType.I2})
"""What strangers may send to a client."""
_EXCHANGE = frozenset({PacketType.I1, PacketType.R1, PacketType.I2, PacketType.R2})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """What others may know of a client."""

    hit: IPv6Address
    place: Place | None
    """Where it is inside; None once it is registered no more."""
    correspondents: int
    tickets: int
    """Of these, for how many the router may speak."""
    begun: int
    """Base exchanges under way."""
    packets_in: int
    packets_out: int
    """HIP packets that were passed on."""


@dataclass(slots=True)
class Client:
    """What is kept of a registered client; where it is, its association tells."""

    begun: OrderedDict[IPv6Address, Flow] = field(default_factory=OrderedDict)
    """Base exchanges that are not over, the oldest first."""
    done: dict[IPv6Address, Flow] = field(default_factory=dict)
    called: OrderedDict[IPv6Address, int] = field(default_factory=OrderedDict)
    """SPIs in I2 of strangers, whom the client may take; the oldest first."""
    packets: Counter[str] = field(default_factory=Counter)
    """HIP packets passed on, "in" and "out"."""


class MobileRouter:
    """The table of flows, and what is done with each packet. Bytes from outside never raise."""

    def __init__(self, config: MobileRouterConfig, random: Callable[[int], bytes]) -> None:
        self.config = config
        self.clients: dict[IPv6Address, Client] = {}
        self.by_public_spi: dict[int, Flow] = {}
        self.flow_count = 0
        self.outside: tuple[Place, ...] = ()
        """Own places outside, the best first."""
        self.proxies = proxies.Proxies()
        self._callers = RateLimit(config.callers_per_s, random(16))
        self._sweep_at: float | None = None

    # -- packets -----------------------------------------------------------------------------

    def going_out(self, core: Core, data: bytes, transit: Transit, now: float) -> None:
        """Pass on a HIP packet that came from inside. Raises Dropped."""
        packet = _parse(data, transit)
        association = self._registered(core, packet.sender_hit)
        if association is None or not _is_from(association, transit.source):
            # Whoever is not registered, or uses the HIT of somebody who is.
            raise Dropped(DropReason.NOT_RELAYED)
        client = self.clients.setdefault(packet.sender_hit, Client())
        self._arm(now)
        kind = packet.packet_type
        flow = self._flow(client, packet.receiver_hit)
        if kind in {PacketType.I1, PacketType.I2, PacketType.R2}:
            flow = self._begin(core, client, packet, transit)
        elif flow is None and kind is PacketType.UPDATE and packet.get(EspInfo) is not None:
            # An association that the client had before it came here.
            flow = self._begin(core, client, packet, transit)
            flow.resumed = True
        if flow is None:
            if kind is not PacketType.R1:
                raise Dropped(DropReason.NO_ASSOCIATION)
            self._leave(core, packet.raw, transit.destination, None)
            return
        flow.touched, flow.client = now, transit.source
        flow.shown = transit.destination
        if kind is not PacketType.R1:
            self._goes_to(core, flow, transit.destination)
        raw = packet.raw
        if kind in {PacketType.I2, PacketType.R2, PacketType.UPDATE}:
            raw = self._with_spi(core, flow, packet, now)
        if kind is PacketType.R2:
            # The client has found the I2 to be genuine.
            if (spi := client.called.pop(packet.receiver_hit, 0)) != 0:
                self.peer_uses(core, flow, spi)
            if not flow.done:
                self._finish(client, flow)
        if (ack := packet.get(Ack)) is not None:
            for update_id in ack.update_ids:
                if (spi := flow.offered_spis.pop(update_id, 0)) != 0:
                    self.peer_uses(core, flow, spi)
        self._note_end(flow, kind, now)
        client.packets["out"] += 1
        self._leave(core, raw, transit.destination, flow)

    def coming_in(self, core: Core, data: bytes, transit: Transit, now: float) -> None:
        """Pass on a HIP packet that came from outside for a client. Raises Dropped."""
        packet = _parse(data, transit)
        association = self._registered(core, packet.receiver_hit)
        if association is None or association.path is None:
            raise Dropped(DropReason.NOT_OUR_HIT)
        client = self.clients.setdefault(packet.receiver_hit, Client())
        kind = packet.packet_type
        flow = self._flow(client, packet.sender_hit)
        if flow is None and kind is PacketType.R1:
            flow = self._answers_anybody(client, packet, transit)
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
        client = self.clients.get(hit)
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
            self.peer_uses(core, flow, peer_spi)
        self.proxies.ticket_came(self, core, flow, ticket, now)

    def used(self, public_spis: Iterable[int], now: float) -> None:
        """Data flowed by these public SPIs lately."""
        for spi in public_spis:
            if (flow := self.by_public_spi.get(spi)) is not None:
                flow.touched = max(flow.touched, now)

    def timer_expired(self, core: Core, now: float) -> None:
        """Do what is due."""
        self.proxies.timer_expired(self, core, now)
        if self._sweep_at is None or self._sweep_at > now:
            return
        config = self.config
        for hit, client in list(self.clients.items()):
            registered = self._registered(core, hit) is not None
            for flow in [*client.begun.values(), *client.done.values()]:
                limit_s = config.unused_s if flow.done else config.begun_s
                if not registered or flow.touched + limit_s <= now:
                    self._forget(core, client, flow)
                    continue
                for old in [one for one in flow.lent if one.until is not None]:
                    if old.until is not None and old.until <= now:
                        flow.lent.remove(old)
                        self._return(core, flow, old)
            if not registered:
                del self.clients[hit]
        self._sweep_at = now + SWEEP_S if self.clients else None

    def next_timer(self) -> float | None:
        """When to call `timer_expired` at the latest."""
        times = [self._sweep_at, self.proxies.next_timer()]
        return min((when for when in times if when is not None), default=None)

    def flows(self) -> Iterator[Flow]:
        """Those whose base exchange is over."""
        for client in self.clients.values():
            yield from client.done.values()

    def infos(self, core: Core) -> list[ClientInfo]:
        """All clients of which anything is known."""
        found = []
        for hit, client in self.clients.items():
            association = self._registered(core, hit)
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

    def peer_uses(self, core: Core, flow: Flow, spi: int) -> None:
        """A correspondent takes data by an SPI, as the client has found."""
        if spi in flow.proven_spis:
            return
        flow.proven_spis.append(spi)
        del flow.proven_spis[:-PROVEN_MAX]
        for one in flow.lent:
            self._tell(core, flow, one)

    def _offers(self, core: Core, flow: Flow, update_id: int, spi: int) -> None:
        known = spi in flow.peer_spis
        flow.offered_spis[update_id] = spi
        while len(flow.offered_spis) > OFFERED_MAX:
            flow.offered_spis.popitem(last=False)
        if not known:
            for one in flow.lent:
                self._tell(core, flow, one)

    def found(self, core: Core, flow: Flow, place: Place) -> None:
        """A correspondent has shown where it is."""
        self._goes_to(core, flow, place)

    def send(self, core: Core, data: bytes, source: Place, destination: Place) -> None:
        """Have a HIP packet sent from one place to another."""
        if source.transport is Transport.RAW:
            data = set_checksum(data, PseudoHeader(source.address, destination.address))
        core.effects.append(ForwardHip(data, Transit(source, destination)))

    # -- inside ------------------------------------------------------------------------------

    @staticmethod
    def _registered(core: Core, hit: IPv6Address) -> Association | None:
        if core.registrar is None:
            return None
        association = core.registrar.client(hit, ServiceType.MOBILE_ROUTER)
        return association if association is not None and association.state in UP else None

    @staticmethod
    def _flow(client: Client, peer_hit: IPv6Address) -> Flow | None:
        return client.done.get(peer_hit) or client.begun.get(peer_hit)

    def _arm(self, now: float) -> None:
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_S

    def _begin(self, core: Core, client: Client, packet: HipPacket, transit: Transit) -> Flow:
        """The flow of a base exchange of a client. Raises Dropped."""
        flow = self._flow(client, packet.receiver_hit)
        if flow is not None:
            return flow
        config = self.config
        if len(client.begun) >= config.begun_per_client:
            self._forget(core, client, next(iter(client.begun.values())))
        own = len(client.begun) + len(client.done)
        if self.flow_count >= config.flows_max or own >= config.flows_per_client:
            raise Dropped(DropReason.TABLE_FULL)
        flow = Flow(
            client_hit=packet.sender_hit,
            peer_hit=packet.receiver_hit,
            version=packet.version,
            client=transit.source,
            shown=transit.destination,
            transport=config.outside or transit.destination.transport,
        )
        client.begun[packet.receiver_hit] = flow
        self.flow_count += 1
        return flow

    def _goes_to(self, core: Core, flow: Flow, place: Place) -> None:
        if place.transport is not flow.transport:
            place = Place(place.address, flow.transport)
        family = place.address.version
        if flow.peer.get(family) == place:
            return
        flow.peer[family] = place
        for one in flow.lent:
            self._tell(core, flow, one)

    def _note_end(self, flow: Flow, kind: PacketType, now: float) -> None:
        if kind is PacketType.CLOSE_ACK:
            flow.touched = now - self.config.unused_s + CLOSED_S

    @staticmethod
    def _finish(client: Client, flow: Flow) -> None:
        flow.done = True
        client.begun.pop(flow.peer_hit, None)
        client.done[flow.peer_hit] = flow

    def _forget(self, core: Core, client: Client, flow: Flow) -> None:
        for one in flow.lent:
            self._return(core, flow, one)
        flow.lent.clear()
        flow.proxy = flow.ticket = None
        if client.done.pop(flow.peer_hit, None) or client.begun.pop(flow.peer_hit, None):
            self.flow_count -= 1

    @staticmethod
    def _answers_anybody(client: Client, packet: HipPacket, transit: Transit) -> Flow | None:
        """The flow of an opportunistic I1 that this R1 answers."""
        flow = client.begun.get(IPv6Address(0))
        if flow is None or flow.shown.address != transit.source.address:
            return None
        del client.begun[flow.peer_hit]
        flow.peer_hit = packet.sender_hit
        client.begun[flow.peer_hit] = flow
        return flow

    # -- SPIs --------------------------------------------------------------------------------

    def _with_spi(self, core: Core, flow: Flow, packet: HipPacket, now: float) -> bytes:
        """A packet of a client with the SPI that it is lent, if it tells one. Raises Dropped."""
        info = packet.get(EspInfo)
        if info is None and packet.get(LocatorSet) is None:
            return packet.raw
        if info is not None and (info.new_spi != info.old_spi or not flow.lent):
            self._lend(core, flow, packet, info.new_spi, now)
        if not flow.lent:
            return packet.raw
        lent = flow.lent[-1]
        if packet.packet_type is PacketType.I2:
            solution = packet.get(Solution)
            name = solution.i + solution.j if solution is not None else b""
            flow.copies = flow.copies + 1 if name == flow.i2 else 0
            flow.i2 = name
            bare = flow.version == 1 and flow.copies % 2 == 1
            flow.knows = not bare
        elif packet.packet_type is PacketType.R2 or (flow.resumed and flow.version != 1):
            flow.knows = True
        kind = EspInfoNoSig if flow.version == 1 else EspInfoNoSigOptional
        if lent.public != lent.private and self._is_ambiguous(flow, lent):
            kind = EspInfoNoSig
        elif not flow.knows:
            return packet.raw
        try:
            return with_parameters(packet.raw, [kind(0, 0, lent.public)])
        except WireError:
            if lent.public != lent.private:
                raise Dropped(DropReason.MALFORMED) from None
            return packet.raw  # there is no room, and nothing that it has to know

    def _is_ambiguous(self, flow: Flow, lent: Lent) -> bool:
        """Whether the same SPI is used from the same place outside towards another client."""
        other = self.by_public_spi.get(lent.private)
        if other is None:
            return True  # this host's own
        mine = {place.address for place in flow.peer.values()}
        return bool(mine & {place.address for place in other.peer.values()})

    def _lend(self, core: Core, flow: Flow, packet: HipPacket, spi: int, now: float) -> None:
        current = flow.lent[-1] if flow.lent else None
        if current is not None and current.private == spi:
            return
        if spi < 256:
            raise Dropped(DropReason.BAD_SPI)
        public = spi
        while public in self.by_public_spi or public in core.by_inbound_spi or public < 256:
            public = int.from_bytes(core.random(4), "big")
        if current is not None:
            if packet.packet_type is PacketType.UPDATE:
                current.until = now + self.config.retired_s
            else:
                # A base exchange that was not finished.
                flow.lent.remove(current)
                self._return(core, flow, current)
        while len(flow.lent) >= 4:
            self._return(core, flow, flow.lent.pop(0))
        lent = Lent(private=spi, public=public)
        flow.lent.append(lent)
        self.by_public_spi[public] = flow
        self._tell(core, flow, lent)

    def _return(self, core: Core, flow: Flow, lent: Lent) -> None:
        if self.by_public_spi.get(lent.public) is flow:
            del self.by_public_spi[lent.public]
        core.effects.append(ReturnSpi(flow.client_hit, flow.peer_hit, lent.public))

    @staticmethod
    def _tell(core: Core, flow: Flow, lent: Lent) -> None:
        core.effects.append(
            LendSpi(
                flow.client_hit,
                flow.peer_hit,
                lent.public,
                lent.private,
                flow.peer_spis,
                flow.client,
                tuple(flow.peer.values()),
                flow.shown,
            )
        )

    # -- what correspondents' packets tell ---------------------------------------------------

    def _learn(self, core: Core, client: Client, flow: Flow, packet: HipPacket, now: float) -> None:
        kind = packet.packet_type
        info = packet.get(EspInfo)
        if info is not None and kind is PacketType.R2:
            self.peer_uses(core, flow, wire_spi(packet, info.new_spi))
        seq = packet.get(Seq)
        if info is not None and kind is PacketType.UPDATE and seq is not None:
            self._offers(core, flow, seq.update_id, wire_spi(packet, info.new_spi))
        if kind is PacketType.R1 and (via := packet.get(ViaRvs)) is not None:
            for server in via.addresses[-1:]:
                flow.servers[server.version] = Place(server, flow.transport)
        answers = kind is PacketType.R2 or (
            flow.resumed and kind is PacketType.UPDATE and packet.get(Ack) is not None
        )
        if answers and flow.lent and not flow.done:
            flow.touched = now
            self._finish(client, flow)
        listed = packet.get(LocatorSet)
        if listed is not None and kind is PacketType.UPDATE and flow.done:
            for entry in listed.locators[:8]:
                if (address := _address(entry)) is not None:
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
        self.send(core, _bare(raw), Place(source.address, to.transport), to)

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
        self.send(core, _bare(raw), shown, inside)


def _parse(data: bytes, transit: Transit) -> HipPacket:
    pseudo = None
    source, destination = transit.source, transit.destination
    if source.address.version != destination.address.version:
        raise Dropped(DropReason.MALFORMED)
    if source.transport is Transport.RAW:
        pseudo = PseudoHeader(source.address, destination.address)
    if len(data) >= HEADER_LENGTH and pseudo is not None:
        length = 8 * (data[1] + 1)
        if hip_checksum(data[:length], pseudo):
            raise Dropped(DropReason.CHECKSUM)
    try:
        return HipPacket.parse(data, strict_order=False, versions=(1, 2))
    except WireError:
        raise Dropped(DropReason.MALFORMED) from None


def _is_from(association: Association, source: Place) -> bool:
    """Whether a client is known to be at a place."""
    path = association.path
    if path is not None and path.remote == source.address:
        return association.mobility.verified
    return any(
        one.address == source.address and one.state is LocatorState.ACTIVE
        for one in association.mobility.locators
    )


def _bare(raw: bytes) -> bytes:
    return raw[:4] + b"\0\0" + raw[6:]


def _address(entry: Locator) -> IPAddress | None:
    one = entry.locator
    return one.address if isinstance(one, PlainLocator | SpiLocator) else None
