"""Mobile routers inside of mobile routers, in virtual time."""

import random
from ipaddress import IPv6Address, ip_address

import pytest

from hipgw.protocol.effects import SendDatagram
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import Path, Transport
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import AuthTicket, EspInfoNoSig, RegFrom, UntoldPeers
from protocol.moving import Moving, both_ways, is_check, router_config
from protocol.network import Node, parse

HERE, THERE, ELSEWHERE = "198.51.100.1", "203.0.113.1", "203.0.113.77"
DECK, DECK_2 = "10.9.0.10", "10.9.0.11"

pytestmark = pytest.mark.both_versions


def nested(
    transport: Transport = Transport.RAW, **terms: object
) -> tuple[Moving, Node, Node, Node, Node]:
    """A client inside of a router inside of a router, and a correspondent in the world."""
    network = Moving(transport=transport)
    outer = network.router("outer", "10.9.0.1", [HERE], 1, config=router_config(**terms))
    inner = network.router(
        "inner", "10.1.0.1", [DECK], 2, config=router_config(**terms), at="outer"
    )
    client = network.host("client", "10.1.0.10", 3, "inner")
    peer = network.host("peer", "192.0.2.9", 4)
    network.register(inner, outer)
    network.register(client, inner)
    return network, outer, inner, client, peer


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("tickets", [True, False])
def test_the_outer_router_moves(transport: Transport, tickets: bool) -> None:
    network, outer, _inner, client, peer = nested(transport, tickets=tickets)
    network.join(client, peer)
    assert peer.path_to(client).remote == ip_address(HERE)
    both_ways(network, client, peer)
    for place in (THERE, ELSEWHERE, HERE):
        network.move(outer, [place])
        network.run(3.0)
        assert peer.path_to(client).remote == ip_address(place)
        both_ways(network, client, peer)
    tellers = {
        name
        for name, one in network.forwarded
        if parse(one.data).get(AuthTicket) is not None and name == "inner"
    }
    assert tellers == ({"inner"} if tickets else set())
    (info,) = outer.machine.mobile_router_clients()
    assert (info.guests, info.correspondents) == (1, 1)


@pytest.mark.parametrize("transport", list(Transport))
def test_the_inner_router_moves(transport: Transport) -> None:
    network, _outer, inner, client, peer = nested(transport)
    network.join(client, peer)
    network.move(inner, [DECK_2], "outer")
    network.run(5.0)
    both_ways(network, client, peer)
    assert peer.path_to(client).remote == ip_address(HERE)
    network.move(inner, [THERE])
    network.run(20.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


def test_a_router_goes_into_another_one() -> None:
    network = Moving()
    outer = network.router("outer", "10.9.0.1", [HERE], 1)
    inner = network.router("inner", "10.1.0.1", [THERE], 2)
    client = network.host("client", "10.1.0.10", 3, "inner")
    peer = network.host("peer", "192.0.2.9", 4)
    network.register(client, inner)
    network.join(client, peer)
    both_ways(network, client, peer)
    network.move(inner, [DECK], "outer")
    network.register(inner, outer)
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(HERE)
    both_ways(network, client, peer)
    network.move(outer, [ELSEWHERE])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(ELSEWHERE)
    both_ways(network, client, peer)


def test_guests_are_called_as_well() -> None:
    """Once the outer router has heard of them."""
    network, outer, _inner, client, peer = nested()
    network.join(client, peer)
    second = network.host("second", "192.0.2.10", 5)
    network.join(second, client, HERE)
    both_ways(network, client, second)
    assert network.spinat(outer).flow_count == 2


def test_both_routers_lend_an_spi() -> None:
    """The correspondent goes by the outermost one."""
    network, outer, inner, client, peer = nested()
    other = network.host("other", "10.1.0.11", 5, "inner")
    third = network.host("third", "10.9.0.20", 6, "outer")
    network.register(other, inner)
    network.register(third, outer)
    for node in (client, other, third):
        node.machine._core.new_spi = lambda: 0x1234  # type: ignore[method-assign]
    for node in (third, client, other):
        network.join(node, peer)
    for node in (client, other, third):
        both_ways(network, node, peer)
    for _ in range(2):
        network.move(outer, [THERE])
        network.run(3.0)
        for node in (client, other, third):
            both_ways(network, node, peer)
        network.move(outer, [HERE])
        network.run(3.0)
    assert len(network.routers["outer"].lent) == 3
    outward = [one for name, one in network.forwarded if name == "outer"]
    assert all(len(parse(one.data).all(EspInfoNoSig)) <= 1 for one in outward)


def test_the_outer_router_goes_over_to_another_family() -> None:
    network, outer, _inner, client, peer = nested()
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, "192.0.2.9", "2001:db8::9")
    network.join(client, peer)
    network.run(3.0)
    for place in ("2001:db8:1::1", THERE):
        network.move(outer, [place])
        network.run(6.0)
        assert peer.path_to(client).remote == ip_address(place)
        both_ways(network, client, peer)


