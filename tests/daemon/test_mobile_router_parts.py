"""Which interfaces of a mobile router lead outside."""

from hipgw.daemon.mobile_router import outside_interfaces
from hipgw.platform.rtnetlink import Link, Route, Snapshot

NAMES = {1: "lo", 2: "wan0", 3: "wwan0", 4: "lan0"}


def snapshot(*defaults: int, without: int = 0) -> Snapshot:
    links = {index: Link(index, name, 0x41, 0) for index, name in NAMES.items() if index != without}
    routes = [Route(4, index, default=True, metric=0, main=True) for index in defaults]
    routes.append(Route(4, 4, default=False, metric=0, main=True))
    return Snapshot(links, (), tuple(routes))


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
