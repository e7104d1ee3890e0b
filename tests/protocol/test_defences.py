"""What the machine does with packets that it should not believe."""

from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hipgw.errors import LocalProtocolError
from hipgw.identity.puzzle import verify_puzzle
from hipgw.identity.rhash import rhash
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Closed, Effect, Established, Failed, Met, SendDatagram
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.protection import protect, sign
from hipgw.protocol.states import State
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    DhGroupList,
    DiffieHellman,
    EspTransform,
    HipCipher,
    HipSignature2,
    HitSuiteList,
    Notification,
    Parameter,
    R1Counter,
    Solution,
)
from protocol.network import FAST, Network, Node, assert_joined, identity, ordered


def pair(network: Network, config: MachineConfig = FAST) -> tuple[Node, Node]:
    low, high = ordered()
    return network.add("a", "192.0.2.1", low, config), network.add("b", "192.0.2.2", high, config)


def caught(network: Network, a: Node, b: Node, kind: PacketType) -> bytes:
    """Run an exchange from a to b up to the first packet of a kind, and take that off the wire."""
    found: list[bytes] = []

    def take(sender: str, data: bytes) -> list[float]:
        if data[2] & 0x7F == kind:
            found.append(data)
            return []
        return [0.01]

    network.filter = take
    network.connect(a, b)
    network.until(lambda: bool(found))
    return found[0]


def changed(packet: bytes, **parameters: Parameter | None) -> bytes:
    """A packet with parameters replaced by class name (None: left out); nothing is re-signed."""
    parsed = HipPacket.parse(packet)
    kept = [
        parameters.get(type(old).__name__, old)
        for old in parsed.parameters
        if parameters.get(type(old).__name__, old) is not None
    ]
    return replace(parsed, parameters=tuple(p for p in kept if p is not None)).emit()


def flipped(packet: bytes, offset: int) -> bytes:
    return packet[:offset] + bytes([packet[offset] ^ 1]) + packet[offset + 1 :]


def dropped_as(node: Node, reason: DropReason) -> bool:
    return node.machine.statistics()["drops"][reason.value] > 0


# -- the Responder, before it believes anything ---------------------------------------------------


def test_i1_leaves_no_trace() -> None:
    network = Network()
    _, b = pair(network)
    for number in range(200):
        sender = IPv6Address(int(IPv6Address("2001:22::")) + number)
        i1 = HipPacket(PacketType.I1, sender, b.hit, (DhGroupList((7,)),)).emit()
        network.deliver(b, i1, ip_address(f"198.51.100.{number}"))
    assert b.machine.associations() == []
    assert b.machine.next_timer() is None


def test_i1_from_one_address_are_limited_but_not_those_of_others() -> None:
    network = Network()
    a, b = pair(network)
    i1 = HipPacket(PacketType.I1, a.hit, b.hit, (DhGroupList((7,)),)).emit()
    for _ in range(500):
        network.deliver(b, i1, ip_address("198.51.100.1"))
    assert b.machine.statistics()["sent"]["R1"] == FAST.i1_per_source
    assert dropped_as(b, DropReason.RATE_LIMIT)
    network.connect(a, b)
    network.run(3)
    assert_joined(a, b)


def test_the_puzzle_gets_harder_with_the_load_and_easier_again() -> None:
    network = Network()
    a, b = pair(network, replace(FAST, puzzle_load_threshold=10, i1_per_source=1000))
    i1 = HipPacket(PacketType.I1, a.hit, b.hit, (DhGroupList((7,)),)).emit()
    before = b.machine.puzzle_difficulty(network.now)
    for _ in range(100):
        network.deliver(b, i1, a.address)
    assert before < b.machine.puzzle_difficulty(network.now) <= FAST.puzzle_difficulty_max
    network.run(5)
    assert b.machine.puzzle_difficulty(network.now) == before
    network.connect(a, b)
    network.run(3)
    assert_joined(a, b)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("k", DropReason.FOREIGN_PUZZLE),
        ("opaque", DropReason.FOREIGN_PUZZLE),
        ("i", DropReason.FOREIGN_PUZZLE),
        ("counter", DropReason.OLD_R1_COUNTER),
        ("no_counter", DropReason.MISSING_PARAMETER),
        ("group", DropReason.FOREIGN_PUZZLE),
        ("value", DropReason.BAD_DH),
        ("cipher", DropReason.BAD_CHOICE),
        ("suite", DropReason.BAD_CHOICE),
        ("no_solution", DropReason.MISSING_PARAMETER),
    ],
)
def test_an_i2_that_was_tampered_with(what: str, reason: DropReason) -> None:
    network = Network()
    a, b = pair(network)
    i2 = caught(network, a, b, PacketType.I2)
    packet = HipPacket.parse(i2)
    solution, counter = packet.get(Solution), packet.get(R1Counter)
    value = packet.get(DiffieHellman)
    assert solution and counter and value
    evil: dict[str, dict[str, Parameter | None]] = {
        "k": {"Solution": replace(solution, k=0)},
        "opaque": {"Solution": replace(solution, opaque=b"xx")},
        "i": {"Solution": replace(solution, i=bytes(len(solution.i)))},
        "counter": {"R1Counter": replace(counter, counter=counter.counter + 1)},
        "no_counter": {"R1Counter": None},
        "group": {"DiffieHellman": replace(value, group=8)},
        "value": {"DiffieHellman": replace(value, public_value=bytes(64))},
        "cipher": {"HipCipher": HipCipher((1,))},
        "suite": {"EspTransform": EspTransform((7,))},
        "no_solution": {"Solution": None},
    }
    network.deliver(b, changed(i2, **evil[what]), a.address)
    assert dropped_as(b, reason), b.drops()
    assert b.state(a) is State.UNASSOCIATED
    assert b.sas == {}


