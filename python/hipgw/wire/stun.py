"""STUN messages (RFC 8489), and those that ask a server for the own mapping.

Over UDP, without credentials: what a server's answer says is as trustworthy as the way to it is.
"""

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from hipgw.wire.errors import PacketFormatError

Address = IPv4Address | IPv6Address

TRANSACTION_ID_OCTETS = 12
DEFAULT_PORT = 3478
"""RFC 8489 §18.6."""
COMPREHENSION_OPTIONAL = 0x8000
"""Attributes from here on may be ignored (§14)."""
_MAGIC_COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_KNOWN = {0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E, 0x0020}
"""Attributes that RFC 8489 defines itself (§18.3) among those that have to be understood."""
_FAMILIES = {1: 4, 2: 16}
"""Octets of an address by its family (§14.1)."""
_MAC_OCTETS = 20
_MAC_END = _ATTRIBUTE.size + _MAC_OCTETS
_CRC_OCTETS = 4
_CRC_MASK = 0x5354554E
"""Tells it from a CRC-32 of what is inside (§14.7)."""


class StunType(IntEnum):
    """Class and method together (§5)."""

    BINDING_REQUEST = 0x0001
    BINDING_INDICATION = 0x0011
    BINDING_SUCCESS = 0x0101
    BINDING_ERROR = 0x0111


class StunAttribute(IntEnum):
    """Those that are spoken here (RFC 8489 §14, RFC 8445 §16.1)."""

    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A


@dataclass(frozen=True, slots=True)
class StunMessage:
    """A STUN message of any type."""

    type: int
    transaction_id: bytes
    attributes: tuple[tuple[int, bytes], ...]
    """In order; what stands behind MESSAGE-INTEGRITY, but FINGERPRINT, is left out (§14.5)."""
    mac: bytes | None
    """MESSAGE-INTEGRITY; None without."""
    covered: bytes
    """The octets that it is made of; all, with the length as it is, without one."""
    fingerprint: bool
    """Whether there is a FINGERPRINT, and the right one."""

    def get(self, attribute: int) -> bytes | None:
        """The value of an attribute, the first one if it comes again (§14)."""
        return next((value for kind, value in self.attributes if kind == attribute), None)


@dataclass(frozen=True, slots=True)
class BindingAnswer:
    """A Binding response."""

    transaction_id: bytes
    mapped: tuple[Address, int] | None
    """Where the server saw the request come from; None if it refuses to say."""


def binding_request(transaction_id: bytes) -> bytes:
    """A Binding request without attributes (§6.1); 12 octets that nobody can guess name it."""
    return _HEADER.pack(StunType.BINDING_REQUEST, 0, _MAGIC_COOKIE, transaction_id)


def parse_answer(data: bytes) -> BindingAnswer:
    """Read a Binding success or error response. Raises PacketFormatError for anything else."""
    message = parse(data)
    if message.type == StunType.BINDING_ERROR:
        return BindingAnswer(message.transaction_id, None)
    if message.type != StunType.BINDING_SUCCESS:
        raise PacketFormatError(f"STUN message type {message.type:#06x} is no answer")
    mapped = None
    for attribute, value in message.attributes:
        if attribute == StunAttribute.XOR_MAPPED_ADDRESS and mapped is None:
            mapped = parse_xor_address(value, message.transaction_id)
        elif attribute < COMPREHENSION_OPTIONAL and attribute not in _KNOWN:
            # The transaction has failed then (§6.3.3).
            return BindingAnswer(message.transaction_id, None)
    return BindingAnswer(message.transaction_id, mapped)


def parse(data: bytes) -> StunMessage:
    """Read a whole STUN message. Raises PacketFormatError for anything else."""
    if len(data) < _HEADER.size:
        raise PacketFormatError("a STUN message has 20 octets at least")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if cookie != _MAGIC_COOKIE or length % 4 or _HEADER.size + length != len(data):
        raise PacketFormatError("not a STUN message, or not a whole one")
    attributes: list[tuple[int, bytes]] = []
    mac, covered, fingerprint = None, data, False
    offset = _HEADER.size
    while offset < len(data):
        attribute, octets = _ATTRIBUTE.unpack_from(data, offset)
        value = data[offset + _ATTRIBUTE.size : offset + _ATTRIBUTE.size + octets]
        if len(value) != octets:
            raise PacketFormatError("a STUN attribute is longer than its message")
        if attribute == StunAttribute.FINGERPRINT:
            after = offset + _ATTRIBUTE.size + octets
            fingerprint = after == len(data) and value == _crc(data[:offset])
        elif mac is None and attribute == StunAttribute.MESSAGE_INTEGRITY:
            mac, covered = value, _with_length(data[:offset], _MAC_END)
        elif mac is None:
            attributes.append((attribute, value))
        offset += _ATTRIBUTE.size + ((octets + 3) & ~3)
    return StunMessage(kind, transaction_id, tuple(attributes), mac, covered, fingerprint)


def build(
    kind: StunType,
    transaction_id: bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
    *,
    sign: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """A message with FINGERPRINT, and with MESSAGE-INTEGRITY if *sign* makes it (§14.5, §14.7).

    *sign*: from the octets that are covered to a MAC of 20 octets.
    """
    body = b"".join(_attribute(attribute, value) for attribute, value in attributes)
    message = _HEADER.pack(kind, len(body), _MAGIC_COOKIE, transaction_id) + body
    if sign is not None:
        message = _with_length(message, _MAC_END)
        message += _attribute(StunAttribute.MESSAGE_INTEGRITY, sign(message))
    message = _with_length(message, _ATTRIBUTE.size + _CRC_OCTETS)
    return message + _attribute(StunAttribute.FINGERPRINT, _crc(message))


def xor_address(address: Address, port: int, transaction_id: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS (§14.2)."""
    family = 1 if address.version == 4 else 2
    hidden = _hidden(address.packed, transaction_id)
    return bytes([0, family]) + (port ^ (_MAGIC_COOKIE >> 16)).to_bytes(2, "big") + hidden


def parse_xor_address(value: bytes, transaction_id: bytes) -> tuple[Address, int]:
    """Read XOR-MAPPED-ADDRESS. Raises PacketFormatError."""
    octets = _FAMILIES.get(value[1]) if len(value) >= 4 else None
    if octets is None or len(value) != 4 + octets:
        raise PacketFormatError("XOR-MAPPED-ADDRESS holds no address")
    port = int.from_bytes(value[2:4], "big") ^ (_MAGIC_COOKIE >> 16)
    address = _hidden(value[4:], transaction_id)
    return (IPv4Address(address) if octets == 4 else IPv6Address(address)), port


def _hidden(address: bytes, transaction_id: bytes) -> bytes:
    """An address XORed with cookie and transaction id: that way round and back (§14.2)."""
    key = _MAGIC_COOKIE.to_bytes(4, "big") + transaction_id
    return bytes(a ^ b for a, b in zip(address, key, strict=False))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _with_length(message: bytes, more: int) -> bytes:
    """A message whose length says that *more* octets follow."""
    length = len(message) - _HEADER.size + more
    return message[:2] + length.to_bytes(2, "big") + message[4:]


def _crc(message: bytes) -> bytes:
    """FINGERPRINT of the octets in front of it; their length counts it already."""
    return (zlib.crc32(message) ^ _CRC_MASK).to_bytes(_CRC_OCTETS, "big")
