"""The watch over own addresses, against a real kernel in namespaces."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from multiprocessing import get_context

import pytest
import uvloop

from hipgw.lab import Host, Lab
from hipgw.platform import address_watch, privileges, rtnetlink, tuntap
from hipgw.platform.address_watch import AddressWatch
from hipgw.platform.threads import in_thread
from hipgw.platform.underlay import IPAddress, UnderlaySettings

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("watch") as lab:
        yield lab


class Watched:
    """A watch that runs in a host's namespace, on a uvloop as in the daemon."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: UnderlaySettings) -> None:
        self.news: asyncio.Queue[list[str]] = asyncio.Queue()
        self.watch = AddressWatch(settings, self._changed)
        self.watch.start(loop)

    def _changed(self, addresses: tuple[IPAddress, ...]) -> None:
        self.news.put_nowait([str(address) for address in addresses])

    @property
    def addresses(self) -> list[str]:
        return [str(address) for address in self.watch.addresses]

    async def becomes(self, *expected: str) -> None:
        """Wait until the news say so; what came before is passed over."""
        came: list[list[str]] = []
        try:
            while list(expected) not in came:
                came.append(await asyncio.wait_for(self.news.get(), 5.0))
        except TimeoutError:
            pytest.fail(f"waited in vain for {expected}; there came {came}")
        assert self.addresses == list(expected)


def watching(
    host: Host,
    scenario: Callable[[Watched], Awaitable[None]],
    settings: UnderlaySettings | None = None,
) -> None:
    """Run a scenario beside a watch in the host's namespace."""

    async def run() -> None:
        watched = Watched(asyncio.get_running_loop(), settings or UnderlaySettings())
        try:
            await scenario(watched)
        finally:
            watched.watch.stop()

    # Started there, the thread lives in the host's namespace; the host's own stays free.
    def start() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    with host_thread(host) as call:
        call(start)


@contextlib.contextmanager
def host_thread(host: Host) -> Iterator[Callable[[Callable[[], None]], None]]:
    from hipgw.platform.netns import Namespace

    namespace = Namespace(host.namespace.name)
    try:
        yield namespace.call
    finally:
        namespace.close()


def two_uplinks(lab: Lab) -> Host:
    host, router = lab.host("a"), lab.router("r")
    for n in (0, 1):
        lab.link(host, f"eth{n}", router, f"down{n}")
        router.address(f"down{n}", f"192.0.{n}.254/24", f"2001:db8:{n}::fe/64")
    return host


def test_addresses_come_and_go(lab: Lab) -> None:
    host = two_uplinks(lab)
    host.address("eth0", "192.0.0.1/24")

    async def scenario(watched: Watched) -> None:
        assert watched.addresses == ["192.0.0.1"]
        host.address("eth1", "192.0.1.1/24")
        await watched.becomes("192.0.0.1", "192.0.1.1")
        host.route("default", "192.0.1.254")
        await watched.becomes("192.0.1.1", "192.0.0.1")
        host.address("eth1", "2001:db8:1::1/64")
        await watched.becomes("192.0.1.1", "2001:db8:1::1", "192.0.0.1")
        host.route("default6", "2001:db8:1::fe")
        await watched.becomes("2001:db8:1::1", "192.0.1.1", "192.0.0.1")
        host.remove_address("eth0", "192.0.0.1/24")
        await watched.becomes("2001:db8:1::1", "192.0.1.1")
        host.down("eth1")
        await watched.becomes()
        host.up("eth1")
        await watched.becomes("192.0.1.1")

    watching(host, scenario)


def test_a_lost_carrier_and_a_pulled_cable_count_alike(lab: Lab) -> None:
    host, router = two_uplinks(lab), lab.hosts["r"]
    host.address("eth0", "192.0.0.1/24")
    host.address("eth1", "192.0.1.1/24")

    async def scenario(watched: Watched) -> None:
        router.down("down0")
        await watched.becomes("192.0.1.1")
        router.up("down0")
        await watched.becomes("192.0.0.1", "192.0.1.1")

    watching(host, scenario)