def test_a_wrong_solution() -> None:
    network = Network()
    a, b = pair(network, replace(FAST, puzzle_difficulty=12, puzzle_difficulty_max=12))
    i2 = caught(network, a, b, PacketType.I2)
    solution = HipPacket.parse(i2).get(Solution)
    assert solution
    function = rhash(b.keys.public.hit_suite)
    solves = partial(verify_puzzle, function, 12, solution.i, a.hit, b.hit)
    # One in 4096 is right by chance.
    wrong = next(j for n in range(9) if not solves(j := bytes([n]) * len(solution.j)))
    network.deliver(b, changed(i2, Solution=replace(solution, j=wrong)), a.address)
    assert dropped_as(b, DropReason.BAD_SOLUTION)
    assert dropped_as(b, DropReason.BAD_MAC) is False


def test_an_i2_from_another_address_is_no_solution_of_that_puzzle() -> None:
    network = Network()
    a, b = pair(network)
    i2 = caught(network, a, b, PacketType.I2)
    network.deliver(b, i2, ip_address("203.0.113.9"))
    assert dropped_as(b, DropReason.FOREIGN_PUZZLE)


@pytest.mark.parametrize("offset", [-10, -30, 41, 60])
def test_an_i2_with_a_flipped_bit(offset: int) -> None:
    network = Network()
    a, b = pair(network)
    i2 = caught(network, a, b, PacketType.I2)
    network.deliver(b, flipped(i2, offset % len(i2)), a.address)
    assert b.state(a) is State.UNASSOCIATED
    assert b.sas == {}
    assert sum(b.drops().values()) == 1


def test_an_i2_is_good_only_once() -> None:
    """The same I2 would give the same keys again, with sequence numbers from 1."""
    network = Network()
    a, b = pair(network)
    i2 = caught(network, a, b, PacketType.I2)
    network.filter = lambda sender, data: [0.01]
    network.run(3)
    assert_joined(a, b)
    network.perform(b, b.machine.close(a.hit, network.now))
    network.run(FAST.msl_s * 2 + 10)
    assert b.state(a) is State.UNASSOCIATED
    count = len(b.installed)
    network.deliver(b, i2, a.address)
    assert dropped_as(b, DropReason.REPLAYED_SOLUTION)
    assert len(b.installed) == count


def test_an_i2_outlives_one_generation_but_not_two() -> None:
    for lifetimes, good in ((1.2, True), (3.5, False)):
        config = replace(FAST, r1_lifetime_s=10.0)
        network = Network()
        a, b = pair(network, config)
        i2 = caught(network, a, b, PacketType.I2)
        a.machine = HipMachine(config, [a.keys], network.random.randbytes, network.now)
        network.run(config.r1_lifetime_s * lifetimes / 2)
        # Another Initiator's I1 makes the pool look at the clock.
        i1 = HipPacket(PacketType.I1, a.hit, b.hit, (DhGroupList((7,)),)).emit()
        network.deliver(b, i1, a.address)
        network.run(config.r1_lifetime_s * lifetimes / 2)
        network.deliver(b, i1, a.address)
        network.deliver(b, i2, a.address)
        assert (b.state(a) is State.R2_SENT) is good
        assert dropped_as(b, DropReason.OLD_R1_COUNTER) is not good


