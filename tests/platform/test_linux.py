"""What hipgw asks of Linux, asked of a real kernel in a namespace of its own."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from hipgw.errors import PlatformError
from hipgw.lab import Host, Lab
from hipgw.platform import links, routes, sockets, tuntap
from hipgw.platform.journal import FILE_NAME, Journal
from hipgw.platform.privileges import CAP_NET_ADMIN, CAP_NET_RAW
from hipgw.protocol.path import Path as HipPath
from hipgw.protocol.path import Transport

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("platform") as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, "eth0", b, "eth0", mtu=1400)
    a.address("eth0", "192.0.2.1/24", "2001:db8::1/64")
    b.address("eth0", "192.0.2.2/24", "2001:db8::2/64")
    return a, b


@pytest.mark.parametrize("opener", [tuntap.open_tun, tuntap.open_tap])
@pytest.mark.parametrize("vnet_hdr", [True, False])
def test_a_tunnel_interface_lives_as_long_as_its_descriptor(
    lab: Lab, opener: object, vnet_hdr: bool
) -> None:
    host = lab.host("a")
    device = host.call(opener, "tun7", vnet_hdr=vnet_hdr)
    host.call(links.set_up, "tun7", mtu=1400)
    host.call(links.add_address, "tun7", ip_address("2001:21::1"), 128)
    host.call(routes.add_route, ip_network("2001:20::/28"), "tun7", ip_address("2001:21::1"))
    assert host.call(routes.source_address, ip_address("2001:22::5")) == ip_address("2001:21::1")
    assert host.call(routes.route_mtu, ip_address("2001:22::5")) == 1400
    with pytest.raises(PlatformError, match="in use"):
        host.call(opener, "tun7")
    device.close()
    assert not host.call(links.exists, "tun7")


def test_routes_tell_source_and_size(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    assert a.call(routes.source_address, ip_address("192.0.2.2")) == ip_address("192.0.2.1")
    assert a.call(routes.source_address, ip_address("2001:db8::2")) == ip_address("2001:db8::1")
    assert a.call(routes.source_address, ip_address("203.0.113.1")) is None
    assert a.call(routes.route_mtu, ip_address("192.0.2.2")) == 1400
    assert a.call(routes.route_mtu, ip_address("203.0.113.1")) == 1500


def test_a_missing_interface_is_named_with_those_that_exist(pair: tuple[Host, Host]) -> None:
    with pytest.raises(PlatformError, match="nope") as caught:
        pair[0].call(links.set_up, "nope")
    assert "eth0" in caught.value.hint


def test_a_port_in_use_is_named(pair: tuple[Host, Host]) -> None:
    with pair[0].call(sockets.open_udp, 4, 10500), pytest.raises(PlatformError, match="10500"):
        pair[0].call(sockets.open_udp, 4, 10500)


@pytest.mark.parametrize("version", [4, 6])
def test_hip_packets_arrive_with_both_addresses(pair: tuple[Host, Host], version: int) -> None:
    a, b = pair
    one, two = ("192.0.2.1", "192.0.2.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    sender = a.call(sockets.open_raw, version, sockets.HIP_PROTOCOL)
    receiver = b.call(sockets.open_raw, version, sockets.HIP_PROTOCOL)
    with sender, receiver:
        receiver.setblocking(True)
        receiver.settimeout(5)
        for data in (b"short", bytes(1900)):
            for local in (ip_address(one), None):
                path = HipPath(local, ip_address(two), Transport.RAW)
                sockets.send_hip(sender, data, path)
                received = sockets.receive_hip(receiver)
                expected = HipPath(ip_address(two), ip_address(one), Transport.RAW)
                assert received == (data, expected)


def test_udp_has_its_marker(pair: tuple[Host, Host]) -> None:
    a, b = pair
    with a.call(sockets.open_udp, 4, 10500) as sender, b.call(sockets.open_udp, 4, 9) as receiver:
        receiver.setblocking(True)
        receiver.settimeout(5)
        path = HipPath(ip_address("192.0.2.1"), ip_address("192.0.2.2"), remote_port=9)
        sockets.send_hip(sender, b"packet", path)
        data, source = receiver.recvfrom(100)
        assert (data, source) == (bytes(4) + b"packet", ("192.0.2.1", 10500))
        assert receiver.family == socket.AF_INET


def bridge_up(directory: Path) -> None:
    journal = Journal(directory)
    journal.recover()
    journal.create_bridge("br-x")
    journal.enslave("eth0", "br-x")


def test_changes_are_undone(pair: tuple[Host, Host], tmp_path: Path) -> None:
    a, _ = pair
    a.down("eth0")
    journal = Journal(tmp_path)
    a.call(journal.create_bridge, "br-x")
    a.call(journal.enslave, "eth0", "br-x")
    assert a.call(links.master_of, "eth0") == "br-x"
    assert len(json.loads((tmp_path / FILE_NAME).read_text())) == 2
    a.call(journal.undo)
    assert not a.call(links.exists, "br-x")
    assert a.call(links.master_of, "eth0") is None
    assert not a.call(links.is_up, "eth0")
    assert not (tmp_path / FILE_NAME).exists()


def test_the_next_start_undoes_what_a_crash_left(pair: tuple[Host, Host], tmp_path: Path) -> None:
    a, _ = pair
    a.call(bridge_up, tmp_path)
    assert a.call(links.exists, "br-x")
    assert a.call(Journal(tmp_path).recover) == 2
    assert not a.call(links.exists, "br-x")
    assert a.call(links.master_of, "eth0") is None
    assert a.call(Journal(tmp_path).recover) == 0


@pytest.mark.parametrize("content", ["", "not json", "7", '[7, {"kind": "bridge"}]'])
def test_a_broken_record_is_no_obstacle(
    pair: tuple[Host, Host], tmp_path: Path, content: str
) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    pair[0].call(Journal(tmp_path).recover)
    pair[0].call(bridge_up, tmp_path)
    assert pair[0].call(links.exists, "br-x")


def test_privileges_are_gone_in_every_later_thread() -> None:
    program = """
import os, threading
from hipgw.platform import privileges
privileges.drop("nobody")
def look():
    print(os.getuid(), os.getgid(), os.getgroups(),
          privileges.effective_capabilities(f"self/task/{threading.get_native_id()}"))
look()
thread = threading.Thread(target=look); thread.start(); thread.join()
try:
    os.setuid(0); print("root again")
except PermissionError:
    print("for good")
try:
    open("/etc/shadow"); print("reads shadow")
except PermissionError:
    print("reads no shadow")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    kept = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW
    lines = done.stdout.splitlines()
    assert lines[0] == lines[1]
    assert lines[0].endswith(f"[] {kept}")
    assert not lines[0].startswith("0 ")
    assert lines[2:] == ["for good", "reads no shadow"]
    assert os.getuid() == 0
