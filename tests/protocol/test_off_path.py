"""What somebody can do who is not on the path: send anything, and play again what once passed.

He knows both HITs and addresses, can forge any source address, and has got hold of every packet
of a long life of the association; he has no key. Nothing that he sends may move the association,
end it, make this host send much to anybody, or fill its tables.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.protocol import update_tasks
from hipgw.protocol.effects import MoveSA, PathChanged, SendDatagram, StateChanged
from hipgw.protocol.locators import LOCATORS_MAX, LocatorState
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.protocol.states import State
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.icmp import TooBig
from hipgw.wire.packet import HipPacket, PacketType, set_checksum
from hipgw.wire.parameters import EspInfo, Locator, LocatorSet, PlainLocator, Seq
from protocol.mobile_pairs import (
    A4,
    B4,
    CONFIG,
    NEW4,
    OFFICE,
    assert_at,
    closed,
    joined,
    joined_behind_nat,
    locators,
    plain,
)
from protocol.network import Network, Node, ordered

VICTIM = ip_address("203.0.113.200")
OLD = "203.0.113.50"


def long_life() -> tuple[Network, Node, Node, list[tuple[str, bytes]]]:
    """An association that has lived, and every packet of it with its sender's name."""
    small, great = ordered()
    network = Network(1)
    seen: list[tuple[str, bytes]] = []

    def listen(sender: str, data: bytes) -> list[float]:
        seen.append((sender, data))
        return [0.01]

    network.filter = listen
    a = network.add("a", A4, small, CONFIG)
    b = network.add("b", B4, great, CONFIG)
    network.readdress(a, A4)
    network.readdress(b, B4)
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    for there in (OLD, "203.0.113.51"):
        network.readdress(a, there)
        network.run(1.0)
    network.perform(a, a.machine.rekey(b.hit, network.now))
    network.run(1.0)
    network.perform(a, a.machine.close(b.hit, network.now))
    network.run(60.0)
    network.readdress(a, A4)
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    network.readdress(a, OLD)
    network.run(1.0)
    network.perform(b, b.machine.rekey(a.hit, network.now))
    network.run(1.0)
    network.readdress(a, A4)
    network.run(1.0)
    assert network.data(a, b)
    assert network.data(b, a)
    network.run(5.0)
    network.filter = lambda _sender, _data: [0.01]
    a.events.clear()
    b.events.clear()
    return network, a, b, seen


def throw(network: Network, target: Node, data: bytes, source: IPAddress) -> None:
    """One packet from nowhere."""
    path = Path(target.address, source, Transport.UDP, 10500, 10500)
    network.perform(target, target.machine.datagram_received(data, path, network.now))


def forged(network: Network, a: Node, b: Node) -> Iterator[bytes]:
    """Packets that claim to be b's, made without its keys."""
    mine, theirs = ordered("ecdsa-p384")
    del theirs
    association = b.machine._core.find(b.hit, a.hit)
    session = association.session
    wrong = replace(session.hip_keys, outgoing_integrity=network.random.randbytes(32))
    with_wrong_keys = replace(session, hip_keys=wrong)
    locators = LocatorSet((Locator(PlainLocator(VICTIM), preferred=True),))
    spi = session.inbound_spi
    for update_id in (0, session.next_update_id, session.next_update_id + 1000):
        for extra in ((locators,), (EspInfo(0, spi, 70000),), ()):
            parameters = [EspInfo(0, spi, spi), *extra, Seq(update_id)]
            yield update_tasks.build(association, with_wrong_keys, parameters[-2:])
    for kind in (PacketType.CLOSE, PacketType.CLOSE_ACK, PacketType.NOTIFY, PacketType.UPDATE):
        yield HipPacket(kind, b.hit, a.hit, ()).emit()
        yield HipPacket(kind, mine.hit, a.hit, ()).emit()


def assert_unmoved(network: Network, a: Node, b: Node) -> None:
    for node in (a, b):
        assert not [
            event for event in node.events if isinstance(event, StateChanged | PathChanged | MoveSA)
        ]
        assert len(node.machine.associations()) == 1
        core = node.machine._core
        assert len(core.by_inbound_spi) == 1
        association = core.find(node.hit, a.hit if node is b else b.hit)
        assert len(association.mobility.locators) <= LOCATORS_MAX
        assert len(association.updates) <= LOCATORS_MAX + 1
    network.run(30.0)
    assert_at(network, a, b, A4, B4)


@pytest.mark.parametrize("source", [VICTIM, ip_address(B4), ip_address(OLD)], ids=str)
def test_everything_played_again_moves_and_ends_nothing(source: IPAddress) -> None:
    network, a, b, seen = long_life()
    for sender, data in seen:
        throw(network, b if sender == "a" else a, data, source)
        network.run(0.2)
    assert_unmoved(network, a, b)


def test_everything_played_to_the_wrong_side_or_damaged_moves_and_ends_nothing() -> None:
    network, a, b, seen = long_life()
    dice = random.Random(1)
    for sender, data in seen:
        throw(network, a if sender == "a" else b, data, VICTIM)
        for _ in range(5):
            damaged = bytearray(data)
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            throw(network, b if sender == "a" else a, bytes(damaged), VICTIM)
        network.run(0.2)
    assert_unmoved(network, a, b)


def test_forged_packets_move_and_end_nothing() -> None:
    network, a, b, _seen = long_life()
    for packet in forged(network, a, b):
        for source in (VICTIM, ip_address(B4)):
            throw(network, a, packet, source)
    assert_unmoved(network, a, b)


