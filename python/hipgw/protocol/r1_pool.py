"""R1 packets made in advance, and the puzzles in them, recognised without any memory of an I1.

RFC 7401 §4.1.2, §4.1.4, §6.7.1 and appendix A.
"""

import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.identity.dh import DhKeyPair
from hipgw.identity.host_identity import LocalIdentity
from hipgw.protocol.compat import RFC, Compat
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.path import IPAddress
from hipgw.protocol.rate_limit import Meter
from hipgw.protocol.versions.registry import VERSIONS
from hipgw.wire import tlv
from hipgw.wire.coverage import signature2_coverage
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import HostId, Parameter, Puzzle

SECRET_OCTETS = 32
OPAQUE_OCTETS = 2
SOLUTIONS_MAX = 65536
"""Used solutions remembered for each generation; one more begins a new generation."""

_HEADER_OCTETS = 40
_RECEIVER_HIT = slice(24, 40)


@dataclass(slots=True)
class _Template:
    """One signed R1 without what differs from Initiator to Initiator."""

    packet: bytes
    puzzle: int
    """Offset of PUZZLE's contents."""


@dataclass(slots=True)
class Generation:
    """R1s that share a counter, a secret and Diffie-Hellman keys."""

    counter: int
    secret: bytes = field(repr=False)
    expires: float
    key_pairs: dict[int, DhKeyPair] = field(default_factory=dict, repr=False)
    templates: dict[tuple[IPv6Address, tuple[int, ...], int, bool, str], _Template] = field(
        default_factory=dict
    )
    """By identity, groups, difficulty, whether a relay brings it, and the peer's profile."""
    used: set[bytes] = field(default_factory=set)
    """Solutions that made an association."""

    def key_pair(self, group: int) -> DhKeyPair:
        """The key pair of a group, made when it is wanted first."""
        pair = self.key_pairs.get(group)
        if pair is None:
            pair = self.key_pairs[group] = DhKeyPair.generate(group)
        return pair


