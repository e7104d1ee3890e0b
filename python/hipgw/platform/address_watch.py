"""Knows at every moment which own addresses peers can be reached from."""

import asyncio
import logging
import time
from collections.abc import Callable

from hipgw.errors import PlatformError
from hipgw.platform.rtnetlink import News, NewsSocket, Snapshot, take_snapshot
from hipgw.platform.steering import Steering
from hipgw.platform.underlay import IPAddress, Underlay, UnderlaySettings, choose

Changed = Callable[[tuple[IPAddress, ...]], None]
Looked = Callable[[Snapshot, Underlay], None]

JOIN_S = 0.001
"""What happens within this time of a first change is looked at together: an address and its route
are two messages of the kernel, but one handover."""
MINOR_JOIN_S = 0.5
"""The same for routes to single networks, of which a router may see hundreds a second."""
ROUTE_PATIENCE_S = 0.1
"""How long a new address waits for a route that leads further than its link. Who configures an
address often makes the route a moment later; what is sent in between is lost. Peers on that very
link have to wait for as long."""
STEERING_PAUSE_S = 0.5
"""When there were too many changes of routes."""
RETRY_S = 0.1
"""After the kernel could not be read."""

_log = logging.getLogger(__name__)


class AddressWatch:
    """Reads the own addresses anew whenever the kernel tells of a change. Nothing is polled.

    It may be started before privileges are dropped and goes on after that. All on the thread of
    one event loop, whose network namespace is the one that is watched.
    """

    def __init__(
        self,
        settings: UnderlaySettings,
        changed: Changed,
        steering: Steering | None = None,
        looked: Looked | None = None,
    ) -> None:
        """*changed* gets all usable addresses, the best first; not those at the start.

        It is called whenever they, their order, how far they reach or what `interface_of` says of
        them changes. *steering* makes sure before that that packets from them leave by their
        interfaces. *looked* gets everything that was read, whenever something was, also at the
        start; before *changed*.
        """
        self._looked = looked
        self._steering = steering
        self._settings = settings
        self._changed = changed
        self._now = Underlay()
        self._pins: dict[IPAddress, int] = {}
        self._news: NewsSocket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look: asyncio.TimerHandle | None = None
        self._look_is_minor = False
        self._near_since: dict[IPAddress, float] = {}
        """Since when addresses are there that no route leads out from."""

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The usable own addresses of both families, the best first."""
        return self._now.addresses

    def interface_of(self, address: IPAddress) -> int:
        """Index of the interface that packets from *address* are to be pinned to.

        0 leaves it to the routing table: where nothing else could happen, or where pinning would
        do harm, as the interface does not lead everywhere.
        """
        return self._pins.get(address, 0)

    def interface_name(self, address: IPAddress) -> str | None:
        """Name of the interface that a usable address is on; None for other addresses."""
        return dict(self._now.interfaces).get(address)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read what is there now and watch it from then on. Raises PlatformError."""
        # The socket first: what changes while the tables are read is told by it.
        news = NewsSocket()
        try:
            snapshot = self._read()
            found = choose(snapshot, self._settings)
            self._take(found)
            if self._steering is not None:
                self._steering.prepare(snapshot, found, time.monotonic())
                self._steering.clear()
            if self._looked is not None:
                self._looked(snapshot, found)
        except BaseException:
            news.close()
            raise
        self._news, self._loop = news, loop
        loop.add_reader(news.fileno(), self._readable)

    def stop(self) -> None:
        """Watch no longer. May be called twice."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._news is not None and self._loop is not None:
            self._loop.remove_reader(self._news.fileno())
            self._news.close()
            self._news = None

    def _readable(self) -> None:
        if self._news is None:
            return
        try:
            news = self._news.read()
        except OSError as error:
            _log.warning("cannot read what changes: %s", error)
            news = News.MAJOR
        if news is News.MAJOR:
            self._look_in(JOIN_S, minor=False)
        elif news is News.MINOR:
            self._look_in(MINOR_JOIN_S, minor=True)

    def _look_in(self, delay_s: float, *, minor: bool) -> None:
        """Look again soon; a look that is planned earlier stays as it is."""
        if self._loop is None:
            return
        if self._look is not None:
            if minor or not self._look_is_minor:
                return
            self._look.cancel()
        self._look_is_minor = minor
        self._look = self._loop.call_later(delay_s, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        try:
            snapshot = self._read()
        except PlatformError as error:
            _log.warning("%s", error)
            self._look_in(RETRY_S, minor=False)
            return
        found = self._without_early(choose(snapshot, self._settings))
        self._steer(snapshot, found)
        changed = found != self._now
        self._take(found)
        if self._looked is not None:
            self._looked(snapshot, found)
        if changed:
            self._changed(found.addresses)
        if self._steering is not None:
            self._steering.clear()

    def _read(self) -> Snapshot:
        return take_snapshot(range(0) if self._steering is None else self._steering.tables)

    def _steer(self, snapshot: Snapshot, found: Underlay) -> None:
        """Have packets from the addresses leave by their interfaces, before any is sent."""
        if self._steering is not None and not self._steering.prepare(
            snapshot, found, time.monotonic()
        ):
            self._look_in(STEERING_PAUSE_S, minor=True)

    def _without_early(self, found: Underlay) -> Underlay:
        """Leave out new addresses that may get a route yet, and look again later."""
        now = time.monotonic()
        self._near_since = {one: self._near_since.get(one, now) for one in found.near}
        early = {
            one
            for one, since in self._near_since.items()
            if one not in self._now.addresses and now < since + ROUTE_PATIENCE_S
        }
        if not early:
            return found
        self._look_in(ROUTE_PATIENCE_S, minor=True)
        return found.without(early)

    def _take(self, found: Underlay) -> None:
        self._now = found
        self._pins = dict(found.pins)
