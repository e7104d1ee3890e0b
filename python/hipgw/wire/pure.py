"""The functions of `hipgw._wire` in Python: their specification, and the oracle of their tests."""

from enum import IntEnum

TLV_HEADER_LENGTH = 4
"""Octets of Type and Length (RFC 7401 §5.2.1)."""

MAX_FIELD = 0xFFFF


class ScanFault(IntEnum):
    """Why `scan_tlvs` stopped."""

    NONE = 0
    SHORT_HEADER = 1
    """Fewer than four octets are left."""
    SHORT_CONTENTS = 2
    """The Length field reaches beyond the end."""
    ORDER = 3
    """A type smaller than the one before it."""
    SHORT_PADDING = 4
    """The end lies within the padding of the last parameter."""


def checksum16(data: bytes, initial: int = 0) -> int:
    """Return the Internet checksum of *data* (RFC 1071), *initial* added to the sum first."""
    if initial < 0:
        raise ValueError("initial sum must not be negative")
    return _complement(initial + _sum_words(data))


def pseudo_header_checksum(data: bytes, source: bytes, destination: bytes, protocol: int) -> int:
    """Return the checksum of *data* under the IPv4 or IPv6 pseudo-header (RFC 768, RFC 8200 §8.1).

    The addresses are packed, both 4 or both 16 octets; ValueError otherwise.
    """
    if len(source) != len(destination) or len(source) not in (4, 16):
        raise ValueError("addresses must both be packed IPv4 or both packed IPv6")
    length = len(data)
    total = protocol + (length & 0xFFFF) + (length >> 16)
    return _complement(total + sum(map(_sum_words, (source, destination, data))))


def _sum_words(data: bytes) -> int:
    """Sum of the big-endian 16-bit words; an odd last octet is the high half of one."""
    even = data + bytes(len(data) & 1)
    return sum(even[0::2]) * 256 + sum(even[1::2])


def _complement(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def scan_tlvs(
    data: bytes, start: int, end: int, strict_order: bool
) -> tuple[list[tuple[int, int, int]], int, int]:
    """Walk the parameters in *data*[*start*:*end*] (RFC 7401 §5.2.1).

    Returns ([(type, offset of the contents, length of the contents), …], `ScanFault`, offset of
    the fault). The offset is *end* where there is none.
    """
    if start < 0 or end < start or end > len(data):
        raise ValueError("start and end must lie within the data")
    found: list[tuple[int, int, int]] = []
    at, previous = start, -1
    while at < end:
        if end - at < TLV_HEADER_LENGTH:
            return found, ScanFault.SHORT_HEADER, at
        kind = int.from_bytes(data[at : at + 2])
        length = int.from_bytes(data[at + 2 : at + 4])
        if length > end - at - TLV_HEADER_LENGTH:
            return found, ScanFault.SHORT_CONTENTS, at
        if strict_order and kind < previous:
            return found, ScanFault.ORDER, at
        previous = kind
        found.append((kind, at + TLV_HEADER_LENGTH, length))
        at += padded_length(length)
        if at > end:
            return found, ScanFault.SHORT_PADDING, end
    return found, ScanFault.NONE, end


def build_tlvs(parameters: list[tuple[int, bytes]]) -> bytes:
    """Return the octets of *parameters*, (type, contents) each, in the order given, zero-padded.

    Raises ValueError for a type or a length above 65535.
    """
    built = bytearray()
    for kind, contents in parameters:
        if not 0 <= kind <= MAX_FIELD or len(contents) > MAX_FIELD:
            raise ValueError("type and length of a parameter are 16-bit fields")
        built += kind.to_bytes(2) + len(contents).to_bytes(2) + contents
        built += bytes(-len(built) % 8)
    return bytes(built)


def padded_length(length: int) -> int:
    """Octets that a parameter with *length* octets of contents takes (RFC 7401 §5.2.1)."""
    return 11 + length - (length + 3) % 8
