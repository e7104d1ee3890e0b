"""Two engines with fixed keys, between namespaces with real devices, and what goes through them."""

import contextlib
import hashlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from hipgw import _esp_core
from hipgw.dataplane.esp_core import EspCoreDataPlane
from hipgw.identity.esp_format import DEFAULT_ESP_FORMAT, EspFormat
from hipgw.lab import Lab, wait_until
from hipgw.lab.host import Host
from hipgw.platform import sockets
from hipgw.platform.tuntap import open_tap, open_tun


class End:
    """What the engines at both ends of an association have; a subclass sets the attributes."""

    number: int
    hit: IPv6Address
    dataplane: EspCoreDataPlane

    def underlay(self, family: int) -> IPv4Address | IPv6Address:
        return ip_address(f"192.0.2.{self.number}" if family == 4 else f"2001:db8::{self.number}")

    def add_sa(
        self,
        direction: str,
        peer: "End",
        spi: int,
        suite: int,
        family: int,
        udp: bool,
        form: EspFormat = DEFAULT_ESP_FORMAT,
    ) -> None:
        _, encryption, authentication = _esp_core.ESP_SUITES[suite]
        key = random.Random(spi)
        self.dataplane.add_sa(
            direction=direction,
            spi=spi,
            suite=suite,
            encryption_key=key.randbytes(encryption),
            authentication_key=key.randbytes(authentication),
            local_hit=self.hit,
            peer_hit=peer.hit,
            local=self.underlay(family),
            remote=peer.underlay(family),
            udp=udp,
            local_port=10500,
            remote_port=10500,
            segment=1,
            format=form,
        )

    def counter(self, name: str) -> int:
        return self.dataplane.statistics().counters[name]


@dataclass
class Gateway(End):
    """An engine with a TAP and a TUN that carry addresses of their own."""

    host: Host
    number: int
    vnet_hdr: bool
    mss_clamp: bool
    dont_fragment: bool = False
    dataplane: EspCoreDataPlane = field(default_factory=EspCoreDataPlane)

    def __post_init__(self) -> None:
        number = self.number
        self.hit = IPv6Address(f"2001:21::{number}")
        self.lsi = IPv4Address(f"1.0.0.{number}")
        self.lan = f"10.9.0.{number}"
        self.host.call(self._open)
        for name in ("tap0", "hip0"):
            self.host.up(name)
        self.host.mtu("hip0", 1400)
        self.host.address("tap0", f"{self.lan}/24", f"fd09::{number}/64")
        self.host.address("hip0", f"{self.hit}/28", f"{self.lsi}/8")
        # The kernel makes the route later, by a worker, and drops what comes for the HIT till then.
        route = ["ip", "-6", "route", "show", "table", "local", f"{self.hit}/128"]
        wait_until(lambda: self.host.run(route).stdout, what=f"the route to {self.hit}")
        self.dataplane.start()

    def _open(self) -> None:
        tap = open_tap("tap0", vnet_hdr=self.vnet_hdr)
        tun = open_tun("hip0", vnet_hdr=self.vnet_hdr)
        whole, esp = self.dont_fragment, sockets.ESP_PROTOCOL
        with contextlib.ExitStack() as stack:
            stack.callback(tap.close)
            stack.callback(tun.close)
            for version in (4, 6):
                udp = stack.enter_context(sockets.open_udp(version, 10500, dont_fragment=whole))
                self.dataplane.add_udp_socket(udp.fileno())
                raw = stack.enter_context(sockets.open_raw(version, esp, dont_fragment=whole))
                self.dataplane.add_esp_socket(raw.fileno())
            self.dataplane.add_tap(
                tap.fd, segment=1, mtu=1500, mss_clamp=self.mss_clamp, vnet_hdr=self.vnet_hdr
            )
            self.dataplane.set_tun(
                tun.fd,
                mtu=1400,
                local_hit=self.hit,
                local_lsi=self.lsi,
                vnet_hdr=self.vnet_hdr,
            )


@dataclass
class Pair:
    one: Gateway
    two: Gateway
    next_spi: int = 1000

    def connect(
        self, suite: int, family: int, udp: bool, form: EspFormat = DEFAULT_ESP_FORMAT
    ) -> None:
        """New security associations both ways, which take over from the last ones."""
        for source, destination in ((self.one, self.two), (self.two, self.one)):
            self.next_spi += 1
            for gateway, direction, peer in (
                (destination, "in", source),
                (source, "out", destination),
            ):
                gateway.add_sa(direction, peer, self.next_spi, suite, family, udp, form)
        self.one.dataplane.set_lsi(self.two.lsi, self.two.hit)
        self.two.dataplane.set_lsi(self.one.lsi, self.one.hit)


@contextlib.contextmanager
def pair_of(
    lab: Lab, *, vnet_hdr: bool = True, mss_clamp: bool = True, dont_fragment: bool = False
) -> Iterator[Pair]:
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, "u0", b, "u0")
    gateways = []
    try:
        for number, host in ((1, a), (2, b)):
            host.address("u0", f"192.0.2.{number}/24", f"2001:db8::{number}/64")
            gateways.append(Gateway(host, number, vnet_hdr, mss_clamp, dont_fragment))
        yield Pair(*gateways)
    finally:
        for gateway in gateways:
            gateway.dataplane.stop()


def copy(source: Host, destination: Host, address: str, octets: int) -> None:
    """Send octets over TCP; what arrives has to be what was sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = os.urandom(octets)
    listener = destination.call(socket.create_server, ("", 5001), family=family)
    client = source.call(socket.socket, family, socket.SOCK_STREAM)
    with listener, client:
        listener.settimeout(10)
        client.settimeout(20)
        sender = threading.Thread(target=_send, args=(client, (address, 5001), data))
        sender.start()
        connection, _ = listener.accept()
        connection.settimeout(20)
        digest = hashlib.sha256()
        with connection:
            while piece := connection.recv(1 << 20):
                digest.update(piece)
        sender.join()
    assert digest.digest() == hashlib.sha256(data).digest()


def _send(client: socket.socket, address: tuple[str, int], data: bytes) -> None:
    client.connect(address)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