def test_only_those_who_may() -> None:
    network = Network()
    low, high = ordered()
    a = network.add("a", "192.0.2.1", low)
    b = network.add("b", "192.0.2.2", high, replace(FAST, accept=lambda hit: False))
    network.connect(a, b)
    network.run(120)
    assert a.of(Failed)
    assert dropped_as(b, DropReason.POLICY)
    assert "R1" not in b.machine.statistics()["sent"]


# -- the Initiator --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        (DhGroupList((8, 7)), DropReason.BAD_SIGNATURE),
        (HitSuiteList((1,)), DropReason.BAD_SIGNATURE),
        (HipCipher((2,)), DropReason.BAD_SIGNATURE),
        (R1Counter(99), DropReason.BAD_SIGNATURE),
    ],
)
def test_an_r1_that_was_tampered_with(parameter: Parameter, reason: DropReason) -> None:
    network = Network()
    a, b = pair(network)
    r1 = caught(network, a, b, PacketType.R1)
    network.deliver(a, changed(r1, **{type(parameter).__name__: parameter}), b.address)
    assert dropped_as(a, reason)
    assert a.state(b) is State.I1_SENT


def resigned(packet: bytes, keys: Node, **parameters: Parameter | None) -> bytes:
    """An R1 of a Responder that really says so."""
    from hipgw.wire.coverage import signature2_coverage

    bare = changed(packet, HipSignature2=None, **parameters)
    signature = keys.keys.sign(signature2_coverage(bare))
    parsed = HipPacket.parse(bare)
    mark = HipSignature2(keys.keys.public.algorithm, signature)
    return replace(parsed, parameters=(*parsed.parameters, mark)).emit()


def test_a_worse_group_than_both_have_is_a_downgrade() -> None:
    network = Network()
    a, b = pair(network, replace(FAST, dh_groups=(8, 7)))
    r1 = caught(network, a, b, PacketType.R1)
    from hipgw.identity.dh import DhKeyPair

    weaker = DiffieHellman(7, DhKeyPair.generate(7).public_value)
    network.deliver(a, resigned(r1, b, DiffieHellman=weaker), b.address)
    assert dropped_as(a, DropReason.DOWNGRADE)
    assert a.state(b) is State.I1_SENT


@pytest.mark.parametrize(
    "parameter", [HipCipher((99,)), EspTransform((99,)), EspTransform((7,)), DhGroupList((9,))]
)
def test_nothing_in_common(parameter: Parameter) -> None:
    network = Network()
    a, b = pair(network)
    r1 = caught(network, a, b, PacketType.R1)
    network.deliver(a, resigned(r1, b, **{type(parameter).__name__: parameter}), b.address)
    assert dropped_as(a, DropReason.NO_PROPOSAL)


def test_a_puzzle_that_is_too_hard_is_not_begun() -> None:
    network = Network()
    low, high = ordered()
    a = network.add("a", "192.0.2.1", low, replace(FAST, solve_difficulty_max=4))
    b = network.add("b", "192.0.2.2", high, replace(FAST, puzzle_difficulty=6))
    network.connect(a, b)
    network.run(5)
    assert dropped_as(a, DropReason.PUZZLE_TOO_HARD)


@pytest.mark.parametrize("offset", [44, 60, -10])
def test_an_r2_with_a_flipped_bit(offset: int) -> None:
    network = Network()
    a, b = pair(network)
    r2 = caught(network, a, b, PacketType.R2)
    network.deliver(a, flipped(r2, offset % len(r2)), b.address)
    assert a.state(b) is State.I2_SENT
    network.filter = lambda sender, data: [0.01]
    network.run(10)
    assert_joined(a, b)


def test_a_packet_nobody_asked_for() -> None:
    network = Network()
    a, b = pair(network)
    r1 = caught(network, a, b, PacketType.R1)
    stranger = network.add("c", "192.0.2.3", a.keys)
    network.deliver(stranger, r1, b.address)
    assert dropped_as(stranger, DropReason.NO_ASSOCIATION)


