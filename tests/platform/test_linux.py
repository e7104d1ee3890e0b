"""What hipgw asks of Linux, asked of a real kernel in a namespace of its own."""

import asyncio
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop

from hipgw.errors import PlatformError
from hipgw.lab import Host, Lab
from hipgw.lab.topologies import underlay, underlay_address
from hipgw.platform import links, privileges, routes, sockets, tuntap
from hipgw.platform.journal import FILE_NAME, Journal
from hipgw.platform.privileges import CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE
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


def test_the_tun_driver_tells_what_it_can(lab: Lab) -> None:
    host = lab.host("a")
    found = host.call(tuntap.features)
    # Every kernel that hipgw runs on has these; the rest is as it is, but was tried.
    assert found.vnet_hdr and found.tso4 and found.tso6
    assert found.uso is not None
    assert host.call(links.names) == ["lo"], "nothing shows where the daemon would be"


@pytest.mark.parametrize("opener", [tuntap.open_tun, tuntap.open_tap])
def test_without_offloads_in_the_kernel_there_are_none(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, opener: Callable[[str], tuntap.TunDevice]
) -> None:
    real = fcntl.ioctl

    def old_kernel(fd: int, request: int, *rest: Any) -> Any:
        if request == tuntap._TUNSETOFFLOAD:
            raise OSError(errno.EINVAL, "no such offload")
        return real(fd, request, *rest)

    monkeypatch.setattr("hipgw.platform.tuntap.fcntl.ioctl", old_kernel)
    host = lab.host("a")
    device = host.call(opener, "dev7")
    assert not device.vnet_hdr
    assert host.call(links.exists, "dev7")
    device.close()


def test_buffers_are_as_large_as_asked_for() -> None:
    # With the rights that system tests have.
    assert sockets.reachable_buffers() == (sockets.DATA_BUFFER_OCTETS,) * 2


