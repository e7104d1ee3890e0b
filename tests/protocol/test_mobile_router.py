"""A mobile router, its clients and their correspondents, in virtual time."""

import random
from dataclasses import replace
from ipaddress import IPv6Address, ip_address

import pytest

from hipgw.protocol.effects import Direction, ForwardHip, PathMtuChanged, SendDatagram
from hipgw.protocol.mobile_router import proxies
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.nat.config import Terms
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.rendezvous.clients import may_rest
from hipgw.protocol.states import State
from hipgw.wire.parameters import (
    AuthTicket,
    EspInfoNoSig,
    LocatorSet,
    PlainLocator,
    SpiLocator,
    UntoldPeers,
)
from protocol.moving import Moving, both_ways, is_check, router_config
from protocol.moving_clients import (
    CLIENT_2,
    ELSEWHERE,
    ELSEWHERE_2,
    HERE,
    PEER,
    ROUTER,
    THERE,
    has_critical,
    leave,
    moving,
    updates,
)
from protocol.network import Node, hip_version, parse
from protocol.rvs_clients import server_config

pytestmark = pytest.mark.both_versions


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("client_begins", [True, False])
def test_a_client_is_at_the_routers_address(transport: Transport, client_begins: bool) -> None:
    network, router, client, peer = moving(transport)
    if client_begins:
        network.join(client, peer)
    else:
        network.join(peer, client, HERE)
    assert peer.path_to(client).remote == ip_address(HERE)
    assert client.path_to(peer).remote == peer.address
    both_ways(network, client, peer)
    (lent,) = network.routers["router"].lent.values()
    assert lent.public_spi == lent.private_spi
    assert lent.peer_spis == (peer.sa(Direction.INBOUND).spi,)
    (flow,) = network.spinat(router).flows()
    assert flow.ticket is not None


@pytest.mark.parametrize("transport", list(Transport))
def test_the_router_tells_where_the_client_is(transport: Transport) -> None:
    network, router, client, peer = moving(transport)
    network.join(client, peer)
    before = len(client.sas)
    for place in (THERE, ELSEWHERE, HERE):
        network.move(router, [place])
        network.run(2.0)
        assert peer.path_to(client).remote == ip_address(place)
        assert peer.outbound[client.hit][2], "verified"
        both_ways(network, client, peer)
    assert client.path_to(peer).local == client.address
    assert len(client.sas) == before
    assert not updates(network, UntoldPeers)
    (flow,) = network.spinat(router).flows()
    assert flow.proxy is None
    (info,) = router.machine.mobile_router_clients()
    assert (info.hit, info.correspondents, info.tickets, info.begun) == (client.hit, 1, 1, 0)
    assert info.place == Place(client.address, transport)
    assert info.packets_in and info.packets_out


def test_a_correspondent_that_no_ticket_is_for_is_told_by_the_client() -> None:
    network, router, client, peer = moving(tickets=False)
    network.join(client, peer)
    network.move(router, [THERE])
    network.run(3.0)
    assert not updates(network, AuthTicket)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


def test_a_correspondent_that_refuses_tickets_is_told_by_the_client() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    session = peer.machine._core.with_peer(client.hit)[0].session
    assert session is not None
    session.proxied = (9, 0)
    network.move(router, [THERE])
    network.run(30.0)
    assert peer.drops()["bad_ticket"] == 4
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


@pytest.mark.parametrize("outside", list(Transport))
@pytest.mark.parametrize("inside", list(Transport))
def test_what_carries_packets_outside_need_not_do_so_inside(
    inside: Transport, outside: Transport
) -> None:
    network, router, client, peer = moving(inside, outside=outside)
    network.join(client, peer)
    assert client.path_to(peer).transport is inside
    assert peer.path_to(client).transport is outside
    both_ways(network, client, peer)
    for place in (THERE, HERE):
        network.move(router, [place])
        network.run(2.0)
        assert peer.path_to(client).remote == ip_address(place)
        both_ways(network, client, peer)


def test_while_there_is_no_network_everybody_waits() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.move(router, [])
    network.run(60.0)
    assert client.state(peer) is State.ESTABLISHED
    network.move(router, [THERE])
    network.run(2.0)
    both_ways(network, client, peer)


