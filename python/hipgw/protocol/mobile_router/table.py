"""The clients of a mobile router and their flows: how many there may be, and for how long."""

from collections.abc import Callable, Iterator
from ipaddress import IPv6Address

from hipgw.protocol.association import Association
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.mobile_router import carriers
from hipgw.protocol.mobile_router.clients import Client, Hits
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.mobile_router.packets import is_from
from hipgw.protocol.mobile_router.spis import Spis
from hipgw.protocol.mobile_router.transit import Transit
from hipgw.wire.packet import HipPacket

SWEEP_S = 5.0
"""Between looks for flows whose client is registered no more."""
SWEEP_CHUNK, CHUNK_S = 1000, 0.01
"""Flows that are looked at in one go, and the time until the next ones."""
HOLDERS_MAX = 4
"""Clients that may say of the same HIT that it is behind them."""


class Table:
    """All of them; bounded."""

    def __init__(self, config: MobileRouterConfig) -> None:
        self._config = config
        self.clients: dict[IPv6Address, Client] = {}
        self.spis = Spis(config)
        self.guests: dict[IPv6Address, list[IPv6Address]] = {}
        """By whom somebody is brought along who is not registered."""
        self.count = 0
        """Of flows."""
        self.sweep_at: float | None = None
        self._unswept: list[Flow] = []

    def client(self, hit: IPv6Address, now: float) -> Client:
        """What is kept of a client that is registered."""
        if self.sweep_at is None:
            self.sweep_at = now + SWEEP_S
        return self.clients.setdefault(hit, Client())

    def flows(self) -> Iterator[Flow]:
        """Those whose base exchange is over."""
        for client in self.clients.values():
            yield from client.done.values()

    @staticmethod
    def flow(client: Client, hits: Hits) -> Flow | None:
        """A client's flow with a correspondent, or that of a guest of it."""
        return client.done.get(hits) or client.begun.get(hits)

    def find(self, hits: Hits) -> Flow | None:
        """The flow of a pair of HITs, whosever guest the client may be."""
        for holder in (hits[0], *self.guests.get(hits[0], ())):
            client = self.clients.get(holder)
            if client is not None and (flow := self.flow(client, hits)) is not None:
                return flow
        return None

    def begin(
        self, core: Core, holder: IPv6Address, client: Client, packet: HipPacket, transit: Transit
    ) -> Flow:
        """The flow of a base exchange of a client. Raises Dropped."""
        hits = packet.sender_hit, packet.receiver_hit
        flow = self.flow(client, hits)
        if flow is not None:
            return flow
        config = self._config
        if len(client.begun) >= config.begun_per_client:
            self.forget(core, client, next(iter(client.begun.values())))
        own = len(client.begun) + len(client.done)
        if self.count >= config.flows_max or own >= config.flows_per_client:
            raise Dropped(DropReason.TABLE_FULL)
        if holder != packet.sender_hit:
            self._take_in(holder, client, packet.sender_hit)
        flow = Flow(
            holder=holder,
            client_hit=packet.sender_hit,
            peer_hit=packet.receiver_hit,
            version=packet.version,
            client=transit.source,
            shown=transit.destination,
            carried=transit.destination.transport,
        )
        carriers.begin(config, flow)
        client.begun[hits] = flow
        self.count += 1
        return flow

    def _take_in(self, holder: IPv6Address, client: Client, guest: IPv6Address) -> None:
        holders = self.guests.setdefault(guest, [])
        if holder not in holders:
            # Nobody knows which of them says the truth: all get what comes for the guest.
            if len(holders) >= HOLDERS_MAX:
                raise Dropped(DropReason.TABLE_FULL)
            holders.append(holder)
        client.guests[guest] += 1

    @staticmethod
    def finish(client: Client, flow: Flow) -> None:
        """The base exchange of a flow is over."""
        flow.done = True
        client.begun.pop(flow.hits, None)
        client.done[flow.hits] = flow

    def forget(self, core: Core, client: Client, flow: Flow) -> None:
        """A flow is over."""
        self.spis.end(core, flow)
        flow.proxy = flow.ticket = None
        if client.done.pop(flow.hits, None) or client.begun.pop(flow.hits, None):
            self.count -= 1
            if flow.holder != flow.client_hit:
                self._let_go(client, flow)

    def _let_go(self, client: Client, flow: Flow) -> None:
        client.guests[flow.client_hit] -= 1
        if client.guests[flow.client_hit] <= 0:
            del client.guests[flow.client_hit]
            holders = self.guests[flow.client_hit]
            holders.remove(flow.holder)
            if not holders:
                del self.guests[flow.client_hit]

    @staticmethod
    def answers_anybody(client: Client, packet: HipPacket, transit: Transit) -> Flow | None:
        """The flow of an opportunistic I1 that this R1 answers."""
        flow = client.begun.get((packet.receiver_hit, IPv6Address(0)))
        if flow is None or flow.shown.address != transit.source.address:
            return None
        del client.begun[flow.hits]
        flow.peer_hit = packet.sender_hit
        client.begun[flow.hits] = flow
        return flow

    def sweep(
        self, core: Core, registered: Callable[[IPv6Address], Association | None], now: float
    ) -> list[Flow]:
        """Forget what is over, some at a time; returns those that a NAT is to be reminded of.

        *registered* tells the association of a client.
        """
        if self.sweep_at is None or self.sweep_at > now:
            return []
        if not self._unswept:
            for hit, client in list(self.clients.items()):
                self._unswept += [*client.begun.values(), *client.done.values()]
                if registered(hit) is None and not (client.begun or client.done):
                    del self.clients[hit]
        old: list[Flow] = []
        for _ in range(min(SWEEP_CHUNK, len(self._unswept))):
            flow = self._unswept.pop()
            client = self.clients[flow.holder]
            if self.flow(client, flow.hits) is not flow:
                continue
            association = registered(flow.holder)
            limit_s = self._config.unused_s if flow.done else self._config.begun_s
            if association is None or flow.touched + limit_s <= now or _has_left(association, flow):
                self.forget(core, client, flow)
                if association is None and not (client.begun or client.done):
                    del self.clients[flow.holder]
                continue
            self.spis.expire(core, flow, now)
            if carriers.is_to_be_reminded(flow, now):
                old.append(flow)
        if self._unswept:
            self.sweep_at = now + CHUNK_S
        else:
            self.sweep_at = now + SWEEP_S if self.clients else None
        return old


def _has_left(association: Association, flow: Flow) -> bool:
    """Whether a client was elsewhere at the last look already, so that it tells itself where."""
    path = association.path
    before, flow.astray = (
        flow.astray,
        (
            path is not None
            and association.mobility.verified
            and path.remote != flow.client.address
            and not is_from(association, flow.client)
        ),
    )
    return before and flow.astray
