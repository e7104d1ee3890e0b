"""How large packets on one path may be: the search of RFC 8899 (DPLPMTUD), without any packet.

All sizes are octets of whole IP packets. Whoever drives a `PathMtuSearch` sends a probe of each
size that a method returns, tells what was answered, and calls `timer_expired` at `when`.

Three things differ from the RFC's outline (§5.2), for the sake of what is inside the tunnel:

- Packets are as large as the own route allows until that is disproved. The endpoints inside would
  remember a smaller size for minutes, while nearly every path carries what the route promises.
- A size counts as too large only if a smaller packet sent meanwhile got through. A path that
  carries nothing for a while is no narrow one.
- When a router names a size, that is used at once, but once confirmed it is put to the test like
  any other result: a larger probe is sent, so a wrong word costs no more than a moment.
"""

from enum import Enum

BASE = 1280
"""BASE_PLPMTU: carried by every IPv6 path and nearly every IPv4 path (RFC 8899 §5.1.2)."""
FLOOR_V4 = 576
"""MIN_PLPMTU: what every IPv4 host has to take (RFC 791 §3.1)."""
FLOOR_V6 = 1280
"""The same for IPv6 (RFC 8200 §5)."""

MAX_PROBES = 3
"""Probes of one size before it counts as too large (RFC 8899 §5.1.2)."""
PROBE_TIMER_S = 1.0
"""Wait for an answer to a probe (RFC 8899 §5.1.1 forbids less)."""
PROBE_TIMER_MAX_S = 60.0
"""The same while a path carries nothing at all: it doubles up to this."""
CONFIRMATION_TIMER_S = 15.0
"""While data flows, how often its size is put to the test."""
RAISE_TIMER_S = 600.0
"""PMTU_RAISE_TIMER: while data flows, how often larger sizes are tried again."""
DOUBT_S = 5.0
"""A size that was confirmed this recently is not doubted."""
IDLE_S = 10.0
"""Without data for this long, nothing is probed."""
RESOLUTION = 20
"""The search ends when it knows the size to within this many octets."""

SMALL = 0
"""In place of a size: a packet without padding, which passes if anything does."""

_COMMON = (
    *(600, 768, 1006, 1200, 1280, 1300, 1340, 1360, 1380, 1400, 1420, 1440, 1452),
    *(1460, 1472, 1480, 1492, 1500),
)
"""Sizes that links and tunnels have, so that most searches end at the exact one."""


class PathMtuState(Enum):
    """States of RFC 8899 §5.2."""

    BASE = "BASE"
    """It is not known yet whether probes of the base size are answered."""
    SEARCHING = "SEARCHING"
    SEARCH_COMPLETE = "SEARCH_COMPLETE"
    ERROR = "ERROR"
    """Not even the base size passes."""


class MtuSource(Enum):
    """Where a path's MTU is known from."""

    CONFIG = "config"
    ROUTE = "route"
    """Own link and routing table; not confirmed by anybody."""
    ICMP = "icmp"
    """A router said so."""
    PROBE = "probe"
    """The largest packet that the peer has answered."""