def test_forged_icmp_moves_and_ends_nothing() -> None:
    network, a, b, _seen = long_life()
    for protocol in (17, 50, 139):
        message = TooBig(
            source=ip_address(A4),
            destination=ip_address(B4),
            protocol=protocol,
            mtu=68,
            payload=bytes(64),
        )
        network.perform(a, a.machine.packet_too_big(message, network.now))
    assert_unmoved(network, a, b)


def test_nobody_gets_more_than_is_sent_in_his_name() -> None:
    """Replays with a victim's address as their source: what goes there, in octets.

    I1 is answered by a larger R1, as RFC 7401 has it, to one source only so often; an UPDATE that
    comes again is answered where the peer is.
    """
    network, a, b, seen = long_life()
    received: Counter[str] = Counter()
    for _ in range(20):
        for sender, data in seen:
            kind = PacketType(data[2] & 0x7F).name
            target = b if sender == "a" else a
            before = len(target.events)
            throw(network, target, data, VICTIM)
            for event in target.events[before:]:
                if isinstance(event, SendDatagram) and event.path.remote == VICTIM:
                    received[kind] += len(event.data)
        network.run(1.0)
    assert set(received) <= {"I1"}
    seconds = 20
    assert received["I1"] <= seconds * CONFIG.i1_per_source * 1500
    assert_unmoved(network, a, b)


def test_floods_fill_no_table() -> None:
    network, a, b, seen = long_life()
    dice = random.Random(1)

    def sizes(node: Node) -> list[int]:
        core = node.machine._core
        association = next(iter(core.associations.values()))
        return [
            len(core.associations),
            len(core.by_inbound_spi),
            len(core.opportunistic),
            len(core.puzzles),
            len(core.timers),
            len(association.updates),
            len(association.pings),
            len(association.session.answers),
            len(association.session.seen_update_ids),
        ]

    before = sizes(a), sizes(b)
    for _ in range(30):
        for sender, data in seen:
            where = ip_address(dice.randrange(1 << 24, 0xDF000000))
            throw(network, b if sender == "a" else a, data, where)
            # The same from a stranger.
            stranger = bytearray(data)
            stranger[8:24] = bytes.fromhex("20010022") + dice.randbytes(12)
            throw(network, b if sender == "a" else a, bytes(stranger), where)
    after = sizes(a), sizes(b)
    for old, new in zip(before, after, strict=True):
        assert all(grown <= known + 64 for known, grown in zip(old, new, strict=True)), (old, new)
    assert_unmoved(network, a, b)


def test_a_copy_that_overtakes_the_packet_itself_moves_nothing_for_good() -> None:
    """On the path it can be done for one packet: the announcement, from the attacker's address.

    The peer is where it says, not where the packet came from.
    """
    network, a, b = joined()
    taken: list[bytes] = []
    network.filter = lambda sender, data: taken.append(data) or [] if sender == "a" else [0.01]
    network.readdress(a, NEW4)
    network.filter = lambda _sender, _data: [0.01]
    throw(network, b, taken[0], VICTIM)
    network.run(10.0)
    assert_at(network, a, b, NEW4, B4)


def test_such_a_copy_does_not_cost_a_peer_behind_a_nat_its_association() -> None:
    network, a, b = joined_behind_nat()
    taken: list[bytes] = []
    network.filter = lambda sender, data: taken.append(data) or [] if sender == "a" else [0.01]
    network.readdress(a, OFFICE)
    network.filter = lambda _sender, _data: [0.01]
    throw(network, b, taken[0], VICTIM)
    network.run(60.0)
    assert not closed(a, b)
    assert network.data(a, b)
    assert network.data(b, a)
    assert str(b.path_to(a).remote) == "203.0.113.99"
    assert b.outbound[a.hit][2]


def test_a_copy_by_another_transport_is_not_taken() -> None:
    network, a, b = joined()
    taken: list[bytes] = []
    network.filter = lambda sender, data: taken.append(data) or [] if sender == "a" else [0.01]
    network.readdress(a, NEW4)
    network.filter = lambda _sender, _data: [0.01]
    copy = set_checksum(taken[0], PseudoHeader(ip_address(NEW4), ip_address(B4)))
    plain_ip = Path(ip_address(B4), ip_address(NEW4), Transport.RAW)
    network.perform(b, b.machine.datagram_received(copy, plain_ip, network.now))
    assert b.drops() == {"unexpected": 1}
    network.run(1.0)
    assert_at(network, a, b, NEW4, B4)


def test_a_peer_gets_the_challenge_to_a_victim_nowhere_else() -> None:
    """It names a victim, forges an UPDATE from there, and asks again from where it is."""
    network, a, b = joined()
    association = b.machine._core.find(b.hit, a.hit)
    session = association.session
    spi, update_id = session.inbound_spi, session.take_update_id()
    entries = (plain(str(VICTIM), preferred=True), plain(B4))
    parameters = [EspInfo(0, spi, spi), LocatorSet(entries), Seq(update_id)]
    packet = update_tasks.build(association, session, parameters)
    for _ in range(10):
        throw(network, a, packet, VICTIM)
        throw(network, a, packet, ip_address(B4))
        network.run(1.0)
    assert locators(a)[str(VICTIM)] is LocatorState.UNVERIFIED
    assert_at(network, a, b, A4, B4)
