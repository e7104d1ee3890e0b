"""Offloads change how fast frames pass, and nothing else.

The same frames, made from a seed, pass two engines with every combination of offloads on and off,
over every kind of path. What arrives is compared with what arrives over a plain cable: every octet,
the order of each flow, and that nothing is lost or comes twice. The receiving LAN host's port takes
no super-packets, so the kernel cuts them and finishes checksums before they are compared; it is the
reference for that as well.
"""

import array
import contextlib
import fcntl
import functools
import hashlib
import random
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Self

import pytest

from hipgw.dataplane.backend import Fatal
from hipgw.dataplane.esp_core import EspCoreDataPlane
from hipgw.lab import Host, Lab, Switch
from hipgw.platform import sockets
from hipgw.platform.netlink import with_netlink
from hipgw.platform.tuntap import TunDevice, open_tap, open_tun
from system.engines import End
from system.frame_making import weight
from system.frame_numbers import LOCAL, NO_OFFLOAD, RECEIVER, SENDER, VLAN
from system.frame_reading import Arrived, Parsed, Stream, by_flow
from system.frame_traffic import Traffic

pytestmark = pytest.mark.system

SEED = random.SystemRandom().randrange(2**32)
"""To repeat what failed, write the seed that was printed here."""

LAN_MTU = 9000
TUN_MTU = 1400
SUITE = 13
PATIENCE_S = 10
MAX_WAITING = 200
"""Packets on their way at once: more than are joined, less than a CPU's queue in the kernel holds
(net.core.netdev_max_backlog)."""

TUNSETOFFLOAD = 0x400454D0
CHECKSUM, TSO, USO = 0x01, 0x02 | 0x04 | 0x08, 0x20 | 0x40
DEVICE_OFFLOADS = {
    "everything": CHECKSUM | TSO | USO,
    "tcp": CHECKSUM | TSO,
    "checksums": CHECKSUM,
    "nothing": 0,
}
"""What the kernel may hand to the engine unfinished, by device with offload headers."""

SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR = 263, 8, 15
SOL_UDP, UDP_SEGMENT = 17, 103
SO_RCVBUFFORCE = 33
AUXDATA = struct.Struct("=IIIHHHH")
VLAN_VALID, VLAN_TPID_VALID = 0x10, 0x40
SIOCETHTOOL, ETHTOOL_STXCSUM, ETHTOOL_SSG = 0x8946, 0x17, 0x19


class PacketSocket:
    """Frames with offload headers on an interface of a host."""

    def __init__(self, host: Host, interface: str) -> None:
        every_protocol = 3
        self._socket = host.call(
            socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_protocol)
        )
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind((interface, every_protocol))
        self._socket.settimeout(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self) -> bytes:
        """The next finished frame of the sender of this test, with its tags."""
        while True:
            data, auxiliary, _, _ = self._socket.recvmsg(70_000, 64)
            frame = data[len(NO_OFFLOAD) :]
            if frame[6:12] != SENDER:
                continue
            flags, kind = data[:2]
            assert (flags & 1, kind) == (0, 0), "the port takes super-packets"
            status, _, _, _, _, tag, tag_type = AUXDATA.unpack(auxiliary[0][2][: AUXDATA.size])
            if status & VLAN_VALID:
                # The outer tag is told beside the frame.
                kind = tag_type if status & VLAN_TPID_VALID else VLAN
                frame = frame[:12] + struct.pack("!HH", kind, tag) + frame[12:]
            return frame


def without_offloads(host: Host, interface: str) -> None:
    """Have the kernel finish every packet before it gives it to *interface*."""

    def switch() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for command in (ETHTOOL_STXCSUM, ETHTOOL_SSG):
                value = array.array("I", [command, 0])
                request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
                fcntl.ioctl(sock, SIOCETHTOOL, request)

    host.call(switch)


@functools.cache
def chunks() -> list[list[bytes]]:
    return Traffic(SEED, LAN_MTU).chunks()


