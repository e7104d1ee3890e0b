"""Parameters of the base exchange (RFC 7401 §5.2)."""

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from hipgw.wire.errors import EmitError, MalformedError, TruncatedError
from hipgw.wire.parameters.base import (
    DataParameter,
    MacParameter,
    Parameter,
    SignatureParameter,
    at_least,
    emit_longs,
    emit_octets,
    emit_words,
    exactly,
    fixed,
    long_list,
    octet_list,
    pack,
    word_list,
)


@dataclass(frozen=True, slots=True)
class R1Counter(Parameter):
    """Generation of the puzzles of a Responder (RFC 7401 §5.2.3)."""

    TYPE: ClassVar[int] = 129
    counter: int
    reserved: bytes = bytes(4)
    """Echoed as it came."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 12)
        return cls(int.from_bytes(contents[4:], "big"), contents[:4])

    def emit(self) -> bytes:
        return fixed(self.reserved, 4, "reserved") + pack("Q", self.counter)


@dataclass(frozen=True, slots=True)
class Puzzle(Parameter):
    """The puzzle of an R1 (RFC 7401 §5.2.4)."""

    TYPE: ClassVar[int] = 257
    k: int
    """How many low bits of the hash have to be zero."""
    lifetime: int
    """2^(lifetime - 32) seconds."""
    opaque: bytes
    """Two octets for the Responder's own use."""
    i: bytes
    """As long as RHASH is."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 5)
        return cls(contents[0], contents[1], contents[2:4], contents[4:])

    def emit(self) -> bytes:
        return pack("BB", self.k, self.lifetime) + fixed(self.opaque, 2, "opaque") + self.i


@dataclass(frozen=True, slots=True)
class Solution(Parameter):
    """The solution of a puzzle (RFC 7401 §5.2.5)."""

    TYPE: ClassVar[int] = 321
    k: int
    opaque: bytes
    i: bytes
    j: bytes
    """As long as I."""
    reserved: int = 0

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 6)
        if len(contents) % 2:
            raise MalformedError("I and J are not of the same length")
        middle = 4 + (len(contents) - 4) // 2
        return cls(contents[0], contents[2:4], contents[4:middle], contents[middle:], contents[1])

    def emit(self) -> bytes:
        if len(self.i) != len(self.j):
            raise EmitError("I and J are not of the same length")
        head = pack("BB", self.k, self.reserved) + fixed(self.opaque, 2, "opaque")
        return head + self.i + self.j


@dataclass(frozen=True, slots=True)
class DhGroupList(Parameter):
    """Diffie-Hellman groups that a host offers, the preferred one first (RFC 7401 §5.2.6)."""

    TYPE: ClassVar[int] = 511
    groups: tuple[int, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        return cls(octet_list(contents))

    def emit(self) -> bytes:
        return emit_octets(self.groups)


@dataclass(frozen=True, slots=True)
class DiffieHellman(Parameter):
    """A public Diffie-Hellman value (RFC 7401 §5.2.7)."""

    TYPE: ClassVar[int] = 513
    group: int
    public_value: bytes

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 3)
        group, length = struct.unpack_from("!BH", contents)
        if len(contents) < 3 + length:
            raise TruncatedError("the public value is longer than the parameter", offset=3)
        if len(contents) > 3 + length:
            raise MalformedError("octets behind the public value", offset=3 + length)
        return cls(group, contents[3:])

    def emit(self) -> bytes:
        return pack("BH", self.group, len(self.public_value)) + self.public_value


@dataclass(frozen=True, slots=True)
class HipCipher(Parameter):
    """Ciphers for ENCRYPTED, the preferred one first (RFC 7401 §5.2.8)."""

    TYPE: ClassVar[int] = 579
    ciphers: tuple[int, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        return cls(word_list(contents))

    def emit(self) -> bytes:
        return emit_words(self.ciphers)


@dataclass(frozen=True, slots=True)
class Encrypted(Parameter):
    """Parameters that are hidden from onlookers (RFC 7401 §5.2.18)."""

    TYPE: ClassVar[int] = 641
    data: bytes
    """IV, if the cipher has one, then the ciphertext."""
    reserved: bytes = bytes(4)

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 4)
        return cls(contents[4:], contents[:4])

    def emit(self) -> bytes:
        return fixed(self.reserved, 4, "reserved") + self.data


@dataclass(frozen=True, slots=True)
class HostId(Parameter):
    """A Host Identity, and perhaps a name for it (RFC 7401 §5.2.9)."""

    TYPE: ClassVar[int] = 705
    algorithm: int
    host_identity: bytes
    """The public key, encoded as the algorithm has it."""
    di_type: int = 0
    """0 for no domain identifier, 1 for an FQDN, 2 for a NAI."""
    domain_identifier: bytes = b""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 6)
        hi_length, di, algorithm = struct.unpack_from("!HHH", contents)
        di_type, di_length = di >> 12, di & 0x0FFF
        if len(contents) < 6 + hi_length + di_length:
            raise TruncatedError("identity and domain identifier are longer than the parameter")
        if len(contents) > 6 + hi_length + di_length:
            raise MalformedError(
                "octets behind the domain identifier", offset=6 + hi_length + di_length
            )
        middle = 6 + hi_length
        return cls(algorithm, contents[6:middle], di_type, contents[middle:])

    def emit(self) -> bytes:
        if not 0 <= self.di_type <= 15 or len(self.domain_identifier) > 0x0FFF:
            raise EmitError("a domain identifier has a 4-bit type and a 12-bit length")
        di = self.di_type << 12 | len(self.domain_identifier)
        head = pack("HHH", len(self.host_identity), di, self.algorithm)
        return head + self.host_identity + self.domain_identifier


@dataclass(frozen=True, slots=True)
class HitSuiteList(Parameter):
    """HIT suites that a Responder supports, the preferred one first (RFC 7401 §5.2.10)."""

    TYPE: ClassVar[int] = 715
    suites: tuple[int, ...]
    """HIT Suite IDs, 1 to 15; on the wire they are the upper half of an octet."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        return cls(tuple(octet >> 4 for octet in contents))

    def emit(self) -> bytes:
        if not all(0 <= suite <= 15 for suite in self.suites):
            raise EmitError("a HIT Suite ID has 4 bits")
        return bytes(suite << 4 for suite in self.suites)