def test_three_routers_inside_of_one_another() -> None:
    network, outer, inner, _client, peer = nested()
    inmost = network.router("inmost", "10.5.0.1", ["10.1.0.20"], 7, at="inner")
    client = network.host("far", "10.5.0.10", 8, "inmost")
    network.register(inmost, inner)
    network.register(client, inmost)
    network.join(client, peer)
    both_ways(network, client, peer)
    network.move(outer, [THERE])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


@pytest.mark.parametrize("there", [[HERE], ["2001:db8:1::1"]])
def test_a_restarted_outer_router_learns_of_guests_again(there: list[str]) -> None:
    network, outer, inner, client, peer = nested()
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, "192.0.2.9", "2001:db8::9")
    second = network.host("second", "192.0.2.10", 5)
    for one in (peer, second):
        network.join(client, one)
    network.run(5.0)
    network.move(outer, there)
    network.run(5.0)
    (known,) = outer.machine.mobile_router_clients()
    network.routers.pop("outer")
    outer = network.router("outer", "10.9.0.1", there, 1)
    assert known.place is not None
    path = Path(outer.address, known.place.address, known.place.transport)
    network.perform(outer, outer.machine.recall(inner.hit, [path], network.now))
    network.run(5.0)
    both_ways(network, client, peer)
    network.move(outer, [THERE])
    network.run(5.0)
    for one in (peer, second):
        assert one.path_to(client).remote == ip_address(THERE)
        both_ways(network, client, one)


@pytest.mark.parametrize("seed", range(3))
def test_moves_at_random_through_a_bad_network(seed: int) -> None:
    network, outer, inner, client, peer = nested(list(Transport)[seed % 2])
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, "192.0.2.9", "2001:db8::9")
    network.join(client, peer)
    network.run(3.0)
    chance = random.Random(seed)
    network.filter = lambda _sender, data: (
        []
        if chance.random() < 0.1 and not (is_check(data, inner) or is_check(data, outer))
        else [0.01 + chance.random() * 0.05]
    )
    for number in range(10):
        four, six = f"203.0.113.{number + 1}", f"2001:db8:1::{number + 1}"
        if chance.random() < 0.3:
            network.move(inner, [f"10.9.0.{30 + number}"], "outer")
        else:
            network.move(outer, chance.choice([[four], [six], [four, six], []]))
        network.run(chance.choice([0.05, 0.3, 20.0]))
    network.move(outer, [chance.choice(["203.0.113.250", "2001:db8:1::250"])])
    network.run(40.0)
    network.filter = lambda _sender, _data: [0.01]
    network.run(40.0)
    both_ways(network, client, peer)


# -- what must not work ----------------------------------------------------------------------