def test_echoes_that_somebody_adds_do_not_stop_the_exchange() -> None:
    """They are outside the signature of R1, and may ask for more than fits into an I2."""
    from hipgw.wire.parameters import EchoRequestUnsigned, EchoResponseUnsigned

    network = Network()
    a, b = pair(network)
    r1 = HipPacket.parse(caught(network, a, b, PacketType.R1))
    echoes = tuple(EchoRequestUnsigned(bytes([n]) * 500) for n in range(2))
    added = replace(r1, parameters=(*r1.parameters, *echoes)).emit()
    network.filter = lambda sender, data: [0.01]
    network.deliver(a, added, b.address)
    network.run(3)
    assert_joined(a, b)
    sent = [e.data for e in a.events if isinstance(e, SendDatagram)]
    i2 = HipPacket.parse(next(data for data in sent if data[2] == PacketType.I2))
    assert 0 < len(i2.all(EchoResponseUnsigned)) <= 2


@pytest.mark.parametrize("kind", [PacketType.CLOSE, PacketType.UPDATE])
def test_an_echo_that_does_not_fit_into_an_answer(kind: PacketType) -> None:
    from hipgw.wire.parameters import EchoRequestSigned, Seq

    network = Network()
    a = network.add("a", "192.0.2.1", identity("ed25519", 1))
    b = network.add("b", "192.0.2.2", identity("rsa2048", 2))
    network.connect(a, b)
    network.run(3)
    (known,) = a.machine._core.associations.values()
    session = known.session
    assert session
    echo = EchoRequestSigned(bytes(1830))
    parameters = (echo,) if kind is PacketType.CLOSE else (Seq(0), echo)
    key = session.hip_keys.outgoing_integrity
    packet = protect(kind, a.keys, b.hit, parameters, rhash=session.rhash, key=key)
    network.deliver(b, packet, a.address)
    assert dropped_as(b, DropReason.MALFORMED)


# -- with an association --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PacketType.CLOSE, PacketType.UPDATE])
def test_forged_packets_of_an_association(kind: PacketType) -> None:
    from hipgw.wire.parameters import EchoRequestSigned, Seq

    network = Network()
    a, b = pair(network)
    network.connect(a, b)
    network.run(3)
    evil = identity("ecdsa-p256", 3)
    parameters = (Seq(1), EchoRequestSigned(b"nonce"))
    from hipgw.identity.rhash import rhash

    forged = protect(kind, a.keys, b.hit, parameters, rhash=rhash(2), key=bytes(48))
    network.deliver(b, forged, a.address)
    assert dropped_as(b, DropReason.BAD_MAC)
    network.deliver(b, sign(kind, evil, b.hit, parameters), a.address)
    assert dropped_as(b, DropReason.NO_ASSOCIATION)
    assert_joined(a, b)
    assert b.of(Closed) == []


def test_a_close_of_an_earlier_association_is_of_no_use() -> None:
    network = Network()
    a, b = pair(network)
    network.connect(a, b)
    network.run(3)
    effects = a.machine.close(b.hit, network.now)
    (close,) = [e.data for e in effects if isinstance(e, SendDatagram)]
    a = network.add("a", "192.0.2.1", a.keys)
    network.connect(a, b)
    network.run(3)
    network.deliver(b, close, a.address)
    assert dropped_as(b, DropReason.BAD_MAC)
    assert_joined(a, b)


def test_notify_changes_no_state_but_is_heard() -> None:
    network = Network()
    a, b = pair(network)
    caught(network, a, b, PacketType.I2)
    notify = sign(PacketType.NOTIFY, b.keys, a.hit, (Notification(NotifyType.BLOCKED_BY_POLICY),))
    network.until(lambda: a.state(b) is State.I2_SENT)
    network.deliver(a, notify, b.address)
    assert a.state(b) is State.I2_SENT
    network.run(60)
    (failed,) = a.of(Failed)
    assert isinstance(failed, Failed)
    assert "BLOCKED_BY_POLICY" in failed.reason


def test_an_i2_of_a_worthy_peer_is_told_what_is_wrong() -> None:
    network = Network()
    a, b = pair(network)
    i2 = caught(network, a, b, PacketType.I2)
    network.deliver(b, changed(i2, EspTransform=EspTransform((7,))), a.address)
    assert b.machine.statistics()["sent"]["NOTIFY"] == 1


# -- opportunistic mode ---------------------------------------------------------------------------


def test_opportunistic_mode_is_off_unless_asked_for() -> None:
    network = Network()
    a, b = pair(network)
    with pytest.raises(LocalProtocolError, match="opportunistic"):
        network.connect(a, b, opportunistic=True)
    i1 = HipPacket(PacketType.I1, a.hit, IPv6Address(0), (DhGroupList((7,)),)).emit()
    network.deliver(b, i1, a.address)
    assert dropped_as(b, DropReason.OPPORTUNISTIC)


