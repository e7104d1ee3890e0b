"""Hosts, links, switches, routers and NATs do what their names say."""

import socket
import struct
from collections.abc import Iterator

import pytest

from hipgw.errors import LabError
from hipgw.lab import Host, Lab, Nat, Router, wait_until

pytestmark = pytest.mark.system

ETH_P_ALL = 3


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("networks") as lab:
        yield lab


def join(lab: Lab, *, mtu: int = 1500) -> tuple[Host, Host]:
    """Two hosts with a router between them, IPv4 and IPv6."""
    a, b, router = lab.host("a"), lab.host("b"), lab.router("r")
    for n, host in enumerate((a, b), 1):
        lab.link(host, "eth0", router, f"to{n}", mtu=mtu)
        host.address("eth0", f"10.0.{n}.2/24", f"fd00:{n}::2/64")
        router.address(f"to{n}", f"10.0.{n}.1/24", f"fd00:{n}::1/64")
        host.route("default", f"10.0.{n}.1")
        host.route("default6", f"fd00:{n}::1")
    return a, b


def datagram(sender: Host, to: tuple[str, int], receiver: socket.socket) -> tuple[str, int] | None:
    """Send one datagram from port 4000; the source it arrives with, None if it does not."""

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            out.bind(("", 4000))
            out.sendto(b"x", to)

    sender.call(send)
    try:
        source: tuple[str, int] = receiver.recvfrom(10)[1]
    except TimeoutError:
        return None
    return source


def listen(host: Host, port: int) -> socket.socket:
    def opened() -> socket.socket:
        result = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        result.settimeout(0.5)
        result.bind(("", port))
        return result

    return host.call(opened)


def test_ping_crosses_the_router(lab: Lab) -> None:
    a, b = join(lab)
    for target in ("10.0.2.2", "fd00:2::2"):
        result = a.ping(target, count=3, interval_s=0.05, size=4000)
        assert (result.sent, result.received, result.duplicates) == (3, 3, 0)
        assert all(0 < ms < 1000 for ms in result.times_ms)
    assert b.ping("10.0.1.2")
    assert not a.ping("10.0.2.99", timeout_s=0.2)
    assert not a.ping("2001:db8::1", timeout_s=0.2)


def test_a_cable_can_be_pulled_and_put_back(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, "eth0", b, "eth0")
    a.address("eth0", "10.0.0.1/24")
    b.address("eth0", "10.0.0.2/24")
    assert a.ping("10.0.0.2")
    b.down("eth0")
    assert not a.ping("10.0.0.2", timeout_s=0.2)
    b.up("eth0")
    assert a.ping("10.0.0.2")


def test_a_link_has_its_mtu(lab: Lab) -> None:
    a, _ = join(lab, mtu=1400)
    assert a.ping("10.0.2.2", size=1372, dont_fragment=True)
    assert not a.ping("10.0.2.2", size=1373, dont_fragment=True, timeout_s=0.2)
    a.mtu("eth0", 1300)
    assert not a.ping("10.0.2.2", size=1372, dont_fragment=True, timeout_s=0.2)


def test_a_link_has_the_macs_asked_for(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, "eth0", b, "eth0", a_mac="02:00:00:00:00:0a", b_mac="02:00:00:00:00:0b")
    assert a.mac("eth0") == "02:00:00:00:00:0a"
    assert b.mac("eth0") == "02:00:00:00:00:0b"


def test_a_switch_learns_where_to_forward(lab: Lab) -> None:
    switch = lab.switch("s")
    hosts = [lab.host(name) for name in "abc"]
    for n, host in enumerate(hosts, 1):
        lab.link(host, "eth0", switch)
        host.address("eth0", f"10.0.0.{n}/24")
    a, _, c = hosts
    assert a.ping("10.0.0.2")
    with c.capture("eth0") as overheard:
        assert a.ping("10.0.0.2", count=3, interval_s=0.05)
    assert not any(frame.data[12:14] == b"\x08\x00" for frame in overheard.frames())


def test_a_nat_hides_and_protects(lab: Lab) -> None:
    inside, outside, nat = behind_nat(lab)
    nat.hide("wan")
    with listen(outside, 5000) as service, listen(inside, 5000) as victim:
        assert datagram(inside, ("198.51.100.2", 5000), service) == ("198.51.100.1", 4000)
        outside.route("10.0.0.0/24", "198.51.100.1")
        assert datagram(outside, ("10.0.0.2", 5000), victim) is None
        nat.forward_port("wan", 6000, "10.0.0.2", 5000)
    with listen(inside, 5000) as opened:
        assert datagram(outside, ("198.51.100.1", 6000), opened) == ("198.51.100.2", 4000)


