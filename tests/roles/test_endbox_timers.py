"""Hellos, heartbeats and the multicast group, against a data plane that only takes notes."""

import logging
import os
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from hipgw.dataplane.lan import GROUP_HIT, ElectionState, Pulse
from hipgw.errors import DataPlaneError, PlatformError
from hipgw.platform.heartbeat import HeartbeatFiles
from hipgw.roles.heartbeat import PARTS, Heartbeat
from hipgw.roles.hello import Election
from hipgw.roles.multicast_group import FORMAT, SUITE, MulticastGroup

WINNER = IPv6Address("2001:21::1")
KEY = bytes(range(24))
LISTENING = ElectionState(passive=True, winner=None, heard=0)
ALIVE = Pulse(output=True, input=True)


@dataclass
class Lan:
    """A data plane's LAN."""

    state: ElectionState = LISTENING
    alive: Pulse = ALIVE
    hellos: int = 0
    announced: int = 0
    broken: bool = False

    def say_hello(self, segment: int) -> None:
        if self.broken:
            raise DataPlaneError("cannot say hello on the LAN")
        self.hellos += 1

    def announce_macs(self, segment: int) -> int:
        self.announced += 1
        return 3

    def election(self, segment: int) -> ElectionState:
        return self.state

    def pulse(self) -> Pulse:
        return self.alive


def test_changes_of_an_election_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lan = Lan()
    election = Election(lan, 1, str)
    for state in (
        lan.state,
        ElectionState(passive=False, winner=None, heard=0),
        ElectionState(passive=False, winner=None, heard=1),
        ElectionState(passive=True, winner=WINNER, heard=2),
    ):
        lan.state = state
        election.tick()
        election.tick()
    assert lan.hellos == 8
    assert lan.announced == 1
    texts = [record.message for record in caplog.records]
    assert texts == [
        "listening for other endboxes on this LAN",
        "this endbox delivers to its LAN",
        "another endbox delivers to this LAN",
    ]
    lan.broken = True
    election.tick()
    assert caplog.records[-1].levelno == logging.WARNING


def test_who_listens_first_does_not_silence_who_delivers_too_early() -> None:
    lan, now = Lan(), [100.0]
    election = Election(lan, 1, str, quiet_until=102.0, clock=lambda: now[0])
    for at, hellos in ((100.3, 0), (102.3, 1), (104.3, 2)):
        now[0] = at
        election.tick()
        assert lan.hellos == hellos


def test_files_are_touched_for_who_lives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lan = Lan()
    files = HeartbeatFiles(tmp_path / "new", PARTS)
    heartbeat = Heartbeat(lan, files)
    names = [tmp_path / "new" / f"heartbeat.{part}" for part in PARTS]

    def touched() -> list[bool]:
        for name in names:
            os.utime(name, (0, 0))
        heartbeat.tick()
        return [name.stat().st_mtime > 0 for name in names]

    assert touched() == [True, True, True]
    lan.alive = Pulse(output=False, input=True)
    assert touched() == [True, False, True]
    assert touched() == [True, False, True]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    files.close()
    assert all(name.exists() for name in names)


def test_heartbeats_follow_no_link(tmp_path: Path) -> None:
    (tmp_path / "heartbeat.main").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlatformError, match="heartbeat"):
        HeartbeatFiles(tmp_path, PARTS)
    assert not (tmp_path / "elsewhere").exists()


@dataclass
class Notes:
    """Takes the calls for security associations."""

    added: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)

    def add_sa(self, **sa: Any) -> None:
        self.added.append(sa)

    def move_sa(self, **sa: Any) -> None:
        self.moved.append(sa)


@dataclass
class Membership:
    """A group that can be joined, or not."""

    joined: list[IPv4Address] = field(default_factory=list)
    fails: bool = False

    def join(self, local: IPv4Address) -> int:
        if self.fails:
            raise PlatformError("no such interface")
        self.joined.append(local)
        return len(self.joined)


def test_the_group_is_where_the_best_ipv4_address_is() -> None:
    notes, membership = Notes(), Membership()
    group = MulticastGroup(
        notes,  # type: ignore[arg-type]
        membership,
        segment=1,
        local_hit=IPv6Address("2001:22::1"),
        group=IPv4Address("239.7.7.7"),
        spi=0x34120000,
        key=KEY,
        path_mtu=1500,
    )
    group.addresses_changed(())
    group.addresses_changed((IPv6Address("2001:db8::1"),))
    assert notes.added == []
    first, second = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
    membership.fails = True
    group.addresses_changed((first,))
    assert notes.added == []
    membership.fails = False
    group.addresses_changed((first,))
    group.addresses_changed((IPv6Address("2001:db8::1"), first, second))
    assert [sa["direction"] for sa in notes.added] == ["in", "out"]
    for sa in notes.added:
        assert sa["suite"] == SUITE
        assert (sa["encryption_key"], sa["authentication_key"]) == (KEY, KEY[:20])
        assert sa["peer_hit"] == GROUP_HIT
        assert sa["format"] == FORMAT
        assert (sa["local"], sa["interface"]) == (first, 1)
    group.addresses_changed((second,))
    (moved,) = notes.moved
    assert (moved["local"], moved["interface"]) == (second, 2)
    assert group.local == second
