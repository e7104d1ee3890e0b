"""A simulated network: machines, a virtual clock, and links that lose, repeat and reorder."""

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv6Address, ip_address

from hipgw.identity.dh import DhKeyPair
from hipgw.identity.host_identity import KeyKind, LocalIdentity
from hipgw.identity.keymat import EspKeys, HipKeys, Keymat
from hipgw.identity.puzzle import search
from hipgw.protocol.association import Association, Session
from hipgw.protocol.compat import RFC
from hipgw.protocol.config import MachineConfig, V1Config
from hipgw.protocol.effects import (
    Direction,
    Effect,
    InstallSA,
    MoveSA,
    RemoveSA,
    SendDatagram,
    SolvePuzzle,
)
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Path, Transport
from hipgw.protocol.responder import confirmed
from hipgw.protocol.states import State
from hipgw.protocol.transitions import Trigger
from hipgw.protocol.versions.base import Choice
from hipgw.protocol.versions.registry import VERSIONS
from hipgw.wire.packet import SUPPORTED_VERSIONS, HipPacket
from protocol.due import assert_in_time, expire

FAST = MachineConfig(
    puzzle_difficulty=2, puzzle_difficulty_max=6, dh_groups=(7,), v1=V1Config(dh_groups=(3,))
)
"""Cheap puzzles and one quick group, for tests of anything else."""

hip_version = ContextVar("hip_version", default=2)
"""That of the identities that `ordered` yields: tests marked `both_versions` run with each."""


@cache
def identity(kind: KeyKind, number: int = 0, version: int = 2) -> LocalIdentity:
    """A key that is made once in a test run; *number* tells several of a kind apart."""
    if version != 2:
        return identity(kind, number).in_version(version)
    return LocalIdentity.generate(kind)


def ordered(kind: KeyKind | None = None) -> tuple[LocalIdentity, LocalIdentity]:
    """Two identities, that with the smaller HIT first."""
    version = hip_version.get()
    kind = kind or ("ecdsa-p256" if version == 2 else "rsa2048")
    one, other = identity(kind, 1, version), identity(kind, 2, version)
    return (one, other) if one.hit < other.hit else (other, one)


def parse(data: bytes) -> HipPacket:
    """A packet of any version, as it was sent (inside UDP)."""
    return HipPacket.parse(data, strict_order=False, versions=SUPPORTED_VERSIONS)


def peer_hits(count: int) -> list[IPv6Address]:
    """HITs whose keys nobody has."""
    return [IPv6Address((0x2001002 << 100) + number) for number in range(1, count + 1)]


def establish(machine: HipMachine, peer_hit: IPv6Address, now: float) -> Association:
    """Make an association as a base exchange would, where thousands are wanted: the keys are void.

    The effects of it come out of the machine's next call.
    """
    core = machine._core
    local = core.identities[machine.local_hit]
    association = core.create(local, peer_hit)
    version = VERSIONS[local.version]
    function = version.puzzle_hash(local.hit)
    session = Session(
        version=version,
        compat=RFC,
        peer=local.public,
        choice=Choice(2, 8),
        puzzle_hash=function,
        rhash=function,
        hip_keys=HipKeys(*[bytes(32)] * 4),
        esp_keys=EspKeys(*[bytes(32)] * 4),
        dh_group=7,
        inbound_spi=core.new_spi(),
        outbound_spi=256,
        keymat=Keymat(bytes(32), bytes(32), bytes(32), local.hit, peer_hit, function),
        salt=(bytes(32), bytes(32)),
        own_dh=_dh_key(),
        peer_dh=_dh_key().public_value,
    )
    path = Path(ip_address("192.0.2.1"), ip_address("192.0.2.2"))
    core.install_session(association, session, Direction.INBOUND, path)
    core.install_session(association, session, Direction.OUTBOUND, path)
    core.move(association, Trigger.I2, "as if by an I2")
    core.adopt(association, session, path, now, began=now)
    confirmed(core, association, "as if by data", now)
    return association


