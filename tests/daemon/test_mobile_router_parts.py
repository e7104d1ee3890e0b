"""A mobile router's parts, with a data plane, rules and a driver that only take notes."""

import asyncio
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, cast

import pytest

from hipgw.config.schema import Config
from hipgw.daemon import mobile_router
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.mobile_router import (
    STRANGERS_AT_ONCE,
    MobileRouterParts,
    outside_interfaces,
)
from hipgw.dataplane.backend import ControlReceived, FirstData
from hipgw.dataplane.spinat import TransitReceived
from hipgw.errors import DataPlaneError
from hipgw.platform.journal import Journal
from hipgw.platform.rtnetlink import InterfaceAddress, Link, Route, Snapshot
from hipgw.platform.underlay import Underlay
from hipgw.protocol.mobile_router.transit import Place, Transit

NAMES = {1: "lo", 2: "wan0", 3: "wwan0", 4: "lan0"}
HIT = IPv6Address("2001:21::1")
WAN, WWAN, LAN = (ip_address(text) for text in ("192.0.2.1", "198.51.100.1", "10.1.0.1"))
WHERE = {WAN: 2, WWAN: 3, LAN: 4}


def snapshot(*defaults: int, without: int = 0) -> Snapshot:
    links = {index: Link(index, name, 0x41, 0) for index, name in NAMES.items() if index != without}
    addresses = tuple(
        InterfaceAddress(address, index, 0, 0) for address, index in WHERE.items() if index in links
    )
    routes = [Route(4, index, default=True, metric=0, main=True) for index in defaults]
    routes.append(Route(4, 4, default=False, metric=0, main=True))
    return Snapshot(links, addresses, tuple(routes))


def test_patterns_choose() -> None:
    assert outside_interfaces(snapshot(4), ("w*",), {}) == {2: "wan0", 3: "wwan0"}
    assert outside_interfaces(snapshot(4), ("eth*",), {4: "lan0"}) == {}


def test_else_those_with_a_default_route_or_that_had_one() -> None:
    before = outside_interfaces(snapshot(2), (), {})
    assert before == {2: "wan0"}
    assert outside_interfaces(snapshot(3), (), before) == {2: "wan0", 3: "wwan0"}
    assert outside_interfaces(snapshot(), (), before) == before
    # It is gone, and what comes in its place need not lead outside.
    assert outside_interfaces(snapshot(without=2), (), before) == {}


@dataclass
class Notes:
    """What is done, by all parts, in order."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    events_now: list[TransitReceived] = field(default_factory=list)
    refuses: bool = False
    without_ebpf: str | None = "no tcx"

    def note(self, *call: Any) -> None:
        self.calls.append(call)

    def take(self) -> list[tuple[Any, ...]]:
        calls, self.calls = self.calls, []
        return calls


class DataPlane:
    """Instead of `SpinatDataPlane`."""

    def __init__(self, notes: Notes, **_options: Any) -> None:
        self.notes = notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.notes, name)

    def start(self) -> None:
        self.notes.note("start")

    def stop(self) -> None:
        self.notes.note("stop")

    def own(self, hits: Any, addresses: Any) -> None:
        self.notes.note("own", set(hits), set(addresses))

    def outside(self, interfaces: Any) -> None:
        self.notes.note("outside", interfaces)

    def used(self, _since_s: float) -> list[int]:
        self.notes.note("used")
        return []

    def statistics(self) -> dict[str, int]:
        return {}

    def events(self) -> list[TransitReceived]:
        if self.notes.refuses:
            raise DataPlaneError("the thread has ended")
        return self.notes.events_now


class Driver:
    """Instead of `HipDriver`, and of its machine."""

    def __init__(self, notes: Notes) -> None:
        self.notes, self.machine = notes, self

    def outside_place(self, *_hits: IPv6Address) -> None:
        return None

    def outside_changed(self, places: Any) -> None:
        self.notes.note("places", places)

    def transit_received(self, data: bytes, transit: Transit, *, inside: bool) -> None:
        self.notes.note("transit", data, transit, inside)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    notes = Notes()
    monkeypatch.setattr(
        mobile_router, "SpinatDataPlane", lambda **options: DataPlane(notes, **options)
    )
    monkeypatch.setattr(mobile_router, "SpinatRules", lambda *_: None)
    return notes


def make(tmp_path: Path, **table: Any) -> MobileRouterParts:
    (tmp_path / "key.pem").touch()
    config = Config.model_validate(
        {
            "identity": {"key_file": str(tmp_path / "key.pem")},
            "mobile_router": table,
            "daemon": {"state_dir": str(tmp_path)},
        }
    )
    assert config.mobile_router is not None
    return MobileRouterParts(config, config.mobile_router, [HIT], cast(Journal, None))


class Loop:
    """Has nothing to wait for."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    def fileno(self) -> int:
        return 0

    def add_reader(self, _fd: int, callback: Any) -> None:
        self.readable = callback

    def remove_reader(self, _fd: int) -> None:
        self.notes.note("reads no more")

    def call_later(self, _delay_s: float, _callback: Any) -> Any:
        return asyncio.Handle(lambda: None, (), cast(Any, self))

    def call_soon(self, _callback: Any) -> Any:
        raise AssertionError("there is nothing more to aim")

    def get_debug(self) -> bool:
        return False


