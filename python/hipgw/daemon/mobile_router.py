"""A mobile router's parts: what takes packets from the kernel, and who is told of each move."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv6Address

from hipgw.config.mobile_router_consistency import mobile_router_warnings
from hipgw.config.names import RouterPath
from hipgw.config.schema import Config, MobileRouterConfig
from hipgw.daemon.client_memory import ClientMemory
from hipgw.daemon.driver import HipDriver
from hipgw.dataplane.backend import ControlReceived, DataPlaneEvent
from hipgw.dataplane.spinat import SpinatDataPlane, TransitReceived
from hipgw.dataplane.spinat_ways import WAYS_PER_FLOW, SpinatWays
from hipgw.errors import HipgwError
from hipgw.logs import packet_path_logger
from hipgw.platform.journal import Journal
from hipgw.platform.routes import interface_index_to
from hipgw.platform.rtnetlink import Snapshot
from hipgw.platform.spinat_rules import SpinatRules
from hipgw.platform.underlay import Underlay
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import IPAddress

RECALLED, RECALL_S = 20, 0.1
"""So many clients of an earlier run are called in each such time."""
PATIENCE_S = 30.0
"""How long they are remembered if they do not answer."""
KEEP_S = 0.5
"""How soon it is written down who has registered."""
STRANGERS_S = 0.01
"""How long strangers' HIP packets keep others waiting; what takes longer is dropped."""
STRANGERS_AT_ONCE = 64
"""Of HIP packets for this router itself that come to an address outside, as many are taken from
the data plane at once."""
_STRANGERS = 2
LOOK_S = 5.0
"""Between looks for what was used, and whether the rules are still there."""

_log = logging.getLogger(__name__)
_packet_log = packet_path_logger(__name__ + ".packets")