@cache
def _dh_key() -> DhKeyPair:
    return DhKeyPair.generate(7)


@dataclass
class Node:
    """A machine at an address, and what it asked for."""

    name: str
    address: IPAddress
    keys: LocalIdentity
    config: MachineConfig
    machine: HipMachine
    events: list[Effect] = field(default_factory=list)
    sas: dict[tuple[Direction, int], InstallSA] = field(default_factory=dict)
    installed: list[InstallSA] = field(default_factory=list)
    port: int = HIP_UDP_PORT
    others: list[IPAddress] = field(default_factory=list)
    """Further addresses that it has."""
    outbound: dict[IPv6Address, tuple[int, Path, bool]] = field(default_factory=dict)
    """For each peer the SPI that data goes by, its path, and whether that is verified."""
    heard: dict[int, tuple[IPAddress, int]] = field(default_factory=dict)
    """Where the data of an inbound SPI came from last."""

    @property
    def hit(self) -> IPv6Address:
        return self.keys.hit

    @property
    def addresses(self) -> list[IPAddress]:
        return [self.address, *self.others]

    def path_to(self, peer: "Node") -> Path:
        """The path of the data."""
        return self.outbound[peer.hit][1]

    def state(self, peer: "Node") -> State:
        infos = self.machine.associations(peer.hit)
        return infos[0].state if infos else State.UNASSOCIATED

    def of(self, kind: type[Effect]) -> list[Effect]:
        return [event for event in self.events if isinstance(event, kind)]

    def sa(self, direction: Direction) -> InstallSA:
        """The one security association of a direction; AssertionError if there is not just one."""
        found = [sa for (way, _), sa in self.sas.items() if way is direction]
        assert len(found) == 1, found
        return found[0]

    def drops(self) -> dict[str, int]:
        counted = self.machine.statistics()["drops"]
        return {reason: count for reason, count in counted.items() if count}


Place = tuple[IPAddress, int]
"""Address and UDP port."""


class Nat:
    """Gives what is behind it ports of one outer address, and lets in what was asked for."""

    def __init__(self, outside: str) -> None:
        self.outside = ip_address(outside)
        self._ports: dict[Place, int] = {}
        self._asked: set[tuple[int, Place]] = set()
        self._next = 40000

    def rebind(self) -> None:
        """Forget all; whoever sends next gets another port."""
        self._ports.clear()
        self._asked.clear()

    def out(self, inside: Place, to: Place) -> Place:
        """How a packet looks outside."""
        if inside not in self._ports:
            self._next += 1
            self._ports[inside] = self._next
        port = self._ports[inside]
        self._asked.add((port, to))
        return self.outside, port

    def into(self, port: int, source: Place) -> Place | None:
        """Where a packet from outside goes; None for nowhere."""
        if (port, source) not in self._asked:
            return None
        return next((inside for inside, known in self._ports.items() if known == port), None)


Filter = Callable[[str, bytes], list[float]]
"""(sender's name, packet) -> delays in seconds at which copies arrive; empty for lost."""


