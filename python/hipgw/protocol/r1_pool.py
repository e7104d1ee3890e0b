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
from hipgw.identity.host_identity import SUPPORTED_HIT_SUITES, LocalIdentity
from hipgw.identity.rhash import rhash
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.nat.negotiation import r1_parameters
from hipgw.protocol.negotiation import ESP_FORMAT, OFFERS_MAX
from hipgw.protocol.path import IPAddress
from hipgw.protocol.rate_limit import Meter
from hipgw.wire import tlv
from hipgw.wire.coverage import signature2_coverage
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    DhGroupList,
    DiffieHellman,
    EspTransform,
    HipCipher,
    HipSignature2,
    HitSuiteList,
    HostId,
    Puzzle,
    R1Counter,
    TransportFormatList,
)

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
    templates: dict[tuple[IPv6Address, int, int, bool], _Template] = field(default_factory=dict)
    """By identity, group, difficulty, and whether a relay brings it."""
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
        for identity in identities:
            for group in self._config.dh_groups[:2]:
                self._template(identity, group, self._config.puzzle_difficulty)

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
        group: int,
        initiator_hit: IPv6Address,
        initiator: IPAddress,
        now: float,
        *,
        relayed: bool = False,
    ) -> bytes:
        """The R1 for an Initiator, with a checksum field of zero.

        *relayed*: it goes by a relay, and offers what is possible then.
        """
        self._meter.count(now)
        self.rotate(now)
        difficulty = self.difficulty(now)
        template = self._template(identity, group, difficulty, relayed=relayed)
        length = rhash(identity.public.hit_suite).digest_size
        opaque = self._opaque(self._current, group)
        i = self._i(
            self._current, identity.hit, group, difficulty, initiator_hit, initiator, length
        )
        packet = bytearray(template.packet)
        packet[_RECEIVER_HIT] = initiator_hit.packed
        start = template.puzzle + 2
        packet[start : start + OPAQUE_OCTETS + length] = opaque + i
        return bytes(packet)

    def recognise(
        self,
        *,
        counter: int,
        identity: LocalIdentity,
        group: int,
        difficulty: int,
        opaque: bytes,
        i: bytes,
        initiator_hit: IPv6Address,
        initiator: IPAddress,
        now: float,
    ) -> Generation | None:
        """The generation whose puzzle this is; None if this host did not make it for this peer."""
        self.rotate(now)
        generation = self.generation(counter)
        if generation is None:
            return None
        expected = self._i(
            generation, identity.hit, group, difficulty, initiator_hit, initiator, len(i)
        )
        genuine = hmac.compare_digest(expected, i) and hmac.compare_digest(
            self._opaque(generation, group), opaque
        )
        return generation if genuine else None

    def generation(self, counter: int) -> Generation | None:
        """The generation of this number, if it is current or the one before (§4.1.4)."""
        for generation in (self._current, self._previous):
            if generation is not None and generation.counter == counter:
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
        host_id = _host_id(identity)
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
    def _opaque(generation: Generation, group: int) -> bytes:
        """Lets an honest Initiator's stale I2 be told from a forged one in a trace."""
        return bytes([generation.counter & 0xFF, group])

    @staticmethod
    def _i(
        generation: Generation,
        own_hit: IPv6Address,
        group: int,
        difficulty: int,
        initiator_hit: IPv6Address,
        initiator: IPAddress,
        length: int,
    ) -> bytes:
        bound = (
            bytes([group, difficulty]) + initiator_hit.packed + own_hit.packed + initiator.packed
        )
        size = min(max(length, 1), 64)
        return hashlib.blake2b(bound, key=generation.secret, digest_size=size).digest()

    def _template(
        self, identity: LocalIdentity, group: int, difficulty: int, *, relayed: bool = False
    ) -> _Template:
        key = (identity.hit, group, difficulty, relayed)
        template = self._current.templates.get(key)
        if template is None:
            template = self._make(identity, group, difficulty, relayed=relayed)
            self._current.templates[key] = template
        return template

    def _make(
        self, identity: LocalIdentity, group: int, difficulty: int, *, relayed: bool
    ) -> _Template:
        config = self._config
        length = rhash(identity.public.hit_suite).digest_size
        parameters = (
            R1Counter(self._current.counter),
            Puzzle(difficulty, config.puzzle_lifetime, bytes(OPAQUE_OCTETS), bytes(length)),
            DhGroupList(config.dh_groups[:OFFERS_MAX]),
            DiffieHellman(group, self._current.key_pair(group).public_value),
            HipCipher(config.hip_ciphers[:OFFERS_MAX]),
            _host_id(identity),
            HitSuiteList(SUPPORTED_HIT_SUITES),
            TransportFormatList((ESP_FORMAT,)),
            EspTransform(config.esp_suites[:OFFERS_MAX]),
            *r1_parameters(config.nat, config.registrar, relayed=relayed),
        )
        nobody = IPv6Address(0)
        unsigned = HipPacket(PacketType.R1, identity.hit, nobody, parameters)
        signature = HipSignature2(
            identity.public.algorithm, identity.sign(signature2_coverage(unsigned.emit()))
        )
        packet = HipPacket(PacketType.R1, identity.hit, nobody, (*parameters, signature)).emit()
        puzzle = next(
            entry.offset for entry in tlv.scan(packet, _HEADER_OCTETS) if entry.type == Puzzle.TYPE
        )
        return _Template(packet, puzzle)


def _host_id(identity: LocalIdentity) -> HostId:
    return HostId(identity.public.algorithm, identity.public.encoded)
