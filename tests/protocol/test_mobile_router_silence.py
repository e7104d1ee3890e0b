"""A client of a mobile router that does not answer any more, in virtual time."""

from ipaddress import ip_address

import pytest

from hipgw.protocol.effects import SendDatagram
from hipgw.protocol.mobile_router import silence
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import Transport
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import AuthTicket, EchoResponseSigned, LocatorSet
from protocol.moving import Moving, both_ways
from protocol.moving_clients import THERE, moving
from protocol.network import Nat, Node, parse

pytestmark = pytest.mark.both_versions

DEAD_S = 12
"""After which others are given up."""


def _ask(network: Moving, peer: Node, client: Node, seconds: int, each_s: float = 1.0) -> None:
    """Have a correspondent ask, as it does when it hears nothing."""
    for _ in range(round(seconds / each_s)):
        _request, effects = peer.machine.ping(client.hit, network.now)
        network.perform(peer, effects)
        network.run(each_s)


def _mute(network: Moving, client: Node, peer: Node) -> None:
    """A client says nothing any more to its correspondent."""
    hits = client.hit, peer.hit
    network.filter = lambda _sender, data: (
        []
        if (parse(data).sender_hit, parse(data).receiver_hit) == hits and not _is_said(data)
        else [0.01]
    )


def _may_be_cut_off(network: Moving, peer: Node, client: Node) -> bool:
    return peer.machine.may_be_cut_off(client.hit, network.now)


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("nat", [False, True])
def test_a_router_answers_for_a_client_that_is_gone(transport: Transport, nat: bool) -> None:
    network, router, client, peer = moving(transport)
    place = "172.16.0.2" if nat else THERE
    if nat:
        network.nats[ip_address(place)] = Nat("203.0.113.200")
    network.join(client, peer)
    assert not client.machine.may_be_cut_off(peer.hit, network.now)
    network.move(router, [place])
    network.run(3.0)
    _ask(network, peer, client, 3)
    assert _may_be_cut_off(network, peer, client)
    _mute(network, client, peer)
    _ask(network, peer, client, DEAD_S)
    assert not _may_be_cut_off(network, peer, client)
    # Whoever asks less often by then, hears it as well.
    _ask(network, peer, client, 20, 5.0)
    assert not _may_be_cut_off(network, peer, client)
    assert not peer.drops(), peer.drops()


def test_a_client_that_comes_back_goes_on() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    _mute(network, client, peer)
    _ask(network, peer, client, DEAD_S - 1)
    network.filter = lambda _sender, _data: [0.01]
    _ask(network, peer, client, 3)
    network.run(silence.SILENT_S * 2)
    assert _may_be_cut_off(network, peer, client)
    both_ways(network, client, peer)
    network.move(router, [THERE])
    network.run(3.0)
    both_ways(network, client, peer)
    assert peer.path_to(client).remote == ip_address(THERE)


def test_a_router_without_a_network_says_nothing() -> None:
    """In a tunnel, and at its end, nobody is taken for dead."""
    network, router, client, peer = moving()
    network.join(client, peer)
    network.move(router, [THERE])
    network.run(3.0)
    network.move(router, [])
    _ask(network, peer, client, DEAD_S)
    assert _may_be_cut_off(network, peer, client)
    _ask(network, peer, client, 100, 5.0)
    network.move(router, [THERE])
    for _ in range(50):
        _ask(network, peer, client, 1, 0.1)
        assert _may_be_cut_off(network, peer, client)
    both_ways(network, client, peer)


def test_a_client_that_answers_is_not_spoken_for() -> None:
    network, _router, client, peer = moving()
    network.join(client, peer)
    _ask(network, peer, client, 3 * DEAD_S)
    assert not [one for _name, one in network.forwarded if _is_said(one.data)]


def test_what_is_said_once_does_not_count_again() -> None:
    """Whoever keeps it and plays it again says nothing; nor does another ticket, or none."""
    network, _router, client, peer = moving()
    network.join(client, peer)
    _mute(network, client, peer)
    _ask(network, peer, client, DEAD_S)
    said = [one.data for _name, one in network.forwarded if _is_said(one.data)]
    assert 2 <= len(said) <= DEAD_S
    source = peer.path_to(client).remote
    network.run(60.0)
    assert _may_be_cut_off(network, peer, client)
    for data in said:
        network.deliver(peer, data, source)
    assert peer.drops() == {"duplicate": len(said)}, peer.drops()
    session = peer.machine._core.with_peer(client.hit)[0].session
    assert session is not None
    ticket, _number = session.proxied
    session.proxied = ticket, -1
    network.deliver(peer, said[-1], source)
    assert peer.drops()["bad_echo"] == 1, "nothing like that was asked"
    assert _may_be_cut_off(network, peer, client)


def test_strangers_do_not_have_it_said() -> None:
    """Questions that are not the correspondent's: what is said to these, it does not believe."""
    network, router, client, peer = moving()
    network.join(client, peer)
    _mute(network, client, peer)
    _request, effects = peer.machine.ping(client.hit, network.now)
    (question,) = [one.data for one in effects if isinstance(one, SendDatagram)]
    for one in peer.machine._core.with_peer(client.hit):
        one.pings.clear()
    place = Place(network.routers["router"].outside[0], network.transport)
    transit = Transit(Place(peer.address, network.transport), place)
    for _ in range(DEAD_S):
        effects = router.machine.transit_received(question, transit, network.now, inside=False)
        network.perform(router, effects)
        network.run(1.0)
    assert _may_be_cut_off(network, peer, client)
    assert 1 <= peer.drops()["bad_echo"] <= DEAD_S, peer.drops()


def _is_said(data: bytes) -> bool:
    packet: HipPacket = parse(data)
    return (
        packet.get(AuthTicket) is not None
        and packet.get(LocatorSet) is None
        and packet.get(EchoResponseSigned) is not None
    )
