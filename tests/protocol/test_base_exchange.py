"""The base exchange between two machines on a simulated network."""

import itertools
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.identity.host_identity import KeyKind
from hipgw.protocol import update_tasks
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import (
    Closed,
    Direction,
    Established,
    Failed,
    InstallSA,
    PingReply,
    SendDatagram,
)
from hipgw.protocol.path import Transport
from hipgw.protocol.states import State
from hipgw.protocol.transitions import TRANSITIONS, mermaid
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import Ack, EchoRequestSigned, EchoResponseSigned, Seq
from protocol.network import FAST, Nat, Network, Node, assert_joined, identity, ordered

KINDS: tuple[KeyKind, ...] = ("rsa2048", "ecdsa-p256", "ecdsa-p384", "ed25519")


def pair(network: Network, config: MachineConfig = FAST) -> tuple[Node, Node]:
    low, high = ordered()
    return network.add("a", "192.0.2.1", low, config), network.add("b", "192.0.2.2", high, config)


@pytest.mark.parametrize(("mine", "theirs"), list(itertools.product(KINDS, KINDS)))
def test_every_kind_of_key_meets_every_other(mine: KeyKind, theirs: KeyKind) -> None:
    network = Network()
    a = network.add("a", "192.0.2.1", identity(mine, 1))
    b = network.add("b", "192.0.2.2", identity(theirs, 2))
    network.connect(a, b)
    network.run(3)
    assert_joined(a, b)
    assert a.drops() == b.drops() == {}


@pytest.mark.parametrize("group", [3, 4, 7, 8, 9, 11])
@pytest.mark.parametrize("transport", list(Transport))
def test_every_group_over_both_transports_and_families(group: int, transport: Transport) -> None:
    config = MachineConfig(puzzle_difficulty=1, dh_groups=(group,))
    for addresses in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
        network = Network(transport=transport)
        low, high = ordered()
        a = network.add("a", addresses[0], low, config)
        b = network.add("b", addresses[1], high, config)
        network.connect(a, b)
        network.run(3)
        assert_joined(a, b)


@pytest.mark.parametrize("suite", [7, 8, 9, 10, 11, 12, 13, 65281])
@pytest.mark.parametrize("cipher", [1, 2, 4])
def test_every_cipher_and_suite(suite: int, cipher: int) -> None:
    config = MachineConfig(
        puzzle_difficulty=0, dh_groups=(7,), esp_suites=(suite,), hip_ciphers=(cipher,)
    )
    network = Network()
    a, b = pair(network, config)
    network.connect(a, b)
    network.run(3)
    assert_joined(a, b)
    assert a.sa(Direction.OUTBOUND).suite == suite


def test_the_effects_come_in_a_safe_order() -> None:
    """The inbound association stands before the packet that lets the peer use it leaves."""
    network = Network()
    a, b = pair(network)
    network.connect(a, b)
    network.run(3)
    for node, packet in ((a, PacketType.I2), (b, PacketType.R2)):
        kinds = [
            "in" if event.direction is Direction.INBOUND else "out"
            for event in node.events
            if isinstance(event, InstallSA)
        ]
        sent = [
            index
            for index, event in enumerate(node.events)
            if isinstance(event, SendDatagram) and event.data[2] & 0x7F == packet
        ]
        inbound = next(i for i, e in enumerate(node.events) if isinstance(e, InstallSA))
        assert inbound < sent[0]
        assert kinds == ["in", "out"]


def test_a_second_connect_does_nothing() -> None:
    network = Network()
    a, b = pair(network)
    network.connect(a, b)
    network.connect(a, b)
    network.run(3)
    network.connect(a, b)
    network.run(3)
    assert Counter(kind for name, kind in network.sent if name == "a")[PacketType.I1] == 1


def test_a_peer_that_is_found_elsewhere_meanwhile_is_called_there_as_well() -> None:
    network = Network()
    a, b = pair(network)
    here = network.path(a, b)
    gone = replace(here, remote=ip_address("192.0.2.77"))
    network.perform(a, a.machine.connect(b.hit, [gone], network.now))
    network.run(2)
    assert a.state(b) is State.I1_SENT
    network.perform(a, a.machine.found_at(b.hit, [here, gone], network.now))
    network.run(3)
    assert_joined(a, b)
    # Nothing comes of it when there is nobody to be found any more.
    before = len(network.sent)
    network.perform(a, a.machine.found_at(b.hit, [gone], network.now))
    network.perform(a, a.machine.found_at(a.hit, [gone], network.now))
    assert len(network.sent) == before