def test_routes_tell_source_and_size(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    assert a.call(routes.source_address, ip_address("192.0.2.2")) == ip_address("192.0.2.1")
    assert a.call(routes.source_address, ip_address("2001:db8::2")) == ip_address("2001:db8::1")
    assert a.call(routes.source_address, ip_address("203.0.113.1")) is None
    assert a.call(routes.route_mtu, ip_address("192.0.2.2")) == 1400
    assert a.call(routes.route_mtu, ip_address("203.0.113.1")) == 1500


def test_the_configured_mtu_is_that_of_link_and_route(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    for near, far, network in (
        ("192.0.2.2", "198.51.100.1", "198.51.100.0/24"),
        ("2001:db8::2", "2001:db8:1::1", "2001:db8:1::/64"),
    ):
        assert a.call(routes.configured_mtu, ip_address(near)) == 1400
        a.route(network, near, mtu=1300)
        assert a.call(routes.configured_mtu, ip_address(far)) == 1300
    assert a.call(routes.configured_mtu, ip_address("203.0.113.1")) == 1500


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_router_says_is_received_and_not_believed_by_the_route(
    lab: Lab, version: int
) -> None:
    _, (one, two) = underlay(lab, 2, bottleneck=1300)
    target = ip_address(underlay_address(2, 4 if version == 4 else 6))
    path = HipPath(None, target)
    with (
        one.call(sockets.open_icmp, version) as icmp,
        one.call(sockets.open_udp, version, 10500, dont_fragment=True) as udp,
    ):
        icmp.setblocking(True)
        icmp.settimeout(5)
        sockets.send_hip(udp, bytes(1400), path, dont_fragment=True)
        message = sockets.receive_too_big(icmp)
        assert message is not None
        assert (message.mtu, message.destination, message.protocol) == (1300, target, 17)
        assert message.payload[:4] == (10500).to_bytes(2, "big") * 2
        assert one.call(routes.route_mtu, target) == 1300
        assert one.call(routes.configured_mtu, target) == 1500
        # What is no probe may be cut.
        with two.call(sockets.open_udp, version, 10500) as far:
            far.setblocking(True)
            far.settimeout(5)
            sockets.send_hip(udp, bytes(1400), path)
            assert far.recv(2000) == bytes(1404)
        icmp.setblocking(False)
        with pytest.raises(BlockingIOError):
            sockets.receive_too_big(icmp)


def test_a_missing_interface_is_named_with_those_that_exist(pair: tuple[Host, Host]) -> None:
    with pytest.raises(PlatformError, match="nope") as caught:
        pair[0].call(links.set_up, "nope")
    assert "eth0" in caught.value.hint


def test_a_port_in_use_is_named(pair: tuple[Host, Host]) -> None:
    with pair[0].call(sockets.open_udp, 4, 10500), pytest.raises(PlatformError, match="10500"):
        pair[0].call(sockets.open_udp, 4, 10500)


def test_the_key_that_chooses_a_port_in_use_is_named(pair: tuple[Host, Host]) -> None:
    def again() -> None:
        sockets.open_udp(4, 30005, key="relay.first_port")

    with pair[0].call(sockets.open_udp, 4, 30005), pytest.raises(PlatformError) as caught:
        pair[0].call(again)
    assert "relay.first_port" in caught.value.hint


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
    a.remove_address("eth0", "2001:db8::1/64")
    a.down("eth0")
    journal = Journal(tmp_path)
    a.call(journal.create_bridge, "br-x")
    a.call(journal.enslave, "eth0", "br-x")
    assert a.call(links.master_of, "eth0") == "br-x"
    recorded = json.loads((tmp_path / FILE_NAME).read_text())["changes"]
    assert [change["kind"] for change in recorded] == ["bridge", "silence", "port"]
    assert a.call(links.is_silent, "eth0")
    a.call(journal.undo)
    assert not a.call(links.exists, "br-x")
    assert a.call(links.master_of, "eth0") is None
    assert not a.call(links.is_up, "eth0")
    assert not a.call(links.is_silent, "eth0")
    assert not (tmp_path / FILE_NAME).exists()


def test_a_port_keeps_its_own_addresses(pair: tuple[Host, Host], tmp_path: Path) -> None:
    a, _ = pair
    a.call(bridge_up, tmp_path)
    assert "2001:db8::1" in a.run(["ip", "addr", "show", "eth0"]).stdout
    a.call(Journal(tmp_path).recover)
    assert "2001:db8::1" in a.run(["ip", "addr", "show", "eth0"]).stdout
    assert a.call(links.is_up, "eth0")


def test_the_next_start_undoes_what_a_crash_left(pair: tuple[Host, Host], tmp_path: Path) -> None:
    a, _ = pair
    a.call(bridge_up, tmp_path)
    assert a.call(links.exists, "br-x")
    assert a.call(Journal(tmp_path).recover) == 2  # the port has an address to keep
    assert not a.call(links.exists, "br-x")
    assert a.call(links.master_of, "eth0") is None
    assert a.call(Journal(tmp_path).recover) == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from hipgw.platform.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.create_bridge("br-x")
journal.enslave("eth0", "br-x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_start_undoes_what_a_killed_one_left(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    a, _ = pair
    done = a.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert a.call(links.master_of, "eth0") == "br-x"
    assert a.call(Journal(tmp_path).recover) == 2
    assert not a.call(links.exists, "br-x")
    assert a.call(links.master_of, "eth0") is None


def test_what_somebody_else_made_is_left_alone(pair: tuple[Host, Host], tmp_path: Path) -> None:
    """A crash between the record and the deed, then the same names made by hand."""
    a, _ = pair
    a.call(bridge_up, tmp_path)
    record = (tmp_path / FILE_NAME).read_text()
    a.call(Journal(tmp_path).recover)
    a.run(["ip", "link", "add", "br-x", "type", "bridge"])
    a.run(["ip", "link", "add", "br-y", "type", "bridge"])
    a.run(["ip", "link", "set", "eth0", "master", "br-y"])
    (tmp_path / FILE_NAME).write_text(record)
    a.call(Journal(tmp_path).recover)
    assert a.call(links.exists, "br-x")
    assert a.call(links.master_of, "eth0") == "br-y"
    assert a.call(links.is_up, "eth0")


def test_a_bridge_that_is_there_already_survives_the_refusal(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    a, _ = pair
    a.run(["ip", "link", "add", "br-x", "type", "bridge"])
    journal = Journal(tmp_path)
    with pytest.raises(PlatformError, match="br-x"):
        a.call(journal.create_bridge, "br-x")
    a.call(journal.undo)
    assert a.call(links.exists, "br-x")


def test_a_port_of_another_bridge_is_not_taken(pair: tuple[Host, Host], tmp_path: Path) -> None:
    a, _ = pair
    a.run(["ip", "link", "add", "br-y", "type", "bridge"])
    a.run(["ip", "link", "set", "eth0", "master", "br-y"])
    journal = Journal(tmp_path)
    a.call(journal.create_bridge, "br-x")
    with pytest.raises(PlatformError, match="br-y"):
        a.call(journal.enslave, "eth0", "br-x")
    a.call(journal.undo)
    assert a.call(links.master_of, "eth0") == "br-y"


def test_changes_before_a_reboot_are_forgotten(pair: tuple[Host, Host], tmp_path: Path) -> None:
    a, _ = pair
    a.call(bridge_up, tmp_path)
    place = tmp_path / FILE_NAME
    place.write_text(json.dumps({**json.loads(place.read_text()), "boot": "another"}))
    assert a.call(Journal(tmp_path).recover) == 0
    assert a.call(links.master_of, "eth0") == "br-x"
    assert not place.exists()


def test_root_follows_no_link_that_the_daemons_user_left(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    state = tmp_path / "state"
    state.mkdir()
    for name in (FILE_NAME, "changes.new"):
        (state / name).symlink_to(precious)
    pair[0].call(bridge_up, state)
    (state / FILE_NAME).unlink()
    (state / FILE_NAME).symlink_to(precious)
    Journal(state).hand_over(65534, 65534)
    assert precious.read_text() == "data"
    assert precious.stat().st_uid == 0


def test_the_platform_may_be_used_inside_uvloop(pair: tuple[Host, Host]) -> None:
    """pyroute2 drives netlink with an asyncio loop of its own, and uvloop refuses netlink."""

    async def inside() -> list[str]:
        return links.names()

    def program() -> list[str]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(inside())

    assert pair[0].call(program) == ["eth0", "lo"]


@pytest.mark.parametrize(
    "content",
    ["", "not json", "7", '[7, {"kind": "bridge"}]', '{"boot": 1}', '{"boot": "", "changes": 7}'],
)
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


def test_real_time_threads_after_privileges_are_gone() -> None:
    """By a raised limit, or with CAP_SYS_NICE and no other capability more; or not at all."""
    program = """
import os
from hipgw.platform import privileges
before = privileges.effective_capabilities()
privileges.drop("nobody", realtime=True)
print(before, privileges.effective_capabilities())
try:
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)); print("first")
except PermissionError:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    (before, after), verdict = done.stdout.splitlines()[0].split(), done.stdout.splitlines()[1]
    more = int(after) & ~(1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW)
    assert more in {0, 1 << CAP_SYS_NICE}
    if more or int(before) & 1 << 24:  # CAP_SYS_RESOURCE
        assert verdict == "first"


def test_threads_from_before_keep_nothing() -> None:
    """They are no way back: the user changes for all threads, the capabilities stay with one."""
    program = """
import ctypes, os, threading
from hipgw.platform import privileges
go, done = threading.Event(), threading.Event()
def look():
    go.wait()
    print(os.getuid() != 0,
          privileges.effective_capabilities(f"self/task/{threading.get_native_id()}"))
    done.set()
threading.Thread(target=look).start()
privileges.drop("nobody")
go.set(); done.wait()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.splitlines() == ["True 0", "0"]


def test_without_privileges_the_remedy_is_named() -> None:
    """What an ordinary user sees who starts hipgw."""
    program = """
from hipgw.errors import PlatformError
from hipgw.platform import links, sockets, tuntap
import os
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
for attempt in (
    lambda: links.create_bridge("br-x", "02:00:00:00:00:01"),
    lambda: sockets.open_raw(4, 139),
    lambda: tuntap.open_tap("tap-x"),
):
    try:
        attempt()
        print("allowed")
    except PlatformError as error:
        print(error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    bridge, raw, tap = done.stdout.splitlines()
    assert "CAP_NET_ADMIN" in bridge
    assert "CAP_NET_RAW" in raw
    assert "root" in tap


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(PlatformError, match="nobody-has-this-name"):
        privileges.user_and_group("nobody-has-this-name")
