"""A mobile router, its clients and their correspondents, in virtual time."""

import random
from dataclasses import replace
from ipaddress import IPv6Address, ip_address

import pytest

from hipgw.protocol.effects import Direction, ForwardHip, PathMtuChanged, SendDatagram
from hipgw.protocol.mobile_router import proxies
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.nat.config import Terms
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.rendezvous.clients import may_rest
from hipgw.protocol.states import State
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    Ack,
    AuthTicket,
    EspInfo,
    EspInfoNoSig,
    EspInfoNoSigOptional,
    HipMac,
    Locator,
    LocatorSet,
    Parameter,
    PlainLocator,
    Seq,
    SpiLocator,
    UntoldPeers,
)
from protocol.moving import Moving, both_ways, router_config
from protocol.network import Nat, Node, hip_version, parse
from protocol.rvs_clients import server_config

ROUTER, CLIENT, CLIENT_2, PEER = "10.1.0.1", "10.1.0.10", "10.1.0.11", "192.0.2.9"
HERE, THERE, ELSEWHERE = "198.51.100.1", "203.0.113.1", "203.0.113.77"
ELSEWHERE_2 = "203.0.113.78"

pytestmark = pytest.mark.both_versions


def moving(
    transport: Transport = Transport.RAW, **terms: object
) -> tuple[Moving, Node, Node, Node]:
    """A router with a client, and a correspondent outside."""
    network = Moving(transport=transport)
    router = network.router("router", ROUTER, [HERE], 1, config=router_config(**terms))
    client = network.host("client", CLIENT, 2, "router")
    peer = network.host("peer", PEER, 3)
    network.register(client, router)
    return network, router, client, peer


def updates(network: Moving, kind: type) -> list[ForwardHip]:
    return [one for _name, one in network.forwarded if parse(one.data).get(kind) is not None]


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


def leave(network: Moving, client: Node) -> None:
    """A client goes elsewhere, where there is no router."""
    network.where.pop(client.address)
    network.where[ip_address(ELSEWHERE)] = ""
    network.readdress(client, ELSEWHERE)
    network.run(3.0)


def _is_critical(one: ForwardHip) -> bool:
    return _has_critical(one.data)


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


def test_clients_hear_that_there_is_no_network() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    assert peer.machine.is_behind_router(client.hit) or hip_version.get() == 1
    assert not client.machine.is_behind_router(peer.hit)
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


def restarted(network: Moving, router: Node, **terms: object) -> Node:
    """Another process at the same place, which knows nothing but the key."""
    network.routers.pop(router.name)
    return network.router(router.name, ROUTER, [HERE], 1, config=router_config(**terms))


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


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("tickets", [True, False])
def test_a_network_behind_a_nat(transport: Transport, tickets: bool) -> None:
    """What correspondents are told is a private address; they go by where packets come from.

    What is plain otherwise goes in UDP there.
    """
    network, router, client, peer = moving(transport, tickets=tickets)
    private = "172.16.0.2"
    nat = network.nats[ip_address(private)] = Nat("203.0.113.200")
    network.join(client, peer)
    for place in (private, THERE, private):
        network.move(router, [place])
        network.run(20.0)
        seen = peer.path_to(client)
        assert seen.remote == (nat.outside if place == private else ip_address(place))
        assert seen.transport is (Transport.UDP if place == private else transport)
        both_ways(network, client, peer)
        network.run(60.0)
        both_ways(network, client, peer)
    if tickets or transport is Transport.UDP:
        nat.rebind()
        network.run(40.0)
        both_ways(network, client, peer)
    second = network.host("second", "192.0.2.10", 7)
    network.join(client, second)
    both_ways(network, client, second)
    network.move(router, [HERE])
    network.run(5.0)
    for one in (peer, second):
        assert one.path_to(client).remote == ip_address(HERE)
        both_ways(network, client, one)


# -- what must not work ----------------------------------------------------------------------


def test_who_is_not_registered_is_not_passed_on() -> None:
    network, router, _client, peer = moving()
    stranger = network.host("stranger", CLIENT_2, 4, "router")
    network.perform(
        stranger,
        stranger.machine.connect(
            peer.hit, [Path(stranger.address, peer.address, network.transport)], network.now
        ),
    )
    network.run(5.0)
    assert router.drops()["not_relayed"]
    assert not network.spinat(router).flow_count


def test_nobody_speaks_for_another_client() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.where[ip_address(CLIENT_2)] = "router"
    sent = [one for name, one in network.forwarded if name == "router"]
    packet = next(o for o in sent if parse(o.data).packet_type is PacketType.I2)
    forged = Transit(Place(ip_address(CLIENT_2), Transport.UDP), Place(peer.address, Transport.UDP))
    lent = dict(network.routers["router"].lent)
    effects = router.machine.transit_received(packet.data, forged, network.now, inside=True)
    assert effects == []
    assert router.drops()["not_relayed"] == 1
    assert network.routers["router"].lent == lent


