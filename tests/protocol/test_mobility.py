"""Mobility and multihoming (RFC 8046, RFC 8047) in the simulated network: own moves."""

from ipaddress import ip_address

import pytest

from hipgw.protocol.effects import Closed, Direction, SendDatagram
from hipgw.protocol.locators import LOCATORS_MAX, LocatorState
from hipgw.protocol.path import Transport
from hipgw.protocol.states import State
from hipgw.wire.parameters import (
    Ack,
    DiffieHellman,
    EchoRequestSigned,
    EchoResponseSigned,
    EspInfo,
    Locator,
    LocatorSet,
    Seq,
    SpiLocator,
)
from protocol.mobile_pairs import (
    A4,
    A6,
    B4,
    B6,
    CONFIG,
    DELAY,
    NEW4,
    RTT,
    assert_at,
    closed,
    joined,
    locators,
    paths_changed,
)
from protocol.network import Network, assert_joined, establish, ordered, parse, peer_hits

pytestmark = pytest.mark.both_versions


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