def test_a_lost_update_is_sent_again() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    lost = []

    def filter(sender: str, data: bytes) -> list[float]:
        if sender == "router" and parse(data).get(AuthTicket) is not None and len(lost) < 2:
            lost.append(data)
            return []
        return [0.01]

    network.filter = filter
    network.move(router, [THERE])
    network.run(5.0)
    assert len(lost) == 2
    assert peer.path_to(client).remote == ip_address(THERE)
    assert not updates(network, UntoldPeers)


def test_clients_with_the_same_spi_do_not_collide() -> None:
    network, router, client, peer = moving()
    other = network.host("other", CLIENT_2, 4, "router")
    network.register(other, router)
    for node in (client, other):
        node.machine._core.new_spi = lambda: 0x1234  # type: ignore[method-assign]
    network.join(client, peer)
    network.join(other, peer)
    lent = list(network.routers["router"].lent.values())
    assert {one.private_spi for one in lent} == {0x1234}
    assert len({one.public_spi for one in lent}) == 2
    critical = [one for one in updates(network, EspInfoNoSig) if _is_critical(one)]
    assert critical
    for node in (client, other):
        both_ways(network, node, peer)
    network.move(router, [THERE])
    network.run(2.0)
    for node in (client, other):
        both_ways(network, node, peer)
    leave(network, other)
    for node in (client, other):
        both_ways(network, node, peer)


def _is_critical(one: ForwardHip) -> bool:
    return has_critical(one.data)


def test_new_keys_pass() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    for node, other in ((client, peer), (peer, client)):
        network.perform(node, node.machine.rekey(other.hit, network.now))
        network.run(5.0)
        both_ways(network, client, peer)
        network.run(3.0)
        both_ways(network, client, peer)
    assert len(network.routers["router"].lent) > 1
    network.run(200.0)
    assert len(network.routers["router"].lent) == 1
    network.move(router, [THERE])
    network.run(2.0)
    both_ways(network, client, peer)


def test_it_has_terms_of_its_own_for_clients() -> None:
    network = Moving()
    config = router_config()
    assert config.registrar is not None
    allowed: set[IPv6Address] = set()
    terms = Terms(allow=lambda hit: hit in allowed, max_lifetime_s=100.0, clients_max=1)
    registrar = replace(config.registrar, allow=lambda _hit: False, mobile_router_terms=terms)
    config = replace(config, registrar=registrar)
    router = network.router("router", ROUTER, [HERE], 1, config=config)
    nodes = [network.host(f"client-{n}", f"10.1.0.{n}", n, "router") for n in (2, 3, 4)]
    allowed |= {nodes[0].hit, nodes[1].hit}
    network.register(nodes[0], router)
    (held,) = nodes[0].machine.held_registrations()
    assert held.lifetime_s <= 100.0
    # There is room for one alone, and the other one is not to be a client at all.
    for node in nodes[1:]:
        with pytest.raises(AssertionError):
            network.register(node, router)
        assert not list(node.machine.held_registrations())
    (known,) = router.machine.mobile_router_clients()
    assert known.hit == nodes[0].hit


def test_who_comes_from_outside_is_no_client() -> None:
    network, router, client, peer = moving()
    stranger = network.host("stranger", "192.0.2.77", 8)
    effects = stranger.machine.register(router.hit, [ServiceType.MOBILE_ROUTER], 300.0, network.now)
    network.perform(stranger, effects)
    path = Path(stranger.address, ip_address(HERE), network.transport)
    network.perform(stranger, stranger.machine.connect(router.hit, [path], network.now))
    network.run(2.0)
    assert stranger.state(router) is State.ESTABLISHED
    assert not list(stranger.machine.held_registrations())
    (known,) = router.machine.mobile_router_clients()
    assert known.hit == client.hit
    network.join(client, peer)
    both_ways(network, client, peer)


