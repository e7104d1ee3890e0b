"""The search for a path's MTU (RFC 8899), against simulated paths in virtual time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.protocol.path_mtu import (
    CONFIRMATION_TIMER_S,
    FLOOR_V4,
    FLOOR_V6,
    MAX_PROBES,
    PROBE_TIMER_S,
    RAISE_TIMER_S,
    RESOLUTION,
    MtuSource,
    PathMtuSearch,
    PathMtuState,
)

ROUTE = 1500
LARGEST = 2080
RTT = 0.02


@dataclass
class PathUnderTest:
    """A path that loses what is larger than its MTU, with or without a word."""

    mtu: int
    search: PathMtuSearch = field(
        default_factory=lambda: PathMtuSearch(ROUTE, floor=FLOOR_V4, largest_probe=LARGEST)
    )
    routers_talk: bool = False
    rtt: float = RTT
    now: float = 100.0
    data: bool = True
    """Whether data flows all the time."""
    lost: Callable[[int], bool] = lambda size: False
    probes: list[tuple[float, int]] = field(default_factory=list)
    events: list[tuple[float, str, int]] = field(default_factory=list)

    def begin(self) -> "PathUnderTest":
        self.send(self.search.begin(self.now))
        return self

    def send(self, sizes: list[int]) -> None:
        for size in sizes:
            self.probes.append((self.now, size))
            if size > self.mtu:
                if self.routers_talk:
                    self.events.append((self.now + self.rtt / 2, "too big", self.mtu))
            elif not self.lost(size):
                self.events.append((self.now + self.rtt, "answer", size))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(10_000):
            if self.data:
                self.search.used(self.now)
            self.events.sort()
            when = self.search.when
            if self.events and (when is None or self.events[0][0] <= when):
                if self.events[0][0] > end:
                    break
                self.now, kind, size = self.events.pop(0)
                if kind == "answer":
                    self.send(self.search.answered(size, self.now))
                else:
                    self.send(self.search.too_big(size, self.now))
            elif when is not None and when <= end:
                self.now = max(self.now, when)
                self.send(self.search.timer_expired(self.now))
            elif self.data and self.now + 2 < end:
                self.now += 2
            else:
                break
        else:
            raise AssertionError("the search does not come to rest")
        self.now = end

    def settle(self) -> None:
        self.run(120)
        assert self.search.state is PathMtuState.SEARCH_COMPLETE


def test_a_path_as_wide_as_its_route_is_confirmed_at_once() -> None:
    path = PathUnderTest(ROUTE).begin()
    path.run(1)
    assert (path.search.mtu, path.search.source) == (ROUTE, MtuSource.PROBE)
    assert path.search.state is PathMtuState.SEARCH_COMPLETE
    assert [size for _, size in path.probes] == [1280, ROUTE]


@pytest.mark.parametrize("mtu", [1280, 1300, 1400, 1420, 1492])
def test_a_narrow_path_is_found_when_routers_are_silent(mtu: int) -> None:
    path = PathUnderTest(mtu).begin()
    # What is in force must not be too large for longer than the probes of one size take.
    path.run(MAX_PROBES * PROBE_TIMER_S + 1)
    assert path.search.mtu <= mtu
    path.settle()
    assert (path.search.mtu, path.search.source) == (mtu, MtuSource.PROBE)


@pytest.mark.parametrize("mtu", [1300, 1357, 1400])
def test_a_router_that_says_so_is_heard_at_once(mtu: int) -> None:
    path = PathUnderTest(mtu, routers_talk=True).begin()
    path.run(0.5)
    assert (path.search.mtu, path.search.source) == (mtu, MtuSource.ICMP)
    path.settle()
    assert path.search.mtu == mtu


def test_a_false_word_is_found_out() -> None:
    path = PathUnderTest(ROUTE).begin()
    path.run(1)
    path.send(path.search.too_big(100, path.now))
    assert path.search.mtu == FLOOR_V4, "never less than every host takes"
    path.run(1)
    assert path.search.mtu == ROUTE
    path.send(path.search.too_big(ROUTE + 1, path.now))
    assert path.search.mtu == ROUTE


def test_ipv6_never_goes_below_1280() -> None:
    search = PathMtuSearch(ROUTE, floor=FLOOR_V6, largest_probe=LARGEST)
    path = PathUnderTest(ROUTE, search).begin()
    path.run(1)
    search.too_big(600, path.now)
    assert search.mtu == FLOOR_V6
    path = PathUnderTest(1000, PathMtuSearch(ROUTE, floor=FLOOR_V6, largest_probe=LARGEST)).begin()
    path.run(60)
    assert path.search.mtu == FLOOR_V6


def test_an_ipv4_path_narrower_than_the_base_size() -> None:
    path = PathUnderTest(1000).begin()
    path.run(60)
    assert path.search.state is PathMtuState.ERROR
    assert 1000 - RESOLUTION <= path.search.mtu <= 1000
    path.mtu = ROUTE
    path.run(RAISE_TIMER_S)
    assert (path.search.mtu, path.search.state) == (ROUTE, PathMtuState.SEARCH_COMPLETE)


def test_a_path_that_becomes_narrower_silently() -> None:
    path = PathUnderTest(ROUTE).begin()
    path.settle()
    path.mtu = 1300
    path.run(CONFIRMATION_TIMER_S + MAX_PROBES * PROBE_TIMER_S + 0.5)
    assert path.search.mtu <= 1300
    path.settle()
    assert path.search.mtu == 1300


def test_doubt_is_quicker_than_the_timer() -> None:
    path = PathUnderTest(ROUTE).begin()
    path.run(10)
    path.mtu = 1400
    path.send(path.search.doubt(path.now))
    path.run(MAX_PROBES * PROBE_TIMER_S + 0.5)
    assert path.search.mtu <= 1400
    path.settle()
    assert path.search.mtu == 1400


def test_doubt_without_reason_changes_nothing_and_is_not_heeded_often() -> None:
    path = PathUnderTest(ROUTE).begin()
    path.run(10)
    before = len(path.probes)
    for _ in range(20):
        path.send(path.search.doubt(path.now))
        path.run(0.1)
    assert len(path.probes) - before == 2
    assert path.search.mtu == ROUTE


def test_a_path_that_carries_nothing_for_a_while_is_not_taken_for_narrow() -> None:
    path = PathUnderTest(ROUTE).begin()
    path.settle()
    path.lost = lambda size: True
    path.run(300)
    assert path.search.mtu == ROUTE
    assert len([1 for when, _ in path.probes if when > path.now - 200]) < 20, "it becomes patient"
    path.lost = lambda size: False
    path.run(130)
    assert path.search.mtu == ROUTE
    assert path.search.state is PathMtuState.SEARCH_COMPLETE


def test_a_peer_that_answers_no_probe_leaves_everything_as_it_is() -> None:
    path = PathUnderTest(ROUTE, lost=lambda size: True).begin()
    path.run(600)
    assert (path.search.mtu, path.search.source) == (ROUTE, MtuSource.ROUTE)


def test_single_losses_do_no_harm() -> None:
    left = {ROUTE: MAX_PROBES - 1}

    def lost(size: int) -> bool:
        left[size] = left.get(size, 0) - 1
        return left[size] >= 0

    path = PathUnderTest(ROUTE, lost=lost).begin()
    path.run(10)
    assert path.search.mtu == ROUTE


def test_a_wider_path_is_found_when_the_time_comes() -> None:
    path = PathUnderTest(1300).begin()
    path.settle()
    path.mtu = 1492
    path.run(RAISE_TIMER_S + 60)
    assert path.search.mtu == 1492
    path.mtu = ROUTE
    path.routers_talk = True
    path.run(RAISE_TIMER_S + 60)
    assert path.search.mtu == ROUTE


def test_nothing_is_sent_while_nothing_flows() -> None:
    path = PathUnderTest(1400, data=False).begin()
    path.run(60)
    before = len(path.probes)
    path.run(5 * RAISE_TIMER_S)
    assert len(path.probes) == before
    assert path.search.when is None
    path.data = True
    path.run(CONFIRMATION_TIMER_S)
    assert len(path.probes) > before


def test_beyond_the_largest_probe_the_route_is_believed_until_a_router_objects() -> None:
    search = PathMtuSearch(9000, floor=FLOOR_V4, largest_probe=LARGEST)
    path = PathUnderTest(9000, search).begin()
    path.settle()
    assert search.mtu == 9000
    search.too_big(4000, path.now)
    assert (search.mtu, search.source) == (4000, MtuSource.ICMP)
    path.run(60)
    assert search.mtu == 4000
    path = PathUnderTest(1500, PathMtuSearch(9000, floor=FLOOR_V4, largest_probe=LARGEST)).begin()
    path.settle()
    assert path.search.mtu == 1500


@given(
    mtu=st.integers(576, 1600),
    route=st.integers(576, 1600),
    rtt=st.floats(0.001, 0.9),
    talk=st.booleans(),
    base=st.sampled_from([1276, 1280]),
)
def test_any_path(mtu: int, route: int, rtt: float, talk: bool, base: int) -> None:
    search = PathMtuSearch(route, floor=FLOOR_V4, largest_probe=LARGEST, base=base)
    path = PathUnderTest(mtu, search, talk, rtt).begin()
    path.run(200)
    best = min(mtu, route)
    assert best - RESOLUTION <= search.mtu <= best
    # And it stays there.
    path.run(RAISE_TIMER_S * 2)
    assert best - RESOLUTION <= search.mtu <= best


@given(
    mtu=st.integers(FLOOR_V6, 1600),
    talk=st.booleans(),
    base=st.sampled_from([1276, 1280]),
)
def test_any_ipv6_path(mtu: int, talk: bool, base: int) -> None:
    search = PathMtuSearch(ROUTE, floor=FLOOR_V6, largest_probe=LARGEST, base=base)
    path = PathUnderTest(ROUTE, search, talk).begin()
    path.run(20)
    path.mtu = mtu
    path.run(200)
    best = min(mtu, ROUTE)
    assert best - RESOLUTION <= search.mtu <= best


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["answered", "timer", "too_big", "doubt", "used"]),
            st.integers(0, 3000),
            st.floats(0, 30),
        ),
        max_size=60,
    )
)
def test_any_events(events: list[tuple[str, int, float]]) -> None:
    search = PathMtuSearch(ROUTE, floor=FLOOR_V4, largest_probe=LARGEST)
    now = 0.0
    sizes = search.begin(now)
    for kind, size, delay in events:
        now += delay
        match kind:
            case "answered":
                sizes = search.answered(min(size, ROUTE), now)
            case "timer":
                sizes = search.timer_expired(now)
            case "too_big":
                sizes = search.too_big(size, now)
            case "doubt":
                sizes = search.doubt(now)
            case _:
                search.used(now)
        assert FLOOR_V4 <= search.mtu <= ROUTE
        assert len(sizes) <= 2
        assert all(0 <= size <= ROUTE for size in sizes)
