"""Networks that change underneath an association: NATs, silent paths, many peers at once."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.protocol import update_tasks
from hipgw.protocol.effects import Direction, MoveSA, SendDatagram
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.states import State
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import Ack
from protocol.mobile_pairs import (
    A4,
    A6,
    B4,
    B6,
    CONFIG,
    DELAY,
    HOME,
    NEW4,
    NEW6,
    OFFICE,
    assert_at,
    closed,
    joined,
    joined_behind_nat,
    paths_changed,
)
from protocol.network import Network, establish, ordered, parse, peer_hits

pytestmark = pytest.mark.both_versions


def test_a_nat_that_gives_another_port() -> None:
    network, a, b = joined_behind_nat()
    before = b.path_to(a)
    network.nats[ip_address(HOME)].rebind()
    assert network.data(a, b)
    assert b.path_to(a) == before, "not before the peer is known to be there"
    network.run(1.0)
    assert b.path_to(a) == replace(before, remote_port=40002)
    assert b.outbound[a.hit][2]
    assert network.data(b, a)


def test_from_one_nat_to_another() -> None:
    """What the peer lists leads nowhere, so its announcement is answered where it came from."""
    network, a, b = joined_behind_nat()
    network.readdress(a, OFFICE)
    network.run(60.0)
    assert not closed(a, b)
    path = b.path_to(a)
    assert (str(path.remote), path.remote_port) == ("203.0.113.99", 40001)
    assert b.outbound[a.hit][2]
    assert network.data(a, b)
    assert network.data(b, a)


def test_a_nat_that_gives_another_port_while_keys_are_renewed() -> None:
    network, a, b = joined_behind_nat()
    network.filter = lambda sender, _data: [] if sender == "b" else [DELAY]
    network.perform(a, a.machine.rekey(b.hit, network.now))
    network.run(DELAY * 1.5)
    network.nats[ip_address(HOME)].rebind()
    network.filter = lambda _sender, _data: [DELAY]
    for _ in range(60):
        network.data(a, b)
        network.run(1.0)
    assert not closed(a, b)
    assert network.data(b, a)
    assert a.machine.associations()[0].rekeyed == b.machine.associations()[0].rekeyed == 1


def test_a_copy_from_elsewhere_moves_nothing() -> None:
    """Somebody on the way sends copies of authentic packets from an address of his own."""
    network, a, b = joined()
    spi, elsewhere = b.sa(Direction.INBOUND).spi, ip_address("203.0.113.200")
    forged = Path(ip_address(B4), elsewhere, Transport.UDP, 10500, 10500)
    for _ in range(100):
        network.perform(b, b.machine.source_changed(spi, forged, network.now))
        network.run(0.1)
    network.run(60.0)
    assert_at(network, a, b, A4, B4)
    there = [
        event
        for event in b.events
        if isinstance(event, SendDatagram) and event.path.remote == elsewhere
    ]
    assert len(there) <= 40


def test_copies_from_many_places_do_not_push_the_peer_out() -> None:
    network, a, b = joined()
    spi = b.sa(Direction.INBOUND).spi
    for turn in range(20):
        forged = Path(ip_address(B4), ip_address(f"203.0.113.{200 + turn}"))
        network.perform(b, b.machine.source_changed(spi, forged, network.now))
        network.run(1.0)
    network.run(60.0)
    assert not paths_changed(b)
    assert_at(network, a, b, A4, B4)
    network.readdress(b, NEW4)
    network.run(1.0)
    assert_at(network, a, b, A4, NEW4)


@pytest.mark.parametrize("mover", ["initiator", "responder"])
def test_another_udp_port_than_the_usual_one(mover: str) -> None:
    small, great = ordered()
    network = Network(1)
    a, b = network.add("a", A4, small, CONFIG), network.add("b", B4, great, CONFIG)
    a.port, b.port = 20500, 30500
    network.readdress(a, A4)
    network.readdress(b, B4, B6)
    network.connect(a, b)
    network.run(1.0)
    one = a if mover == "initiator" else b
    for there in (NEW4, "203.0.113.8"):
        network.readdress(one, there, NEW6)
        network.run(1.0)
        assert network.data(a, b)
        assert network.data(b, a)
    assert a.path_to(b).remote_port == 30500
    assert b.path_to(a).remote_port == 20500


def test_an_address_that_could_not_be_verified_is_tried_again() -> None:
    """The peer has its acknowledgement, then nothing gets through for a while."""
    network, a, b = joined()
    network.readdress(a, NEW4)
    network.run(DELAY * 1.5)
    network.filter = lambda _sender, _data: []
    network.run(60.0)
    assert not b.outbound[a.hit][2]
    network.filter = lambda _sender, _data: [DELAY]
    network.run(60.0)
    assert network.data(a, b)
    network.perform(b, b.machine.data_flows(a.hit, network.now, one_way=False))
    network.run(1.0)
    assert_at(network, a, b, NEW4, B4)


def test_a_silent_path_is_left_and_found_again() -> None:
    network, a, b = joined((A4, A6), (B4, B6))
    network.blocked = lambda path: path.remote.version == 4
    network.perform(a, a.machine.path_silent(b.hit, network.now))
    network.run(1.0)
    assert_at(network, a, b, A6, B6)
    network.run(60.0)
    assert_at(network, a, b, A6, B6)
    network.blocked = lambda path: False
    network.run(150.0)
    assert_at(network, a, b, A4, B4)


def test_a_path_that_is_dead_one_way_is_left_by_both() -> None:
    """Who is heard but hears nothing looks for another path; the other would not notice."""
    network, a, b = joined((A4,), (B4, NEW4))
    network.run(10.0)
    network.blocked = lambda path: (str(path.local), str(path.remote)) == (B4, A4)
    network.perform(a, a.machine.path_silent(b.hit, network.now))
    network.run(5.0)
    assert_at(network, a, b, A4, NEW4)
    network.run(100.0)
    assert_at(network, a, b, A4, NEW4)


def test_a_search_that_finds_the_current_path_alive_changes_nothing() -> None:
    network, a, b = joined((A4, A6), (B4, B6))
    network.filter = lambda _sender, data: [DELAY] if parse(data).get(Ack) else [DELAY * 2]
    network.perform(a, a.machine.path_silent(b.hit, network.now))
    network.run(5.0)
    assert not paths_changed(a)


def test_a_search_ends_also_when_the_peer_sends_no_echoes_back() -> None:
    network, a, b = joined((A4, A6), (B4, B6))
    association = a.machine._core.find(a.hit, b.hit)
    theirs = b.machine._core.find(b.hit, a.hit)
    network.filter = lambda _sender, _data: []
    network.perform(a, a.machine.path_silent(b.hit, network.now))
    for task in list(association.mobility.search):
        ack = update_tasks.build(theirs, theirs.session, [Ack((task.update_id,))])
        network.deliver(a, ack, ip_address(B4))
    assert not association.mobility.search
    assert not paths_changed(a)


def test_a_search_along_many_paths_with_answers_lost() -> None:
    """The peer remembers fewer answers than there are questions, and makes them anew."""
    network, a, b = joined(
        tuple(f"192.0.2.{n}" for n in range(1, 5)), tuple(f"198.51.100.{n}" for n in range(1, 5))
    )
    lost = 0

    def lose(sender: str, _data: bytes) -> list[float]:
        nonlocal lost
        lost += sender == "b"
        return [] if sender == "b" and lost <= 16 else [DELAY]

    network.filter = lose
    old = a.path_to(b)
    network.blocked = lambda path: {path.local, path.remote} == {old.local, old.remote}
    network.perform(a, a.machine.path_silent(b.hit, network.now))
    network.run(1.0)
    assert a.path_to(b) != old
    assert network.data(a, b)


def test_keepalives_only_where_a_nat_may_be() -> None:
    network, a, b = joined(config=replace(CONFIG, keepalive_s=15.0))
    network.sent.clear()
    network.run(100.0)
    # Not known yet: the initiator keeps on, as nobody has told it where it is seen.
    assert network.sent.count(("a", PacketType.NOTIFY)) == 6
    assert network.sent.count(("b", PacketType.NOTIFY)) == 0
    network.perform(a, a.machine.ping(b.hit, network.now)[1])
    network.run(1.0)
    network.sent.clear()
    network.run(100.0)
    assert not network.sent, "no NAT, no keepalives"


def test_with_many_peers_all_data_moves_at_once_and_the_telling_is_spread() -> None:
    network = Network(1)
    node = network.add("a", "192.0.2.1", ordered()[0], CONFIG)
    network.perform(node, node.machine.addresses_changed([node.address], network.now))
    hits = peer_hits(300)
    for hit in hits:
        establish(node.machine, hit, network.now)
    effects = node.machine.addresses_changed([ip_address(NEW4)], network.now)
    moved = {effect.peer_hit for effect in effects if isinstance(effect, MoveSA)}
    assert moved == set(hits)
    assert sum(isinstance(effect, SendDatagram) for effect in effects) == 64
    told = 64
    for _ in range(300):
        network.now += 0.002
        effects = node.machine.timer_expired(network.now)
        told += sum(isinstance(effect, SendDatagram) for effect in effects)
    assert told >= 300


@pytest.mark.parametrize("elsewhere", [A4, NEW4])
def test_a_close_goes_on_from_the_address_that_is_there(elsewhere: str) -> None:
    """Else the peer would go on with an association that is no more, until it misses an answer."""
    network, a, b = joined()
    network.cut_off(a)
    network.perform(a, a.machine.close(b.hit, network.now))
    network.run(1.0)
    assert (a.state(b), b.state(a)) == (State.CLOSING, State.ESTABLISHED)
    network.readdress(a, elsewhere)
    network.until(lambda: a.state(b) is State.UNASSOCIATED)
    assert b.state(a) is not State.ESTABLISHED
    assert not paths_changed(a)
