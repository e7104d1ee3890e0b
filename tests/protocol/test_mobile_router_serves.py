"""A mobile router that is a rendezvous server or a relay besides: for whom is what comes to it?"""

from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import SendDatagram
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.path import HIP_UDP_PORT, Path, Transport
from hipgw.protocol.registration import ServiceType, Wanted
from hipgw.protocol.rendezvous.config import RendezvousConfig
from hipgw.protocol.states import State
from protocol.moving import Moving, both_ways
from protocol.moving_clients import CLIENT, HERE, PEER, ROUTER, THERE
from protocol.nats import Esp, Internet, NatKind
from protocol.nats import Place as NatPlace
from protocol.network import FAST, Node, identity
from protocol.test_nat_traversal import RELAY, by_relay, meet, register, relay_config

FRIEND = "192.0.2.77"


def serving(*services: ServiceType) -> MachineConfig:
    anybody = lambda _hit: True  # noqa: E731
    rendezvous = ServiceType.RENDEZVOUS in services
    registrar = RegistrarConfig(
        services=(ServiceType.MOBILE_ROUTER, *services),
        allow=anybody,
        mobile_router=MobileRouterConfig(),
        rendezvous=RendezvousConfig(allow=anybody, rest_s=2.0) if rendezvous else None,
    )
    return replace(FAST, registrar=registrar)


def met(transport: Transport, at: str, where: str) -> tuple[Moving, Node, Node, Node]:
    """A mobile router that is a rendezvous server, a client of each service, and a stranger."""
    network = Moving(transport=transport)
    config = serving(ServiceType.RENDEZVOUS)
    router = network.router("router", ROUTER, [HERE], 1, config=config)
    client = network.host("client", CLIENT, 2, "router")
    network.register(client, router)
    friend = network.host("friend", at, 3, where)
    effects = friend.machine.register(router.hit, [ServiceType.RENDEZVOUS], 300.0, network.now)
    network.perform(friend, effects)
    to_router = Path(friend.address, router.address if where else _outside(network), transport)
    network.perform(friend, friend.machine.connect(router.hit, [to_router], network.now))
    network.until(lambda: friend.state(router) is State.ESTABLISHED)
    network.run(10.0)  # until the server has it at rest
    held = [one.reg_type for one in friend.machine.held_registrations()]
    assert held == [ServiceType.RENDEZVOUS]
    return network, router, client, friend


def _outside(network: Moving):  # type: ignore[no-untyped-def]
    return network.routers["router"].outside[0]


@pytest.mark.both_versions
@pytest.mark.parametrize("transport", list(Transport))
def test_a_stranger_calls_a_client_of_the_rendezvous_server(transport: Transport) -> None:
    network, router, client, friend = met(transport, FRIEND, "")
    caller = network.host("caller", PEER, 4)
    way = Path(caller.address, _outside(network), transport, by_rendezvous=True)
    network.perform(caller, caller.machine.connect(friend.hit, [way], network.now))
    network.run(3.0)
    assert caller.state(friend) is State.ESTABLISHED, router.drops()
    assert caller.path_to(friend).remote == friend.address
    both_ways(network, caller, friend)
    # Those behind the router are reached by it as before.
    network.join(caller, client, HERE)
    both_ways(network, caller, client)
    network.move(router, [THERE])
    network.run(3.0)
    both_ways(network, caller, client)


@pytest.mark.parametrize("transport", list(Transport))
def test_machines_inside_meet_by_the_rendezvous_server_too(transport: Transport) -> None:
    network, router, _client, friend = met(transport, "10.1.0.77", "router")
    caller = network.host("caller", "10.1.0.78", 4, "router")
    way = Path(caller.address, router.address, transport, by_rendezvous=True)
    network.perform(caller, caller.machine.connect(friend.hit, [way], network.now))
    network.run(3.0)
    assert caller.state(friend) is State.ESTABLISHED, router.drops()
    both_ways(network, caller, friend)


@pytest.mark.parametrize("named", [ServiceType.MOBILE_ROUTER, ServiceType.RENDEZVOUS])
def test_who_is_named_for_one_service_is_asked_for_the_other_by_itself(named: ServiceType) -> None:
    network = Moving()
    config = serving(ServiceType.RENDEZVOUS)
    router = network.router("router", ROUTER, [HERE], 1, config=config)
    both = ServiceType.RENDEZVOUS, ServiceType.MOBILE_ROUTER
    automatic = replace(FAST, automatic=lambda _hit: Wanted(reg_types=both, lifetime_s=60.0))
    client = network.host("client", CLIENT, 2, "router", config=automatic)
    effects = client.machine.register(router.hit, [named], 300.0, network.now)
    network.perform(client, effects)
    network.connect(client, router)
    network.run(3.0)
    held = {one.reg_type: one.lifetime_s for one in client.machine.held_registrations()}
    assert set(held) == set(both)
    assert min(held.values()) > 200, "as long as was said"


def test_what_is_for_nobody_is_dropped_as_before() -> None:
    network, router, _client, friend = met(Transport.UDP, FRIEND, "")
    caller = network.host("caller", PEER, 4)
    nobody = IPv6Address(int(friend.hit) ^ 1)
    way = Path(caller.address, _outside(network), Transport.UDP, by_rendezvous=True)
    before = len(network.sent)
    network.perform(caller, caller.machine.connect(nobody, [way], network.now))
    network.run(0.5)
    assert router.drops()["not_our_hit"] == 1
    assert [name for name, _ in network.sent[before:]] == ["caller"]
    # Written to somebody else's address, it is no business of the server's.
    calling = caller.machine.connect(friend.hit, [way], network.now)
    (i1,) = [effect.data for effect in calling if isinstance(effect, SendDatagram)]
    place = Place(way.local, Transport.UDP), Place(friend.address, Transport.UDP)
    for inside in (True, False):
        effects = router.machine.transit_received(i1, Transit(*place), network.now, inside=inside)
        assert not effects


class InternetOfRouters(Internet):
    """The relay is a mobile router besides: its queue hands over what is for others' HITs."""

    def _hand_over(
        self, node: Node, source: NatPlace, target: NatPlace, content: bytes | Esp
    ) -> None:
        for_others = isinstance(content, bytes) and IPv6Address(content[24:40]) != node.hit
        if node.name != "relay" or target[1] != HIP_UDP_PORT or not for_others:
            super()._hand_over(node, source, target, content)
            return
        assert isinstance(content, bytes)
        ends = [Place(address, Transport.UDP, port) for address, port in (source, target)]
        effects = node.machine.transit_received(content, Transit(*ends), self.now, inside=False)
        self.perform(node, effects)


def test_hosts_behind_nats_meet_by_a_relay_that_is_a_mobile_router() -> None:
    net = InternetOfRouters()
    services = ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP
    config = relay_config(services=services)
    assert config.registrar is not None
    registrar = replace(
        config.registrar,
        services=(*services, ServiceType.MOBILE_ROUTER),
        mobile_router=MobileRouterConfig(),
    )
    relay = net.host(
        "relay", RELAY, identity("ecdsa-p256", 1), replace(config, registrar=registrar)
    )
    a = net.behind("a", NatKind.SYMMETRIC, 1, identity("ecdsa-p256", 2))
    b = net.behind("b", NatKind.SYMMETRIC, 2, identity("ecdsa-p256", 3))
    register(net, b, relay)
    register(net, a, relay)
    meet(net, a, b)
    assert by_relay(net, a, b), relay.drops()
