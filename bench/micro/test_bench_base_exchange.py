"""What the HIP machine costs: whole base exchanges, and the answer to an I1.

Run with: pytest --benchmark-enable bench/micro/test_bench_base_exchange.py

Both ends run in this process on a virtual clock, so an exchange here is the work of two hosts. The
puzzles are easy (K = 1): the search for J is measured with the puzzle solver, and its cost in a
real exchange is set by K alone.
"""

import random
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hipgw.identity.dh import DhGroup
from hipgw.identity.host_identity import KeyKind, LocalIdentity
from hipgw.identity.puzzle import search
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import Effect, SendDatagram, SolvePuzzle
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.states import State
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import DhGroupList

PAIRS: tuple[tuple[KeyKind, DhGroup], ...] = (
    ("ed25519", DhGroup.P_256),
    ("ecdsa-p384", DhGroup.P_384),
    ("rsa2048", DhGroup.P_384),
    ("rsa2048", DhGroup.MODP_3072),
)
INITIATOR, RESPONDER = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
ATTEMPTS = 1 << 12
"""Enough to solve K = 1 for certain, as far as that can be said."""


RANDOM = random.Random(7401)
"""Reproducible. Searches for J begin at random too: a Responder gives one Initiator the same I for
a while, and takes the same I and J twice for one I2 that came again."""


@cache
def identity(kind: KeyKind, number: int) -> LocalIdentity:
    """A key made once; *number* tells several of a kind apart."""
    del number
    return LocalIdentity.generate(kind)


def machine(kind: KeyKind, number: int, group: DhGroup, now: float) -> HipMachine:
    """A machine that offers one group and all but trivial puzzles."""
    config = MachineConfig(
        dh_groups=(group,), puzzle_difficulty=1, puzzle_difficulty_max=1, i1_per_source=1 << 30
    )
    return HipMachine(config, [identity(kind, number)], RANDOM.randbytes, now)


@dataclass
class Exchange:
    """Two machines, and what carries packets between them."""

    initiator: HipMachine
    responder: HipMachine
    transport: Transport
    now: float = 1000.0

    def run(self) -> None:
        """Do one base exchange from I1 to R2."""
        path = Path(INITIATOR, RESPONDER, self.transport)
        self._carry(
            self.initiator, self.initiator.connect(self.responder.local_hit, [path], self.now)
        )

    def _carry(self, sender: HipMachine, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendDatagram):
                other = self.responder if sender is self.initiator else self.initiator
                here, there = (
                    (RESPONDER, INITIATOR) if other is self.responder else (INITIATOR, RESPONDER)
                )
                back = Path(here, there, self.transport)
                self._carry(other, other.datagram_received(effect.data, back, self.now))
            elif isinstance(effect, SolvePuzzle):
                start = RANDOM.randbytes(effect.length)
                j = search(
                    effect.hash_name,
                    effect.prefix,
                    effect.length,
                    effect.difficulty,
                    start,
                    ATTEMPTS,
                )
                self._carry(sender, sender.puzzle_solved(effect.request, j, self.now))


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.RAW], ids=lambda t: t.value)
@pytest.mark.parametrize(
    ("kind", "group"), PAIRS, ids=lambda value: str(getattr(value, "label", value))
)
def test_base_exchange(
    benchmark: BenchmarkFixture, kind: KeyKind, group: DhGroup, transport: Transport
) -> None:
    """I1, R1, I2, R2 between a restarted Initiator and a Responder that has its R1s ready."""
    responder = machine(kind, 2, group, 1000.0)

    def fresh() -> tuple[tuple[Exchange], dict[str, object]]:
        # A new Initiator each time: the Responder replaces the association, as after a restart.
        # Its clock stands still so that no new generation of R1s falls into the measurement.
        return (Exchange(machine(kind, 1, group, 1000.0), responder, transport),), {}

    done: list[Exchange] = []

    def exchange(pair: Exchange) -> None:
        pair.run()
        done.append(pair)

    benchmark.pedantic(exchange, setup=fresh, rounds=30, warmup_rounds=2)
    for pair in done:
        assert [info.state for info in pair.initiator.associations()] == [State.ESTABLISHED]
    assert [info.state for info in responder.associations()] == [State.R2_SENT]
    assert not any(responder.statistics()["drops"].values())


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.RAW], ids=lambda t: t.value)
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p384", "rsa2048"])
def test_answer_i1(benchmark: BenchmarkFixture, kind: KeyKind, transport: Transport) -> None:
    """One R1 from the pool for one I1: what a flood of I1s costs, each."""
    responder = machine(kind, 2, DhGroup.P_256, 1000.0)
    hit = identity(kind, 1).hit
    i1 = HipPacket(PacketType.I1, hit, responder.local_hit, (DhGroupList((DhGroup.P_256,)),))
    path = Path(RESPONDER, INITIATOR, transport)
    data = _on_the_wire(i1, path)

    effects = benchmark(responder.datagram_received, data, path, 1000.0)

    assert any(isinstance(effect, SendDatagram) for effect in effects)
    assert not responder.associations()


@pytest.mark.parametrize("reason", ["not_our_hit", "foreign_puzzle", "malformed"])
def test_drop(benchmark: BenchmarkFixture, reason: str) -> None:
    """What it costs to be rid of a packet that is of no use."""
    group = DhGroup.P_256
    responder = machine("ed25519", 2, group, 1000.0)
    path = Path(RESPONDER, INITIATOR, Transport.UDP)
    stranger = identity("ed25519", 3).hit
    initiator = identity("ed25519", 1).hit
    i1 = HipPacket(PacketType.I1, initiator, responder.local_hit, (DhGroupList((group,)),))
    if reason == "not_our_hit":
        data = HipPacket(PacketType.I1, initiator, stranger, i1.parameters).emit()
    elif reason == "malformed":
        data = i1.emit()[:-1]
    else:
        data = _i2_from_another_address(group, responder)

    benchmark(responder.datagram_received, data, path, 1000.0)

    drops = responder.statistics()["drops"]
    assert {name for name, number in drops.items() if number} == {reason}


def _i2_from_another_address(group: DhGroup, responder: HipMachine) -> bytes:
    """A genuine I2 whose puzzle was given to another address than the one it will come from."""
    initiator = machine("ed25519", 1, group, 1000.0)
    elsewhere = Path(RESPONDER, IPv4Address("198.51.100.1"), Transport.UDP)
    there = Path(INITIATOR, RESPONDER, Transport.UDP)
    effects = initiator.connect(responder.local_hit, [there], 1000.0)
    r1 = _packet(responder.datagram_received(_packet(effects), elsewhere, 1000.0))
    puzzle = next(
        effect
        for effect in initiator.datagram_received(r1, there, 1000.0)
        if isinstance(effect, SolvePuzzle)
    )
    start = RANDOM.randbytes(puzzle.length)
    j = search(puzzle.hash_name, puzzle.prefix, puzzle.length, puzzle.difficulty, start, ATTEMPTS)
    return _packet(initiator.puzzle_solved(puzzle.request, j, 1000.0))


def _packet(effects: list[Effect]) -> bytes:
    return next(effect.data for effect in effects if isinstance(effect, SendDatagram))


def _on_the_wire(packet: HipPacket, path: Path) -> bytes:
    """Emit a packet that arrives along *path*, with the checksum that plain IP needs."""
    if path.transport is Transport.UDP or path.local is None:
        return packet.emit()
    return packet.emit(PseudoHeader(path.remote, path.local))