def test_clients_hear_that_there_is_no_network() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    assert peer.machine.may_be_cut_off(client.hit, network.now) or hip_version.get() == 1
    assert not client.machine.may_be_cut_off(peer.hit, network.now)
    assert not client.machine.cut_off
    assert not peer.machine.cut_off
    network.move(router, [])
    network.run(client.machine._core.config.router_check_s + 1.0)
    assert client.machine.cut_off
    assert not peer.machine.cut_off
    network.move(router, [THERE])
    network.run(client.machine._core.config.router_check_s + 1.0)
    assert not client.machine.cut_off
    both_ways(network, client, peer)
    # Who has no router any more is not cut off by it.
    network.move(router, [])
    network.run(client.machine._core.config.router_check_s + 1.0)
    assert client.machine.cut_off
    network.perform(client, client.machine.close(router.hit, network.now, reason="left"))
    assert not client.machine.cut_off


def test_a_better_place_outside_is_used_as_soon_as_it_is_there() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.move(router, [THERE, HERE])
    network.run(2.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)
    # One that is worse is not, nor one of the other IP version while that in use has one.
    network.move(router, ["2001:db8:1::1", THERE, HERE])
    network.run(2.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)
    network.move(router, [HERE])
    network.run(2.0)
    assert peer.path_to(client).remote == ip_address(HERE)
    both_ways(network, client, peer)


def test_both_ends_are_behind_routers_and_both_move_at_once() -> None:
    network, router, client, _peer = moving()
    second = network.router("second", "10.2.0.1", [ELSEWHERE], 5)
    friend = network.host("friend", "10.2.0.10", 6, "second")
    network.register(friend, second)
    network.join(client, friend, ELSEWHERE)
    both_ways(network, client, friend)
    network.move(router, [THERE])
    network.run(2.0)
    both_ways(network, client, friend)
    network.move(second, ["203.0.113.99"])
    network.run(2.0)
    both_ways(network, client, friend)


def test_very_many_correspondents_are_told_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "AT_ONCE", 2)
    monkeypatch.setattr(proxies, "BATCH", 1)
    network, router, client, peer = moving()
    peers = [peer]
    peers += [network.host(f"peer-{one}", f"192.0.2.{one}", one) for one in range(20, 25)]
    for one in peers:
        network.join(client, one)
    network.move(router, [THERE])
    assert len(updates(network, AuthTicket)) == 2
    network.run(2.0)
    for one in peers:
        assert one.path_to(client).remote == ip_address(THERE)


def test_both_routers_move_at_the_same_moment() -> None:
    """A rendezvous server has to help: neither knows where the other end is (RFC 8046 §3.2.3)."""
    network, router, client, _peer = moving()
    second = network.router("second", "10.2.0.1", [ELSEWHERE], 5)
    friend = network.host("friend", "10.2.0.10", 6, "second")
    network.register(friend, second)
    server = network.host("server", "192.0.2.53", 7, config=server_config())
    effects = friend.machine.register(server.hit, [ServiceType.RENDEZVOUS], 300.0, network.now)
    network.perform(friend, effects)
    network.connect(friend, server)
    network.run(2.0)
    to_server = Path(client.address, server.address, network.transport, by_rendezvous=True)
    network.perform(client, client.machine.connect(friend.hit, [to_server], network.now))
    network.run(3.0)
    both_ways(network, client, friend)
    (known,) = server.machine._core.with_peer(friend.hit)
    assert known.session is not None and not known.session.by_router
    network.move(router, [THERE])
    network.move(second, ["203.0.113.99"])
    network.run(20.0)
    assert known.session is not None and known.session.by_router
    assert not may_rest(server.machine._core, known)
    both_ways(network, client, friend)
    assert friend.path_to(client).remote == ip_address(THERE)
    assert server.machine.statistics()["relayed"]["UPDATE"]


def test_a_client_that_leaves_the_router_goes_on() -> None:
    network, _router, client, peer = moving()
    network.join(client, peer)
    leave(network, client)
    assert peer.path_to(client).remote == ip_address(ELSEWHERE)
    both_ways(network, client, peer)