def test_an_address_counts_once_it_is_known_to_be_unique(lab: Lab) -> None:
    host = two_uplinks(lab)
    for key in ("accept_dad", "dad_transmits"):
        host.sysctl(f"net/ipv6/conf/eth0/{key}", 1)
        host.sysctl(f"net/ipv6/conf/all/{key}", 1)

    async def scenario(watched: Watched) -> None:
        host.run(["ip", "address", "add", "2001:db8:0::1/64", "dev", "eth0"])
        state = host.run(["ip", "address", "show", "tentative"]).stdout
        assert "2001:db8::1" in state
        assert watched.addresses == []
        await watched.becomes("2001:db8::1")

    watching(host, scenario)


def test_a_better_default_route_and_pins(lab: Lab) -> None:
    host = two_uplinks(lab)
    host.address("eth0", "192.0.0.1/24")
    host.address("eth1", "192.0.1.1/24")
    host.route("default", "192.0.0.254", "eth0")

    async def scenario(watched: Watched) -> None:
        watch = watched.watch
        assert watched.addresses == ["192.0.0.1", "192.0.1.1"]
        assert watch.interface_of(ip_address("192.0.0.1")) == 0
        host.run(["ip", "route", "add", "default", "via", "192.0.1.254", "metric", "50"])
        await watched.becomes("192.0.0.1", "192.0.1.1")
        assert watch.interface_of(ip_address("192.0.0.1")) == host.index("eth0")
        assert watch.interface_of(ip_address("192.0.1.1")) == host.index("eth1")
        assert watch.interface_of(ip_address("203.0.113.1")) == 0
        assert watch.interface_name(ip_address("192.0.1.1")) == "eth1"
        assert watch.interface_name(ip_address("203.0.113.1")) is None
        host.run(["ip", "route", "del", "default", "via", "192.0.0.254"])
        await watched.becomes("192.0.1.1", "192.0.0.1")
        # A rule and a table of its own, as machines with several uplinks have them.
        host.run(["ip", "route", "add", "default", "via", "192.0.0.254", "table", "100"])
        await watched.becomes("192.0.1.1", "192.0.0.1")
        assert watch.interface_of(ip_address("192.0.0.1")) == host.index("eth0")
        host.run(
            [
                *("ip", "route", "replace", "default", "metric", "5"),
                *("nexthop", "via", "192.0.0.254", "nexthop", "via", "192.0.1.254"),
            ]
        )
        await watched.becomes("192.0.0.1", "192.0.1.1")

    watching(host, scenario)


def test_own_interfaces_and_ports_are_passed_over(lab: Lab) -> None:
    host = two_uplinks(lab)
    device = host.call(tuntap.open_tun, "hip0")
    settings = UnderlaySettings(own_interfaces=frozenset({"hip0", "br0"}))
    host.address("eth0", "192.0.0.1/24")

    async def scenario(watched: Watched) -> None:
        host.up("hip0")
        host.address("hip0", "192.0.5.1/24", "2001:21::1/128")
        host.run(["ip", "link", "add", "br0", "type", "bridge"])
        host.up("br0")
        host.address("br0", "192.0.6.1/24")
        host.run(["ip", "link", "set", "eth1", "master", "br0"])
        host.address("eth1", "192.0.1.1/24")
        host.address("eth0", "192.0.0.2/24")
        await watched.becomes("192.0.0.1", "192.0.0.2")

    try:
        watching(host, scenario, settings)
    finally:
        device.close()


def test_a_new_address_waits_for_its_route(lab: Lab) -> None:
    host = two_uplinks(lab)

    async def scenario(watched: Watched) -> None:
        host.address("eth0", "192.0.0.1/24")
        await asyncio.sleep(0.02)
        assert watched.addresses == []
        host.route("default", "192.0.0.254")
        await watched.becomes("192.0.0.1")
        # One that gets none is used all the same.
        host.address("eth1", "192.0.1.1/24")
        await watched.becomes("192.0.0.1", "192.0.1.1")
        # And one that loses it goes on.
        host.remove_route("default")
        await watched.becomes("192.0.0.1", "192.0.1.1")

    watching(host, scenario)


def test_a_burst_is_looked_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    host = two_uplinks(lab)
    monkeypatch.setattr(address_watch, "JOIN_S", 0.2)
    looked = 0
    real = address_watch.take_snapshot

    def counted(own_tables: range) -> rtnetlink.Snapshot:
        nonlocal looked
        looked += 1
        return real(own_tables)

    monkeypatch.setattr(address_watch, "take_snapshot", counted)

    async def scenario(watched: Watched) -> None:
        lines = "".join(f"address add 192.0.0.{n}/24 dev eth0\n" for n in range(1, 51))
        await asyncio.to_thread(host.run, ["ip", "-batch", "-"], text=lines)
        await watched.becomes(*(f"192.0.0.{n}" for n in range(1, 51)))
        assert looked <= 5

    watching(host, scenario)


