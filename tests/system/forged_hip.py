"""HIP and ESP packets that nobody asked for, sent from a host of a lab."""

import socket
import struct
import time
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, ip_address

from hipgw.lab import Host
from hipgw.platform.sockets import ESP_PROTOCOL, HIP_PROTOCOL
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import EspInfo, Parameter, Seq

PORT = 10500


class Forger:
    """A host that sends what it likes, in whose name it likes, also with others' addresses."""

    def __init__(self, host: Host) -> None:
        self.host = host
        # Others must not learn by ARP that the addresses are here: that is another attack.
        host.sysctl("net/ipv4/conf/all/arp_ignore", 1)
        host.sysctl("net/ipv4/conf/all/arp_announce", 2)

    def take(self, address: str) -> None:
        """Be able to send with somebody else's address."""
        length = 128 if ":" in address else 32
        self.host.ip(f"address add {address}/{length} dev lo{' nodad' if length == 128 else ''}")

    def drop(self, address: str) -> None:
        """Be it no more: what is for its owner would not leave this host."""
        length = 128 if ":" in address else 32
        self.host.ip(f"address del {address}/{length} dev lo")

    def hip(self, source: str, destination: str, packets: Iterable[HipPacket]) -> int:
        """Send packets by IP protocol 139 and in UDP; how many."""
        ends = PseudoHeader(ip_address(source), ip_address(destination))
        plain = [packet.emit(ends) for packet in packets]
        in_udp = [bytes(4) + packet[:4] + bytes(2) + packet[6:] for packet in plain]
        return self._send(source, destination, HIP_PROTOCOL, plain, in_udp)

    def esp(self, source: str, destination: str, spis: Iterable[int], *, octets: int = 64) -> int:
        """Send ESP packets of these SPIs by IP protocol 50 and in UDP; how many."""
        packets = [
            struct.pack("!II", spi, number) + bytes(octets) for number, spi in enumerate(spis, 1)
        ]
        return self._send(source, destination, ESP_PROTOCOL, packets, packets)

    def _send(
        self,
        source: str,
        destination: str,
        protocol: int,
        plain: list[bytes],
        in_udp: list[bytes],
    ) -> int:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET

        def send() -> int:
            sent = 0
            with (
                socket.socket(family, socket.SOCK_RAW, protocol) as raw,
                socket.socket(family, socket.SOCK_DGRAM) as udp,
            ):
                raw.bind((source, 0))
                udp.bind((source, 0))
                for one, other in zip(plain, in_udp, strict=True):
                    sent += raw.sendto(one, (destination, 0)) > 0
                    sent += udp.sendto(other, (destination, PORT)) > 0
                    if sent % 512 == 0:
                        time.sleep(0.01)  # else it is this host's own queue that drops them
            return sent

        return self.host.call(send)


def speaking(
    sender: IPv6Address, receiver: IPv6Address, spis: Iterable[int] = (), version: int = 2
) -> list[HipPacket]:
    """Every kind of packet in somebody's name; those with SPIs once with each of *spis*."""
    without: list[tuple[PacketType, tuple[Parameter, ...]]] = [
        (kind, ())
        for kind in (PacketType.I1, PacketType.R1, PacketType.CLOSE, PacketType.CLOSE_ACK)
    ]
    carrying = [
        (kind, (EspInfo(0, old, spi), *more))
        for spi in spis
        for kind, old, more in (
            (PacketType.I2, 0, ()),
            (PacketType.R2, 0, ()),
            (PacketType.UPDATE, spi, (Seq(7),)),
            (PacketType.UPDATE, spi ^ 1, (Seq(8),)),
        )
    ]
    return [
        HipPacket(kind, sender, receiver, parameters, version=version)
        for kind, parameters in (*without, *carrying)
    ]


def heard(frames: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """Where HIP packets came from among captured frames, plain and in UDP, and of what type."""
    for frame in frames:
        hip = _hip(frame)
        if len(hip) >= 40:
            source = frame[26:30] if frame[12:14] == b"\x08\x00" else frame[22:38]
            yield str(ip_address(source)), hip[2] & 0x7F


def _hip(frame: bytes) -> bytes:
    if frame[12:14] == b"\x08\x00":
        protocol, body = frame[23], frame[14 + 4 * (frame[14] & 15) :]
    elif frame[12:14] == b"\x86\xdd":
        protocol, body = frame[20], frame[54:]
    else:
        return b""
    if protocol == socket.IPPROTO_UDP and PORT in struct.unpack("!HH", body[:4]):
        return body[12:] if body[8:12] == bytes(4) else b""
    return body if protocol == HIP_PROTOCOL else b""
