"""Numbers that stand in frames and in front of them, and the sum that checksums are."""

import struct

SENDER = bytes.fromhex("02000000 0a01")
RECEIVER = bytes.fromhex("02000000 0a02")
BROADCAST = b"\xff" * 6

VNET_HEADER = struct.Struct("=BBHHHH")
NO_OFFLOAD = VNET_HEADER.pack(0, 0, 0, 0, 0, 0)
NEEDS_CHECKSUM = 1
GSO_TCP4, GSO_TCP6, GSO_UDP, GSO_ECN = 1, 4, 5, 0x80

IPV4, IPV6, VLAN, PROVIDER_VLAN, LOCAL = 0x0800, 0x86DD, 0x8100, 0x88A8, 0x88B5
HOP_BY_HOP, ICMP, TCP, UDP, ROUTING, FRAGMENT, ICMPV6, DESTINATION = 0, 1, 6, 17, 43, 44, 58, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION)
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << n for n in range(8))

LARGE_SEGMENTS_PORT = 7000
"""TCP flows to this port have segments that may be cut smaller on the way: streams are compared."""


def ones_sum(*parts: bytes) -> int:
    """The one's complement sum in 16 bits (RFC 1071); every part but the last is even."""
    data = b"".join(parts)
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
