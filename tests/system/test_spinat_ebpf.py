"""The kernel's own rewriting of a mobile router's packets, at real devices and beside the queue."""

import array
import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from hipgw._esp_core import SpinatPath
from hipgw.lab import Lab, wait_until
from hipgw.lab.host import Host
from hipgw.wire.checksum import checksum16
from system.test_spinat_path import (
    CLIENT,
    ESP,
    ICMP,
    INSIDE,
    OUTSIDE,
    PEER,
    PORT,
    QUEUE,
    UDP,
    Tap,
    esp,
    ip_packet,
    packed,
    udp,
)

pytestmark = pytest.mark.system

_UDP_SEGMENT = 103
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_IPPROTO = {4: socket.AF_INET, 6: socket.AF_INET6}
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


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("spinat_ebpf") as lab:
        yield lab


@pytest.fixture
def net(lab: Lab) -> Iterator[Net]:
    client, router, peer = lab.host("client"), lab.host("router"), lab.host("peer")
    lab.link(client, "eth0", router, "in0")
    lab.link(router, "out0", peer, "eth0")
    client.address("eth0", f"{CLIENT[4]}/24", f"{CLIENT[6]}/64")
    router.address("in0", f"{INSIDE[4]}/24", f"{INSIDE[6]}/64")
    router.address("out0", f"{OUTSIDE[4]}/24", f"{OUTSIDE[6]}/64")
    peer.address("eth0", f"{PEER[4]}/24", f"{PEER[6]}/64")
    client.route("default", INSIDE[4])
    client.route("default6", INSIDE[6])
    for device in ("in0", "out0"):
        router.call(finish_checksums, device)
    path = router.call(SpinatPath, queue=QUEUE, capacity=100)
    try:
        if path.ebpf is not None:
            # Only what a kernel lacks is a reason: a program that it refuses is a defect.
            assert any(one in path.ebpf for one in ("no eBPF", "no tcx")), path.ebpf
            pytest.skip(path.ebpf)
        path.own([], [packed(one) for own in (INSIDE, OUTSIDE) for one in own.values()])
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


def divert(router: Host) -> None:
    for tables in ("iptables", "ip6tables"):
        for match in ("50", "udp --dport 10500"):
            command = f"{tables} -w -t raw -A PREROUTING ! -i lo -p {match} -j NFQUEUE"
            router.run([*command.split(), "--queue-num", str(QUEUE), "--queue-bypass"])