def test_routes_to_single_networks_do_not_keep_it_busy(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = two_uplinks(lab)
    host.address("eth0", "192.0.0.1/24")
    looked = 0
    real = address_watch.take_snapshot

    def counted(own_tables: range) -> rtnetlink.Snapshot:
        nonlocal looked
        looked += 1
        return real(own_tables)

    monkeypatch.setattr(address_watch, "take_snapshot", counted)

    async def scenario(watched: Watched) -> None:
        host.address("eth1", "192.0.1.1/24")
        await watched.becomes("192.0.0.1", "192.0.1.1")
        before = looked
        lines = "".join(f"route add 10.0.{n}.0/24 via 192.0.1.254\n" for n in range(250))
        await asyncio.to_thread(host.run, ["ip", "-batch", "-"], text=lines)
        # Now eth1 leads further than eth0 does.
        await watched.becomes("192.0.1.1", "192.0.0.1")
        assert looked - before <= 5

    watching(host, scenario)


def test_lost_messages_do_no_harm(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    host = two_uplinks(lab)
    monkeypatch.setattr(rtnetlink, "_NEWS_BUFFER", 1)  # the kernel gives its least

    async def scenario(watched: Watched) -> None:
        # Nothing is read while this runs, as the loop waits for it.
        lines = "".join(
            f"address {verb} 192.0.0.{n}/24 dev eth0\n"
            for n in range(1, 101)
            for verb in ("add", "del", "add")
        )
        host.run(["ip", "-batch", "-"], text=lines)
        await watched.becomes(*(f"192.0.0.{n}" for n in range(1, 101)))
        host.address("eth1", "192.0.1.1/24")
        others = (f"192.0.0.{n}" for n in range(2, 101))
        await watched.becomes("192.0.0.1", "192.0.1.1", *others)  # secondary ones go last

    watching(host, scenario)


def test_other_processes_cannot_pretend_to_be_the_kernel(lab: Lab) -> None:
    host = lab.host("a")

    def look() -> rtnetlink.News:
        with (
            contextlib.closing(rtnetlink.NewsSocket()) as news,
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as liar,
        ):
            news_id = news._socket.getsockname()[0]
            message = rtnetlink._NLMSGHDR.pack(16, 16, 0, 0, 0)
            try:
                liar.sendto(message, (news_id, 0))
            except OSError:
                return rtnetlink.News.NOTHING  # the kernel does not even carry it
            return news.read()

    assert host.call(look) is rtnetlink.News.NOTHING


def test_it_goes_on_without_privileges(lab: Lab) -> None:
    host = two_uplinks(lab)
    host.address("eth0", "192.0.0.1/24")
    context = get_context("fork")
    ours, theirs = context.Pipe()

    def unprivileged() -> None:
        async def run() -> None:
            watched = Watched(asyncio.get_running_loop(), UnderlaySettings())
            privileges.drop("nobody")
            theirs.send((os.geteuid(), watched.addresses))
            await watched.becomes("192.0.0.1", "192.0.1.1")
            theirs.send(watched.addresses)

        asyncio.run(run())

    process = context.Process(target=unprivileged)
    host.call(process.start)
    try:
        assert ours.poll(10)
        user, first = ours.recv()
        assert user != 0 and first == ["192.0.0.1"]
        host.address("eth1", "192.0.1.1/24")
        assert ours.poll(10)
        assert ours.recv() == ["192.0.0.1", "192.0.1.1"]
    finally:
        process.kill()
        process.join()


def test_reading_takes_little(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    host = two_uplinks(lab)
    for n in range(20):
        host.address("eth0", f"192.0.0.{n + 1}/24", f"2001:db8:0::{n + 1}/64")

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(100):
            rtnetlink.take_snapshot()
        return (time.perf_counter() - began) / 100

    record_property("snapshot_us", round(host.call(measure) * 1e6))


def test_a_second_stop_does_nothing() -> None:
    def run() -> None:
        loop = asyncio.new_event_loop()
        watch = AddressWatch(UnderlaySettings(), lambda _: None)
        watch.start(loop)
        watch.stop()
        watch.stop()
        loop.close()

    in_thread(run)