class MobileRouterParts:
    """Joins the HIP machine with the data plane of its clients.

    To be made and stopped while everything else is there; everything on the event loop's thread.
    """

    def __init__(
        self,
        config: Config,
        router: MobileRouterConfig,
        hits: Sequence[IPv6Address],
        journal: Journal,
    ) -> None:
        """Open the data plane and set the rules, as root. Raises DataPlaneError, PlatformError."""
        self._config = router
        self.warnings = mobile_router_warnings(config)
        """What its configuration keeps it from."""
        self._patterns = router.external_interfaces or config.mobility.preferred_interfaces
        self._hits = tuple(hits)
        self.dataplane = SpinatDataPlane(
            queue=router.queue,
            ways=router.flows_max * WAYS_PER_FLOW,
            ebpf=router.path is RouterPath.AUTO,
            udp_port=config.hip.port,
        )
        self.rules = SpinatRules(router.queue, config.hip.port, journal)
        self.places: tuple[Place, ...] = ()
        """Own places outside, the best first."""
        self.interfaces: dict[int, str] = {}
        """Those that lead outside, by index."""
        self._own: frozenset[IPAddress] = frozenset()
        self._by_address: dict[IPAddress, int] = {}
        self._names: dict[int, str] = {}
        self._around: object = None
        """What the ways were aimed by."""
        self._memory = ClientMemory(config.daemon.state_dir)
        self._recalled: Iterator[tuple[IPv6Address, Place]] = iter(self._memory.places.items())
        self._recall: asyncio.TimerHandle | None = None
        self._driver: HipDriver | None = None
        self._moved: Callable[[list[str]], None] = lambda _addresses: None
        self._failed: Callable[[str], None] = lambda _why: None
        self._ways: SpinatWays | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._aiming: Iterator[None] | None = None
        self._step: asyncio.Handle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._keeping: asyncio.TimerHandle | None = None
        self._resting = False
        self.shed = 0
        """HIP packets from outside that there was no time for."""

    @property
    def ways(self) -> SpinatWays:
        """The ways of the clients' ESP; not before `start`."""
        assert self._ways is not None
        return self._ways

    @property
    def lacks_ebpf(self) -> str | None:
        """Why the kernel does not rewrite by itself although it should; else None."""
        return self.dataplane.without_ebpf if self._config.path is RouterPath.AUTO else None

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        driver: HipDriver,
        moved: Callable[[list[str]], None],
        failed: Callable[[str], None],
    ) -> None:
        """Carry packets from now on. Raises DataPlaneError.

        *moved* gets the own addresses outside when they have changed, *failed* why no more packets
        will pass.
        """
        self._loop, self._driver, self._moved, self._failed = loop, driver, moved, failed
        self._ways = SpinatWays(
            self.dataplane,
            driver.machine.outside_place,
            lambda address: self._by_address.get(address, 0),
            interface_index_to,
        )
        self.dataplane.start()
        if (why := self.lacks_ebpf) is not None:
            _log.info("data of clients is rewritten by this program alone: %s", why)
        loop.add_reader(self.dataplane.fileno(), self._readable)
        self._look = loop.call_later(LOOK_S, self._look_around)
        # Once the own addresses are known.
        self._recall = loop.call_later(RECALL_S, self._recall_some)

    def stop(self) -> None:
        """End it for good, also if it was not started."""
        self.rest()
        if self._step is not None:
            self._step.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self.dataplane.fileno())
        self.dataplane.stop()

    def in_order(self, events: Sequence[DataPlaneEvent]) -> list[DataPlaneEvent]:
        """What the data plane tells: first all else, then some of what comes from outside.

        A flood for the router itself must not cost its clients their registrations.
        """
        outside = {place.address for place in self.places}
        first: list[DataPlaneEvent] = []
        others: list[DataPlaneEvent] = []
        for event in events:
            far = isinstance(event, ControlReceived) and event.local in outside
            (others if far else first).append(event)
        self.shed += max(0, len(others) - STRANGERS_AT_ONCE)
        return first + others[:STRANGERS_AT_ONCE]

    def statistics(self) -> dict[str, int]:
        """Packets that passed or did not, by what became of them."""
        return {**self.dataplane.statistics(), "shed": self.shed}

    def rest(self) -> None:
        """The end is near: what is lost from now on is to be there again after a restart."""
        for handle in (self._look, self._keeping, self._recall):
            if handle is not None:
                handle.cancel()
        self._resting = True

    def clients_changed(self) -> None:
        """Somebody has registered, or does so no more: it is written down soon."""
        if self._keeping is None and self._loop is not None and not self._resting:
            self._keeping = self._loop.call_later(KEEP_S, self._keep_clients)

    def looked(self, snapshot: Snapshot, underlay: Underlay) -> None:
        """Addresses, interfaces or routes may have changed: tell everybody at once."""
        outside = outside_interfaces(snapshot, self._patterns, self.interfaces)
        own = frozenset(entry.address for entry in snapshot.addresses)
        by_address = {entry.address: entry.interface for entry in snapshot.addresses}
        places = tuple(
            Place(address)
            for address in underlay.addresses
            if by_address.get(address, 0) in outside
        )
        try:
            if own != self._own:
                self.dataplane.own(self._hits, own)
            if outside != self.interfaces:
                self.dataplane.outside(list(outside))
        except HipgwError as error:
            _log.warning("the mobile router does not know its addresses: %s", error)
        if outside != self.interfaces:
            _log.info(
                "interfaces that lead outside",
                extra={"interfaces": ", ".join(outside.values()) or "none"},
            )
        self._names = {index: link.name for index, link in snapshot.links.items()}
        # By which interface clients are reached may have changed with any of these.
        around = (places, by_address, snapshot.routes)
        changed, self._around = around != self._around, around
        self._own, self.interfaces = own, outside
        self._by_address, moved = by_address, places != self.places
        self.places = places
        if moved:
            listed = [str(place.address) for place in places]
            shown = ", ".join(listed) or "none"
            _log.info("mobile router: own addresses outside", extra={"addresses": shown})
            self._moved(listed)
        if self._driver is None:
            return
        if moved:
            self._driver.outside_changed(places)
        if changed:
            self._aim_anew()

    def interface_name(self, address: IPAddress) -> str | None:
        """Name of the interface that has an own address."""
        return self._names.get(self._by_address.get(address, 0))

    # -- inside ------------------------------------------------------------------------------

    def _readable(self) -> None:
        driver = self._driver
        assert driver is not None
        try:
            events = self.dataplane.events()
        except HipgwError as error:
            # Nothing will come any more.
            if self._loop is not None:
                self._loop.remove_reader(self.dataplane.fileno())
            self._failed(str(error))
            return
        until: float | None = None
        for event in sorted(events, key=self._rank):
            if self._rank(event) == _STRANGERS:
                now = time.monotonic()
                until = until or now + STRANGERS_S
                if now > until:
                    self.shed += 1
                    continue
            try:
                driver.transit_received(event.data, event.transit, inside=event.inside)
            except HipgwError as error:
                _packet_log.warning("a packet that passes: %s", error)
            except Exception:
                # A fault of ours in one event must not cost the others.
                _packet_log.exception("a packet that passes")

    def _rank(self, event: TransitReceived) -> int:
        """Who is served first: clients, their correspondents, anybody."""
        if event.inside:
            return 0
        return 1 if self.ways.knows(event.transit.source.address) else _STRANGERS

    def _aim_anew(self) -> None:
        """Begin to aim all ways anew; what is used first, at once."""
        self._aiming = self.ways.moved()
        if self._step is not None:
            self._step.cancel()
        self._aim_some()

    def _aim_some(self) -> None:
        self._step = None
        if self._aiming is None or self._loop is None:
            return
        for _ in self._aiming:
            self._step = self._loop.call_soon(self._aim_some)
            return
        self._aiming = None

    def _recall_some(self) -> None:
        """Call clients of an earlier run, which cannot know that their associations are gone."""
        assert self._loop is not None
        assert self._driver is not None
        some = list(itertools.islice(self._recalled, RECALLED))
        for hit, place in some:
            self._driver.recall(hit, place)
        # Until they had the time to answer, nobody is forgotten.
        again_s = RECALL_S if some else PATIENCE_S
        done = self._recall_done if not some else self._recall_some
        self._recall = self._loop.call_later(again_s, done)

    def _recall_done(self) -> None:
        self._recall = None

    def _keep_clients(self) -> None:
        self._keeping = None
        assert self._driver is not None
        calling = self._recall is not None
        clients = self._driver.machine.mobile_router_clients()
        self._memory.keep(((one.hit, one.place) for one in clients), others=calling)

    def _look_around(self) -> None:
        assert self._loop is not None
        assert self._driver is not None
        self._look = self._loop.call_later(LOOK_S, self._look_around)
        self._driver.spis_used(self.ways.used(2 * LOOK_S))
        self._keep_clients()
        self.rules.renew()


def outside_interfaces(
    snapshot: Snapshot, patterns: Sequence[str], before: dict[int, str]
) -> dict[int, str]:
    """Interfaces that lead outside, by index.

    Those that a pattern matches; without patterns those with a default route, or that had one
    *before*: between two networks there is none.
    """
    if patterns:
        return {
            index: link.name
            for index, link in snapshot.links.items()
            if any(fnmatchcase(link.name, pattern) for pattern in patterns)
        }
    there = {route.interface for route in snapshot.routes if route.default} | set(before)
    return {index: link.name for index, link in snapshot.links.items() if index in there}
