"""Rules and routes by source address, against a real kernel in namespaces."""

import asyncio
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import uvloop

from hipgw.lab import Host, Lab, wait_until
from hipgw.platform import policy_rules, privileges, rtnetlink, sockets
from hipgw.platform.address_watch import AddressWatch
from hipgw.platform.journal import FILE_NAME, Journal
from hipgw.platform.netlink_socket import NetlinkSocket
from hipgw.platform.rtnetlink import Rule, take_snapshot
from hipgw.platform.source_routes import SourceRouteSettings, changes, plan, present
from hipgw.platform.steering import BURST, Steering
from hipgw.platform.underlay import UnderlaySettings, choose
from hipgw.protocol.path import Path as HipPath
from hipgw.protocol.path import Transport

pytestmark = pytest.mark.system

SETTINGS = SourceRouteSettings()
FAR = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("steering") as lab:
        yield lab


@pytest.fixture
def host(lab: Lab) -> Host:
    """Two uplinks, of which the first one is preferred: that is what NetworkManager makes."""
    host, router = lab.host("a"), lab.router("r")
    for n in (0, 1):
        lab.link(host, f"eth{n}", router, f"down{n}")
        router.address(f"down{n}", f"192.0.{n}.254/24", f"2001:db8:{n}::fe/64")
        uplink(host, n)
    # Nothing comes back that carries what was sent.
    router.ip(f"route add blackhole {FAR[4]}", f"route add blackhole {FAR[6]}")
    return host


def uplink(host: Host, n: int) -> None:
    host.address(f"eth{n}", f"192.0.{n}.1/24", f"2001:db8:{n}::1/64")
    host.route("default", f"192.0.{n}.254", f"eth{n}", metric=10 + 10 * n)
    host.route("default6", f"2001:db8:{n}::fe", f"eth{n}", metric=10 + 10 * n)


def shown(host: Host) -> str:
    """All rules and routes, as ip(8) shows them."""
    commands = ("rule", "-6 rule", "route show table all", "-6 route show table all")
    return "\n".join(host.run(["ip", *command.split()]).stdout for command in commands)


def rules(host: Host) -> list[str]:
    text = host.run(["ip", "rule"]).stdout + host.run(["ip", "-6", "rule"]).stdout
    return [line for line in text.splitlines() if line.startswith("105")]


def steer(directory: Path) -> Steering:
    """What the address watch does; in the calling thread's namespace."""
    made = Steering(SETTINGS, Journal(directory))
    look(made)
    return made


def look(one: Steering) -> None:
    snapshot = take_snapshot(one.tables)
    one.prepare(snapshot, choose(snapshot, UnderlaySettings()), 0.0)
    one.clear()


def unfinished() -> bool:
    """Whether what is there is not what is wanted."""
    snapshot = take_snapshot(SETTINGS.tables)
    wanted = plan(snapshot, choose(snapshot, UnderlaySettings()), SETTINGS)
    todo = changes(wanted, present(snapshot, SETTINGS.tables))
    return bool(todo.make or todo.remove)


def leaves_by(host: Host, local: str, version: int, *, port: int = 10500, raw: int = 0) -> str:
    """The uplink by which a packet from *local* leaves to a far address."""
    captures = {n: host.capture(f"eth{n}") for n in (0, 1)}
    if raw:
        sock = host.call(sockets.open_raw, version, raw)
    else:
        sock = host.call(sockets.open_udp, version, port)
    transport = Transport.RAW if raw else Transport.UDP
    path = HipPath(ip_address(local), ip_address(FAR[version]), transport)
    marker = os.urandom(16)
    with sock:
        sockets.send_hip(sock, marker, path)

    def seen() -> list[str]:
        return [f"eth{n}" for n, one in captures.items() if marker in one.file.read_bytes()]

    wait_until(seen, 5.0, what="the packet")
    found = seen()
    for one in captures.values():
        one.stop()
    return ",".join(found)


@pytest.mark.parametrize("version", [4, 6])
def test_hips_packets_leave_by_the_interface_of_their_address(
    host: Host, tmp_path: Path, version: int
) -> None:
    second = "192.0.1.1" if version == 4 else "2001:db8:1::1"
    assert leaves_by(host, second, version) == "eth0"
    host.call(steer, tmp_path)
    assert not host.call(unfinished)
    assert leaves_by(host, second, version) == "eth1"
    assert leaves_by(host, second, version, raw=139) == "eth1"
    assert leaves_by(host, second, version, raw=50) == "eth1"
    # Those of other programs do as before.
    assert leaves_by(host, second, version, port=5000) == "eth0"
    assert leaves_by(host, second, version, raw=253) == "eth0"