def send(host: Host, packet: bytes) -> None:
    family = packet[0] >> 4
    target = socket.inet_ntop(_IPPROTO[family], packet[16:20] if family == 4 else packet[24:40])

    def once() -> None:
        with socket.socket(_IPPROTO[family], socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.sendto(packet, (target, 0))

    host.call(once)


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


def test_every_shape_without_any_queue(net: Net) -> None:
    """Nothing is diverted, and nothing forwards: what arrives was rewritten by the program."""
    at_client, at_peer = Tap(net.client, "eth0"), Tap(net.peer, "eth0")
    for shape in SHAPES:
        client, peer, outside = (ends[shape.family] for ends in (CLIENT, PEER, OUTSIDE))
        ways = net.enter(shape, client, "in0")
        send(net.client, shape.packet(client, peer, shape.peer_spi))
        assert at_peer.next((ESP, UDP)) == shape.packet(outside, peer, shape.peer_spi, 63)
        send(net.peer, shape.packet(peer, outside, shape.public_spi))
        assert at_client.next((ESP, UDP)) == shape.packet(peer, client, shape.client_spi, 63)
        for way in ways:
            packets, octets, idle_s = net.path.counts(way) or (0, 0, 99)
            assert (packets, octets) == (1, 48)
            assert idle_s < 60
        if shape.encapsulated:
            # Not finished by the sender: one datagram, and a train of them as one packet.
            for length in (1, 20):
                parts = [esp(shape.peer_spi, 400) + bytes([n]) for n in range(length)]
                send_train(net.client, client, peer, parts)
                got = [at_peer.next((UDP,)) or b"" for _ in parts]
                assert [one[-409:] for one in got] == parts
                assert all(map(is_whole, got))
                assert all(packed(outside) in one[:40] for one in got)
            assert (net.path.counts(ways[1]) or ())[:2] == (22, 48 + 21 * 409)
            for length in (1, 20):
                parts = [esp(shape.public_spi, 400) + bytes([n]) for n in range(length)]
                send_train(net.peer, peer, outside, parts)
                got = [at_client.next((UDP,)) or b"" for _ in parts]
                assert [one[-409:] for one in got] == [
                    esp(shape.client_spi, 400) + bytes([n]) for n in range(length)
                ]
                assert all(map(is_whole, got))
            assert (net.path.counts(ways[0]) or ())[:2] == (22, 48 + 21 * 409)
    assert net.counted("ebpf_rewritten") == 4 * 2 + 2 * 2 * (1 + 20)
    assert net.counted("ebpf_devices") == 2
    assert net.counted("received") == 0
    at_client.close()
    at_peer.close()


def test_what_the_program_leaves_is_done_by_the_queue(net: Net) -> None:
    divert(net.router)
    net.router.call(net.path.start)
    at_client, at_peer = Tap(net.client, "eth0"), Tap(net.peer, "eth0")
    for shape in SHAPES:
        net.enter(shape, CLIENT[shape.family], "in0")
    plain, encapsulated = SHAPES[:2]
    client, peer, outside = CLIENT[4], PEER[4], OUTSIDE[4]

    # Its ways by the program, though all is diverted behind it.
    send(net.client, plain.packet(client, peer, plain.peer_spi))
    assert at_peer.next((ESP,)) == plain.packet(outside, peer, plain.peer_spi, 63)
    assert (net.counted("ebpf_rewritten"), net.counted("rewritten")) == (1, 0)

    # Another framing than that of the other side is none of what it leaves.
    send(net.client, plain.packet(client, peer, encapsulated.peer_spi))
    got = at_peer.next((UDP,))
    assert got is not None and got[-48:] == esp(encapsulated.peer_spi)
    assert (net.counted("ebpf_rewritten"), net.counted("rewritten")) == (2, 0)

    # A train of two ways.
    net.router.call(
        lambda: net.path.insert(
            spi=0x78,
            source=packed(peer),
            destination=packed(client),
            source_port=PORT,
            destination_port=PORT,
            new_spi=0x79,
            ifindex=socket.if_nametoindex("in0"),
        )
    )
    send_train(net.peer, peer, outside, [esp(encapsulated.public_spi, 401), esp(0x78, 401)] * 10)
    trains = [at_client.next((UDP,)) or b"" for _ in range(20)]
    wanted = [esp(encapsulated.client_spi, 401), esp(0x79, 401)] * 10
    assert [one[-409:] for one in trains] == wanted
    assert net.counted("ebpf_left_joined") == 1
    wait_until(lambda: net.counted("rewritten") == 20, 5, what="the count")

    # Longer than the link takes, which was not so when the way was entered.
    net.router.mtu("out0", 1300)
    long = ip_packet(client, peer, ESP, esp(plain.peer_spi, 1400), flags=1 << 14)
    told = Tap(net.client, "eth0")
    send(net.client, long)
    error = told.next((ICMP,))
    assert error is not None and error[20:22] == b"\3\4"
    assert net.counted("ebpf_left_too_long") == 1
    net.router.mtu("out0", 1500)
    send(net.client, long)
    assert len(at_peer.next((ESP,)) or b"") == 1428
    told.close()
    assert net.counted("ebpf_rewritten") == 3

    # The end of its life, and an unknown SPI.
    send(net.client, plain.packet(client, peer, plain.peer_spi, ttl=1))
    send(net.client, plain.packet(client, peer, 0x999999))
    wait_until(
        lambda: (net.counted("expired"), net.counted("unknown_spi")) == (1, 1), 5, what="counts"
    )
    assert net.counted("ebpf_rewritten") == 3
    at_client.close()
    at_peer.close()


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


def test_devices_without_link_headers(net: Net) -> None:
    """As modems and PPP have none."""
    tun = Tun(net.router, "tun0")
    at_peer = Tap(net.peer, "eth0")
    net.router.route(f"{TUN_CLIENT[4]}/32", interface="tun0")
    net.router.route(f"{TUN_CLIENT[6]}/128", interface="tun0")
    for shape in SHAPES:
        client, peer, outside = (ends[shape.family] for ends in (TUN_CLIENT, PEER, OUTSIDE))
        net.enter(shape, client, "tun0")
        tun.send(shape.packet(client, peer, shape.peer_spi))
        assert at_peer.next((ESP, UDP)) == shape.packet(outside, peer, shape.peer_spi, 63)
        wanted = shape.packet(peer, client, shape.client_spi, 63)
        send(net.peer, shape.packet(peer, outside, shape.public_spi))
        wait_until(partial(lambda wanted: tun.read() == wanted, wanted), 5, what="the packet")
    assert net.path.ebpf is None
    assert net.counted("ebpf_rewritten") == 8
    at_peer.close()
    tun.close()


LATER = """
import socket, time
from hipgw._esp_core import SpinatPath
from hipgw.platform.privileges import drop
path = SpinatPath(queue={queue}, capacity=100)
drop("nobody")
print("dropped", flush=True)
while "in1" not in [name for _, name in socket.if_nameindex()]:
    time.sleep(0.01)
path.outside([socket.if_nametoindex("out0")])
path.insert(
    spi=7, source=socket.inet_aton("{peer}"), destination=socket.inet_aton("{client}"),
    new_spi=8, ifindex=socket.if_nametoindex("in1"),
)
path.insert(
    spi=9, client=socket.inet_aton("{client}"), correspondent=socket.inet_aton("{peer}"),
    source=socket.inet_aton("{outside}"), destination=socket.inet_aton("{peer}"),
    new_spi=9, ifindex=socket.if_nametoindex("out0"),
)
print("path:", path.ebpf)
print("another:", SpinatPath(queue={queue} + 1, capacity=100).ebpf, flush=True)
time.sleep(60)
"""
LATER_CLIENT = "10.0.1.10"


def test_devices_that_come_when_privileges_are_gone(net: Net, lab: Lab) -> None:
    """And nothing is left of the program when the process is gone, however it ends."""
    net.path.stop()
    peer, outside = PEER[4], OUTSIDE[4]
    script = LATER.format(queue=QUEUE + 1, peer=peer, outside=outside, client=LATER_CLIENT)
    process = net.router.popen([sys.executable, "-c", script])
    wait_until(lambda: "dropped" in process.output(), 20, what="the other process")
    lab.link(net.client, "eth1", net.router, "in1")
    net.client.address("eth1", f"{LATER_CLIENT}/24")
    net.router.address("in1", "10.0.1.1/24")
    net.client.route(f"{peer}/32", "10.0.1.1")
    wait_until(lambda: "another:" in process.output(), 20, what="its ways")
    found = dict(line.split(": ", 1) for line in process.output().splitlines() if ": " in line)
    assert found["path"] == "None"
    assert "CAP_BPF" in found["another"]

    at_client, at_peer = Tap(net.client, "eth1"), Tap(net.peer, "eth0")
    send(net.client, ip_packet(LATER_CLIENT, peer, ESP, esp(9)))
    assert at_peer.next((ESP,)) == ip_packet(outside, peer, ESP, esp(9), ttl=63)
    send(net.peer, ip_packet(peer, outside, ESP, esp(7)))
    assert at_client.next((ESP,)) == ip_packet(peer, LATER_CLIENT, ESP, esp(8), ttl=63)

    process.kill()
    send(net.client, ip_packet(LATER_CLIENT, peer, ESP, esp(9)))
    send(net.peer, ip_packet(peer, outside, ESP, esp(7)))
    assert at_peer.next((ESP,), 0.2) is None
    assert at_client.next((ESP,), 0.2) is None
    at_client.close()
    at_peer.close()