class R1Pool:
    """Signed R1s by identity, group and difficulty; a new generation every so often.

    Nothing is stored for an I1. Its puzzle's I is a keyed hash of what must not change until the
    I2: both HITs, the Initiator's address, K and the group.
    """

    def __init__(self, config: MachineConfig, random: Callable[[int], bytes], now: float) -> None:
        self._config = config
        self._random = random
        self._meter = Meter()
        self._current = self._new_generation(config.r1_counter_start, now)
        self._previous: Generation | None = None

    def prepare(self, identities: list[LocalIdentity]) -> None:
        """Make the R1s that are most likely to be asked for."""
        difficulty = self._config.puzzle_difficulty
        for identity in identities:
            for groups in VERSIONS[identity.public.version].usual_groups(self._config):
                self._template(identity, groups, difficulty, RFC)

    @property
    def counter(self) -> int:
        """The current generation."""
        return self._current.counter

    def difficulty(self, now: float) -> int:
        """K for the load of this moment."""
        config = self._config
        rate = self._meter.rate(now)
        extra = (
            int(math.log2(rate / config.puzzle_load_threshold)) + 1
            if rate > (config.puzzle_load_threshold)
            else 0
        )
        return max(
            config.puzzle_difficulty,
            min(config.puzzle_difficulty + extra, config.puzzle_difficulty_max),
        )

    def r1(
        self,
        identity: LocalIdentity,
        groups: tuple[int, ...],
        initiator_hit: IPv6Address,
        initiator: IPAddress,
        now: float,
        *,
        relayed: bool = False,
        compat: Compat = RFC,
    ) -> bytes:
        """The R1 for an Initiator, with a checksum field of zero.

        *groups*: whose public values it has. *relayed*: it goes by a relay, and offers what is
        possible then.
        """
        self._meter.count(now)
        self.rotate(now)
        difficulty = self.difficulty(now)
        template = self._template(identity, groups, difficulty, compat, relayed=relayed)
        length = VERSIONS[identity.public.version].puzzle_octets(identity.hit)
        opaque = self._opaque(self._current, groups)
        i = self._i(
            self._current, identity.hit, groups, difficulty, initiator_hit, initiator, length
        )
        packet = bytearray(template.packet)
        packet[_RECEIVER_HIT] = initiator_hit.packed
        start = template.puzzle + 2
        packet[start : start + OPAQUE_OCTETS + length] = opaque + i
        return bytes(packet)

    def recognise(
        self,
        *,
        generation: Generation,
        identity: LocalIdentity,
        groups: tuple[int, ...],
        difficulty: int,
        opaque: bytes,
        i: bytes,
        initiator_hit: IPv6Address,
        initiator: IPAddress,
    ) -> bool:
        """Whether this host made a puzzle, in this generation and for this peer."""
        expected = self._i(
            generation, identity.hit, groups, difficulty, initiator_hit, initiator, len(i)
        )
        return hmac.compare_digest(expected, i) and hmac.compare_digest(
            self._opaque(generation, groups), opaque
        )

    def generation(self, counter: int | None, opaque: bytes) -> Generation | None:
        """The generation of this number, if it is current or the one before (§4.1.4).

        Without a number, since R1_COUNTER is optional, its low octet in *opaque* tells.
        """
        for generation in (self._current, self._previous):
            if generation is None:
                continue
            if counter == generation.counter or (
                counter is None and opaque[:1] == self._opaque(generation, ())[:1]
            ):
                return generation
        return None

    def use(self, generation: Generation, solution: bytes, now: float) -> bool:
        """Note that an I2 with this solution is accepted; False if one was before.

        An I2 that is used twice would give the same keys twice, and sequence numbers would
        start over under them.
        """
        if solution in generation.used:
            return False
        generation.used.add(solution)
        if len(generation.used) >= SOLUTIONS_MAX and generation is self._current:
            self._begin(now)
        return True

    def host_id_tlv(self, identity: LocalIdentity) -> bytes:
        """The HOST_ID of an identity as its R1s carry it, padding included."""
        host_id = VERSIONS[identity.public.version].host_id(identity.public)
        return tlv.build([(HostId.TYPE, host_id.emit())])

    # -- inside ------------------------------------------------------------------------------

    def rotate(self, now: float) -> None:
        """Begin a new generation if it is time, and forget those that are too old."""
        if now < self._current.expires:
            return
        idle = now >= self._current.expires + self._config.r1_lifetime_s
        self._begin(now)
        if idle:
            # Nobody asked for so long that the one before is over as well.
            self._previous = None

    def _begin(self, now: float) -> None:
        self._previous = self._current
        self._current = self._new_generation(self._current.counter + 1, now)

    def _new_generation(self, counter: int, now: float) -> Generation:
        return Generation(counter, self._random(SECRET_OCTETS), now + self._config.r1_lifetime_s)

    @staticmethod
    def _opaque(generation: Generation, groups: tuple[int, ...]) -> bytes:
        """Lets an honest Initiator's stale I2 be told from a forged one in a trace."""
        return bytes([generation.counter & 0xFF, next(iter(groups), 0)])

    @staticmethod
    def _i(
        generation: Generation,
        own_hit: IPv6Address,
        groups: tuple[int, ...],
        difficulty: int,
        initiator_hit: IPv6Address,
        initiator: IPAddress,
        length: int,
    ) -> bytes:
        bound = (
            bytes([*groups, difficulty]) + initiator_hit.packed + own_hit.packed + initiator.packed
        )
        size = min(max(length, 1), 64)
        return hashlib.blake2b(bound, key=generation.secret, digest_size=size).digest()

    def _template(
        self,
        identity: LocalIdentity,
        groups: tuple[int, ...],
        difficulty: int,
        compat: Compat,
        *,
        relayed: bool = False,
    ) -> _Template:
        key = (identity.hit, groups, difficulty, relayed, compat.name)
        template = self._current.templates.get(key)
        if template is None:
            template = self._make(identity, groups, difficulty, compat, relayed=relayed)
            self._current.templates[key] = template
        return template

    def _make(
        self,
        identity: LocalIdentity,
        groups: tuple[int, ...],
        difficulty: int,
        compat: Compat,
        *,
        relayed: bool,
    ) -> _Template:
        config, public = self._config, identity.public
        version = VERSIONS[public.version]
        length = version.puzzle_octets(identity.hit)
        parameters: list[Parameter] = [
            Puzzle(difficulty, config.puzzle_lifetime, bytes(OPAQUE_OCTETS), bytes(length)),
            *version.r1_offers(config, compat, [self._current.key_pair(group) for group in groups]),
            version.host_id(public),
        ]
        if compat.r1_counter:
            parameters.append(version.r1_counter(self._current.counter))
        if not compat.plain_r1:
            parameters += version.r1_services(config, compat, relayed=relayed)
        nobody = IPv6Address(0)

        def emit(parameters: list[Parameter]) -> bytes:
            return HipPacket(
                PacketType.R1, identity.hit, nobody, tuple(parameters), version=version.number
            ).emit()

        signed = signature2_coverage(emit(parameters))
        packet = emit([*parameters, version.signature_2(public, identity.sign(signed))])
        puzzle = next(
            entry.offset for entry in tlv.scan(packet, _HEADER_OCTETS) if entry.type == Puzzle.TYPE
        )
        return _Template(packet, puzzle)
