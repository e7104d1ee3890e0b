"""Mobility and multihoming (RFC 8046, RFC 8047) in the simulated network."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.protocol import update_tasks
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import Closed, Direction, MoveSA, PathChanged, SendDatagram
from hipgw.protocol.locators import LOCATORS_MAX, LocatorState
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.states import State
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import (
    Ack,
    DiffieHellman,
    EchoRequestSigned,
    EchoResponseSigned,
    EspInfo,
    Locator,
    LocatorSet,
    PlainLocator,
    Seq,
    SpiLocator,
    TransportLocator,
)
from protocol.network import (
    FAST,
    Nat,
    Network,
    Node,
    assert_joined,
    establish,
    ordered,
    parse,
    peer_hits,
)

pytestmark = pytest.mark.both_versions

CONFIG = replace(FAST, rekey_s=0.0, keepalive_s=0.0)
DELAY = 0.01
RTT = 2 * DELAY
A4, B4, NEW4 = "192.0.2.1", "198.51.100.2", "203.0.113.7"
A6, B6, NEW6 = "2001:db8:a::1", "2001:db8:b::2", "2001:db8:c::7"
HOME, OFFICE = "10.0.0.5", "10.0.1.7"
"""Each behind a NAT of its own."""


def joined(
    a_addresses: tuple[str, ...] = (A4,),
    b_addresses: tuple[str, ...] = (B4,),
    *,
    transport: Transport = Transport.UDP,
    config: MachineConfig = CONFIG,
    seed: int = 1,
) -> tuple[Network, Node, Node]:
    """Two associated nodes that have told each other where they are; the initiator first."""
    small, great = ordered()
    network = Network(seed, transport)
    network.filter = lambda _sender, _data: [DELAY]
    a = network.add("a", a_addresses[0], small, config)
    b = network.add("b", b_addresses[0], great, config)
    network.readdress(a, *a_addresses)
    network.readdress(b, *b_addresses)
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert network.data(a, b)
    network.run(1.0)
    assert network.data(b, a)
    a.events.clear()
    b.events.clear()
    return network, a, b


def joined_behind_nat() -> tuple[Network, Node, Node]:
    """Two associated nodes, the initiator behind a NAT."""
    small, great = ordered()
    network = Network(1)
    network.filter = lambda _sender, _data: [DELAY]
    network.nats = {
        ip_address(HOME): Nat("192.0.2.99"),
        ip_address(OFFICE): Nat("203.0.113.99"),
    }
    a = network.add("a", HOME, small, CONFIG)
    b = network.add("b", B4, great, CONFIG)
    network.readdress(a, HOME)
    network.readdress(b, B4)
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert network.data(a, b)
    network.run(1.0)
    assert network.data(b, a)
    a.events.clear()
    b.events.clear()
    return network, a, b


def closed(*nodes: Node) -> list[Closed]:
    return [event for node in nodes for event in node.events if isinstance(event, Closed)]


def paths_changed(node: Node) -> list[PathChanged]:
    return [event for event in node.events if isinstance(event, PathChanged)]


def locators(node: Node) -> dict[str, LocatorState]:
    return {str(one.address): one.state for one in node.machine.associations()[0].locators}


def assert_at(network: Network, a: Node, b: Node, a_address: str, b_address: str) -> None:
    """Data flows both ways between these two addresses, which are verified."""
    for one, other, near, far in ((a, b, a_address, b_address), (b, a, b_address, a_address)):
        path = one.path_to(other)
        assert (str(path.local), str(path.remote)) == (near, far), one.name
        assert one.outbound[other.hit][2], f"{one.name} has not verified {far}"
        assert network.data(one, other)


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("mover", ["initiator", "responder"])
def test_a_new_address(transport: Transport, mover: str) -> None:
    network, a, b = joined(transport=transport)
    one, other = (a, b) if mover == "initiator" else (b, a)
    where = str(other.address)
    network.readdress(one, NEW4)
    assert network.data(one, other), "the mover's own data goes on at once"
    # The peer hears of it after half a round trip and may use its credit from then on.
    network.run(DELAY * 1.2)
    assert network.data(other, one)
    assert not other.outbound[one.hit][2]
    network.run(RTT)
    assert_at(network, one, other, NEW4, where)
    network.run(60.0)
    assert len(paths_changed(one)) == len(paths_changed(other)) == 1
    assert_joined(a, b)


def test_a_move_takes_three_packets() -> None:
    """UPDATE with LOCATOR_SET, echo request, echo response (RFC 8046 §3.2.1)."""
    network, a, b = joined()
    network.readdress(a, NEW4)
    network.run(60.0)
    request, answer = (parse(event.data) for event in a.events if isinstance(event, SendDatagram))
    (challenge,) = (parse(event.data) for event in b.events if isinstance(event, SendDatagram))
    spi = a.sa(Direction.INBOUND).spi
    listed = Locator(SpiLocator(spi, ip_address(NEW4)), preferred=True)
    assert request.get(LocatorSet) == LocatorSet((listed,))
    info, seq = request.get(EspInfo), request.get(Seq)
    assert info is not None
    assert seq is not None
    assert info.old_spi == info.new_spi == spi
    assert challenge.get(Ack) == Ack((seq.update_id,))
    assert challenge.get(EspInfo) is not None
    echo, reply = challenge.get(EchoRequestSigned), answer.get(EchoResponseSigned)
    assert echo is not None
    assert reply is not None
    assert echo.data == reply.data
    assert answer.get(Seq) is None


def test_a_hundred_moves_of_both_sides() -> None:
    network, a, b = joined()
    for turn in range(100):
        mover = a if turn % 2 else b
        network.readdress(mover, f"203.0.113.{turn + 1}")
        network.run(0.2)
        assert_at(network, a, b, str(a.address), str(b.address))
    assert_joined(a, b)
    assert len(a.machine.associations()[0].locators) <= LOCATORS_MAX


@pytest.mark.parametrize("known", [True, False], ids=["announced before", "new"])
def test_from_ipv4_to_ipv6_and_back(known: bool) -> None:
    network, a, b = joined((A4, A6) if known else (A4,), (B4, B6))
    network.readdress(a, A6)
    network.run(RTT * 2)
    assert_at(network, a, b, A6, B6)
    network.readdress(a, A4, A6)
    network.run(1.0)
    assert_at(network, a, b, A4, B4)
    network.readdress(b, B6)
    network.run(1.0)
    assert_at(network, a, b, A6, B6)


def test_an_address_that_is_verified_already_is_used_at_once() -> None:
    """A make-before-break peer: nothing has to be proven when the change comes."""
    network, a, b = joined((A4, NEW4), (B4, B6))
    assert locators(b) == {A4: LocatorState.ACTIVE, NEW4: LocatorState.ACTIVE}
    network.readdress(a, NEW4)
    network.run(DELAY * 1.2)
    assert b.outbound[a.hit][1:] == (b.path_to(a), True)
    assert_at(network, a, b, NEW4, B4)


def test_a_better_address_is_taken_without_losing_a_packet() -> None:
    network, a, b = joined((A4,))
    network.readdress(a, NEW4, A4)
    for _ in range(100):
        assert network.data(a, b)
        assert network.data(b, a)
        network.run(0.001)
    assert_at(network, a, b, NEW4, B4)
    network.readdress(a, NEW4)
    for _ in range(100):
        assert network.data(a, b)
        assert network.data(b, a)
        network.run(0.001)
    assert_at(network, a, b, NEW4, B4)


def test_a_better_address_that_does_not_work_is_not_taken() -> None:
    network, a, b = joined((A4,))
    network.blocked = lambda path: NEW4 in (str(path.local), str(path.remote))
    network.readdress(a, NEW4, A4)
    for _ in range(100):
        network.run(1.0)
        assert network.data(a, b)
        assert network.data(b, a)
    assert_at(network, a, b, A4, B4)


def test_no_address_for_a_while() -> None:
    network, a, b = joined()
    network.cut_off(a)
    network.run(30.0)
    assert a.state(b) is State.ESTABLISHED
    network.readdress(a, NEW4)
    network.run(RTT * 2)
    assert_at(network, a, b, NEW4, B4)


@pytest.mark.parametrize("first", [True, False], ids=["begun before", "wanted meanwhile"])
@pytest.mark.parametrize("there", [A4, NEW4], ids=["the same", "another"])
def test_new_keys_wait_for_an_address(first: bool, there: str) -> None:
    """That nobody answers shows nothing while there is nowhere to ask from."""
    network, a, b = joined()
    network.filter = lambda _sender, _data: []  # the peer does not wait so long
    if first:
        network.perform(a, a.machine.rekey(b.hit, network.now))
    network.cut_off(a)
    network.filter = lambda _sender, _data: [DELAY]
    if not first:
        network.perform(a, a.machine.rekey(b.hit, network.now))
    network.run(100.0)
    assert not closed(a, b)
    network.readdress(a, there)
    network.run(1.0)
    assert a.machine.associations()[0].rekeyed == b.machine.associations()[0].rekeyed == first
    assert_at(network, a, b, there, B4)


def test_a_move_waits_for_an_address() -> None:
    network, a, b = joined()
    network.filter = lambda _sender, _data: []
    network.readdress(a, NEW4)
    network.run(0.1)
    network.cut_off(a)
    network.run(100.0)
    assert not closed(a)
    network.filter = lambda _sender, _data: [DELAY]
    network.readdress(a, NEW4)
    network.run(1.0)
    assert_at(network, a, b, NEW4, B4)


def test_moving_again_before_the_first_move_is_through() -> None:
    network, a, b = joined()
    network.readdress(a, NEW4)
    network.run(DELAY * 0.5)
    network.readdress(a, A4)
    network.run(DELAY * 0.7)
    network.readdress(a, "203.0.113.99")
    network.run(2.0)
    assert_at(network, a, b, "203.0.113.99", B4)


def test_back_again_before_the_peer_was_told() -> None:
    """With many peers that takes a while; data may have come from the other address meanwhile."""
    network, a, b = joined()
    core = a.machine._core
    for hit in peer_hits(100):
        establish(a.machine, hit, network.now).last_traffic += 10.0  # these go first
    network.readdress(a, NEW4)
    assert network.data(a, b)
    network.readdress(a, A4)
    assert core.find(a.hit, b.hit).mobility.moved
    network.run(1.0)
    assert not core.find(a.hit, b.hit).mobility.moved
    assert_at(network, a, b, A4, B4)


def test_an_older_announcement_that_comes_late_is_not_applied() -> None:
    network, a, b = joined()
    delays = iter([0.5])
    network.filter = lambda sender, _data: [next(delays, DELAY) if sender == "a" else DELAY]
    network.readdress(a, NEW4)
    network.readdress(a, "203.0.113.99")
    network.run(0.1)
    network.run(2.0)
    assert_at(network, a, b, "203.0.113.99", B4)
    assert locators(b).get(NEW4) in {None, LocatorState.DEPRECATED}


def test_both_move_at_once_with_a_second_address() -> None:
    """A double jump (§3.2.3) finds its way by what else the peer has."""
    network, a, b = joined((A4, A6), (B4, B6))
    network.readdress(a, NEW4, A6)
    network.readdress(b, "203.0.113.99", B6)
    network.run(5.0)
    assert_at(network, a, b, NEW4, "203.0.113.99")


def test_a_peer_that_returns_to_where_it_was_called_first() -> None:
    network, a, b = joined()
    network.readdress(b, NEW4)
    network.run(1.0)
    network.readdress(a, A6)  # of no use: b has no IPv6
    network.readdress(b, B4)
    network.run(1.0)
    network.readdress(a, A4)
    network.run(10.0)
    assert_at(network, a, b, A4, B4)


def test_a_move_that_could_not_be_told_is_told_once_the_peer_shows_where_it_is() -> None:
    """To a family of which the peer had no address: it still writes to the one that is gone."""
    network, a, b = joined((A6, A4), (B6,))
    network.readdress(a, A4)
    network.run(1.0)
    assert not network.data(a, b)
    network.readdress(b, B6, B4)
    network.run(5.0)
    assert_at(network, a, b, A4, B4)


@pytest.mark.parametrize("lost", range(4))
def test_any_packet_of_a_move_may_be_lost(lost: int) -> None:
    network, a, b = joined()
    count = 0

    def lose(_sender: str, _data: bytes) -> list[float]:
        nonlocal count
        count += 1
        return [] if count - 1 == lost else [DELAY]

    network.filter = lose
    network.readdress(a, NEW4)
    network.run(2.0)
    assert_at(network, a, b, NEW4, B4)


def test_a_move_while_keys_are_renewed() -> None:
    """RFC 8046 §3.2.2: one UPDATE does both."""
    network, a, b = joined()
    network.perform(a, a.machine.rekey(b.hit, network.now))
    network.readdress(a, NEW4)
    sent = [parse(event.data) for event in a.events if isinstance(event, SendDatagram)]
    assert sent[-1].get(LocatorSet) is not None
    assert sent[-1].get(DiffieHellman) is not None
    network.run(0.3)
    assert_at(network, a, b, NEW4, B4)
    network.run(5.0)
    assert a.machine.associations()[0].rekeyed == b.machine.associations()[0].rekeyed == 1
    assert_joined(a, b)


def test_keys_that_are_renewed_first_leave_the_announcement_to_be_repeated() -> None:
    """Both go in one UPDATE, which is lost; the peer has the keys by another before."""
    network, a, b = joined()
    network.perform(a, a.machine.rekey(b.hit, network.now))
    network.run(DELAY * 1.2)
    network.filter = lambda _sender, data: [] if parse(data).get(LocatorSet) else [DELAY]
    network.readdress(a, NEW4, A4)
    for _ in range(30):
        network.run(DELAY * 0.2)
        network.data(a, b)
        network.data(b, a)
    assert a.machine.associations()[0].rekeyed == b.machine.associations()[0].rekeyed == 1
    network.filter = lambda _sender, _data: [DELAY]
    network.run(2.0)
    assert locators(b) == {A4: LocatorState.ACTIVE, NEW4: LocatorState.ACTIVE}
    network.run(60.0)
    assert_at(network, a, b, NEW4, B4)


def test_the_peer_renews_keys_while_this_host_moves() -> None:
    network, a, b = joined()
    network.perform(b, b.machine.rekey(a.hit, network.now))
    network.readdress(a, NEW4)
    network.run(5.0)
    assert network.data(a, b)
    assert network.data(b, a)
    network.run(5.0)
    assert_at(network, a, b, NEW4, B4)
    assert_joined(a, b)


def test_the_peer_moves_after_its_answer_to_new_keys_was_lost() -> None:
    """What it answers again must not leave from an address that it has not got any more."""
    network, a, b = joined()
    network.filter = lambda sender, _data: [] if sender == "b" else [DELAY]
    network.perform(a, a.machine.rekey(b.hit, network.now))
    network.run(DELAY * 1.5)
    network.filter = lambda _sender, _data: [DELAY]
    network.readdress(b, NEW4)
    network.run(60.0)
    assert not closed(a, b)
    assert_at(network, a, b, A4, NEW4)
    assert a.machine.associations()[0].rekeyed == b.machine.associations()[0].rekeyed == 1


def test_nobody_at_the_new_address_ends_the_association() -> None:
    network, a, _b = joined()
    network.blocked = lambda path: NEW4 in (str(path.local), str(path.remote))
    network.readdress(a, NEW4)
    network.run(100.0)
    assert [event for event in a.events if isinstance(event, Closed)]


def test_the_address_that_is_left_leads_nowhere_but_another_does() -> None:
    """The peer goes on by the other: so nobody hears nothing, and neither end would notice."""
    network, a, b = joined((A4, A6), (B4, B6))
    network.blocked = lambda path: NEW4 in (str(path.local), str(path.remote))
    network.readdress(a, NEW4, A6)
    network.run(5.0)
    assert_at(network, a, b, A6, B6)


def test_the_answer_to_a_move_does_not_get_through_the_way_it_goes_first() -> None:
    """The announcement comes again by another way, where the acknowledgement gets through."""
    network, a, b = joined((A4, A6), (B4, B6))
    network.blocked = lambda path: (str(path.local), str(path.remote)) == (B4, NEW4)
    network.readdress(a, NEW4, A6)
    network.run(1.0)
    assert a.machine._core.find(a.hit, b.hit).mobility.announcement is None
    network.run(60.0)
    assert not closed(a, b)


def test_the_peer_moves_while_a_better_address_is_announced() -> None:
    network, a, b = joined()
    network.filter = lambda _sender, _data: []
    network.readdress(a, NEW4, A4)
    network.filter = lambda _sender, _data: [DELAY]
    network.readdress(b, "198.51.100.77")
    network.run(100.0)
    assert B4 not in {str(event.new.remote) for event in paths_changed(a)}
    assert_at(network, a, b, NEW4, "198.51.100.77")


def test_a_peer_that_does_not_know_locators_keeps_its_association() -> None:
    """It has nowhere to move from: what it does not answer is an offer, no more."""
    network, a, b = joined()
    network.filter = lambda _sender, data: [] if parse(data).get(LocatorSet) else [DELAY]
    network.readdress(a, A4, A6)
    network.run(100.0)
    assert a.state(b) is State.ESTABLISHED
    assert network.data(a, b)


@pytest.mark.parametrize("after_s", [0.0, 0.015, 0.03, 0.045])
def test_a_move_during_the_base_exchange(after_s: float) -> None:
    """I1 or I2 goes on from the new address; a puzzle for the old one has to be asked for anew."""
    small, great = ordered()
    network = Network(1)
    a, b = network.add("a", A4, small, CONFIG), network.add("b", B4, great, CONFIG)
    network.readdress(a, A4)
    network.readdress(b, B4)
    network.connect(a, b)
    network.run(after_s)
    network.readdress(a, NEW4)
    network.run(10.0)
    assert network.data(a, b)
    network.run(1.0)
    assert_at(network, a, b, NEW4, B4)


# -- what a peer says -----------------------------------------------------------------------------


def say(network: Network, a: Node, b: Node, *entries: Locator, source: str = B4) -> None:
    """An authentic LOCATOR_SET from b to a."""
    association = b.machine._core.find(b.hit, a.hit)
    session = association.session
    spi = session.inbound_spi
    update_id = session.take_update_id()
    parameters = [EspInfo(0, spi, spi), LocatorSet(entries), Seq(update_id)]
    packet = update_tasks.build(association, session, parameters)
    network.deliver(a, packet, ip_address(source))


def plain(address: str, *, preferred: bool = False, lifetime: int = 1000) -> Locator:
    return Locator(PlainLocator(ip_address(address)), lifetime, preferred)


def test_addresses_that_cannot_be_a_peers_are_not_taken() -> None:
    network, a, b = joined()
    nonsense = [
        "224.0.0.1",
        "255.255.255.255",
        "127.0.0.1",
        "0.0.0.0",
        "fe80::1",
        "ff02::1",
        "::1",
        A4,
        str(a.hit),
        "1.2.3.4",
    ]
    say(network, a, b, *(plain(address) for address in nonsense), plain(B4, preferred=True))
    assert set(locators(a)) == {B4}
    network.run(1.0)
    assert_at(network, a, b, A4, B4)


def test_the_number_of_addresses_is_bounded() -> None:
    network, a, b = joined()
    for turn in range(5):
        say(network, a, b, *(plain(f"203.0.{turn}.{n}") for n in range(1, 60)), plain(B4))
    assert len(locators(a)) <= LOCATORS_MAX
    association = a.machine._core.find(a.hit, b.hit)
    assert len(association.updates) <= 2 * LOCATORS_MAX


def test_an_address_whose_lifetime_is_over() -> None:
    network, a, b = joined()
    network.readdress(b, B4, NEW4)
    network.run(1.0)
    say(network, a, b, plain(NEW4, preferred=True, lifetime=20), plain(B4))
    network.run(1.0)
    assert str(a.path_to(b).remote) == NEW4
    network.run(25.0)
    assert locators(a)[NEW4] is LocatorState.DEPRECATED
    assert str(a.path_to(b).remote) == B4


def test_a_third_party_gets_nothing_but_a_few_echo_requests() -> None:
    """A peer that names a victim's address: data goes there within its credit at most (§5.6)."""
    network, a, b = joined()
    victim = "203.0.113.200"
    say(network, a, b, plain(victim, preferred=True))
    network.run(200.0)
    there = [
        event
        for event in a.events
        if isinstance(event, SendDatagram) and str(event.path.remote) == victim
    ]
    assert 1 <= len(there) <= 12
    moves = [event for event in a.events if isinstance(event, MoveSA)]
    assert all(not move.verified for move in moves if str(move.path.remote) == victim)


def test_a_third_party_is_not_flooded_by_many_announcements() -> None:
    network, a, b = joined()
    victim, announcements = ip_address("203.0.113.200"), 0
    while announcements < 500:
        ports = range(1000 * (announcements % 2), 1000 * (announcements % 2) + LOCATORS_MAX)
        entries = [Locator(TransportLocator(victim, port + 1, 17, 0, 1, 1), 1000) for port in ports]
        say(network, a, b, *entries)
        announcements += 1
        network.run(0.01)
    network.run(30.0)
    there = [event for event in a.of(SendDatagram) if event.path.remote == victim]
    assert len(there) < announcements
    network.readdress(b, NEW4)
    network.run(1.0)
    assert_at(network, a, b, A4, NEW4)


def test_data_does_not_leave_a_verified_address_for_one_that_is_not() -> None:
    network, a, b = joined()
    say(network, a, b, plain("203.0.113.200", preferred=True), plain(B4))
    network.run(30.0)
    assert_at(network, a, b, A4, B4)


# -- networks that change underneath --------------------------------------------------------------


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
