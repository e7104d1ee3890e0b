"""The kernel's data plane on a real TUN and real sockets, as far as any kernel goes."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from hipgw.dataplane.backend import Acquire, ControlReceived, DataPlaneEvent
from hipgw.dataplane.kernel import KernelDataPlane
from hipgw.errors import DataPlaneError
from hipgw.identity.esp_format import EspFormat
from hipgw.identity.hit import HIT_PREFIX
from hipgw.platform import links, routes, sockets, tuntap
from hipgw.platform.netns import leave_network

pytestmark = pytest.mark.skipif(bool(os.geteuid()), reason="only root may make a TUN")

LOCAL, PEER = IPv6Address("2001:21::a"), IPv6Address("2001:21::b")
PORT = 10500


class Bench:
    """A data plane in a network namespace of its own; made and used in one thread."""

    def __init__(self) -> None:
        leave_network()
        links.set_up("lo")
        self.tun = tuntap.open_tun("hip0", vnet_hdr=False)
        links.set_up("hip0", mtu=1400)
        links.add_address("hip0", LOCAL, 128)
        routes.add_route(HIT_PREFIX, "hip0", LOCAL)
        self.plane = KernelDataPlane()
        self.udp = sockets.open_udp(4, PORT)
        self.plane.add_udp_socket(self.udp.fileno())
        self.plane.set_tun(
            self.tun.fd,
            mtu=1400,
            local_hit=LOCAL,
            local_lsi=IPv4Address("1.0.0.1"),
            vnet_hdr=False,
        )
        self.plane.start()

    def events(self, wanted: type[Any], timeout_s: float = 5.0) -> list[DataPlaneEvent]:
        limit = time.monotonic() + timeout_s
        while time.monotonic() < limit:
            select.select([self.plane], [], [], 0.1)
            found = [one for one in self.plane.drain_events() if isinstance(one, wanted)]
            if found:
                return found
        return []

    def close(self) -> None:
        self.plane.stop()
        self.udp.close()
        self.tun.close()


Do = Callable[[Callable[[Bench], Any]], Any]


@pytest.fixture
def do() -> Iterator[Do]:
    with ThreadPoolExecutor(max_workers=1) as thread:
        bench = thread.submit(Bench).result(20)
        try:
            yield lambda function: thread.submit(function, bench).result(20)
        finally:
            thread.submit(bench.close).result(20)


def policies() -> str:
    command = ["ip", "xfrm", "policy"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def send_udp(*addresses: IPv6Address) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        for address in addresses:
            sender.sendto(b"hello", (str(address), 7))


def test_hip_in_udp_is_told_and_esp_is_not(do: Do) -> None:
    def work(bench: Bench) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in (b"\0\0\0\1" + bytes(40), bytes(4) + b"a HIP packet"):
                sender.sendto(data, ("127.0.0.1", PORT))
            port = sender.getsockname()[1]
            (event,) = bench.events(ControlReceived)
        here = IPv4Address("127.0.0.1")
        assert event == ControlReceived(b"a HIP packet", here, here, PORT, port)
        assert bench.plane.statistics().counters["control_packets"] == 1

    do(work)


def test_a_packet_for_a_peer_without_an_association_is_held(do: Do) -> None:
    def work(bench: Bench) -> None:
        send_udp(PEER, PEER)
        assert bench.events(Acquire) == [Acquire(PEER)]
        assert bench.plane.statistics().counters["held_now"] == 2
        assert bench.plane.drop_held(PEER) == 2
        assert bench.plane.drop_held(PEER) == 0
        assert bench.plane.security_associations() == []

    do(work)


def test_what_is_of_no_peer_is_dropped(do: Do) -> None:
    def work(bench: Bench) -> None:
        # Multicast of the kernel's own, and what has another source.
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            scope = socket.if_nametoindex("hip0")
            sender.sendto(b"x", ("ff02::1", 7, 0, scope))
        assert bench.events(Acquire, 0.5) == []
        assert bench.plane.statistics().drops["not_for_a_peer"] >= 1

    do(work)


def test_from_a_hit_nothing_comes_in_the_clear(do: Do) -> None:
    def work(bench: Bench) -> None:
        shown = policies()
        assert f"src 2001:20::/28 dst {LOCAL}/128" in shown
        assert "action block" in shown
        bench.plane.stop()
        assert policies() == ""
        bench.plane = KernelDataPlane()

    do(work)


def test_what_it_cannot_do_it_says(do: Do) -> None:
    sa: dict[str, Any] = {
        "direction": "out",
        "spi": 0x1234,
        "suite": 13,
        "encryption_key": bytes(range(20)),
        "authentication_key": b"",
        "local_hit": LOCAL,
        "peer_hit": PEER,
        "local": IPv4Address("127.0.0.1"),
        "remote": IPv4Address("127.0.0.1"),
        "udp": True,
        "local_port": PORT,
        "remote_port": PORT,
    }

    def work(bench: Bench) -> None:
        plane = bench.plane
        for changes, words in (
            ({"direction": "up"}, "direction"),
            ({"segment": 1}, "no Ethernet"),
            ({"local_hit": PEER}, "not the HIT of this host"),
            ({"encryption_key": b"short"}, "wrong length"),
            ({"suite": 99}, "suite 99"),
            ({"suite": 1}, "suite 1"),
            ({"format": EspFormat(esn=False)}, "no other format"),
            ({"format": EspFormat(icv_length=32)}, "no other format"),
            ({"wire_spi": 0x4321}, "mobile router"),
            ({"local": None, "remote": IPv4Address("192.0.2.1")}, "no route"),
            ({"remote": IPv6Address("::1"), "local": IPv6Address("::1")}, "UDP over IPv6"),
        ):
            with pytest.raises(DataPlaneError, match=words):
                plane.add_sa(**{**sa, **changes})
        moved = {name: sa[name] for name in ("spi", "peer_hit", "local", "remote", "udp")}
        with pytest.raises(DataPlaneError, match="mobile router"):
            plane.move_sa(**moved, local_port=PORT, remote_port=PORT, wire_spi=0x4321)
        with pytest.raises(DataPlaneError, match="no Ethernet"):
            plane.add_tap(0, segment=1, mtu=1500, mss_clamp=False, vnet_hdr=False)
        with pytest.raises(DataPlaneError, match="no interface"):
            KernelDataPlane().add_sa(**sa)
        plane.remove_sa(direction="out", spi=1, peer_hit=PEER)
        assert plane.mac_table(1) == []
        assert plane.flush_macs(1) == 0
        try:
            plane.add_sa(**sa)
        except DataPlaneError as error:
            # This kernel has no ESP, or not this cipher.
            assert "doctor" in error.hint
            assert policies().count("dir out") == 0
        else:
            assert [one.spi for one in plane.security_associations()] == [0x1234]
            plane.remove_sa(direction="out", spi=0x1234, peer_hit=PEER)
            assert plane.security_associations() == []

    do(work)