def test_a_client_that_has_left_is_not_spoken_for() -> None:
    """The router does not know, as its address inside cannot be reached from there."""
    network, router, client, peer = moving()
    network.join(client, peer)
    network.move(router, [ELSEWHERE_2])
    network.run(3.0)
    leave(network, client)
    network.run(3.0)
    network.move(router, [THERE])
    for _ in range(10):
        network.run(1.0)
        assert peer.path_to(client).remote == ip_address(ELSEWHERE)
        both_ways(network, client, peer)
    assert peer.drops()["bad_ticket"]
    # It comes back, and has forgotten the router meanwhile, which did not answer.
    network.run(60.0)
    network.where.pop(client.address)
    network.where[ip_address(CLIENT_2)] = "router"
    network.readdress(client, CLIENT_2)
    network.connect(client, router)
    network.run(15.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)
    before = peer.drops()["bad_ticket"]
    network.move(router, [HERE])
    network.run(2.0)
    assert peer.path_to(client).remote == ip_address(HERE)
    assert peer.drops()["bad_ticket"] == before
    both_ways(network, client, peer)


def test_flows_of_a_client_that_is_seen_elsewhere_are_forgotten() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    association = router.machine._core.with_peer(client.hit)[0]
    assert association.path is not None
    association.path = replace(association.path, remote=ip_address("10.1.0.99"))
    association.mobility.locators.begin(ip_address("10.1.0.99"), 0)
    network.filter = lambda sender, _data: [] if sender == "client" else [0.01]
    network.run(12.0)
    assert network.spinat(router).flow_count == 0
    assert not network.routers["router"].lent
    assert flow.ticket is None


