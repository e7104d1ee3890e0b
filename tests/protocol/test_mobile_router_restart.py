"""A mobile router that begins anew without its memory, in virtual time."""

from ipaddress import ip_address

import pytest

from hipgw.protocol.path import Path
from hipgw.protocol.states import State
from protocol.moving import both_ways, router_config
from protocol.moving_clients import ELSEWHERE, HERE, PEER, ROUTER, THERE, moving, restarted

pytestmark = pytest.mark.both_versions


def test_a_router_that_has_forgotten_all_is_told_by_its_clients() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.routers.pop("router")
    router = network.router("router", ROUTER, [HERE], 1)
    assert not network.esp(peer, client)
    network.perform(client, client.machine.ping(peer.hit, network.now)[1])
    network.run(0.2)
    assert router.drops()["not_relayed"], "while it does not know the client"
    network.perform(client, client.machine.close(router.hit, network.now))
    network.run(40.0)
    network.connect(client, router)
    network.run(15.0)
    both_ways(network, client, peer)
    network.move(router, [THERE])
    network.run(2.0)
    both_ways(network, client, peer)


@pytest.mark.parametrize("tickets", [True, False])
def test_a_router_that_was_restarted_calls_its_clients(tickets: bool) -> None:
    network, router, client, peer = moving(tickets=tickets)
    network.join(client, peer)
    network.run(5.0)  # nobody takes this for a collision of base exchanges
    (known,) = router.machine.mobile_router_clients()
    router = restarted(network, router, tickets=tickets)
    assert known.place is not None
    path = Path(router.address, known.place.address, known.place.transport)
    network.perform(router, router.machine.recall(known.hit, [path], network.now))
    network.run(2.0)
    assert [one.hit for one in router.machine.mobile_router_clients()] == [client.hit]
    both_ways(network, client, peer)
    (flow,) = network.spinat(router).flows()
    assert (flow.ticket is not None) is tickets
    network.move(router, [THERE])
    network.run(2.0)
    both_ways(network, client, peer)


@pytest.mark.parametrize("tickets", [True, False])
@pytest.mark.parametrize("moves", ["before", "after"])
def test_a_router_was_restarted_where_clients_have_no_address(tickets: bool, moves: str) -> None:
    """What it has known of correspondents' addresses of the other IP version, clients tell it."""
    network, router, client, peer = moving(tickets=tickets)
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, PEER, "2001:db8::9")
    network.join(client, peer)
    network.run(5.0)
    there = ["2001:db8:1::1"]
    if moves == "before":
        network.move(router, there)
        network.run(5.0)
    (known,) = router.machine.mobile_router_clients()
    network.routers.pop(router.name)
    outside = there if moves == "before" else [HERE]
    router = network.router("router", ROUTER, outside, 1, config=router_config(tickets=tickets))
    assert known.place is not None
    path = Path(router.address, known.place.address, known.place.transport)
    network.perform(router, router.machine.recall(known.hit, [path], network.now))
    network.run(5.0)
    network.move(router, there)
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(there[0])
    both_ways(network, client, peer)


@pytest.mark.parametrize("tickets", [True, False])
def test_a_router_that_has_moved_while_it_was_down(tickets: bool) -> None:
    network, router, client, peer = moving(tickets=tickets)
    network.join(client, peer)
    network.move(router, [ELSEWHERE])
    network.run(5.0)
    (known,) = router.machine.mobile_router_clients()
    network.move(router, [])
    network.routers.pop(router.name)
    router = network.router("router", ROUTER, [THERE], 1, config=router_config(tickets=tickets))
    assert known.place is not None
    path = Path(router.address, known.place.address, known.place.transport)
    network.perform(router, router.machine.recall(known.hit, [path], network.now))
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


def test_a_client_finds_that_its_router_was_restarted() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    router = restarted(network, router)
    before = network.now
    network.until(lambda: client.state(router) is not State.ESTABLISHED)
    assert network.now < before + 10.0
    network.connect(client, router)
    network.run(2.0)
    both_ways(network, client, peer)


def test_a_client_goes_on_asking_a_router_that_answers() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    before = client.machine.statistics()["sent"]["UPDATE"]
    network.run(60.0)
    assert client.state(router) is State.ESTABLISHED
    assert 10 <= client.machine.statistics()["sent"]["UPDATE"] - before <= 30