def test_everything_goes_again(host: Host, tmp_path: Path) -> None:
    host.ip(
        "rule add from 192.0.1.1 lookup 99 priority 10500", "route add default dev eth0 table 99"
    )
    before = shown(host)
    host.call(steer, tmp_path)
    assert len(rules(host)) == 13
    assert host.call(Journal(tmp_path).recover) == 1
    assert shown(host) == before
    assert not (tmp_path / FILE_NAME).exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from hipgw.platform.journal import Journal
from hipgw.platform.netlink_socket import NetlinkSocket
from hipgw.platform.rtnetlink import Rule, take_snapshot
from hipgw.platform.source_routes import SourceRouteSettings
from hipgw.platform.steering import Steering
from hipgw.platform.underlay import UnderlaySettings, choose
steering = Steering(SourceRouteSettings(), Journal(Path(sys.argv[1])))
snapshot = take_snapshot(steering.tables)
steering.prepare(snapshot, choose(snapshot, UnderlaySettings()), 0.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_one_left_goes_with_the_next(host: Host, tmp_path: Path) -> None:
    before = shown(host)
    done = host.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(rules(host)) == 12
    recorded = json.loads((tmp_path / FILE_NAME).read_text())["changes"]
    assert recorded == [{"kind": "source routes", "tables": [10500, 10564]}]
    assert host.call(Journal(tmp_path).recover) == 1
    assert shown(host) == before


def test_one_uplink_is_left_alone(host: Host, tmp_path: Path) -> None:
    host.down("eth1")
    before = shown(host)
    host.call(steer, tmp_path)
    assert shown(host) == before
    assert not (tmp_path / FILE_NAME).exists()


def test_every_kind_of_route_is_copied_once(host: Host, tmp_path: Path) -> None:
    host.ip(
        "route add 10.0.0.0/8 via 192.0.1.77 mtu 1300 metric 7",
        "route add 10.1.0.0/16 via 203.0.113.1 dev eth1 onlink",
        "route add 10.2.0.0/16 via inet6 fe80::9 dev eth1",
        "route add 10.3.0.0/16 dev eth1",
        "route add 10.4.0.0/16 nexthop via 192.0.0.7 nexthop via 192.0.1.7",
        "route add 2001:db8:a::/48 via fe80::9 dev eth1 mtu 1400",
        "route add 2001:db8:b::/48 via 2001:db8:7::1 dev eth1 onlink",
        "route add 2001:db8:c::/48 nexthop via fe80::7 dev eth0 nexthop via fe80::8 dev eth1",
        "route append default via fe80::5 dev eth1 metric 20",
    )
    host.call(steer, tmp_path)
    assert not host.call(unfinished)
    table = host.run(["ip", "route", "show", "table", "10501"]).stdout
    for line in (
        "default via 192.0.1.254 dev eth1 proto 139 metric 20",
        "10.0.0.0/8 via 192.0.1.77 dev eth1 proto 139 metric 7 mtu 1300",
        "10.1.0.0/16 via 203.0.113.1 dev eth1 proto 139 onlink",
        "10.2.0.0/16 via inet6 fe80::9 dev eth1 proto 139",
        "10.3.0.0/16 dev eth1 proto 139 scope link",
        "10.4.0.0/16 via 192.0.1.7 dev eth1 proto 139",
        "192.0.1.0/24 dev eth1 proto 139 scope link",
    ):
        assert line in table
    table = host.run(["ip", "-6", "route", "show", "table", "10501"]).stdout
    for line in ("a::/48 via fe80::9", "b::/48 via 2001:db8:7::1", "c::/48 via fe80::8"):
        assert line in table
    assert host.call(Journal(tmp_path).recover) == 1


class Running:
    """A watch with steering in a host's namespace, until the block ends."""

    def __init__(self, host: Host, directory: Path, user: str = "") -> None:
        context = get_context("fork")
        self._process = context.Process(target=self._run, args=(directory, user))
        self._host = host
        self._ready, self._stop, self._stopped = (context.Event() for _ in range(3))

    def _run(self, directory: Path, user: str) -> None:
        async def run() -> None:
            journal = Journal(directory)
            if user:
                journal.hand_over(*privileges.user_and_group(user))
                privileges.drop(user)
            watch = AddressWatch(UnderlaySettings(), lambda _: None, Steering(SETTINGS, journal))
            watch.start(asyncio.get_running_loop())
            self._ready.set()
            await asyncio.to_thread(self._stop.wait)
            watch.stop()
            journal.undo()
            self._stopped.set()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    def __enter__(self) -> "Running":
        self._host.call(self._process.start)
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        stopped = self._stopped.wait(20)
        self._process.kill()
        self._process.join()
        assert stopped


def follows(host: Host, count: int) -> None:
    """Wait until there are so many rules, and they and the routes are right."""
    wait_until(
        lambda: len(rules(host)) == count and not host.call(unfinished),
        10.0,
        what=f"{count} rules",
    )


@pytest.mark.parametrize("user", ["", "nobody"])
def test_it_follows_what_happens(lab: Lab, host: Host, user: str) -> None:
    host.down("eth1")
    with Running(host, lab.directory / "state", user):
        assert rules(host) == []
        host.up("eth1")
        uplink(host, 1)
        follows(host, 12)
        host.address("eth1", "192.0.1.2/24")
        follows(host, 15)
        host.route("10.0.0.0/8", "192.0.1.9")
        host.route("default6", "2001:db8:1::fd", "eth1", metric=20)
        follows(host, 15)
        host.remove_address("eth0", "192.0.0.1/24")
        host.remove_address("eth0", "2001:db8:0::1/64")
        follows(host, 0)
        uplink(host, 0)
        follows(host, 15)
        # Whatever somebody else does with them.
        host.ip("rule del priority 10500", "route flush table 10501")
        for command in ("rule del priority 10501", "route flush table 10500"):
            host.run(["ip", "-6", *command.split()])
        follows(host, 15)
        host.down("eth1")
        follows(host, 0)
        host.up("eth1")
        uplink(host, 1)
        follows(host, 15)
    assert rules(host) == []
    assert "proto 139" not in shown(host)


def test_a_flood_of_changes_waits(host: Host, tmp_path: Path) -> None:
    made = host.call(steer, tmp_path)

    def prepared(now: float) -> bool:
        snapshot = take_snapshot(made.tables)
        done = made.prepare(snapshot, choose(snapshot, UnderlaySettings()), now)
        made.clear()
        return done

    def change(number: int, now: float) -> bool:
        host.route("default6", f"2001:db8:1::{number:x}", "eth1", metric=20)
        return host.call(prepared, now)

    done = [change(number, 0.0) for number in range(0x100, 0x100 + BURST)]
    assert done == [True] * (BURST - 1) + [False]
    assert host.call(unfinished)
    assert change(0x200, 0.5)
    assert not host.call(unfinished)
    assert not change(0x201, 0.6)
    assert change(0x202, 1000.0)


def test_a_kernel_that_passes_over_selectors_gets_no_rules(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before Linux 4.17 the rules would be for everything from these addresses."""
    before = shown(host)
    real = policy_rules._rule_message

    def older(rule: Rule) -> Any:
        message = real(rule)
        message["attrs"] = message["attrs"][:3]
        return message

    monkeypatch.setattr(policy_rules, "_rule_message", older)
    made = host.call(steer, tmp_path)
    assert shown(host) == before
    assert "4.17" in caplog.text
    caplog.clear()
    host.call(look, made)
    assert shown(host) == before
    assert not caplog.records


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_kernel_that_refuses_is_asked_once(
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    asked = []

    def refuse(_: object, kind: int, *__: object) -> None:
        asked.append(kind)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(NetlinkSocket, "request", refuse)
    made = host.call(steer, tmp_path)
    host.call(look, made)
    assert len(asked) == 1
    assert len(caplog.records) == 1
    assert "prefers: Routing by source address" in caplog.text


def test_without_policy_routing_all_goes_on(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = rtnetlink._dump

    def without(sock: socket.socket, request: int, body: bytes, take: object) -> bool:
        if request == rtnetlink._RTM_GETRULE:
            raise OSError(errno.EOPNOTSUPP, "EOPNOTSUPP")
        return real(sock, request, body, take)  # type: ignore[arg-type]

    monkeypatch.setattr(rtnetlink, "_dump", without)
    caplog.set_level("INFO")
    before = shown(host)
    made = host.call(steer, tmp_path)
    host.call(look, made)
    assert shown(host) == before
    told = [record for record in caplog.records if "policy routing" in record.message]
    assert len(told) == 2  # once for each family


def test_a_record_that_cannot_be_written_means_no_rules(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "_record", full)
    before = shown(host)
    host.call(steer, tmp_path)
    assert shown(host) == before
    assert "No space left" in caplog.text