def start(parts: MobileRouterParts, notes: Notes) -> Loop:
    loop = Loop(notes)
    cast(Any, notes).fileno = lambda: 0
    driver = cast(HipDriver, Driver(notes))
    parts.start(
        cast(asyncio.AbstractEventLoop, loop),
        driver,
        lambda addresses: notes.note("moved", addresses),
        lambda why: notes.note("failed", why),
    )
    assert notes.take() == [("start",)]
    return loop


def test_the_data_plane_knows_first_and_then_the_machine(tmp_path: Path, notes: Notes) -> None:
    parts = make(tmp_path, external_interfaces=["w*"])
    start(parts, notes)
    addresses = {*WHERE}
    parts.looked(snapshot(2), Underlay((WAN, LAN)))
    assert notes.take() == [
        ("own", {HIT}, addresses),
        ("outside", [2, 3]),
        ("moved", ["192.0.2.1"]),
        ("places", (Place(WAN),)),
        ("used",),
    ]
    assert parts.interface_name(WAN) == "wan0"
    assert parts.interfaces == {2: "wan0", 3: "wwan0"}
    # Nothing has changed, then only a route, by which ways may lead elsewhere.
    parts.looked(snapshot(2), Underlay((WAN, LAN)))
    assert notes.take() == []
    parts.looked(snapshot(2, 3), Underlay((WAN, LAN)))
    assert notes.take() == [("used",)]
    parts.looked(snapshot(2, 3), Underlay((WWAN, WAN, LAN)))
    assert notes.take()[:2] == [
        ("moved", ["198.51.100.1", "192.0.2.1"]),
        ("places", (Place(WWAN), Place(WAN))),
    ]
    parts.looked(snapshot(without=2), Underlay((LAN,)))
    assert notes.take()[:4] == [
        ("own", {HIT}, {WWAN, LAN}),
        ("outside", [3]),
        ("moved", []),
        ("places", ()),
    ]
    parts.stop()
    assert notes.take() == [("reads no more",), ("stop",)]


def test_packets_go_to_the_machine_until_the_data_plane_ends(tmp_path: Path, notes: Notes) -> None:
    parts = make(tmp_path)
    loop = start(parts, notes)
    transit = Transit(Place(LAN), Place(WAN))
    notes.events_now = [TransitReceived(b"I1", transit, True, 4)]
    loop.readable()
    assert notes.take() == [("transit", b"I1", transit, True)]
    notes.refuses = True
    loop.readable()
    assert notes.take() == [("reads no more",), ("failed", "the thread has ended")]


def test_in_a_flood_clients_and_their_correspondents_come_first(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make(tmp_path)
    loop = start(parts, notes)
    clock = iter(range(1000))
    monkeypatch.setattr("hipgw.daemon.mobile_router.time.monotonic", lambda: next(clock) / 250)
    monkeypatch.setattr(parts.ways, "knows", lambda address: address == WWAN)
    strangers = [
        TransitReceived(b"%d" % n, Transit(Place(WAN), Place(LAN)), False, 2) for n in range(9)
    ]
    known = TransitReceived(b"known", Transit(Place(WWAN), Place(LAN)), False, 2)
    own = TransitReceived(b"own", Transit(Place(LAN), Place(WAN)), True, 4)
    notes.events_now = [*strangers, known, own]
    loop.readable()
    assert [call[1] for call in notes.take()] == [b"own", b"known", b"0", b"1", b"2"]
    assert parts.statistics()["shed"] == 6


def test_of_packets_for_the_router_itself_those_from_inside_come_first(
    tmp_path: Path, notes: Notes
) -> None:
    parts = make(tmp_path, external_interfaces=["w*"])
    parts.looked(snapshot(2), Underlay((WAN, LAN)))
    far = [ControlReceived(b"far", WAN, WWAN, 10500, 10500)] * (STRANGERS_AT_ONCE + 5)
    near, data = ControlReceived(b"near", LAN, WWAN, 10500, 10500), FirstData(7)
    shown = parts.in_order([*far, near, data])
    assert shown[:2] == [near, data]
    assert shown[2:] == far[:STRANGERS_AT_ONCE]
    assert parts.shed == 5


@pytest.mark.parametrize(("path", "lacks"), [("auto", "no tcx"), ("nfqueue", None)])
def test_what_was_not_wanted_does_not_lack(
    tmp_path: Path, notes: Notes, path: str, lacks: str | None
) -> None:
    assert make(tmp_path, path=path).lacks_ebpf == lacks
    assert notes.take() == []