def test_a_client_that_is_no_router_has_no_guests() -> None:
    network = Moving()
    router = network.router("router", "10.9.0.1", [HERE], 1)
    client = network.host("client", DECK, 2, "router")
    peer = network.host("peer", "192.0.2.9", 4)
    network.register(client, router)
    stranger = network.host("stranger", DECK_2, 5, "router")
    path = Path(stranger.address, peer.address, Transport.UDP)
    effects = stranger.machine.connect(peer.hit, [path], network.now)
    i1 = next(one.data for one in effects if isinstance(one, SendDatagram))
    forged = Transit(Place(client.address, Transport.UDP), Place(peer.address, Transport.UDP))
    assert not router.machine.transit_received(i1, forged, network.now, inside=True)
    assert router.drops()["not_relayed"] == 1
    assert not network.spinat(router).flow_count


def test_guests_count_for_the_router_that_brings_them() -> None:
    network, outer, _inner, client, peer = nested(flows_per_client=3)
    network.join(client, peer)
    spinat = network.spinat(outer)
    raw = next(
        one
        for name, one in network.forwarded
        if name == "inner" and parse(one.data).packet_type is PacketType.I1
    )
    for number in range(20):
        hit = IPv6Address(int(client.hit) + number + 1)
        data = raw.data[:4] + bytes(2) + raw.data[6:8] + hit.packed + raw.data[24:]
        source = Place(ip_address(DECK), Transport.UDP)
        transit = Transit(source, Place(peer.address, Transport.UDP))
        outer.machine.transit_received(data, transit, network.now, inside=True)
    assert spinat.flow_count == 3
    assert outer.drops()["table_full"] == 18
    both_ways(network, client, peer)
    network.run(400.0)
    assert spinat.flow_count == 1
    assert list(spinat.table.guests) == [client.hit]


def test_a_router_cannot_take_guests_of_another_one_away() -> None:
    network, outer, _inner, client, peer = nested()
    network.join(client, peer)
    thief = network.router("thief", "10.2.0.1", ["10.9.0.66"], 9, at="outer")
    network.register(thief, outer)
    seen = [one for name, one in network.forwarded if name == "inner"]
    for one in seen:
        if parse(one.data).packet_type in (PacketType.I1, PacketType.I2, PacketType.UPDATE):
            source = Place(ip_address("10.9.0.66"), Transport.UDP)
            transit = Transit(source, Place(peer.address, Transport.UDP))
            effects = outer.machine.transit_received(one.data, transit, network.now, inside=True)
            network.perform(outer, effects)
    network.run(5.0)
    assert len(network.spinat(outer).table.guests[client.hit]) == 2
    both_ways(network, client, peer)
    network.move(outer, [THERE])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


def test_a_guests_hit_cannot_be_that_of_a_client() -> None:
    network, outer, _inner, client, peer = nested()
    third = network.host("third", "10.9.0.20", 6, "outer")
    network.register(third, outer)
    network.join(third, peer)
    before = dict(network.routers["outer"].lent)
    for name, one in list(network.forwarded):
        if name == "outer" and parse(one.data).sender_hit == third.hit:
            transit = Transit(
                Place(ip_address(DECK), Transport.UDP), Place(peer.address, Transport.UDP)
            )
            outer.machine.transit_received(one.data, transit, network.now, inside=True)
    assert network.routers["outer"].lent == before
    assert outer.drops()["not_relayed"] >= 2
    both_ways(network, third, peer)
    assert client.hit not in network.spinat(outer).table.guests


def test_whoever_is_above_says_so_itself() -> None:
    """UNTOLD_PEERS of a client means nothing."""
    network, _outer, inner, client, peer = nested()
    network.join(client, peer)
    told = [one for _n, one in network.forwarded if parse(one.data).get(UntoldPeers)]
    assert not told
    spinat = network.spinat(inner)
    (flow,) = spinat.flows()
    core = inner.machine._core
    from hipgw.protocol.mobile_router import client as module

    own = core.with_peer(client.hit)[0]
    module.untold(core, own, RegFrom(ip_address(ELSEWHERE), 0, 139), [peer.hit], network.now)
    assert flow.told is None
