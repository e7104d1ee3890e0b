"""STUN Binding requests and what answers them (RFC 8489), as much as a host asks for its mapping.

Over UDP, without credentials: what an answer says is as trustworthy as the way to the server is.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hipgw.wire.errors import PacketFormatError

TRANSACTION_ID_OCTETS = 12
DEFAULT_PORT = 3478
"""RFC 8489 §18.6."""
_MAGIC_COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_BINDING_REQUEST = 0x0001
_BINDING_SUCCESS = 0x0101
_BINDING_ERROR = 0x0111
_XOR_MAPPED_ADDRESS = 0x0020
_COMPREHENSION_OPTIONAL = 0x8000
_KNOWN = {0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E, 0x0020}
"""Attributes that RFC 8489 defines itself (§18.3) among those that have to be understood."""
_FAMILIES = {1: 4, 2: 16}
"""Octets of an address by its family (§14.1)."""


@dataclass(frozen=True, slots=True)
class BindingAnswer:
    """A Binding response."""

    transaction_id: bytes
    mapped: tuple[IPv4Address | IPv6Address, int] | None
    """Where the server saw the request come from; None if it refuses to say."""


def binding_request(transaction_id: bytes) -> bytes:
    """A Binding request without attributes (§6.1); 12 octets that nobody can guess name it."""
    return _HEADER.pack(_BINDING_REQUEST, 0, _MAGIC_COOKIE, transaction_id)


def parse_answer(data: bytes) -> BindingAnswer:
    """Read a Binding success or error response. Raises PacketFormatError for anything else."""
    if len(data) < _HEADER.size:
        raise PacketFormatError("a STUN message has 20 octets at least")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if cookie != _MAGIC_COOKIE or length % 4 or _HEADER.size + length != len(data):
        raise PacketFormatError("not a STUN message, or not a whole one")
    if kind == _BINDING_ERROR:
        return BindingAnswer(transaction_id, None)
    if kind != _BINDING_SUCCESS:
        raise PacketFormatError(f"STUN message type {kind:#06x} is no answer")
    mapped = None
    for attribute, value in _attributes(data):
        if attribute == _XOR_MAPPED_ADDRESS and mapped is None:
            mapped = _xor_address(value, data)
        elif attribute < _COMPREHENSION_OPTIONAL and attribute not in _KNOWN:
            # The transaction has failed then (§6.3.3).
            return BindingAnswer(transaction_id, None)
    return BindingAnswer(transaction_id, mapped)


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found, offset = [], _HEADER.size
    while offset < len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, offset)
        offset += _ATTRIBUTE.size
        if offset + length > len(data):
            raise PacketFormatError("a STUN attribute is longer than its message")
        found.append((kind, data[offset : offset + length]))
        offset += (length + 3) & ~3
    return found


def _xor_address(value: bytes, message: bytes) -> tuple[IPv4Address | IPv6Address, int]:
    """§14.2: the port is XORed with the cookie, the address with cookie and transaction id."""
    octets = _FAMILIES.get(value[1]) if len(value) >= 4 else None
    if octets is None or len(value) != 4 + octets:
        raise PacketFormatError("XOR-MAPPED-ADDRESS holds no address")
    port = int.from_bytes(value[2:4], "big") ^ (_MAGIC_COOKIE >> 16)
    key = message[4 : 4 + octets]
    address = bytes(a ^ b for a, b in zip(value[4:], key, strict=True))
    return (IPv4Address(address) if octets == 4 else IPv6Address(address)), port
