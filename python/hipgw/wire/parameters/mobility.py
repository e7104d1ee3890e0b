"""Where a host can be reached (RFC 8046 §4, RFC 9028 §5.7)."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from hipgw.wire.errors import EmitError, TruncatedError
from hipgw.wire.parameters.base import (
    IPAddress,
    Parameter,
    address_from,
    address_octets,
    pack,
)

_HEAD = 8


class TrafficType(IntEnum):
    """What a locator is good for (RFC 8046 §4)."""

    BOTH = 0
    SIGNALING = 1
    DATA = 2


class CandidateKind(IntEnum):
    """Where a transport address was learned (RFC 9028 §5.7)."""

    HOST = 0
    SERVER_REFLEXIVE = 1
    PEER_REFLEXIVE = 2
    RELAYED = 3


@dataclass(frozen=True, slots=True)
class PlainLocator:
    """Locator type 0: an address."""

    TYPE: ClassVar[int] = 0
    address: IPAddress

    def emit(self) -> bytes:
        """16 octets."""
        return address_octets(self.address)


@dataclass(frozen=True, slots=True)
class SpiLocator:
    """Locator type 1: an address that belongs to an inbound SPI."""

    TYPE: ClassVar[int] = 1
    spi: int
    address: IPAddress

    def emit(self) -> bytes:
        """20 octets."""
        return pack("I", self.spi) + address_octets(self.address)


@dataclass(frozen=True, slots=True)
class TransportLocator:
    """Locator type 2: a transport address, a candidate of connectivity checks."""

    TYPE: ClassVar[int] = 2
    address: IPAddress
    port: int
    protocol: int
    """IP protocol; 17 for UDP."""
    kind: int
    """See `CandidateKind`."""
    priority: int
    spi: int

    def emit(self) -> bytes:
        """28 octets."""
        head = pack("HBBII", self.port, self.protocol, self.kind, self.priority, self.spi)
        return head + address_octets(self.address)


@dataclass(frozen=True, slots=True)
class UnknownLocator:
    """A locator of a type that is not known, or of a length its type does not have."""

    type: int
    octets: bytes
    """A multiple of four octets."""

    def emit(self) -> bytes:
        """As it came."""
        return self.octets


AnyLocator = PlainLocator | SpiLocator | TransportLocator | UnknownLocator


@dataclass(frozen=True, slots=True)
class Locator:
    """One entry of a LOCATOR_SET."""

    locator: AnyLocator
    lifetime: int = 0xFFFFFFFF
    """Seconds; all ones for ever."""
    preferred: bool = False
    traffic_type: int = TrafficType.BOTH
    reserved: int = 0
    """Seven bits."""


@dataclass(frozen=True, slots=True)
class LocatorSet(Parameter):
    """All addresses that a host can be reached at (RFC 8046 §4)."""

    TYPE: ClassVar[int] = 193
    locators: tuple[Locator, ...]

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        locators, at = [], 0
        while at < len(contents):
            if len(contents) - at < _HEAD:
                raise TruncatedError("a locator ends within its header", offset=at)
            traffic, kind, words, flags, lifetime = struct.unpack_from("!BBBBI", contents, at)
            end = at + _HEAD + 4 * words
            if end > len(contents):
                raise TruncatedError("a locator is longer than the parameter", offset=at)
            locator = _read(kind, contents[at + _HEAD : end])
            locators.append(Locator(locator, lifetime, bool(flags & 1), traffic, flags >> 1))
            at = end
        return cls(tuple(locators))

    def emit(self) -> bytes:
        return b"".join(_emit(entry) for entry in self.locators)


def _read(kind: int, octets: bytes) -> AnyLocator:
    if kind == PlainLocator.TYPE and len(octets) == 16:
        return PlainLocator(address_from(octets))
    if kind == SpiLocator.TYPE and len(octets) == 20:
        return SpiLocator(int.from_bytes(octets[:4], "big"), address_from(octets[4:]))
    if kind == TransportLocator.TYPE and len(octets) == 28:
        port, protocol, origin, priority, spi = struct.unpack_from("!HBBII", octets)
        return TransportLocator(address_from(octets[12:]), port, protocol, origin, priority, spi)
    return UnknownLocator(kind, octets)


def _emit(entry: Locator) -> bytes:
    octets = entry.locator.emit()
    if len(octets) % 4:
        raise EmitError("the length of a locator is no multiple of 4")
    kind = entry.locator.type if isinstance(entry.locator, UnknownLocator) else entry.locator.TYPE
    flags = entry.reserved << 1 | entry.preferred
    head = pack("BBBBI", entry.traffic_type, kind, len(octets) // 4, flags, entry.lifetime)
    return head + octets
