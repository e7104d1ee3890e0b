"""A mobile router whose kernel rewrites: its ways, the shapes of packets, devices without links."""

import array
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hipgw._esp_core import SpinatPath
from hipgw.lab import Lab
from hipgw.lab.host import Host
from hipgw.wire.checksum import checksum16
from system.spinat_ends import (
    ESP,
    OUTSIDE,
    PEER,
    PORT,
    QUEUE,
    UDP,
    esp,
    ip_packet,
    own_addresses,
    packed,
    three_hosts,
    udp,
)

_UDP_SEGMENT = 103
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
TUN_CLIENT = {4: "10.0.9.10", 6: "fd00:9::10"}


@dataclass(frozen=True)
class Shape:
    """What the packets of an association look like, on both sides, and its SPIs."""

    family: int
    encapsulated: bool

    @property
    def port(self) -> int:
        return PORT if self.encapsulated else 0

    @property
    def number(self) -> int:
        return self.family * 16 + self.encapsulated

    @property
    def public_spi(self) -> int:
        return 0x120000 | self.number

    @property
    def client_spi(self) -> int:
        return 0x340000 | self.number

    @property
    def peer_spi(self) -> int:
        return 0x560000 | self.number

    def packet(self, source: str, destination: str, spi: int, ttl: int = 64) -> bytes:
        """The packet of one end to another."""
        payload = esp(spi)
        if not self.encapsulated:
            return ip_packet(source, destination, ESP, payload, ttl=ttl)
        return ip_packet(source, destination, UDP, udp(source, destination, payload), ttl=ttl)


SHAPES = [Shape(family, encapsulated) for family in (4, 6) for encapsulated in (False, True)]


@dataclass
class Net:
    client: Host
    router: Host
    peer: Host
    path: SpinatPath

    def enter(self, shape: Shape, client: str, device: str) -> tuple[int, int]:
        """The ways of an association: inward and outward."""
        peer, outside = PEER[shape.family], OUTSIDE[shape.family]
        return self.router.call(
            lambda: (
                self.path.insert(
                    spi=shape.public_spi,
                    source=packed(peer),
                    destination=packed(client),
                    source_port=shape.port,
                    destination_port=shape.port,
                    new_spi=shape.client_spi,
                    ifindex=socket.if_nametoindex(device),
                ),
                self.path.insert(
                    spi=shape.peer_spi,
                    client=packed(client),
                    correspondent=packed(peer),
                    source=packed(outside),
                    destination=packed(peer),
                    source_port=shape.port,
                    destination_port=shape.port,
                    new_spi=shape.peer_spi,
                    ifindex=socket.if_nametoindex("out0"),
                ),
            )
        )

    def counted(self, name: str) -> int:
        return self.path.statistics()[name]


class Tun:
    """A device without link headers, and what is behind it."""

    def __init__(self, host: Host, name: str) -> None:
        self._fd = host.call(os.open, "/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH14x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        host.call(fcntl.ioctl, self._fd, _TUNSETIFF, request)
        host.up(name)

    def send(self, packet: bytes) -> None:
        os.write(self._fd, packet)

    def read(self) -> bytes | None:
        try:
            return os.read(self._fd, 2000)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return None

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("spinat_ebpf") as lab:
        yield lab


@pytest.fixture
def net(lab: Lab) -> Iterator[Net]:
    client, router, peer = three_hosts(lab)
    for device in ("in0", "out0"):
        router.call(finish_checksums, device)
    path = router.call(SpinatPath, queue=QUEUE, capacity=100)
    try:
        if path.ebpf is not None:
            # Only what a kernel lacks is a reason: a program that it refuses is a defect.
            assert any(one in path.ebpf for one in ("no eBPF", "no tcx")), path.ebpf
            pytest.skip(path.ebpf)
        path.own([], own_addresses())
        router.call(lambda: path.outside([socket.if_nametoindex("out0")]))
        yield Net(client, router, peer, path)
    finally:
        path.stop()


def finish_checksums(device: str) -> None:
    """Have the kernel finish every packet before it gives it to *device*."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        value = array.array("I", [_ETHTOOL_STXCSUM, 0])
        fcntl.ioctl(
            sock, _SIOCETHTOOL, struct.pack("16sP", device.encode(), value.buffer_info()[0])
        )


def send_train(host: Host, source: str, destination: str, parts: list[bytes]) -> None:
    """UDP datagrams of one length as the kernel keeps them: one packet, its checksum to be made."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with host.call(socket.socket, family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source, PORT))
        sock.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, len(parts[0]))
        sock.sendto(b"".join(parts), (destination, PORT))


def is_whole(packet: bytes) -> bool:
    """Whether all checksums of a packet are right."""
    if packet[0] >> 4 == 4:
        header, ends, protocol = packet[:20], packet[12:20], packet[9]
        if checksum16(header) != 0:
            return False
    else:
        header, ends, protocol = packet[:40], packet[8:40], packet[6]
    payload = packet[len(header) :]
    pseudo = ends + struct.pack("!II", len(payload), protocol)
    return protocol != UDP or checksum16(pseudo + payload) == 0