@pytest.mark.parametrize("packet", [PacketType.I1, PacketType.R1, PacketType.I2, PacketType.R2])
@pytest.mark.parametrize("losses", [1, 3])
def test_lost_packets_are_repaired(packet: PacketType, losses: int) -> None:
    network = Network()
    a, b = pair(network)
    left = [losses]

    def lose(sender: str, data: bytes) -> list[float]:
        if data[2] & 0x7F == packet and left[0]:
            left[0] -= 1
            return []
        return [0.01]

    network.filter = lose
    network.connect(a, b)
    network.run(30)
    assert left == [0]
    assert_joined(a, b)
    assert len(a.of(Established)) == len(b.of(Established)) == 1


@pytest.mark.parametrize("packet", [PacketType.I1, PacketType.R1, PacketType.I2, PacketType.R2])
@pytest.mark.parametrize("late", [0.0, 0.015, 0.5, 20.0])
def test_repeated_packets_change_nothing(packet: PacketType, late: float) -> None:
    network = Network()
    a, b = pair(network)
    network.filter = lambda sender, data: (
        [0.01, 0.01 + late] if data[2] & 0x7F == packet else [0.01]
    )
    network.connect(a, b)
    network.run(40)
    assert_joined(a, b)
    for node in (a, b):
        spis = [(sa.direction, sa.spi) for sa in node.installed]
        assert len(spis) == len(set(spis)), "a security association was installed twice"
        assert len(node.of(Established)) == 1


@pytest.mark.parametrize("seed", range(60))
def test_bad_networks_still_join(seed: int) -> None:
    network = Network(seed)
    config = MachineConfig(puzzle_difficulty=2, dh_groups=(7,), retries=12, retransmit_max_s=2.0)
    a, b = pair(network, config)

    def weather(sender: str, data: bytes) -> list[float]:
        copies = network.random.choice([0, 0, 1, 1, 1, 1, 2, 3])
        return [network.random.uniform(0.001, 0.8) for _ in range(copies)]

    network.filter = weather
    network.connect(a, b)
    if seed % 2:
        network.connect(b, a)
    network.run(90)
    assert_joined(a, b)


@pytest.mark.parametrize("ahead", [0.0, 0.005, 0.012, 0.025, 0.035, 0.045, 0.055, 0.2])
@pytest.mark.parametrize("first", ["a", "b"])
def test_both_begin_at_about_the_same_time(ahead: float, first: str) -> None:
    """The greater HIT ends as Responder (RFC 7401 §6.7, §6.9), whoever was first."""
    network = Network()
    a, b = pair(network)
    one, other = (a, b) if first == "a" else (b, a)
    network.connect(one, other)
    network.run(ahead)
    network.connect(other, one)
    network.run(30)
    assert_joined(a, b)
    for node in (a, b):
        assert len({sa.spi for sa in node.sas.values()}) == 2, "leftovers"


@pytest.mark.parametrize("again", ["restarted", "other"])
def test_a_restarted_peer_replaces_the_association(again: str) -> None:
    network = Network()
    a, b = pair(network)
    network.connect(a, b)
    network.run(3)
    before = b.sa(Direction.INBOUND).spi
    a = network.add("a", "192.0.2.1", a.keys)
    if again == "restarted":
        network.connect(a, b)
    else:
        # The other side learns of it only by its own wish for a new association.
        network.perform(b, b.machine.close(a.hit, network.now))
        network.run(120)
        network.connect(b, a)
    network.run(5)
    assert_joined(a, b)
    assert b.sa(Direction.INBOUND).spi != before


def test_nobody_answers() -> None:
    network = Network()
    a, b = pair(network)
    network.filter = lambda sender, data: []
    network.connect(a, b)
    network.run(120)
    (failed,) = a.of(Failed)
    assert isinstance(failed, Failed)
    assert "no answer to I1" in failed.reason
    assert a.state(b) is State.UNASSOCIATED
    assert a.machine.next_timer() is None
    assert Counter(kind for _, kind in network.sent)[PacketType.I1] == FAST.retries + 1


def test_the_peer_vanishes_after_r1() -> None:
    network = Network()
    a, b = pair(network)
    network.filter = lambda sender, data: [] if data[2] & 0x7F == PacketType.R2 else [0.01]
    network.connect(a, b)
    network.run(120)
    (failed,) = a.of(Failed)
    assert isinstance(failed, Failed)
    assert "no answer to I2" in failed.reason
    assert a.sas == {}