def test_a_ticket_for_somebody_unknown_is_refused() -> None:
    network, router, client, _peer = moving()
    far = network.host("far", CLIENT_2, 4, "router")
    network.join(client, far)  # directly, inside
    network.run(1.0)
    assert router.drops()["bad_ticket"]
    network.move(router, [THERE])
    network.run(3.0)
    assert not updates(network, AuthTicket)


def test_an_update_that_is_played_again_changes_nothing() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.move(router, [THERE])
    network.run(2.0)
    (first, *_rest) = [o for o in updates(network, AuthTicket) if parse(o.data).get(LocatorSet)]
    network.move(router, [ELSEWHERE])
    network.run(2.0)
    place = first.transit.source
    path = Path(peer.address, place.address, place.transport)
    network.perform(peer, peer.machine.datagram_received(first.data, path, network.now))
    network.run(2.0)
    assert peer.drops()["duplicate"] == 1
    assert peer.path_to(client).remote == ip_address(ELSEWHERE)


def test_a_ticket_ends() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    session = client.machine._core.with_peer(peer.hit)[0].session
    assert session is not None
    session.ticket_renew_at = None
    (flow,) = network.spinat(router).flows()
    assert flow.ticket is not None
    association = peer.machine._core.with_peer(client.hit)[0]
    assert association.established_at is not None
    association.established_at -= 5 * 3600
    network.move(router, [THERE])
    network.run(1.0)
    assert peer.drops()["bad_ticket"]


def test_a_stretched_ticket_is_refused() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    assert flow.ticket is not None
    flow.ticket.shown = replace(flow.ticket.shown, lifetime=0xFFFF)
    network.move(router, [THERE])
    network.run(1.0)
    assert peer.drops()["bad_ticket"]
    assert peer.path_to(client).remote == ip_address(HERE)


def test_floods_from_outside_cost_no_memory() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    machine, spinat = router.machine, network.spinat(router)
    i1 = next(
        one for _n, one in network.forwarded if parse(one.data).packet_type is PacketType.I1
    ).data
    count = spinat.flow_count
    for number in range(2000):
        sender = i1[8:20] + number.to_bytes(4, "big")
        data = i1[:1] + bytes([4]) + i1[2:4] + bytes(4) + sender + client.hit.packed
        transit = Transit(
            Place(peer.address, Transport.UDP), Place(ip_address(HERE), Transport.UDP)
        )
        for kind in (PacketType.I1, PacketType.R1, PacketType.I2, PacketType.UPDATE):
            forged = data[:2] + bytes([kind]) + data[3:]
            machine.transit_received(forged[:40], transit, network.now, inside=False)
    assert spinat.flow_count == count
    assert len(spinat.clients) == 1
    assert router.drops()["rate_limit"]


def test_forged_spis_displace_no_genuine_one() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    genuine = flow.peer_spis
    transit = Transit(Place(peer.address, Transport.UDP), Place(ip_address(HERE), Transport.UDP))
    for number in range(20):
        forged = HipPacket(
            PacketType.UPDATE,
            peer.hit,
            client.hit,
            (EspInfo(0, genuine[0], 5000 + number), Seq(number), EspInfoNoSig(0, 0, 6000 + number)),
            version=hip_version.get(),
        )
        router.machine.transit_received(forged.emit(), transit, network.now, inside=False)
    assert genuine[0] in flow.peer_spis
    assert len(flow.peer_spis) <= 4


def forged(peer: Node, client: Node, kind: PacketType, *parameters: Parameter) -> bytes:
    """What anybody can make who knows the HITs of both, in UDP."""
    return HipPacket(kind, peer.hit, client.hit, parameters, version=hip_version.get()).emit()


def from_outside(network: Moving, router: Node, data: bytes, source: str) -> None:
    transit = Transit(Place(ip_address(source), Transport.UDP), Place(ip_address(HERE)))
    transit = replace(transit, destination=Place(ip_address(HERE), Transport.UDP))
    effects = router.machine.transit_received(data, transit, network.now, inside=False)
    network.perform(router, effects)


