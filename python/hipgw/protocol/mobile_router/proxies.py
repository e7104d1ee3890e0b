"""UPDATEs that a mobile router sends in its clients' names, when it has moved.

A correspondent of hipgw's kind acknowledges each, by the key of the ticket; one of OpenHIP's kind
challenges the client, which shows that it has heard. A correspondent that the router has no ticket
for, or that does not answer, the client itself has to tell: the router tells the client so.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from ipaddress import IPv6Address
from itertools import count
from typing import TYPE_CHECKING

from hipgw.errors import IdentityError
from hipgw.protocol import update_tasks
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.mobile_router import carriers, guests, round_trips, tickets
from hipgw.protocol.mobile_router.flows import Flow, Proxy, Ticket
from hipgw.protocol.mobile_router.forwarding import place_for
from hipgw.protocol.mobile_router.packets import send
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import IPAddress, Transport
from hipgw.wire.coverage import mac_coverage
from hipgw.wire.insertion import with_parameters
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    Ack,
    AuthTicket,
    EchoRequestSigned,
    EspInfoNoSigOptional,
    HipMac,
    Locator,
    LocatorSet,
    Parameter,
    ProxyTicket,
    RegFrom,
    Seq,
    SpiLocator,
    UntoldPeers,
)
from hipgw.wire.parameters.spinat import UNTOLD_MAX

if TYPE_CHECKING:
    from hipgw.protocol.mobile_router.router import MobileRouter

AT_ONCE = 256
"""Correspondents that are told at once, those heard last first."""
CHUNK = 32
"""Of these, without anything else coming between. While there are more, answers wait as well: they
are not asked again before that is over."""
BATCH, INTERVAL_S = 20, 0.01
"""So many of the others are told in each such time."""
SOONER = 3
"""Further repetitions to a client that the first one goes to sooner, in about the same time."""
NONCE_OCTETS = 16
_FOREVER = 0xFFFFFFFF
_OPENHIP_S = 1800
"""Lifetime of a locator, as OpenHIP's mobile router gives it."""
_UDP, _PLAIN = 17, 139