class Network:
    """Drives machines until nothing is left to do, in virtual time."""

    def __init__(self, seed: int = 1, transport: Transport = Transport.UDP) -> None:
        self.now = 1000.0
        self.random = random.Random(seed)
        self.transport = transport
        self.nodes: dict[IPAddress, Node] = {}
        """Who has an address."""
        self.all: dict[str, Node] = {}
        """By name, also those without any."""
        self.filter: Filter = lambda sender, data: [0.01]
        self.blocked: Callable[[Path], bool] = lambda path: False
        """Pairs of addresses that nothing gets through between."""
        self.nats: dict[IPAddress, Nat] = {}
        """By the addresses that are behind them."""
        self.puzzle_s = 0.02
        self.sent: list[tuple[str, int]] = []
        """(sender's name, packet type) of everything that was sent."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def add(
        self,
        name: str,
        address: str,
        keys: LocalIdentity,
        config: MachineConfig = FAST,
        *,
        others: Sequence[LocalIdentity] = (),
    ) -> Node:
        """A new machine; one at the same address is replaced, as if its host were restarted.

        *others*: further identities of it.
        """
        where = ip_address(address)
        machine = HipMachine(config, [keys, *others], self.random.randbytes, self.now)
        before = self.nodes.get(where)
        if before is not None:
            self.all.pop(before.name, None)
        node = self.nodes[where] = self.all[name] = Node(name, where, keys, config, machine)
        return node

    def readdress(self, node: Node, *addresses: str) -> None:
        """Give a node other addresses, the best first; packets to the ones before are lost."""
        node.address, *node.others = (ip_address(address) for address in addresses)
        for where in [where for where, other in self.nodes.items() if other is node]:
            del self.nodes[where]
        for where in node.addresses:
            self.nodes[where] = node
        self.perform(node, node.machine.addresses_changed(node.addresses, self.now))

    def cut_off(self, node: Node) -> None:
        """Take all addresses from a node."""
        for where in [where for where, other in self.nodes.items() if other is node]:
            del self.nodes[where]
        self.perform(node, node.machine.addresses_changed([], self.now))

    def data(self, source: Node, target: Node) -> bool:
        """Send a data packet, which arrives at once; whether it was taken."""
        spi, path, _verified = source.outbound[target.hit]
        seen_from = self._leaves(source, path)
        arrived = self._reaches(path, seen_from) if seen_from is not None else None
        if arrived is None or self.nodes.get(arrived.local) is not target:
            return False
        sealed, opened = (
            source.sas[Direction.OUTBOUND, spi],
            target.sas.get((Direction.INBOUND, spi)),
        )
        if opened is None:
            return False
        assert sealed.encryption_key == opened.encryption_key
        where = arrived.remote, arrived.remote_port
        first, before = spi not in target.heard, target.heard.get(spi)
        target.heard[spi] = where
        if first:
            self.perform(target, target.machine.data_received(spi, self.now))
            before = opened.path.remote, opened.path.remote_port
        if before != where:
            self.perform(target, target.machine.source_changed(spi, arrived, self.now))
        return True

    def path(self, source: Node, target: Node) -> Path:
        return Path(source.address, target.address, self.transport, source.port, target.port)

    def connect(self, source: Node, target: Node, *, opportunistic: bool = False) -> None:
        peer_hit = None if opportunistic else target.hit
        self.perform(
            source, source.machine.connect(peer_hit, [self.path(source, target)], self.now)
        )

    def perform(self, node: Node, effects: list[Effect]) -> None:
        assert_in_time(node.machine)
        for effect in effects:
            node.events.append(effect)
            match effect:
                case SendDatagram():
                    self._send(node, effect)
                case SolvePuzzle():
                    self._later(self.puzzle_s, lambda e=effect: self._solve(node, e))
                case InstallSA():
                    node.sas[effect.direction, effect.spi] = effect
                    node.installed.append(effect)
                    if effect.direction is Direction.OUTBOUND:
                        way = effect.spi, effect.path, effect.verified
                        node.outbound[effect.peer_hit] = way
                case MoveSA():
                    way = effect.spi, effect.path, effect.verified
                    node.outbound[effect.peer_hit] = way
                case RemoveSA():
                    node.sas.pop((effect.direction, effect.spi), None)
                case _:
                    pass

    def run(self, seconds: float = 60.0, *, steps: int = 20_000) -> None:
        """Let time pass; AssertionError if more happens than could make sense."""
        end = self.now + seconds
        for _ in range(steps):
            timers = [
                (when, node)
                for node in self.all.values()
                if (when := node.machine.next_timer()) is not None
            ]
            timer = min(timers, key=lambda entry: entry[0], default=None)
            arrival = self._queue[0][0] if self._queue else None
            if arrival is not None and (timer is None or arrival <= timer[0]):
                if arrival > end:
                    break
                self.now, _number, action = heapq.heappop(self._queue)
                action()
            elif timer is not None and timer[0] <= end:
                self.now = max(self.now, timer[0])
                node = timer[1]
                self.perform(node, expire(node.machine, self.now))
            else:
                break
        else:
            raise AssertionError("the network does not come to rest")
        self.now = end

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> float:
        """Let time pass in small steps until something is true; returns how long that took."""
        began = self.now
        while not condition():
            assert self.now < began + seconds, "it did not happen in time"
            self.run(0.005)
        return self.now - began

    def deliver(self, target: Node, data: bytes, source: IPAddress) -> list[Effect]:
        """Hand bytes to a machine at once."""
        effects = target.machine.datagram_received(
            data, Path(target.address, source, self.transport), self.now
        )
        self.perform(target, effects)
        return effects

    def _send(self, node: Node, effect: SendDatagram) -> None:
        self.sent.append((node.name, effect.data[2] & 0x7F))
        seen_from = self._leaves(node, effect.path)
        if seen_from is None:
            return
        for delay in self.filter(node.name, effect.data):
            self._later(delay, lambda: self._arrive(effect, seen_from))

    def _leaves(self, node: Node, path: Path) -> Place | None:
        """Where a packet seems to come from; None if it goes nowhere."""
        source = path.local or node.address
        if self.nodes.get(source) is not node or self.blocked(path):
            return None
        nat = self.nats.get(source)
        if nat is None:
            return source, path.local_port
        return nat.out((source, path.local_port), (path.remote, path.remote_port))

    def _reaches(self, path: Path, seen_from: Place) -> Path | None:
        """How a packet looks to its receiver; None if there is none."""
        if path.remote in self.nats:
            return None
        place: Place | None = path.remote, path.remote_port
        for nat in self.nats.values():
            if nat.outside == path.remote:
                place = nat.into(path.remote_port, seen_from)
        if place is None or place[0] not in self.nodes:
            return None
        if path.transport is Transport.UDP and place[1] != self.nodes[place[0]].port:
            return None
        return Path(place[0], seen_from[0], path.transport, place[1], seen_from[1])

    def _arrive(self, effect: SendDatagram, seen_from: Place) -> None:
        arrived = self._reaches(effect.path, seen_from)
        if arrived is not None:
            target = self.nodes[arrived.local]
            effects = target.machine.datagram_received(effect.data, arrived, self.now)
            self.perform(target, effects)

    def _solve(self, node: Node, puzzle: SolvePuzzle) -> None:
        j = search(
            puzzle.hash_name,
            puzzle.prefix,
            puzzle.length,
            puzzle.difficulty,
            self.random.randbytes(puzzle.length),
            1 << 16,
            bits=puzzle.bits,
        )
        self.perform(node, node.machine.puzzle_solved(puzzle.request, j, self.now))

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._number), action))


def assert_joined(a: Node, b: Node) -> None:
    """Both ends are up and have the same keys for each direction."""
    up = {State.ESTABLISHED, State.R2_SENT}
    assert a.state(b) in up, (a.state(b), a.drops(), b.drops())
    assert b.state(a) in up, (b.state(a), a.drops(), b.drops())
    for one, other in ((a, b), (b, a)):
        out, into = one.sa(Direction.OUTBOUND), other.sa(Direction.INBOUND)
        assert (out.spi, out.suite) == (into.spi, into.suite)
        assert out.encryption_key == into.encryption_key
        assert out.authentication_key == into.authentication_key
        assert out.spi >= 256
    forth, back = a.sa(Direction.OUTBOUND), b.sa(Direction.OUTBOUND)
    assert forth.encryption_key != back.encryption_key or not forth.encryption_key