@pytest.mark.parametrize("source", [ELSEWHERE, PEER])
def test_forged_packets_change_nothing(source: str) -> None:
    """Of each type, with HITs and even the address of the correspondent."""
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    spi = peer.sa(Direction.INBOUND).spi
    lent = {key: one.private_spi for key, one in network.routers["router"].lent.items()}
    elsewhere = LocatorSet((Locator(SpiLocator(300, ip_address("203.0.113.99")), 60),))
    for number in range(40):
        for kind in PacketType:
            own = (EspInfo(0, 0, 4000 + number), Seq(number), Ack((number,)), elsewhere)
            data = forged(peer, client, kind, *sorted(own, key=lambda one: one.type))
            from_outside(network, router, data, source)
    network.run(5.0)
    assert spi in flow.peer_spis
    assert len(flow.peer_spis) <= 4
    assert {k: one.private_spi for k, one in network.routers["router"].lent.items()} == lent
    assert flow.peer == {4: Place(peer.address, network.transport)}
    both_ways(network, client, peer)
    for node, other in ((client, peer), (peer, client)):
        network.perform(node, node.machine.rekey(other.hit, network.now))
        for number in range(40):
            info = EspInfo(0, spi, 9000 + number)
            data = forged(peer, client, PacketType.UPDATE, info, Seq(number))
            from_outside(network, router, data, source)
            network.run(0.002)
        network.run(5.0)
        both_ways(network, client, peer)
    network.run(100.0)  # a forged CLOSE_ACK would have had it forgotten
    assert network.spinat(router).flow_count == 1
    network.move(router, [THERE])
    network.run(2.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


def test_a_forged_answer_does_not_end_a_base_exchange() -> None:
    network, router, client, peer = moving()
    network.perform(
        client,
        client.machine.connect(
            peer.hit, [Path(client.address, peer.address, network.transport)], network.now
        ),
    )
    for number in range(100):
        info = EspInfo(0, 0, 4000 + number)
        for kind in (PacketType.R1, PacketType.R2):
            from_outside(network, router, forged(peer, client, kind, info), ELSEWHERE)
        network.run(0.002)
    network.run(5.0)
    assert client.state(peer) is State.ESTABLISHED
    both_ways(network, client, peer)


def test_forged_answers_from_the_correspondents_address_do_not_last() -> None:
    """They may be believed during a base exchange, until the client says better."""
    network, router, client, peer = moving()
    network.perform(
        client,
        client.machine.connect(
            peer.hit, [Path(client.address, peer.address, network.transport)], network.now
        ),
    )
    for number in range(100):
        info = EspInfo(0, 0, 4000 + number)
        from_outside(network, router, forged(peer, client, PacketType.R2, info), PEER)
        network.run(0.002)
    network.run(5.0)
    both_ways(network, client, peer)


def test_a_forged_update_with_the_number_of_a_genuine_one_moves_nobody() -> None:
    """Numbers are easy to guess: it comes before or after, from where data is to be led to."""
    network, router, client, peer = moving()
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, PEER, "2001:db8::9")
    network.join(client, peer)
    network.move(router, [HERE, "2001:db8:1::1"])
    network.run(5.0)
    (flow,) = network.spinat(router).flows()
    thief = "2001:db8:bad::1"
    listed = LocatorSet((Locator(SpiLocator(300, ip_address(thief)), 60, preferred=True),))
    inside, outside = Place(ip_address(thief), Transport.UDP), ip_address("2001:db8:1::1")
    for attempt in range(3):
        for number in range(64):
            data = forged(peer, client, PacketType.UPDATE, listed, Seq(number))
            transit = Transit(inside, Place(outside, Transport.UDP))
            router.machine.transit_received(data, transit, network.now, inside=False)
        if attempt == 0:
            network.perform(peer, peer.machine.rekey(client.hit, network.now))
        if attempt == 1:
            network.perform(peer, peer.machine.ping(client.hit, network.now)[1])
        network.run(3.0)
    places = [*flow.peer.values(), *flow.claimed.values()]
    assert ip_address(thief) not in {place.address for place in places}
    network.move(router, ["2001:db8:1::2"])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address("2001:db8:1::2")
    both_ways(network, client, peer)


def test_forged_updates_by_proxy_do_not_use_up_what_is_let_through() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    assert flow.ticket is not None
    locator = Locator(SpiLocator(256, ip_address(ELSEWHERE)), 60, preferred=True)
    rights = replace(flow.ticket.shown, mac=bytes(len(flow.ticket.shown.mac)))
    for shown in [rights] * 40 + [flow.ticket.shown] * 40:
        forged = HipPacket(
            PacketType.UPDATE,
            client.hit,
            peer.hit,
            (LocatorSet((locator,)), Seq(7), shown, HipMac(bytes(len(shown.mac)))),
            version=hip_version.get(),
        )
        pseudo = PseudoHeader(ip_address(ELSEWHERE), peer.address)
        network.deliver(peer, forged.emit(pseudo), ip_address(ELSEWHERE))
    assert peer.drops() == {"bad_ticket": 40, "bad_mac": 40}
    network.move(router, [THERE])
    network.run(1.0)
    assert peer.path_to(client).remote == ip_address(THERE)