class Proxies:
    """Those under way."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Flow, Proxy]] = []
        self._number = count()
        self._waiting: deque[Flow] = deque()
        """Flows that are to be looked at since the router has moved."""
        self._next_at = 0.0
        self._old: deque[Flow] = deque()
        """Flows that a NAT is to be reminded of."""
        self._again = False
        self._urgent = 0
        """How many of these are to be told at once."""
        self._untold: list[Flow] = []
        """Flows whose clients are to tell the correspondents."""

    def ticket_came(
        self, router: "MobileRouter", core: Core, flow: Flow, ticket: ProxyTicket, now: float
    ) -> None:
        """Keep a client's ticket. Raises Dropped."""
        known = flow.ticket
        if known is not None and tickets.same(known.shown, ticket.shown):
            return
        try:
            function = tickets.hash_of(ticket, flow.version)
        except IdentityError:
            raise Dropped(DropReason.BAD_TICKET) from None
        first = known is None and flow.resumed
        flow.ticket = Ticket(ticket.shown, ticket.key, function, numbered=bool(ticket.action))
        place = place_for(router, flow)
        elsewhere = place is not None and place.address.version not in flow.peer
        if place is not None and (elsewhere or first or not _is_at(flow, place)):
            # As the answer shows where the correspondent is; and where the router was when there
            # was another process, or another router, it does not know.
            self._begin(core, flow, place, now)

    def moved(
        self,
        router: "MobileRouter",
        core: Core,
        flows: Iterable[Flow],
        now: float,
        *,
        again: bool = False,
    ) -> None:
        """The own places outside have changed: tell everybody whom it concerns.

        *again*: also those who know, as a router on the way does not.
        """
        self._waiting = deque(flows)
        self._again = again
        self._urgent = AT_ONCE
        self._take(router, core, now)

    def _take(self, router: "MobileRouter", core: Core, now: float) -> None:
        most = min(self._urgent, CHUNK) or BATCH
        self._urgent -= min(self._urgent, most)
        again: list[Flow] = []
        while self._waiting and most:
            flow = self._waiting.popleft()
            place = place_for(router, flow)
            if place is None or not flow.lent:
                continue  # once there is one again, or it is forgotten
            at_home = _is_at(flow, place)
            if at_home and flow.proxy is None and not self._again:
                continue
            most -= 1
            if not at_home:
                flow.told = None
                router.at_new_place(core, flow)
            self.tell(router, core, flow, now)
            if self._again:
                again.append(flow)
        while self._old and most:
            most -= 1
            self.tell(router, core, self._old.popleft(), now)
        self._next_at = now if self._urgent else now + INTERVAL_S
        self.ask(router, core, now)
        guests.show(core, again, now)

    def remind(self, flows: Iterable[Flow], now: float) -> None:
        """See to it that no NAT forgets these."""
        if not self._old:
            self._old.extend(flows)
            self._next_at = max(self._next_at, now)

    def tell(self, router: "MobileRouter", core: Core, flow: Flow, now: float) -> None:
        """Tell a correspondent where its client is, or have it told with the next `ask`."""
        place = place_for(router, flow)
        if place is None or not flow.lent:
            return
        if flow.ticket is None:
            flow.outside = place
            self._untold.append(flow)
        else:
            self._begin(core, flow, place, now)

    def ask(self, router: "MobileRouter", core: Core, now: float) -> None:
        """Have clients tell correspondents what the router cannot."""
        flows, self._untold = self._untold, []
        by_client: dict[IPv6Address, list[Flow]] = {}
        for flow in flows:
            by_client.setdefault(flow.holder, []).append(flow)
        for some in by_client.values():
            _have_told(router, core, some, now, patient=len(by_client) > CHUNK)

    def answered(
        self,
        router: "MobileRouter",
        core: Core,
        flow: Flow,
        packet: HipPacket,
        source: Place,
        now: float,
    ) -> bool:
        """Note what answers an UPDATE; whether the packet was for this router alone.

        Raises Dropped.
        """
        proxy, ticket = flow.proxy, flow.ticket
        if packet.packet_type is not PacketType.UPDATE:
            return False
        shown = packet.get(AuthTicket)
        if shown is None:
            if proxy is not None and ticket is not None and not ticket.numbered:
                # Of this anybody could have made it; the client answers if it is genuine.
                flow.proxy = None if packet.get(Seq) is not None else proxy
            return False
        ack = packet.get(Ack)
        if ack is None:
            return False  # of the correspondent's router, for the client
        mac = packet.get(HipMac)
        if ticket is None and flow.holder != flow.client_hit:
            return False  # for the router that the client is behind
        if ticket is None or not tickets.same(shown, ticket.shown) or mac is None:
            raise Dropped(DropReason.BAD_TICKET)
        if not ticket.rhash.verify_mac(ticket.key, mac_coverage(packet.raw), mac.mac):
            raise Dropped(DropReason.BAD_MAC)
        if proxy is not None and proxy.number in ack.update_ids:
            if proxy.transmissions == 1:
                round_trips.measured(flow, now - proxy.sent)
            flow.proxy = None
            router.found(core, flow, source)
        return True

    def timer_expired(self, router: "MobileRouter", core: Core, now: float) -> None:
        """Send what is due, again or for the first time."""
        if (self._waiting or self._old) and self._next_at <= now:
            self._take(router, core, now)
        while self._due and self._due[0][0] <= now:
            _when, _number, flow, proxy = heapq.heappop(self._due)
            if flow.proxy is not proxy:
                continue
            if proxy.transmissions and not proxy.retransmission.again(now):
                flow.proxy = None
                self._untold.append(flow)
                continue
            self._send(core, flow, proxy)
        self.ask(router, core, now)

    def next_timer(self) -> float | None:
        """When something is due."""
        while self._due and self._due[0][2].proxy is not self._due[0][3]:
            heapq.heappop(self._due)
        due = self._due[0][0] if self._due else None
        if self._waiting or self._old:
            due = self._next_at if due is None else min(due, self._next_at)
        return due

    def _begin(self, core: Core, flow: Flow, place: Place, now: float) -> None:
        ticket = flow.ticket
        if ticket is None or not flow.lent:
            return
        flow.outside, flow.reminded = place, now
        family = place.address.version
        # The server last: it passes UPDATEs on to where the correspondent has moved meanwhile.
        known = (flow.peer.get(family), flow.claimed.get(family), flow.servers.get(family))
        places = tuple(dict.fromkeys(one for one in known if one is not None))
        if not places:
            return
        number = ticket.next_number
        ticket.next_number += 1
        flow.proxy = Proxy(
            number,
            place,
            (flow.told or place).address,
            places,
            round_trips.retransmission(
                core, flow, now, patient=not ticket.numbered or len(self._due) > CHUNK
            ),
            now,
        )
        self._send(core, flow, flow.proxy)

    def _send(self, core: Core, flow: Flow, proxy: Proxy) -> None:
        ticket = flow.ticket
        if not proxy.packet and ticket is not None and flow.lent:
            nonce = core.random(NONCE_OCTETS)
            proxy.packet = _packet(flow, ticket, proxy.shown, proxy.number, nonce)
        to = proxy.places[proxy.transmissions % len(proxy.places)]
        proxy.transmissions += 1
        source = proxy.source
        send(core, proxy.packet, Place(source.address, to.transport, source.port), to)
        if ticket is not None and ticket.numbered:
            for other in carriers.others(flow, PacketType.UPDATE, source.address, to):
                send(core, proxy.packet, Place(source.address, other.transport, source.port), other)
        entry = (proxy.retransmission.when, next(self._number), flow, proxy)
        heapq.heappush(self._due, entry)