def test_a_client_goes_over_to_another_router() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    second = network.router("second", "10.2.0.1", [ELSEWHERE], 5)
    network.where.pop(client.address)
    network.where[ip_address("10.2.0.10")] = "second"
    network.readdress(client, "10.2.0.10")
    effects = client.machine.register(second.hit, [ServiceType.MOBILE_ROUTER], 300.0, network.now)
    network.perform(client, effects)
    network.connect(client, second)
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(ELSEWHERE)
    both_ways(network, client, peer)
    network.move(second, [THERE])
    network.run(2.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    assert updates(network, AuthTicket)
    both_ways(network, client, peer)
    # What the first one still has is revoked by the ticket of the second.
    assert "bad_ticket" not in peer.drops()
    network.move(router, ["203.0.113.66"])
    network.run(2.0)
    assert peer.drops()["bad_ticket"]
    assert peer.path_to(client).remote == ip_address(THERE)


def test_a_client_moves_inside() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.where.pop(client.address)
    network.where[ip_address(CLIENT_2)] = "router"
    network.readdress(client, CLIENT_2)
    network.run(3.0)
    both_ways(network, client, peer)
    (lent,) = network.routers["router"].lent.values()
    assert lent.client.address == ip_address(CLIENT_2)
    assert client.state(router) is State.ESTABLISHED


def locators_of(sender: Node, receiver: Node) -> set[str]:
    """All addresses that somebody has told a peer of."""
    packets = [parse(one.data) for one in sender.events if isinstance(one, SendDatagram)]
    return {
        str(one.locator.address)
        for packet in packets
        if packet.receiver_hit == receiver.hit
        for listed in packet.all(LocatorSet)
        for one in listed.locators
        if isinstance(one.locator, SpiLocator | PlainLocator)
    }


def test_the_router_tells_each_side_of_its_own_addresses_alone() -> None:
    network, router, client, peer = moving()
    path = Path(ip_address(HERE), peer.address, network.transport)
    network.perform(router, router.machine.connect(peer.hit, [path], network.now))
    network.run(3.0)
    for places in ([THERE, "2001:db8:1::1"], [], [ELSEWHERE]):
        network.move(router, places)
        network.run(40.0)
    assert not locators_of(router, client) - {ROUTER}
    assert locators_of(router, peer) == {THERE, "2001:db8:1::1", ELSEWHERE}
    assert peer.path_to(router).remote == ip_address(ELSEWHERE)
    assert client.path_to(router).remote == ip_address(ROUTER)


def test_a_client_begins_anew_with_a_correspondent() -> None:
    """The flow is there already, and so is what it has used."""
    network, router, client, peer = moving()
    network.join(client, peer)
    for caller in (client, peer):
        for node, other in ((client, peer), (peer, client)):
            network.perform(node, node.machine.close(other.hit, network.now))
        network.run(3.0)
        if caller is client:
            network.join(client, peer)
        else:
            network.join(peer, client, HERE)
        both_ways(network, client, peer)
        network.run(90.0)
        both_ways(network, client, peer)
    assert len(network.routers["router"].lent) == 1
    assert router.drops().get("bad_ticket", 0) == 0


@pytest.mark.parametrize("transport", list(Transport))
def test_a_client_begins_anew_with_another_carrier(transport: Transport) -> None:
    network, router, client, peer = moving(transport)
    network.join(client, peer)
    for node, other in ((client, peer), (peer, client)):
        network.perform(node, node.machine.close(other.hit, network.now))
    network.run(3.0)
    network.transport = next(one for one in Transport if one is not transport)
    network.join(client, peer)
    assert peer.path_to(client).transport is network.transport
    both_ways(network, client, peer)
    (flow,) = network.spinat(router).flows()
    assert flow.transport is network.transport
    network.move(router, [THERE])
    network.run(3.0)
    assert peer.path_to(client).transport is network.transport
    both_ways(network, client, peer)


@pytest.mark.parametrize("transport", list(Transport))
def test_octets_behind_a_packet_are_passed_on(transport: Transport) -> None:
    network, _router, client, peer = moving(transport)
    network.join(client, peer)
    network.perform(client, client.machine.discover_path_mtu(peer.hit, 1497, network.now))
    network.run(10.0)
    sizes = [8 * (one.data[1] + 1) - len(one.data) for _name, one in network.forwarded]
    assert min(sizes) < 0
    found = [event for event in client.events if isinstance(event, PathMtuChanged)]
    assert found[-1].mtu == 1497
    assert "checksum" not in peer.drops()


@pytest.mark.parametrize("seed", range(4))
def test_moves_at_random_through_a_bad_network(seed: int) -> None:
    """Among networks of either IP version, of both and of none, while a tenth is lost."""
    network, router, client, peer = moving(list(Transport)[seed % 2])
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, PEER, "2001:db8::9")
    network.join(client, peer)
    both_ways(network, client, peer)
    network.run(3.0)
    chance = random.Random(seed)
    network.filter = lambda _sender, data: (
        []
        if chance.random() < 0.1 and not is_check(data, router)
        else [0.01 + chance.random() * 0.05]
    )
    for number in range(12):
        four, six = f"203.0.113.{number + 1}", f"2001:db8:1::{number + 1}"
        network.move(router, chance.choice([[four], [six], [four, six], []]))
        network.run(chance.choice([0.05, 0.3, 20.0]))
    network.move(router, [chance.choice(["203.0.113.250", "2001:db8:1::250"])])
    network.run(40.0)
    network.filter = lambda _sender, _data: [0.01]
    network.run(30.0)
    both_ways(network, client, peer)


def test_correspondents_that_know_nothing_of_routers() -> None:
    """They drop what is critical, and use the client's SPI, which two clients have."""
    network, router, client, peer = moving(tickets=False)
    other = network.host("other", CLIENT_2, 4, "router")
    network.register(other, router)
    another = network.host("another", "192.0.2.10", 5)
    for node in (client, other):
        node.machine._core.new_spi = lambda: 0x1234  # type: ignore[method-assign]

    def ignorant(sender: str, data: bytes) -> list[float]:
        """The correspondent's own parser, as it were."""
        if sender == "router" and IPv6Address(data[24:40]) in (peer.hit, another.hit):
            return [] if has_critical(data) else [0.01]
        return [0.01]

    network.filter = ignorant
    network.join(client, peer)
    network.join(other, another)
    lent = network.routers["router"].lent
    assert len(lent) == 2
    for node, far in ((client, peer), (other, another)):
        session = far.machine._core.with_peer(node.hit)[0].session
        assert session is not None
        if hip_version.get() == 1:
            assert session.label == 0
        assert node.state(far) is State.ESTABLISHED
