"""Parameters that HIPv1 has in another form than HIPv2, or alone (RFC 5201 §5.2).

Each is a subclass of its successor in HIPv2 where there is one, so that `packet.get(R1Counter)`
finds it in packets of both versions.
"""

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from hipgw.wire.errors import EmitError, MalformedError, TruncatedError
from hipgw.wire.parameters.base import (
    Parameter,
    at_least,
    emit_words,
    exactly,
    fixed,
    pack,
    word_list,
)
from hipgw.wire.parameters.base_exchange import (
    DiffieHellman,
    HipSignature,
    HipSignature2,
    HostId,
    Puzzle,
    R1Counter,
    Solution,
)

PUZZLE_LENGTH = 8
"""Octets of I and of J (RFC 5201 §5.2.4, §5.2.5)."""

_HI_HEADER_LENGTH = 4


class R1CounterV1(R1Counter):
    """Generation of the puzzles of a Responder (RFC 5201 §5.2.3)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 128


class PuzzleV1(Puzzle):
    """The puzzle of an R1; I has 8 octets (RFC 5201 §5.2.4)."""

    __slots__ = ()

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 4 + PUZZLE_LENGTH)
        return super().parse(contents)

    def emit(self) -> bytes:
        fixed(self.i, PUZZLE_LENGTH, "I")
        return super().emit()


class SolutionV1(Solution):
    """The solution of a puzzle; I and J have 8 octets each (RFC 5201 §5.2.5)."""

    __slots__ = ()

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 4 + 2 * PUZZLE_LENGTH)
        return super().parse(contents)

    def emit(self) -> bytes:
        fixed(self.i, PUZZLE_LENGTH, "I")
        fixed(self.j, PUZZLE_LENGTH, "J")
        return super().emit()


@dataclass(frozen=True, slots=True)
class DiffieHellmanV1(DiffieHellman):
    """One public Diffie-Hellman value or two of different groups (RFC 5201 §5.2.6)."""

    second: DiffieHellman | None = None
    """The other value, if there are two."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        values: list[DiffieHellman] = []
        at = 0
        while at < len(contents):
            if len(values) == 2:
                raise MalformedError("octets behind the second public value", offset=at)
            if len(contents) - at < 3:
                raise TruncatedError("a public value ends within its header", offset=at)
            group, length = struct.unpack_from("!BH", contents, at)
            at += 3
            if len(contents) - at < length:
                raise TruncatedError("the public value is longer than the parameter", offset=at)
            values.append(DiffieHellman(group, contents[at : at + length]))
            at += length
        if not values:
            raise TruncatedError("no public value")
        first, second = values[0], values[1] if len(values) == 2 else None
        return cls(first.group, first.public_value, second)

    def emit(self) -> bytes:
        first = DiffieHellman(self.group, self.public_value).emit()
        return first if self.second is None else first + self.second.emit()

    @property
    def values(self) -> tuple[DiffieHellman, ...]:
        """Each value on its own, in the order of the parameter."""
        first = DiffieHellman(self.group, self.public_value)
        return (first,) if self.second is None else (first, self.second)


@dataclass(frozen=True, slots=True)
class HipTransform(Parameter):
    """HIP suites, the preferred one first (RFC 5201 §5.2.7)."""

    TYPE: ClassVar[int] = 577
    suites: tuple[int, ...]
    """See `hipgw.identity.hip_suites`. A sender lists six at most, a receiver drops the rest."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        return cls(word_list(contents))

    def emit(self) -> bytes:
        return emit_words(self.suites)


@dataclass(frozen=True, slots=True)
class HostIdV1(HostId):
    """A Host Identity as the RDATA of a key record, and perhaps a name (RFC 5201 §5.2.8).

    On the wire, Flags, Protocol and Algorithm stand in front of the public key and count for the
    HI Length. The HIT covers the key alone (§3.2), so `host_identity` is the key alone.
    """

    flags: int = 0x0202
    """RFC 4034 §2.1.1 has no sense for hosts: this is what the deployed stacks send."""
    protocol: int = 0xFF
    """As the deployed stacks send it; RFC 4034 §2.1.2 has 3."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 4 + _HI_HEADER_LENGTH)
        hi_length, di, flags, protocol, algorithm = struct.unpack_from("!HHHBB", contents)
        di_type, di_length = di >> 12, di & 0x0FFF
        if hi_length < _HI_HEADER_LENGTH:
            raise MalformedError("the identity is shorter than the header of a key")
        middle, end = 4 + hi_length, 4 + hi_length + di_length
        if len(contents) < end:
            raise TruncatedError("identity and domain identifier are longer than the parameter")
        if len(contents) > end:
            raise MalformedError("octets behind the domain identifier", offset=end)
        key = contents[4 + _HI_HEADER_LENGTH : middle]
        return cls(algorithm, key, di_type, contents[middle:], flags, protocol)

    def emit(self) -> bytes:
        if not 0 <= self.di_type <= 15 or len(self.domain_identifier) > 0x0FFF:
            raise EmitError("a domain identifier has a 4-bit type and a 12-bit length")
        di = self.di_type << 12 | len(self.domain_identifier)
        hi_length = _HI_HEADER_LENGTH + len(self.host_identity)
        head = pack("HHHBB", hi_length, di, self.flags, self.protocol, self.algorithm)
        return head + self.host_identity + self.domain_identifier


def _signature(contents: bytes) -> tuple[int, bytes]:
    at_least(contents, 2)
    return contents[0], contents[1:]


class HipSignatureV1(HipSignature):
    """The sender's signature; SIG alg has one octet (RFC 5201 §5.2.11)."""

    __slots__ = ()

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        return cls(*_signature(contents))

    def emit(self) -> bytes:
        return pack("B", self.algorithm) + self.signature


class HipSignature2V1(HipSignature2):
    """The signature of an R1; SIG alg has one octet (RFC 5201 §5.2.12)."""

    __slots__ = ()

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        return cls(*_signature(contents))

    def emit(self) -> bytes:
        return pack("B", self.algorithm) + self.signature