def test_a_symmetric_nat_takes_a_port_for_each_destination(lab: Lab) -> None:
    inside, outside, nat = behind_nat(lab)
    outside.address("eth0", "198.51.100.3/24")
    nat.hide("wan", symmetric=True)
    with listen(outside, 5000) as service:
        first = datagram(inside, ("198.51.100.2", 5000), service)
        second = datagram(inside, ("198.51.100.3", 5000), service)
        assert first is not None
        assert second is not None
        assert first[0] == second[0] == "198.51.100.1"
        assert first[1] != second[1]
        again = datagram(inside, ("198.51.100.2", 5000), service)
        assert again == first
        nat.forget()
        assert datagram(inside, ("198.51.100.2", 5000), service) not in {None, first}


def behind_nat(lab: Lab) -> tuple[Host, Host, Nat]:
    inside, outside, nat = lab.host("inside"), lab.host("outside"), lab.nat("nat")
    lab.link(inside, "eth0", nat, "lan")
    lab.link(outside, "eth0", nat, "wan")
    inside.address("eth0", "10.0.0.2/24")
    nat.address("lan", "10.0.0.1/24")
    nat.address("wan", "198.51.100.1/24")
    outside.address("eth0", "198.51.100.2/24")
    inside.route("default", "10.0.0.1")
    return inside, outside, nat


def test_a_firewall_drops_what_it_is_told(lab: Lab) -> None:
    a, _ = join(lab)
    router = lab.hosts["r"]
    assert isinstance(router, Router)
    assert a.ping("10.0.2.2")
    router.firewall("-A", "FORWARD", "-p", "icmp", "-j", "DROP")
    assert not a.ping("10.0.2.2", timeout_s=0.2)
    assert a.ping("fd00:2::2")


def test_a_capture_has_every_frame_with_its_vlan_tag(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, "eth0", b, "eth0")
    tagged = (
        bytes.fromhex(b.mac("eth0").replace(":", ""))
        + bytes.fromhex(a.mac("eth0").replace(":", ""))
        + struct.pack("!HHH", 0x8100, 3 << 13 | 42, 0x88B5)
        + bytes(range(100))
    )

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
            out.bind(("eth0", 0))
            for _ in range(1000):
                out.send(tagged)

    with a.capture("eth0") as sent, b.capture("eth0") as received:
        a.call(send)
        wait_until(lambda: len(received.frames()) >= 1000, 5.0, what="the frames")
    for capture in (sent, received):
        ours = [frame for frame in capture.frames() if frame.data[16:18] == b"\x88\xb5"]
        assert [frame.data for frame in ours] == [tagged] * 1000
        assert capture.lost == 0
        times = [frame.time for frame in ours]
        assert times == sorted(times)


def test_a_capture_ends_under_traffic(lab: Lab) -> None:
    a = lab.host("a")
    flood = a.popen(["ping", "-f", "127.0.0.1"])
    with a.capture("lo") as capture:
        wait_until(lambda: len(capture.frames()) > 100, 5.0, what="traffic")
    assert flood.running
    assert {frame.data[12:14] for frame in capture.frames()} == {b"\x08\x00"}


def test_captures_are_dissected_by_others(lab: Lab) -> None:
    a = lab.host("a")
    with a.capture("lo") as capture:
        a.ping("127.0.0.1", count=2)
    text = a.run(["tcpdump", "-nr", capture.file]).stdout
    # The loopback interface sees each packet go out and come in.
    assert text.count("ICMP echo request") == 4


def test_what_does_not_exist_is_named(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    for attempt in (
        lambda: a.up("eth7"),
        lambda: a.address("eth7", "10.0.0.1/8"),
        lambda: a.capture("eth7"),
        lambda: a.route("10.0.0.0/8", interface="eth7"),
    ):
        with pytest.raises(LabError, match="eth7"):
            attempt()
    with pytest.raises(LabError, match="no/such"):
        a.sysctl("no/such", 1)
    lab.link(a, "eth0", b, "eth0")
    with pytest.raises(LabError, match="eth0"):
        lab.link(a, "eth0", b, "eth1")
    with pytest.raises(LabError, match="sixteen_letters_"):
        lab.link(a, "sixteen_letters_", b, "eth1")
    with pytest.raises(LabError, match="exists"):
        lab.host("a")
