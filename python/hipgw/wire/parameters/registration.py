"""Parameters of registration and rendezvous (RFC 8003 §4, RFC 8004 §4)."""

from dataclasses import dataclass
from typing import ClassVar, Self

from hipgw.wire.errors import MalformedError
from hipgw.wire.parameters.base import (
    IPAddress,
    MacParameter,
    Parameter,
    address_from,
    address_octets,
    at_least,
    emit_octets,
    exactly,
    octet_list,
    pack,
)


@dataclass(frozen=True, slots=True)
class RegInfo(Parameter):
    """Services that a registrar offers (RFC 8003 §4.2)."""

    TYPE: ClassVar[int] = 930
    min_lifetime: int
    """As on the wire: 2^((value - 64) / 8) seconds."""
    max_lifetime: int
    reg_types: tuple[int, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 2)
        return cls(contents[0], contents[1], octet_list(contents[2:]))

    def emit(self) -> bytes:
        return pack("BB", self.min_lifetime, self.max_lifetime) + emit_octets(self.reg_types)


@dataclass(frozen=True, slots=True)
class _Registration(Parameter):
    lifetime: int
    """As on the wire; 0 cancels."""
    reg_types: tuple[int, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 1)
        return cls(contents[0], octet_list(contents[1:]))

    def emit(self) -> bytes:
        return pack("B", self.lifetime) + emit_octets(self.reg_types)


class RegRequest(_Registration):
    """Services that a client asks for (RFC 8003 §4.3)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 932


class RegResponse(_Registration):
    """Services that a registrar grants (RFC 8003 §4.4)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 934


@dataclass(frozen=True, slots=True)
class RegFailed(Parameter):
    """Services that a registrar refuses, for one reason (RFC 8003 §4.5)."""

    TYPE: ClassVar[int] = 936
    failure_type: int
    reg_types: tuple[int, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 1)
        return cls(contents[0], octet_list(contents[1:]))

    def emit(self) -> bytes:
        return pack("B", self.failure_type) + emit_octets(self.reg_types)


@dataclass(frozen=True, slots=True)
class From(Parameter):
    """The address that a relayed packet came from (RFC 8004 §4.2.2)."""

    TYPE: ClassVar[int] = 65498
    address: IPAddress

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 16)
        return cls(address_from(contents))

    def emit(self) -> bytes:
        return address_octets(self.address)


class RvsHmac(MacParameter):
    """Authenticates FROM by the keys of the registration (RFC 8004 §4.2.1)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 65500


@dataclass(frozen=True, slots=True)
class ViaRvs(Parameter):
    """The rendezvous servers that a packet came by (RFC 8004 §4.2.3)."""

    TYPE: ClassVar[int] = 65502
    addresses: tuple[IPAddress, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        if len(contents) % 16:
            raise MalformedError("the length of a list of addresses is no multiple of 16")
        starts = range(0, len(contents), 16)
        return cls(tuple(address_from(contents[at : at + 16]) for at in starts))

    def emit(self) -> bytes:
        return b"".join(address_octets(address) for address in self.addresses)
