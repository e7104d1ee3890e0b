"""ICMP messages that refuse a packet for its size (RFC 1191 §4, RFC 4443 §3.2)."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hipgw.wire.checksum import IPAddress, checksum16

_V4_KIND = (3, 4)
"""Destination unreachable: fragmentation needed and DF set."""
_V6_KIND = (2, 0)
"""Packet Too Big."""
_HEADER = 8
_V4_HEADER = 20
_V6_HEADER = 40
_MF_AND_OFFSET = 0x3FFF


@dataclass(frozen=True, slots=True)
class TooBig:
    """A router's word that one of this host's packets was too large for its next link."""

    mtu: int
    """Octets of the largest packet that fits; 0 if an old router did not say."""
    source: IPAddress
    """Of the packet that was refused, as are all that follow."""
    destination: IPAddress
    protocol: int
    payload: bytes
    """Its first octets behind the IP header, as many as were quoted."""


def parse_v4(message: bytes) -> TooBig | None:
    """Read an ICMP message, without the IP header in front of it; None for any other."""
    if len(message) < _HEADER + _V4_HEADER or (message[0], message[1]) != _V4_KIND:
        return None
    if checksum16(message):
        return None
    quoted = message[_HEADER:]
    length = (quoted[0] & 0x0F) * 4
    if quoted[0] >> 4 != 4 or not _V4_HEADER <= length <= len(quoted):
        return None
    if int.from_bytes(quoted[6:8], "big") & _MF_AND_OFFSET:
        return None
    return TooBig(
        int.from_bytes(message[6:8], "big"),
        IPv4Address(quoted[12:16]),
        IPv4Address(quoted[16:20]),
        quoted[9],
        quoted[length:],
    )


def parse_v6(message: bytes) -> TooBig | None:
    """Read an ICMPv6 message, whose checksum the kernel has seen to; None for any other."""
    if len(message) < _HEADER + _V6_HEADER or (message[0], message[1]) != _V6_KIND:
        return None
    quoted = message[_HEADER:]
    if quoted[0] >> 4 != 6:
        return None
    (mtu,) = struct.unpack_from("!I", message, 4)
    return TooBig(
        mtu,
        IPv6Address(quoted[8:24]),
        IPv6Address(quoted[24:40]),
        quoted[6],
        quoted[_V6_HEADER:],
    )
