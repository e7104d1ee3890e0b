"""Moving networks: mobile routers, what is inside of them, and the world outside."""

from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address

from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import (
    Direction,
    Effect,
    ForwardHip,
    InstallSA,
    LendSpi,
    MoveSA,
    ReturnSpi,
    SendDatagram,
)
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.router import MobileRouter
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.states import State
from hipgw.wire.parameters import EchoRequestSigned, EchoResponseSigned
from protocol.network import FAST, Network, Node, hip_version, identity, parse

WORLD = ""


def router_config(**terms: object) -> MachineConfig:
    settings = replace(MobileRouterConfig(), **terms)  # type: ignore[arg-type]
    registrar = RegistrarConfig(
        services=(ServiceType.MOBILE_ROUTER,), allow=lambda _hit: True, mobile_router=settings
    )
    return replace(FAST, registrar=registrar)


def keys(number: int):  # type: ignore[no-untyped-def]
    version = hip_version.get()
    return identity("ecdsa-p256" if version == 2 else "rsa2048", number, version)


@dataclass
class Inside:
    """What a mobile router has behind it."""

    node: Node
    outside: list[IPAddress] = field(default_factory=list)
    lent: dict[int, LendSpi] = field(default_factory=dict)


class Moving(Network):
    """A network in which some nodes are inside of others."""

    def __init__(self, seed: int = 1, transport: Transport = Transport.RAW) -> None:
        super().__init__(seed, transport)
        self.where: dict[IPAddress, str] = {}
        """Which network an address is in; the world's has no name."""
        self.routers: dict[str, Inside] = {}
        self.sealed: dict[tuple[str, IPv6Address, int], InstallSA] = {}
        """Outbound security associations: a peer may have one SPI twice, for two clients."""
        self.forwarded: list[tuple[str, ForwardHip]] = []

    # -- making them -------------------------------------------------------------------------

    def host(
        self, name: str, address: str, number: int, inside: str = WORLD, **more: object
    ) -> Node:
        node = self.add(name, address, keys(number), **more)  # type: ignore[arg-type]
        self.where[node.address] = inside
        self.perform(node, node.machine.addresses_changed(node.addresses, self.now))
        return node

    def router(
        self, name: str, inside: str, outside: list[str], number: int, **more: object
    ) -> Node:
        config = more.pop("config", None) or router_config()
        at = str(more.pop("at", WORLD))
        node = self.host(name, inside, number, name, config=config, **more)
        self.routers[name] = Inside(node)
        self.move(node, outside, at)
        return node

    def move(self, node: Node, outside: list[str], at: str = WORLD) -> None:
        """Give a router other addresses outside."""
        router = self.routers[node.name]
        for old in router.outside:
            self.nodes.pop(old, None)
            self.where.pop(old, None)
        router.outside = [ip_address(one) for one in outside]
        for one in router.outside:
            self.nodes[one] = node
            self.where[one] = at
        places = [Place(one, self.transport) for one in router.outside]
        self.perform(node, node.machine.outside_changed(places, self.now))
        addresses = [node.address, *node.others, *router.outside]
        self.perform(node, node.machine.addresses_changed(addresses, self.now))

    def register(self, client: Node, router: Node) -> None:
        effects = client.machine.register(router.hit, [ServiceType.MOBILE_ROUTER], 300.0, self.now)
        self.perform(client, effects)
        behind = self.routers.get(client.name)
        local = behind.outside[0] if behind is not None else client.address
        path = Path(local, router.address, self.transport)
        self.perform(client, client.machine.connect(router.hit, [path], self.now))
        self.until(lambda: client.state(router) is State.ESTABLISHED)
        self.run(0.1)
        held = {one.reg_type for one in client.machine.held_registrations()}
        more = {ServiceType.MOBILE_NETWORK} if behind is not None else set()
        assert held == {ServiceType.MOBILE_ROUTER, *more}, held

    def join(self, client: Node, peer: Node, address: str | None = None) -> None:
        remote = peer.address if address is None else ip_address(address)
        path = Path(client.address, remote, self.transport)
        self.perform(client, client.machine.connect(peer.hit, [path], self.now))
        self.until(lambda: client.state(peer) is State.ESTABLISHED)
        self.run(1.0)

    def spinat(self, router: Node) -> MobileRouter:
        found = router.machine._core.mobile_router
        assert found is not None
        return found

    # -- packets -----------------------------------------------------------------------------

    def perform(self, node: Node, effects: list[Effect]) -> None:
        super().perform(node, effects)
        for effect in effects:
            match effect:
                case ForwardHip():
                    self.forwarded.append((node.name, effect))
                    transit = effect.transit
                    inside = self.where.get(transit.destination.address) == node.name
                    net = node.name if inside else self.where.get(transit.source.address)
                    if net is not None:
                        for delay in self.filter(node.name, effect.data):
                            self._later(
                                delay,
                                lambda e=effect, n=net: self._travels(n, e.data, e.transit),
                            )
                case LendSpi():
                    self.routers[node.name].lent[effect.public_spi] = effect
                case ReturnSpi():
                    del self.routers[node.name].lent[effect.public_spi]
                case InstallSA(direction=Direction.OUTBOUND):
                    self.sealed[node.name, effect.peer_hit, effect.spi] = effect
                case MoveSA():
                    name = node.name, effect.peer_hit, effect.spi
                    self.sealed[name] = replace(self.sealed[name], wire_spi=effect.wire_spi)

    def _send(self, node: Node, effect: SendDatagram) -> None:
        path = effect.path
        source = path.local or node.address
        net = self.where.get(source)
        self.sent.append((node.name, effect.data[2] & 0x7F))
        if self.nodes.get(source) is not node or net is None:
            return
        transit = Transit(
            Place(source, path.transport, path.local_port),
            Place(path.remote, path.transport, path.remote_port),
        )
        for delay in self.filter(node.name, effect.data):
            self._later(delay, lambda: self._travels(net, effect.data, transit))

    def _translated(self, source: Place, target: Place) -> Transit | None:
        """What NATs in the world make of a packet, which has to be in UDP."""
        if target.address in self.nats:
            return None  # nobody in the world can write there
        if (nat := self.nats.get(source.address)) is not None:
            if source.transport is not Transport.UDP:
                return None
            seen = nat.out((source.address, source.port), (target.address, target.port))
            source = Place(seen[0], Transport.UDP, seen[1])
        for nat in {id(one): one for one in self.nats.values()}.values():
            if target.address == nat.outside:
                found = nat.into(target.port, (source.address, source.port))
                if found is None or source.transport is not Transport.UDP:
                    return None
                target = Place(found[0], Transport.UDP, found[1])
        return Transit(source, target)

    def _travels(self, net: str, data: bytes, transit: Transit) -> None:
        if not net:
            translated = self._translated(transit.source, transit.destination)
            if translated is None:
                return
            transit = translated
        source, target = transit.source, transit.destination
        above = self.routers.get(net)
        here = self.where.get(target.address) == net and target.address in self.nodes
        if here or (above is not None and target.address in above.outside):
            node = self.nodes[target.address]
            router = self.routers.get(node.name)
            for_others = IPv6Address(data[24:40]) != node.hit
            if router is not None and target.address in router.outside and for_others:
                machine = node.machine
                effects = machine.transit_received(data, transit, self.now, inside=False)
            elif router is not None and for_others:
                effects = node.machine.transit_received(data, transit, self.now, inside=True)
            else:
                path = Path(
                    target.address, source.address, source.transport, target.port, source.port
                )
                effects = node.machine.datagram_received(data, path, self.now)
            self.perform(node, effects)
        elif net:
            node = self.routers[net].node
            effects = node.machine.transit_received(data, transit, self.now, inside=True)
            self.perform(node, effects)

    def esp(self, source: Node, target: Node) -> bool:
        """Send a data packet, which arrives at once; whether it could be opened."""
        spi, path, _verified = source.outbound[target.hit]
        sealed = self.sealed[source.name, target.hit, spi]
        wire = sealed.wire_spi or spi
        place = Place(path.local or source.address, path.transport, path.local_port)
        to = Place(path.remote, path.transport, path.remote_port)
        for _ in range(6):
            net = self.where.get(place.address)
            if net is None:
                return False
            if not net:
                translated = self._translated(place, to)
                if translated is None:
                    return False
                place, to = translated.source, translated.destination
            above = self.routers.get(net)
            if above is not None and to.address in above.outside:
                return False  # nobody writes so
            stands_for = above is not None and any(
                _is_of(one, place, wire) and one.shown.address == to.address
                for one in above.lent.values()
            )
            if self.where.get(to.address) == net and to.address in self.nodes and not stands_for:
                node = self.nodes[to.address]
                router = self.routers.get(node.name)
                if router is None or to.address not in router.outside:
                    break
                lent = router.lent.get(wire)
                if lent is None:
                    return False
                wire, to = lent.private_spi, lent.client
                if place.address.version != to.address.version:
                    place = replace(lent.shown, transport=to.transport)
                # It is inside from here on, whoever has sent it.
                node = self._given_inside(node, to)
                while (inner := self.routers.get(node.name)) is not None:
                    if to.address not in inner.outside or wire not in inner.lent:
                        return False
                    deeper = inner.lent[wire]
                    wire, to = deeper.private_spi, deeper.client
                    node = self._given_inside(node, to)
                break
            if not net:
                return False
            router = self.routers[net]
            lent_to = [one for one in router.lent.values() if _is_of(one, place, wire)]
            flow = next((one for one in lent_to if _is_to(one, to.address)), None)
            if flow is None:
                return False
            way = router.node.machine.outside_place(flow.client_hit, flow.peer_hit)
            if way is None:
                return False
            ends = [one for one in flow.peer if one.address.version == way.address.version]
            if not ends:
                return False
            place, to = way, ends[0]
        else:
            return False
        opened = target.sas.get((Direction.INBOUND, wire))
        if node is not target or opened is None:
            return False
        if opened.encryption_key != sealed.encryption_key:
            return False
        self.perform(target, target.machine.data_received(wire, self.now))
        if not self.where[target.address]:
            seen = Path(to.address, place.address, place.transport, to.port, place.port)
            if target.heard.get(wire) != (seen.remote, seen.remote_port):
                target.heard[wire] = seen.remote, seen.remote_port
                self.perform(target, target.machine.source_changed(wire, seen, self.now))
        return True

    def _given_inside(self, router: Node, to: Place) -> Node:
        """Who is at a place inside of a router; nobody is that router itself."""
        there = self.where.get(to.address) == router.name
        return self.nodes.get(to.address, router) if there else router


def _is_of(lent: LendSpi, place: Place, spi: int) -> bool:
    return lent.client.address == place.address and spi in lent.peer_spis


def _is_to(lent: LendSpi, to: IPAddress) -> bool:
    return lent.shown.address == to or any(place.address == to for place in lent.peer)


def is_check(data: bytes, router: Node) -> bool:
    """Whether a packet asks a router if it is there, or is the answer.

    If four such are lost in turn, a client gives the router up and registers again; but it is the
    daemon that sees to that, which is not here. So no test lets them be lost by chance.
    """
    packet = parse(data)
    echo = packet.get(EchoRequestSigned) or packet.get(EchoResponseSigned)
    return echo is not None and router.hit in (packet.sender_hit, packet.receiver_hit)


def both_ways(network: Moving, one: Node, other: Node) -> None:
    """Data gets there and back."""
    assert network.esp(one, other), "forth"
    assert network.esp(other, one), "back"