@dataclass(frozen=True, slots=True)
class TransportFormatList(Parameter):
    """Transport formats by the type of their parameter (RFC 7401 §5.2.11)."""

    TYPE: ClassVar[int] = 2049
    formats: tuple[int, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        return cls(word_list(contents))

    def emit(self) -> bytes:
        return emit_words(self.formats)


@dataclass(frozen=True, slots=True)
class Seq(Parameter):
    """Number of an UPDATE that wants to be acknowledged (RFC 7401 §5.2.16)."""

    TYPE: ClassVar[int] = 385
    update_id: int

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 4)
        return cls(int.from_bytes(contents, "big"))

    def emit(self) -> bytes:
        return pack("I", self.update_id)


@dataclass(frozen=True, slots=True)
class Ack(Parameter):
    """Numbers of the UPDATEs that are acknowledged (RFC 7401 §5.2.17)."""

    TYPE: ClassVar[int] = 449
    update_ids: tuple[int, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 4)
        return cls(long_list(contents))

    def emit(self) -> bytes:
        return emit_longs(self.update_ids)


@dataclass(frozen=True, slots=True)
class Notification(Parameter):
    """An error or a status (RFC 7401 §5.2.19)."""

    TYPE: ClassVar[int] = 832
    notify_type: int
    data: bytes = b""
    reserved: int = 0

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 4)
        reserved, notify_type = struct.unpack_from("!HH", contents)
        return cls(notify_type, contents[4:], reserved)

    def emit(self) -> bytes:
        return pack("HH", self.reserved, self.notify_type) + self.data


class EchoRequestSigned(DataParameter):
    """Octets to be returned, inside MAC and signature (RFC 7401 §5.2.20)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 897


class EchoResponseSigned(DataParameter):
    """The octets of an ECHO_REQUEST_SIGNED (RFC 7401 §5.2.22)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 961


class EchoResponseUnsigned(DataParameter):
    """The octets of an ECHO_REQUEST_UNSIGNED (RFC 7401 §5.2.23)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 63425


class EchoRequestUnsigned(DataParameter):
    """Octets to be returned, outside MAC and signature (RFC 7401 §5.2.21)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 63661


class HipMac(MacParameter):
    """Authenticates a packet with the keys of the association (RFC 7401 §5.2.12)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 61505


class HipMac2(MacParameter):
    """As HIP_MAC, and covers the Responder's HOST_ID as well (RFC 7401 §5.2.13)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 61569


class HipSignature2(SignatureParameter):
    """The signature of an R1, without what differs between Initiators (RFC 7401 §5.2.15)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 61633


class HipSignature(SignatureParameter):
    """The sender's signature (RFC 7401 §5.2.14)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 61697


@dataclass(frozen=True, slots=True)
class Cert(Parameter):
    """One certificate of a group (RFC 8002 §2)."""

    TYPE: ClassVar[int] = 768
    group: int
    count: int
    """Certificates in the group."""
    number: int
    """Of this one in the group, from 1."""
    certificate_type: int
    """1 for X.509v3 in DER."""
    certificate: bytes

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 4)
        group, count, number, kind = contents[:4]
        return cls(group, count, number, kind, contents[4:])

    def emit(self) -> bytes:
        head = pack("BBBB", self.group, self.count, self.number, self.certificate_type)
        return head + self.certificate