@pytest.mark.parametrize("transport", list(Transport))
def test_opportunistic_mode(transport: Transport) -> None:
    network = Network(transport=transport)
    a, b = pair(network, replace(FAST, opportunistic=True))
    network.connect(a, b, opportunistic=True)
    network.run(3)
    assert_joined(a, b)
    assert len(a.of(Established)) == 1
    (met,) = a.of(Met)
    assert isinstance(met, Met)
    assert (met.peer_hit, met.path.remote) == (b.hit, b.address)
    assert not b.of(Met)
    assert not a.machine.is_asking(b.address)


def test_who_answers_an_opportunistic_call_has_to_be_welcome() -> None:
    network = Network()
    wanted = replace(FAST, opportunistic=True)
    _, b = pair(network, wanted)
    a = network.add("a", "192.0.2.1", ordered()[0], replace(wanted, accept=lambda _hit: False))
    network.connect(a, b, opportunistic=True)
    assert a.machine.is_asking(b.address)
    network.run(120)
    (failed,) = a.of(Failed)
    assert isinstance(failed, Failed)
    assert "hip.accept" in failed.reason
    assert not a.of(Met)
    assert not a.machine.is_asking(b.address)


def test_opportunistic_mode_without_an_answer() -> None:
    network = Network()
    a, b = pair(network, replace(FAST, opportunistic=True))
    network.filter = lambda sender, data: []
    network.connect(a, b, opportunistic=True)
    network.run(120)
    (failed,) = a.of(Failed)
    assert isinstance(failed, Failed)
    assert failed.peer_hit is None
    assert a.machine.next_timer() is None


def test_a_new_opportunistic_attempt_replaces_the_one_before() -> None:
    network = Network()
    a, _ = pair(network, replace(FAST, opportunistic=True))
    network.filter = lambda sender, data: []
    one, other = (Path(a.address, ip_address(f"192.0.2.{n}")) for n in (2, 3))
    for paths in ([one, other, one], [one], [one, one], [other]):
        network.perform(a, a.machine.connect(None, paths, network.now))
        network.run(0.1)
    network.run(120)
    assert [isinstance(event, Failed) and event.peer_hit for event in a.of(Failed)] == [None, None]
    assert a.machine.next_timer() is None
    assert a.machine._core.opportunistic == {}


# -- garbage --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joined() -> tuple[Network, Node, Node, list[bytes]]:
    network = Network()
    seen: list[bytes] = []

    def record(sender: str, data: bytes) -> list[float]:
        seen.append(data)
        return [0.01]

    a, b = pair(network)
    network.filter = record
    network.connect(a, b)
    network.run(3)
    for effects in (a.machine.ping(b.hit, network.now)[1], a.machine.close(b.hit, network.now)):
        network.perform(a, effects)
        network.run(1)
    return network, a, b, seen


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_packets_never_raise_and_never_stay(
    joined: tuple[Network, Node, Node, list[bytes]], data: st.DataObject
) -> None:
    network, _, b, seen = joined
    packet = bytearray(data.draw(st.sampled_from(seen)))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(packet), len(packet) - 8, 40, 39, 0]))
    for transport in Transport:
        path = Path(b.address, ip_address("203.0.113.1"), transport)
        effects: list[Effect] = b.machine.datagram_received(bytes(packet[:cut]), path, network.now)
        assert not any(isinstance(effect, Established) for effect in effects)
    assert len(b.machine.associations()) <= 1


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=200), kind=st.integers(0, 255))
def test_noise_behind_a_good_header(
    joined: tuple[Network, Node, Node, list[bytes]], noise: bytes, kind: int
) -> None:
    network, a, b, _ = joined
    noise += bytes(-len(noise) % 8)
    head = bytes([59, (40 + len(noise)) // 8 - 1, kind & 0x7F, 0x21, 0, 0, 0, 0])
    packet = head + a.hit.packed + b.hit.packed + noise
    b.machine.datagram_received(packet, Path(b.address, a.address), network.now)
    assert len(b.machine.associations()) <= 1


def test_raw_packets_need_their_checksum() -> None:
    network = Network(transport=Transport.RAW)
    a, b = pair(network)
    i1 = HipPacket(PacketType.I1, a.hit, b.hit, (DhGroupList((7,)),))
    network.deliver(b, i1.emit(), a.address)
    assert dropped_as(b, DropReason.CHECKSUM)
    network.deliver(b, i1.emit(PseudoHeader(a.address, b.address)), a.address)
    assert b.machine.statistics()["sent"]["R1"] == 1