def test_a_client_has_only_so_many_base_exchanges_under_way() -> None:
    network, router, client, _peer = moving(begun_per_client=4)
    for number in range(1, 10):
        path = Path(client.address, ip_address(f"192.0.2.{100 + number}"), network.transport)
        hit = type(client.hit)(int(client.hit) + number)
        network.perform(client, client.machine.connect(hit, [path], network.now))
    network.run(0.1)
    assert network.spinat(router).flow_count == 4
    network.run(200.0)
    assert network.spinat(router).flow_count == 0


def test_what_is_over_is_forgotten() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.perform(client, client.machine.close(peer.hit, network.now))
    network.run(60.0)
    assert network.spinat(router).flow_count == 0
    assert not network.routers["router"].lent
    network.join(client, peer)
    network.perform(client, client.machine.unregister(router.hit, network.now))
    network.run(10.0)
    assert network.spinat(router).flow_count == 0
    assert not network.routers["router"].lent


def test_between_address_families() -> None:
    network, router, client, peer = moving()
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, PEER, "2001:db8::9")
    network.join(client, peer)
    both_ways(network, client, peer)
    network.run(2.0)  # the correspondent tells its addresses
    network.move(router, ["2001:db8:1::1"])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address("2001:db8:1::1")
    both_ways(network, client, peer)
    network.move(router, [THERE])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


@pytest.mark.parametrize("tickets", [True, False])
def test_a_private_address_need_not_be_behind_a_nat(tickets: bool) -> None:
    network, router, client, peer = moving(tickets=tickets)
    network.join(client, peer)
    for place in ("172.16.0.2", THERE, "10.200.0.1"):
        network.move(router, [place])
        network.run(5.0)
        seen = peer.path_to(client)
        assert (seen.remote, seen.transport) == (ip_address(place), Transport.RAW)
        both_ways(network, client, peer)


@pytest.mark.parametrize("transport", list(Transport))
def test_a_call_from_the_other_address_family(transport: Transport) -> None:
    """The client has no address for the caller: the router's own inside stands for it."""
    network, router, client, peer = moving(transport)
    six, there = "2001:db8:1::1", "2001:db8:1::2"
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, "2001:db8::9")
    second = network.host("second", "2001:db8::10", 7)
    network.move(router, [six])
    network.join(peer, client, six)
    network.join(second, client, six)
    for one in (peer, second):
        assert client.path_to(one).remote == router.address
        assert one.path_to(client).remote == ip_address(six)
        both_ways(network, client, one)
    network.move(router, [there])
    network.run(5.0)
    for one in (peer, second):
        assert one.path_to(client).remote == ip_address(there)
        both_ways(network, client, one)
    for node, other in ((client, peer), (peer, client)):
        network.perform(node, node.machine.rekey(other.hit, network.now))
        network.run(5.0)
        both_ways(network, client, peer)
    network.where[ip_address("2001:db8::99")] = ""
    network.readdress(peer, "2001:db8::99")
    network.run(10.0)
    both_ways(network, client, peer)


def test_a_client_with_both_address_families_is_called_by_either() -> None:
    network, router, client, peer = moving()
    network.where[ip_address("2001:db8:aa::10")] = "router"
    router.others.append(ip_address("2001:db8:aa::1"))
    network.nodes[ip_address("2001:db8:aa::1")] = router
    network.where[ip_address("2001:db8:aa::1")] = "router"
    network.readdress(client, CLIENT, "2001:db8:aa::10")
    network.move(router, ["2001:db8:1::1"])
    network.run(5.0)
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, "2001:db8::9")
    network.join(peer, client, "2001:db8:1::1")
    assert client.path_to(peer).remote == peer.address
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


def test_calls_from_the_other_address_family_cost_no_memory() -> None:
    network, router, client, _peer = moving()
    network.move(router, ["2001:db8:1::1"])
    i1 = HipPacket(PacketType.I1, client.hit, client.hit, version=hip_version.get()).emit()
    for number in range(2000):
        source = Place(ip_address(f"2001:db8:{number:x}::1"), Transport.UDP)
        transit = Transit(source, Place(ip_address("2001:db8:1::1"), Transport.UDP))
        sender = (int(client.hit) + number + 1).to_bytes(16, "big")
        data = i1[:8] + sender + i1[24:]
        router.machine.transit_received(data, transit, network.now, inside=False)
    (known,) = network.spinat(router).clients.values()
    assert len(known.callers) == 64
    assert not network.spinat(router).flow_count


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
    network.filter = lambda _sender, _data: (
        [] if chance.random() < 0.1 else [0.01 + chance.random() * 0.05]
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
            return [] if _has_critical(data) else [0.01]
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


def _has_critical(data: bytes) -> bool:
    hint = parse(data).get(EspInfoNoSig)
    return hint is not None and not isinstance(hint, EspInfoNoSigOptional)
