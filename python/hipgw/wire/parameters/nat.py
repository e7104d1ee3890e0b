"""Parameters of NAT traversal and relays (RFC 5770 §5, RFC 9028 §5)."""

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from hipgw.wire.parameters.base import (
    IPAddress,
    MacParameter,
    Parameter,
    TransportAddressParameter,
    address_from,
    address_octets,
    at_least,
    emit_words,
    exactly,
    pack,
    word_list,
)


@dataclass(frozen=True, slots=True)
class NatTraversalMode(Parameter):
    """Ways through NATs, the preferred one first (RFC 5770 §5.4, RFC 9028 §5.4)."""

    TYPE: ClassVar[int] = 608
    modes: tuple[int, ...]
    """1 UDP-ENCAPSULATION, 2 ICE-STUN-UDP, 3 ICE-HIP-UDP."""
    reserved: int = 0

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 2)
        return cls(word_list(contents[2:]), int.from_bytes(contents[:2], "big"))

    def emit(self) -> bytes:
        return pack("H", self.reserved) + emit_words(self.modes)


@dataclass(frozen=True, slots=True)
class TransactionPacing(Parameter):
    """Shortest time between connectivity checks (RFC 5770 §5.5, RFC 9028 §5.5)."""

    TYPE: ClassVar[int] = 610
    min_ta_ms: int

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 4)
        return cls(int.from_bytes(contents, "big"))

    def emit(self) -> bytes:
        return pack("I", self.min_ta_ms)


class RegFrom(TransportAddressParameter):
    """Where a registrar sees its client (RFC 5770 §5.6)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 950


class RelayFrom(TransportAddressParameter):
    """Where a relayed packet came from (RFC 5770 §5.6)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 63998


class RelayTo(TransportAddressParameter):
    """Where a relay is to send a packet (RFC 5770 §5.6)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 64002


class RelayHmac(MacParameter):
    """Authenticates RELAY_FROM by the keys of the registration (RFC 5770 §5.8)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 65520


class RelayedAddress(TransportAddressParameter):
    """The address that a data relay keeps for its client (RFC 9028 §5.12)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 4650


class MappedAddress(TransportAddressParameter):
    """Where a connectivity check was seen to come from (RFC 9028 §5.12)."""

    __slots__ = ()
    TYPE: ClassVar[int] = 4660


@dataclass(frozen=True, slots=True)
class PeerPermission(Parameter):
    """Lets a peer send through a data relay (RFC 9028 §5.13)."""

    TYPE: ClassVar[int] = 4680
    relay: IPAddress
    relay_port: int
    peer: IPAddress
    peer_port: int
    outbound_spi: int
    inbound_spi: int
    protocol: int = 17

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 48)
        relay_port, peer_port, protocol = struct.unpack_from("!HHB", contents)
        outbound, inbound = struct.unpack_from("!II", contents, 40)
        relay, peer = address_from(contents[8:24]), address_from(contents[24:40])
        return cls(relay, relay_port, peer, peer_port, outbound, inbound, protocol)

    def emit(self) -> bytes:
        head = pack("HHBxxx", self.relay_port, self.peer_port, self.protocol)
        addresses = address_octets(self.relay) + address_octets(self.peer)
        return head + addresses + pack("II", self.outbound_spi, self.inbound_spi)


@dataclass(frozen=True, slots=True)
class CandidatePriority(Parameter):
    """Priority of the candidate that a check would find (RFC 9028 §5.14)."""

    TYPE: ClassVar[int] = 4700
    priority: int

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 4)
        return cls(int.from_bytes(contents, "big"))

    def emit(self) -> bytes:
        return pack("I", self.priority)


@dataclass(frozen=True, slots=True)
class Nominate(Parameter):
    """The controlling host has chosen this pair (RFC 9028 §5.15)."""

    TYPE: ClassVar[int] = 4710
    reserved: int = 0

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 4)
        return cls(int.from_bytes(contents, "big"))

    def emit(self) -> bytes:
        return pack("I", self.reserved)
