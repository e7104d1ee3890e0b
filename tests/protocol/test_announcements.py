"""What a peer says of its addresses (RFC 8046 §5.3), true or not."""

from ipaddress import ip_address

import pytest

from hipgw.protocol import update_tasks
from hipgw.protocol.effects import MoveSA, SendDatagram
from hipgw.protocol.locators import LOCATORS_MAX, LocatorState
from hipgw.wire.parameters import EspInfo, Locator, LocatorSet, Seq, TransportLocator
from protocol.mobile_pairs import A4, B4, NEW4, assert_at, joined, locators, plain
from protocol.network import Network, Node

pytestmark = pytest.mark.both_versions


def say(network: Network, a: Node, b: Node, *entries: Locator, source: str = B4) -> None:
    """An authentic LOCATOR_SET from b to a."""
    association = b.machine._core.find(b.hit, a.hit)
    session = association.session
    spi = session.inbound_spi
    update_id = session.take_update_id()
    parameters = [EspInfo(0, spi, spi), LocatorSet(entries), Seq(update_id)]
    packet = update_tasks.build(association, session, parameters)
    network.deliver(a, packet, ip_address(source))


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