def _packet(flow: Flow, ticket: Ticket, address: IPAddress, number: int, nonce: bytes) -> bytes:
    spi = flow.current.public
    lifetime = _FOREVER if ticket.numbered else _OPENHIP_S
    parameters: list[Parameter] = [
        LocatorSet((Locator(SpiLocator(spi, address), lifetime, preferred=True),)),
        ticket.shown,
    ]
    if ticket.numbered:
        # The echo is for routers on the way: it shows them where the correspondent is.
        parameters += [Seq(number), EchoRequestSigned(nonce)]
    packet = HipPacket(
        PacketType.UPDATE,
        flow.client_hit,
        flow.peer_hit,
        tuple(sorted(parameters, key=lambda one: one.type)),
        version=flow.version,
    )
    raw = tickets.protect(packet, ticket.rhash, ticket.key)
    return with_parameters(raw, [EspInfoNoSigOptional(0, 0, spi)]) if ticket.numbered else raw


def _is_at(flow: Flow, place: Place) -> bool:
    """Whether a correspondent knows its client at a place, if at any."""
    return flow.outside is None or flow.outside.address == place.address


def _have_told(
    router: "MobileRouter", core: Core, flows: list[Flow], now: float, *, patient: bool
) -> None:
    """Have a client tell its correspondents where it is outside.

    Clients are near, so one that no time is known of is asked again soon, unless *patient*.
    """
    client = router.association_of(core, flows[0])
    session = client.session if client is not None else None
    if client is None or session is None or client.path is None:
        return
    first_s = retries = None
    if client.rtt is None and not patient:
        first_s, retries = update_tasks.FASTEST_S, core.config.retries + SOONER
    by_place: dict[Place, list[IPv6Address]] = {}
    for flow in flows:
        if (place := flow.told or flow.outside) is not None:
            by_place.setdefault(place, []).append(flow.peer_hit)
    for place, some in by_place.items():
        hits = list(dict.fromkeys(some))  # two guests may have a correspondent in common
        protocol = _UDP if place.transport is Transport.UDP else _PLAIN
        where = RegFrom(place.address, place.port, protocol)
        for at in range(0, len(hits), UNTOLD_MAX):
            update_tasks.begin(
                core,
                client,
                session,
                [where, UntoldPeers(tuple(hits[at : at + UNTOLD_MAX]))],
                [client.path],
                now,
                acknowledged=update_tasks.ignore,
                abandoned=update_tasks.ignore,
                first_s=first_s,
                retries=retries,
            )