def pass_through(sender: PacketSocket, receiver: PacketSocket) -> list[bytes]:
    """Send everything; returns what arrived, in order."""
    arrived = []
    number = 0
    for chunk in chunks():
        waiting = 0
        for place, frame in enumerate(chunk, 1):
            sender.send(frame)
            waiting += weight(frame)
            if waiting < MAX_WAITING and place < len(chunk):
                continue
            waiting = 0
            number += 1
            marker = RECEIVER + SENDER + struct.pack("!H6sI", LOCAL, b"marker", number)
            sender.send(NO_OFFLOAD + marker)
            while (got := receiver.receive()) != marker:
                arrived.append(got)
    return arrived


@dataclass
class Site(End):
    """A LAN host, a switch, and on it an engine that is made anew for each combination."""

    number: int
    gateway: Switch
    lan_host: Host
    vnet_hdr: bool = True
    generation: int = 0
    dataplane: EspCoreDataPlane = field(default_factory=EspCoreDataPlane)
    devices: list[TunDevice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hit = IPv6Address(f"2001:21::{self.number}")
        self.lsi = IPv4Address(f"1.0.0.{self.number}")

    @contextlib.contextmanager
    def running(self, *, vnet_hdr: bool, gso: bool, gro: bool) -> Iterator[None]:
        """Run an engine with these offloads."""
        self.dataplane = EspCoreDataPlane()
        self.vnet_hdr = vnet_hdr
        self.generation += 1
        names = [f"{kind}{self.generation}" for kind in ("tap", "tun")]
        gateway = self.gateway
        try:
            gateway.call(self._open, *names, gso, gro)
            self._set_up(*names)
            self.dataplane.start()
            yield
        finally:
            self.dataplane.stop()
            for device in self.devices:
                index = gateway.index(device.name)
                gateway.call(with_netlink, lambda ip, index=index: ip.link("del", index=index))
                device.close()
            self.devices.clear()

    def _open(self, tap_name: str, tun_name: str, gso: bool, gro: bool) -> None:
        tap = open_tap(tap_name, vnet_hdr=self.vnet_hdr)
        self.devices.append(tap)
        tun = open_tun(tun_name, vnet_hdr=self.vnet_hdr)
        self.devices.append(tun)
        with contextlib.ExitStack() as stack:
            for version in (4, 6):
                udp = stack.enter_context(sockets.open_udp(version, 10500))
                self.dataplane.add_udp_socket(udp.fileno(), gso=gso, gro=gro)
                esp = stack.enter_context(sockets.open_raw(version, sockets.ESP_PROTOCOL))
                self.dataplane.add_esp_socket(esp.fileno())
        self.dataplane.add_tap(
            tap.fd, segment=1, mtu=LAN_MTU, mss_clamp=False, vnet_hdr=self.vnet_hdr
        )
        self.dataplane.set_tun(
            tun.fd, mtu=TUN_MTU, local_hit=self.hit, local_lsi=self.lsi, vnet_hdr=self.vnet_hdr
        )

    def _set_up(self, tap: str, tun: str) -> None:
        gateway = self.gateway
        index = gateway.index(tap)
        # A queue that holds all that is sent at once, cut to pieces.
        gateway.call(
            with_netlink, lambda ip: ip.link("set", index=index, mtu=LAN_MTU, txqlen=20_000)
        )
        gateway.enslave(tap)
        gateway.sysctl(f"net/ipv6/conf/{tun}/disable_ipv6", 0)
        gateway.mtu(tun, TUN_MTU)
        for name in (tap, tun):
            gateway.up(name)
        gateway.address(tun, f"{self.hit}/28", f"{self.lsi}/8")

    def let_kernel_offload(self, what: int) -> None:
        for device in self.devices:
            fcntl.ioctl(device.fd, TUNSETOFFLOAD, what)

    def drops(self) -> dict[str, int]:
        drops = self.dataplane.statistics().drops
        return {reason: count for reason, count in drops.items() if count}


@dataclass
class Network:
    """Two sites whose LANs the engines join, and what is right to arrive."""

    one: Site
    two: Site
    expected: Arrived
    checked: set[bytes]
    """Frames whose checksums are known to be right."""
    spi: int = 1000

    def connect(self, family: int, udp: bool) -> None:
        """New security associations both ways, which take over from the last ones."""
        for source, destination in ((self.one, self.two), (self.two, self.one)):
            self.spi += 1
            destination.add_sa("in", source, self.spi, SUITE, family, udp)
            source.add_sa("out", destination, self.spi, SUITE, family, udp)
            source.dataplane.set_lsi(destination.lsi, destination.hit)


def reference(lab: Lab, checked: set[bytes]) -> Arrived:
    """What arrives over a cable."""
    near, far = lab.host("near"), lab.host("far")
    lab.link(near, "eth0", far, "eth0", mtu=LAN_MTU)
    without_offloads(near, "eth0")
    with PacketSocket(near, "eth0") as sender, PacketSocket(far, "eth0") as receiver:
        return by_flow(pass_through(sender, receiver), checked)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("offload") as lab:
        yield lab


@pytest.fixture(scope="module")
def network(lab: Lab) -> Network:
    checked: set[bytes] = set()
    expected = reference(lab, checked)
    sites = []
    switches = [lab.switch("a"), lab.switch("b")]
    lab.link(switches[0], "wan0", switches[1], "wan0")
    for number, switch in enumerate(switches, 1):
        index = switch.index("wan0")
        switch.call(with_netlink, lambda ip, index=index: ip.link("set", index=index, master=0))
        switch.sysctl("net/ipv6/conf/wan0/disable_ipv6", 0)
        switch.address("wan0", f"192.0.2.{number}/24", f"2001:db8::{number}/64")
        lan_host = lab.host(f"h{number}")
        lab.link(lan_host, "eth0", switch, "lan0", mtu=LAN_MTU)
        lan_host.address("eth0", f"10.9.0.{number}/24", f"fd09::{number}/64")
        without_offloads(switch, "lan0")
        sites.append(Site(number, switch, lan_host))
    return Network(*sites, expected, checked)


def assert_same(expected: Arrived, arrived: Arrived, what: str) -> None:
    for flow in expected.keys() | arrived.keys():
        right, got = expected.get(flow, []), arrived.get(flow, [])
        if right == got:
            continue
        if isinstance(right, Stream) or isinstance(got, Stream):
            pytest.fail(f"{what}: the stream {flow} differs")
        for n, (one, other) in enumerate(zip(right, got, strict=False)):
            if one != other:
                later = "comes later" if one in got[n:] else "does not come"
                pytest.fail(
                    f"{what}: packet {n} of {len(right)} of its flow {later}:\n"
                    f"{Parsed.of(one)}\ninstead came\n{Parsed.of(other)}"
                )
        pytest.fail(f"{what}: of {len(right)} packets of {flow} {len(got)} came")


def compare(network: Network, what: str) -> None:
    one, two = network.one, network.two
    before = one.drops(), two.drops()
    with (
        PacketSocket(one.lan_host, "eth0") as sender,
        PacketSocket(two.lan_host, "eth0") as receiver,
    ):
        frames = pass_through(sender, receiver)
    assert_same(network.expected, by_flow(frames, network.checked), what)
    assert (one.drops(), two.drops()) == before, what
    for site in (one, two):
        fatal = [e for e in site.dataplane.drain_events() if isinstance(e, Fatal)]
        assert not fatal, f"{what}: {fatal}"


def talk(source: Host, destination: Host, address: str, size: int, what: str) -> None:
    """Programs that send datagrams, one by one and in trains of *size*, and TCP streams."""
    chance = random.Random(SEED)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = destination.call(socket.socket, family, socket.SOCK_DGRAM)
    client = source.call(socket.socket, family, socket.SOCK_DGRAM)
    with server, client:
        server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        server.bind(("", 5002))
        server.settimeout(PATIENCE_S)
        client.connect((address, 5002))
        sent = []
        lengths = [0, 1, 5, size, size + 1, size + 100, 9000, 20_001]
        lengths += [chance.randrange(2000) for _ in range(30)]
        for length in lengths:
            data = chance.randbytes(length)
            client.send(data)
            sent.append(data)
        for count in (2, 17, 40, 3):
            data = chance.randbytes(size * count - chance.randrange(size))
            segment = struct.pack("=H", size)
            client.sendmsg([data], [(SOL_UDP, UDP_SEGMENT, segment)])
            sent += [data[start : start + size] for start in range(0, len(data), size)]
            client.send(b"between")
            sent.append(b"between")
        for number, data in enumerate(sent):
            assert server.recv(65536) == data, f"{what}: datagram {number} to {address}"
    stream(source, destination, (address, 5001), chance.randbytes(1_000_000))


def stream(source: Host, destination: Host, address: tuple[str, int], data: bytes) -> None:
    """Send *data* by TCP and have it come back."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = destination.call(socket.create_server, ("", address[1]), family=family)
    client = source.call(socket.socket, family, socket.SOCK_STREAM)

    def echo() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
            connection.sendall(received)

    with listener, client:
        listener.settimeout(PATIENCE_S)
        client.settimeout(PATIENCE_S)
        thread = threading.Thread(target=echo)
        thread.start()
        try:
            client.connect(address)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            digest = hashlib.sha256()
            while piece := client.recv(1 << 20):
                digest.update(piece)
        finally:
            thread.join()
    assert digest.digest() == hashlib.sha256(data).digest(), f"TCP to {address} (seed {SEED})"


def paths(gso: bool, gro: bool) -> Sequence[tuple[int, bool]]:
    """Family of the underlay, and whether ESP is in UDP; without it there are no trains."""
    with_udp = [(4, True), (6, True)]
    return [*with_udp, (4, False), (6, False)] if gso and gro else with_udp


@pytest.mark.parametrize("gro", [True, False], ids=["gro", "no_gro"])
@pytest.mark.parametrize("gso", [True, False], ids=["gso", "no_gso"])
@pytest.mark.parametrize("receiver", [True, False], ids=["to_offload", "to_plain"])
@pytest.mark.parametrize("sender", [True, False], ids=["from_offload", "from_plain"])
def test_what_arrives_does_not_depend_on_offloads(
    network: Network, sender: bool, receiver: bool, gso: bool, gro: bool
) -> None:
    one, two = network.one, network.two
    with (
        one.running(vnet_hdr=sender, gso=gso, gro=gro),
        two.running(vnet_hdr=receiver, gso=gso, gro=gro),
    ):
        for level, flags in DEVICE_OFFLOADS.items() if sender else [("no header", 0)]:
            if sender:
                one.let_kernel_offload(flags)
            for family, udp in paths(gso, gro):
                network.connect(family, udp)
                what = f"seed {SEED}, {level} from the kernel, IPv{family}, UDP {udp}"
                compare(network, what)
        if sender:
            one.let_kernel_offload(DEVICE_OFFLOADS["everything"])
        network.connect(4, True)
        what = f"seed {SEED}"
        for address in ("10.9.0.2", "fd09::2"):
            # So that the neighbour is known, and nothing has to wait for it.
            assert one.lan_host.ping(address).received == 1
            talk(one.lan_host, two.lan_host, address, 1300, what)
        for name in (two.hit, two.lsi):
            talk(one.gateway, two.gateway, str(name), 1200, what)
        # What is switched on was made use of, and what is off was not.
        assert (one.counter("split_packets") > 0) == sender
        assert (two.counter("coalesced_packets") > 0) == receiver
        assert (one.counter("gso_trains") > 0) == gso
        # A train that the sender has made passes the lab's cable whole, if it may come in so.
        assert two.counter("gro_segments") == 0 or gro
        assert two.counter("gro_segments") > 0 or not (gso and gro)
        assert two.counter("reassembled") > 0
        assert one.counter("gso_fallbacks") == 0