def test_unused_associations_are_closed_and_used_ones_are_not() -> None:
    config = MachineConfig(puzzle_difficulty=0, dh_groups=(7,), ual_s=60.0)
    network = Network()
    a, b = pair(network, config)
    network.connect(a, b)
    for _ in range(5):
        network.run(30)
        a.machine.traffic_seen(b.hit, network.now)
        b.machine.traffic_seen(a.hit, network.now)
    assert_joined(a, b)
    network.run(200)
    assert a.state(b) is b.state(a) is State.UNASSOCIATED
    assert a.sas == b.sas == {}
    assert len(a.of(Closed)) == len(b.of(Closed)) == 1


@pytest.mark.parametrize("lost", [PacketType.CLOSE, PacketType.CLOSE_ACK])
@pytest.mark.parametrize("who", ["a", "b", "both"])
def test_close(lost: PacketType, who: str) -> None:
    network = Network()
    a, b = pair(network)
    network.connect(a, b)
    network.run(3)
    left = [1]

    def lose(sender: str, data: bytes) -> list[float]:
        if data[2] & 0x7F == lost and left[0]:
            left[0] -= 1
            return []
        return [0.01]

    network.filter = lose
    for node, peer in ((a, b), (b, a)):
        if who in (node.name, "both"):
            network.perform(node, node.machine.close(peer.hit, network.now))
    network.run(0.1)
    if who == "both":
        assert a.sas == b.sas == {}
    network.run(120)
    assert a.state(b) is b.state(a) is State.UNASSOCIATED
    assert a.sas == b.sas == {}
    network.connect(b, a)
    network.run(3)
    assert_joined(a, b)


def test_data_or_time_completes_the_exchange() -> None:
    for by_data in (True, False):
        network = Network()
        a, b = pair(network)
        network.connect(a, b)
        network.until(lambda b=b, a=a: b.state(a) is State.R2_SENT)
        if by_data:
            spi = b.sa(Direction.INBOUND).spi
            network.perform(b, b.machine.data_received(spi, network.now))
        else:
            network.run(FAST.exchange_complete_s + 0.1)
        assert b.state(a) is State.ESTABLISHED


def test_both_call_and_one_cannot_be_called() -> None:
    """It is behind a NAT, and has the greater HIT, so that it should be the Responder (§6.7)."""
    network = Network()
    low, high = ordered()
    a, b = network.add("a", "10.0.0.5", high), network.add("b", "192.0.2.2", low)
    network.nats[a.address] = Nat("203.0.113.1")
    network.connect(b, a)
    network.connect(a, b)
    network.run(5.0)
    assert_joined(a, b)


def test_one_packet_may_answer_several_pings() -> None:
    network = Network()
    a, b = pair(network)
    network.connect(a, b)
    network.run(1.0)
    network.filter = lambda _sender, _data: []
    sent = [a.machine.ping(b.hit, network.now)[1] for _ in range(2)]
    asked = [
        HipPacket.parse(effect.data)
        for effects in sent
        for effect in effects
        if isinstance(effect, SendDatagram)
    ]
    update_ids = tuple(packet.get(Seq).update_id for packet in asked)
    echoes = [EchoResponseSigned(packet.get(EchoRequestSigned).data) for packet in asked]
    theirs = b.machine._core.find(b.hit, a.hit)
    answer = update_tasks.build(theirs, theirs.session, [Ack(update_ids), *echoes])
    network.deliver(a, answer, b.address)
    assert len(a.of(PingReply)) == 2


def test_ping_both_ways_and_under_loss() -> None:
    network = Network()
    a, b = pair(network)
    network.connect(a, b)
    network.run(3)
    numbers = []
    for node, peer in ((a, b), (b, a), (a, b)):
        number, effects = node.machine.ping(peer.hit, network.now)
        numbers.append(number)
        network.perform(node, effects)
        network.run(1)
    replies = [*a.of(PingReply), *b.of(PingReply)]
    assert len(replies) == 3
    assert all(isinstance(r, PingReply) and abs(r.rtt - 0.02) < 1e-6 for r in replies)
    network.filter = lambda sender, data: []
    _, effects = a.machine.ping(b.hit, network.now)
    network.perform(a, effects)
    network.run(30)
    assert len([*a.of(PingReply), *b.of(PingReply)]) == 3
    assert_joined(a, b)


def test_the_table_has_no_dead_ends() -> None:
    """Every state can be left, and every state but the first can be entered."""
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert set(TRANSITIONS.values()) == set(State)
    assert all(state.value.replace("-", "_") in mermaid() for state in State)
