"""Which octets MACs and signatures cover (RFC 7401 §6.4; RFC 5201 §6.4 has the same).

All functions take the octets of a packet as it came, or as it is so far when it is being made, and
return a copy with the changes that the RFC asks for. The rest of the packet is left out.
"""

from hipgw.wire import tlv
from hipgw.wire.errors import MalformedError
from hipgw.wire.packet import HEADER_LENGTH, MAX_LENGTH
from hipgw.wire.parameters import (
    HipMac,
    HipMac2,
    HipSignature,
    HipSignature2,
    Puzzle,
    RelayHmac,
    RvsHmac,
)

_LENGTH = 1
_CHECKSUM = slice(4, 6)
_RECEIVER_HIT = slice(24, 40)
_PUZZLE_SIGNED = 2
"""Octets of PUZZLE that a signature covers: K and Lifetime."""


def mac_coverage(raw: bytes) -> bytes:
    """What HIP_MAC covers: everything with a smaller type (§6.4.1)."""
    return bytes(_below(raw, HipMac.TYPE))


def mac2_coverage(raw: bytes, host_id_tlv: bytes) -> bytes:
    """What HIP_MAC_2 covers: everything with a smaller type, then the Responder's HOST_ID.

    *host_id_tlv* is that of R1, octet for octet, with header and padding (§6.4.1).
    """
    return bytes(_with_length(_below(raw, HipMac2.TYPE) + host_id_tlv))


def signature_coverage(raw: bytes, *, signature_type: int = HipSignature.TYPE) -> bytes:
    """What HIP_SIGNATURE covers: everything with a smaller type, the MAC too (§6.4.2).

    *signature_type* is the number it goes under, for peers that use another in R2.
    """
    return bytes(_below(raw, signature_type))


def signature2_coverage(raw: bytes) -> bytes:
    """What HIP_SIGNATURE_2 covers: without the receiver's HIT, the puzzle's I and its Opaque."""
    covered = _below(raw, HipSignature2.TYPE)
    covered[_RECEIVER_HIT] = bytes(16)
    for entry in tlv.scan(bytes(covered), HEADER_LENGTH, strict_order=False):
        if entry.type == Puzzle.TYPE:
            hidden = max(entry.length - _PUZZLE_SIGNED, 0)
            start = entry.offset + _PUZZLE_SIGNED
            covered[start : start + hidden] = bytes(hidden)
    return bytes(covered)


def rvs_hmac_coverage(raw: bytes) -> bytes:
    """What RVS_HMAC covers: everything before it (RFC 8004 §4.2.1)."""
    return bytes(_below(raw, RvsHmac.TYPE))


def relay_hmac_coverage(raw: bytes) -> bytes:
    """What RELAY_HMAC covers: everything before it (RFC 5770 §5.8)."""
    return bytes(_below(raw, RelayHmac.TYPE))


def _below(raw: bytes, limit: int) -> bytearray:
    """Header and parameters up to the first whose type is not below *limit*."""
    end = len(raw)
    for entry in tlv.scan(raw, HEADER_LENGTH, strict_order=False):
        if entry.type >= limit:
            end = entry.start
            break
    covered = bytearray(raw[:end])
    covered[_CHECKSUM] = bytes(2)
    return _with_length(covered)


def _with_length(covered: bytearray) -> bytearray:
    if len(covered) > MAX_LENGTH:
        raise MalformedError(f"{len(covered)} octets are more than a HIP packet can have")
    covered[_LENGTH] = len(covered) // 8 - 1
    return covered
