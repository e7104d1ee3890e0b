"""Packets and frames with their checksums and offload headers, made from a seed."""

import random
import struct
from dataclasses import dataclass

from system.frame_numbers import (
    ACK,
    BROADCAST,
    CWR,
    GSO_ECN,
    GSO_TCP4,
    GSO_TCP6,
    GSO_UDP,
    ICMPV6,
    NEEDS_CHECKSUM,
    NO_OFFLOAD,
    PROVIDER_VLAN,
    RECEIVER,
    SENDER,
    TCP,
    UDP,
    VLAN,
    VNET_HEADER,
    ones_sum,
)


@dataclass
class Maker:
    """Makes frames; two with the same seed make the same."""

    seed: int
    mtu: int
    """The largest IP packet of the LAN."""
    count: int = 0
    host: int = 1
    """The last octet of the source address."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def payload(self, length: int) -> bytes:
        """Octets that begin with a number that no other payload has, as far as there is room."""
        self.count += 1
        return (self.count.to_bytes(4) + self.chance.randbytes(max(0, length - 4)))[:length]

    def link(self, kind: int, tags: int = 0) -> bytes:
        target = RECEIVER if self.chance.random() < 0.97 else BROADCAST
        tagged = {
            0: b"",
            1: struct.pack("!HH", VLAN, 0x6007),
            2: struct.pack("!HHHH", PROVIDER_VLAN, 0x0064, VLAN, 0x0007),
        }[tags]
        return target + SENDER + tagged + kind.to_bytes(2)

    def v4(
        self,
        protocol: int,
        length: int,
        *,
        host: int = 0,
        identification: int = 0,
        field: int = 0x4000,
        options: bytes = b"",
        tos: int = 0,
    ) -> bytes:
        """A header in front of *length* octets; *field* is that of flags and fragment offset."""
        size = 20 + len(options)
        words = struct.pack(
            "!BBHHHBB", 0x40 | size // 4, tos, size + length, identification, field, 64, protocol
        )
        addresses = bytes((10, 7, 0, host or self.host, 10, 7, 0, 99))
        checksum = 0xFFFF - ones_sum(words, addresses, options)
        return words + checksum.to_bytes(2) + addresses + options

    def v6(self, protocol: int, length: int, *, host: int = 0, target: int = 99) -> bytes:
        label = self.chance.choice((0, 0x12345))
        words = struct.pack("!LHBB", 6 << 28 | label, length, protocol, 64)
        return words + address6(host or self.host) + address6(target)

    def udp(self, port: int, payload: bytes) -> bytes:
        return struct.pack("!HHHH", port, 5000, 8 + len(payload), 0) + payload

    def tcp(
        self,
        port: int,
        sequence: int,
        payload: bytes,
        *,
        flags: int = ACK,
        options: bytes = b"",
        to: int = 6000,
        urgent: int = 0,
        acknowledged: int = 77,
        window: int = 500,
    ) -> bytes:
        offset = (20 + len(options)) // 4 << 4
        header = struct.pack(
            "!HHLLBBHHH", port, to, sequence % 2**32, acknowledged, offset, flags, window, 0, urgent
        )
        return header + options + payload


def address6(host: int) -> bytes:
    return bytes.fromhex("fd07") + bytes(12) + host.to_bytes(2)


def sealed(pseudo: bytes, protocol: int, transport: bytes, *, finish: bool) -> bytes:
    """The transport header with its checksum, or with what the kernel begins it with."""
    at = {TCP: 16, UDP: 6, ICMPV6: 2}[protocol]
    header = pseudo + struct.pack("!LL", len(transport), protocol)
    value = 0xFFFF - ones_sum(header, transport) or 0xFFFF if finish else ones_sum(header)
    return transport[:at] + value.to_bytes(2) + transport[at + 2 :]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a packet with a transport header consists of."""

    link: bytes
    ip: bytes
    """With everything in front of the transport header."""
    protocol: int
    transport: bytes
    pseudo: bytes

    def single(self) -> bytes:
        return NO_OFFLOAD + self.link + self.ip + self._sealed(finish=True)

    def unfinished(self) -> bytes:
        """As a kernel hands it to a device that completes checksums."""
        return self._vnet(0, 0) + self.link + self.ip + self._sealed(finish=False)

    def whole(self, size: int) -> bytes:
        """As a super-packet of segments of *size* octets."""
        v4 = self.ip[0] >> 4 == 4
        kind = GSO_UDP if self.protocol == UDP else GSO_TCP4 if v4 else GSO_TCP6
        if self.protocol == TCP and self.transport[13] & CWR:
            kind |= GSO_ECN
        return self._vnet(kind, size) + self.link + self.ip + self._sealed(finish=False)

    def _sealed(self, *, finish: bool) -> bytes:
        return sealed(self.pseudo, self.protocol, self.transport, finish=finish)

    def _vnet(self, kind: int, size: int) -> bytes:
        start = len(self.link) + len(self.ip)
        header = (self.transport[12] >> 4) * 4 if self.protocol == TCP else 8
        offset = 16 if self.protocol == TCP else 6
        return VNET_HEADER.pack(NEEDS_CHECKSUM, kind, start + header, size, start, offset)


def weight(sent: bytes) -> int:
    """About how many packets a frame behind its offload header is on its way."""
    size = VNET_HEADER.unpack_from(sent)[3] or 1300
    return len(sent) // min(size, 1300) + 1
