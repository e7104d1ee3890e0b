"""What every parameter has in common, and the layouts that several share."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Self

from hipgw.wire.errors import EmitError, MalformedError, TruncatedError

IPAddress = IPv4Address | IPv6Address


class Parameter:
    """One HIP parameter (RFC 7401 §5.2); the TLV header and the padding are not part of it."""

    __slots__ = ()
    TYPE: ClassVar[int]

    @property
    def type(self) -> int:
        """Its type number."""
        return self.TYPE

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        """Read the contents; raises TruncatedError or MalformedError."""
        raise MalformedError(f"{cls.__name__} cannot be read from {len(contents)} octets")

    def emit(self) -> bytes:
        """The contents as octets; raises EmitError for a value that has no encoding."""
        raise EmitError(f"{type(self).__name__} cannot be written")


def exactly(contents: bytes, length: int) -> None:
    """Raise unless the contents are *length* octets."""
    if len(contents) < length:
        raise TruncatedError(f"{len(contents)} octets where {length} are needed")
    if len(contents) > length:
        raise MalformedError(f"{len(contents)} octets where {length} are allowed", offset=length)


def at_least(contents: bytes, length: int) -> None:
    """Raise if the contents are shorter than *length* octets."""
    if len(contents) < length:
        raise TruncatedError(f"{len(contents)} octets where {length} are needed at least")


def pack(layout: str, *values: int | bytes) -> bytes:
    """`struct.pack` in network order; a value out of range raises EmitError."""
    try:
        return struct.pack(f"!{layout}", *values)
    except struct.error as error:
        raise EmitError(str(error)) from error


def fixed(value: bytes, length: int, name: str) -> bytes:
    """A field of *length* octets; raises EmitError for any other length."""
    if len(value) != length:
        raise EmitError(f"{name} has {length} octets, not {len(value)}")
    return value


def address_octets(address: IPAddress) -> bytes:
    """16 octets; IPv4 in the IPv4-mapped form (RFC 8046 §4)."""
    if isinstance(address, IPv4Address):
        return bytes(10) + b"\xff\xff" + address.packed
    return address.packed


def address_from(octets: bytes) -> IPAddress:
    """The reverse of `address_octets`."""
    address = IPv6Address(octets)
    return address.ipv4_mapped or address


@dataclass(frozen=True, slots=True)
class DataParameter(Parameter):
    """Octets without a structure of their own."""

    data: bytes

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        return cls(contents)

    def emit(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class MacParameter(Parameter):
    """A message authentication code, as long as RHASH makes it."""

    mac: bytes

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 1)
        return cls(contents)

    def emit(self) -> bytes:
        return self.mac


@dataclass(frozen=True, slots=True)
class SignatureParameter(Parameter):
    """A signature and the algorithm of the key that made it."""

    algorithm: int
    signature: bytes

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 3)
        return cls(int.from_bytes(contents[:2], "big"), contents[2:])

    def emit(self) -> bytes:
        return pack("H", self.algorithm) + self.signature


@dataclass(frozen=True, slots=True)
class TransportAddressParameter(Parameter):
    """Port, protocol and address (RFC 5770 §5.6, RFC 9028 §5.6)."""

    address: IPAddress
    port: int
    """0 for plain IP."""
    protocol: int = 17
    """IP protocol: 17 for UDP, 0 for plain IP."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 20)
        port, protocol = struct.unpack_from("!HB", contents)
        return cls(address_from(contents[4:]), port, protocol)

    def emit(self) -> bytes:
        return pack("HBx", self.port, self.protocol) + address_octets(self.address)


def octet_list(contents: bytes) -> tuple[int, ...]:
    """One number an octet."""
    return tuple(contents)


def emit_octets(values: tuple[int, ...]) -> bytes:
    """The reverse of `octet_list`."""
    return pack(f"{len(values)}B", *values)


def word_list(contents: bytes) -> tuple[int, ...]:
    """One number for each two octets."""
    if len(contents) % 2:
        raise MalformedError("an odd number of octets in a list of 16-bit numbers")
    return struct.unpack(f"!{len(contents) // 2}H", contents)


def emit_words(values: tuple[int, ...]) -> bytes:
    """The reverse of `word_list`."""
    return pack(f"{len(values)}H", *values)


def long_list(contents: bytes) -> tuple[int, ...]:
    """One number for each four octets."""
    if len(contents) % 4:
        raise MalformedError("the length of a list of 32-bit numbers is no multiple of 4")
    return struct.unpack(f"!{len(contents) // 4}I", contents)


def emit_longs(values: tuple[int, ...]) -> bytes:
    """The reverse of `long_list`."""
    return pack(f"{len(values)}I", *values)