class PathMtuSearch:
    """Finds and watches the MTU of one path."""

    def __init__(self, route_mtu: int, *, floor: int, largest_probe: int, base: int = BASE) -> None:
        """*largest_probe*: beyond this size nothing can be tried, and the route is believed.

        *base*: what to begin with, a little below the floor at most.
        """
        self.mtu = max(route_mtu, floor)
        """In force."""
        self.source = MtuSource.ROUTE
        self.state = PathMtuState.BASE
        self._route_mtu = self._believed = self.mtu
        # `_believed` is what a path has that carries the largest probe.
        self._floor = floor
        self._ceiling = min(self.mtu, largest_probe)
        self._base = min(base, self._ceiling)
        self._confirmed = 0
        """Largest size that was answered, and is not outdated."""
        self._too_large = self._ceiling + 1
        """Smallest size that is known not to pass."""
        self._size = self._base
        """The one that is being tried, while `_count` is not 0."""
        self._count = 0
        """Probes of that size sent, MAX_PROBES at most; 0 while nothing is tried."""
        self._smaller_answered = False
        self._wait_s = PROBE_TIMER_S
        self._probe_at = 0.0
        self._confirmed_at = 0.0
        self._raise_at = 0.0
        self._used_at = 0.0

    # -- inputs ------------------------------------------------------------------------------

    def begin(self, now: float) -> list[int]:
        """The peer can be reached; returns sizes to probe."""
        self._used_at = now
        return self._begin_base(now)

    def answered(self, size: int, now: float) -> list[int]:
        """The peer has answered a probe of *size* octets, or a `SMALL` one."""
        if size > self._confirmed:
            self._confirmed = size
            self._too_large = max(self._too_large, size + 1)
        if not self._count:
            return []
        if size < self._size:
            if self._wait_s > PROBE_TIMER_S:
                # The path carries packets again: the probes before could tell nothing.
                self._count, self._wait_s = 1, PROBE_TIMER_S
                self._probe_at = now + PROBE_TIMER_S
            self._smaller_answered = True
            return []
        self._confirmed_at = now
        if size >= min(self.mtu, self._ceiling):
            self._set(self._believed if size >= self._ceiling else size, MtuSource.PROBE)
        if self.state is PathMtuState.SEARCH_COMPLETE:
            self._count = 0
            return []
        return self._next(now)

    def timer_expired(self, now: float) -> list[int]:
        """`when` has come."""
        if self._count:
            return self._probe_timer_expired(now)
        if now < self._raise_at:
            return self._try(min(self.mtu, self._ceiling), now)
        if self.state is PathMtuState.ERROR:
            return self._begin_base(now)
        self._too_large = self._ceiling + 1
        self._raise_at = now + RAISE_TIMER_S
        if self._confirmed >= self._ceiling:
            # Beyond the largest probe only a router can tell that this was too much.
            self._believed = self._route_mtu
            return self._try(self._ceiling, now)
        return self._next(now)

    def too_big(self, mtu: int, now: float) -> list[int]:
        """A router said that no more than *mtu* octets pass; known to be about a packet of ours."""
        mtu = max(mtu, self._floor)
        if mtu < self.mtu:
            self._set(mtu, MtuSource.ICMP)
            if mtu >= self._ceiling:
                self._believed = mtu
                return []
            if self._confirmed > mtu:
                self._confirmed = self._floor if mtu < self._base else self._base
            if self.state is PathMtuState.BASE and mtu >= self._base:
                return []
            below = mtu < self._base
            self.state = PathMtuState.ERROR if below else PathMtuState.SEARCHING
            return self._try(mtu, now)
        if self._count and self.mtu <= mtu < self._size:
            self._too_large = min(self._too_large, mtu + 1)
            return self._try(mtu, now) if mtu > self._confirmed else self._next(now)
        return []

    def used(self, now: float) -> None:
        """Data flows."""
        self._used_at = now

    def doubt(self, now: float) -> list[int]:
        """Data goes out, and nothing comes back: perhaps it is too large."""
        if self._count or now < self._confirmed_at + DOUBT_S:
            return []
        return [*self._try(min(self.mtu, self._ceiling), now), self._smaller()]

    @property
    def when(self) -> float | None:
        """When to call `timer_expired`; None for never, unless data flows again."""
        if self._count:
            return self._probe_at
        due = min(self._raise_at, self._confirmed_at + CONFIRMATION_TIMER_S)
        if self.state is PathMtuState.ERROR:
            due = self._raise_at
        return due if due <= self._used_at + IDLE_S else None

    # -- inside ------------------------------------------------------------------------------

    def _begin_base(self, now: float) -> list[int]:
        self.state = PathMtuState.BASE
        self._too_large = self._ceiling + 1
        self._raise_at = now + RAISE_TIMER_S
        return self._try(self._base, now)

    def _try(self, size: int, now: float) -> list[int]:
        self._size, self._count = size, 1
        self._smaller_answered = False
        self._wait_s = PROBE_TIMER_S
        self._probe_at = now + PROBE_TIMER_S
        return [size]

    def _smaller(self) -> int:
        """What passes if the path carries anything."""
        return self._base if self._base < self._size and self._confirmed >= self._base else SMALL

    def _probe_timer_expired(self, now: float) -> list[int]:
        if self._count == MAX_PROBES:
            if self._smaller_answered:
                return self._failed(now)
            self._wait_s = min(self._wait_s * 2, PROBE_TIMER_MAX_S)
        else:
            self._count += 1
        self._probe_at = now + self._wait_s
        return [self._size, self._smaller()]

    def _failed(self, now: float) -> list[int]:
        """The size that was tried does not pass, though smaller packets do."""
        size = self._size
        self._too_large = min(self._too_large, size)
        if size <= self._base and self.state is not PathMtuState.ERROR:
            self._confirmed = self._floor
            self._set(min(self._floor, self.mtu), MtuSource.PROBE)
            self.state = PathMtuState.ERROR
        elif size <= self.mtu:
            # A black hole: what was sent with this size is lost.
            self._confirmed = self._base if size > self._base else self._floor
            self._set(self._confirmed, MtuSource.PROBE)
            if self.state is PathMtuState.SEARCH_COMPLETE:
                self.state = PathMtuState.SEARCHING
        return self._next(now)

    def _next(self, now: float) -> list[int]:
        """Try the next size, or end the search."""
        if self._confirmed >= self._base < self._too_large:
            self.state = PathMtuState.SEARCHING
        size = self._candidate()
        if size is not None:
            return self._try(size, now)
        self._count = 0
        self._confirmed_at = now
        if self.state is PathMtuState.SEARCHING:
            self.state = PathMtuState.SEARCH_COMPLETE
        return []

    def _candidate(self) -> int | None:
        low, high = self._confirmed, self._too_large
        if high - low <= 1:
            return None
        if high > self._ceiling:
            return self._ceiling
        common = [size for size in _COMMON if low < size < high]
        if common:
            return common[len(common) // 2]
        return (low + high) // 2 if high - low > RESOLUTION else None

    def _set(self, mtu: int, source: MtuSource) -> None:
        mtu = max(mtu, self._floor)
        if mtu != self.mtu or self.source is MtuSource.ROUTE:
            self.mtu, self.source = mtu, source
