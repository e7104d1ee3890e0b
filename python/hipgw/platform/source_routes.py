"""Which rules and routes send hipgw's packets by the interface that has their source address.

To send by a given interface (IPV6_PKTINFO) is not enough for IPv6: Linux heeds it only among routes
of the same metric, and several default routes seldom have that. So there is a table for each
interface with copies of the main table's routes by it, and rules that have hipgw's packets from
its addresses looked up there. Pure functions; `hipgw.platform.steering` does what they say.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from hipgw.platform.rtnetlink import OWN_ORIGIN, TABLE_MAIN, Rule, Snapshot, TableRoute
from hipgw.platform.underlay import IPAddress, Underlay
from hipgw.protocol.path import HIP_UDP_PORT

TABLES = 64
"""Routing tables that may be used, one for each interface: as many interfaces count."""
ADDRESSES_MAX = 32
"""Addresses of a family that get rules, the best ones. The kernel goes through all rules for many
packets, also those of other programs."""
COPIED_MAX = 64
"""Routes by one interface that are copied. One with more is left to the main table: a part of them
might lead elsewhere."""

_PREFERENCES = {1: 0, 0: 1, 3: 2}
"""High, medium, low (RFC 4191 §2.1)."""
_UDP, _ESP, _HIP, _RAW = 17, 50, 139, 255

Entry: TypeAlias = TableRoute | Rule


@dataclass(frozen=True, slots=True)
class SourceRouteSettings:
    """Where there is room, and which packets are meant."""

    first_table: int = 10500
    """Of `TABLES`; their rules have the same numbers as priorities."""
    udp_port: int = HIP_UDP_PORT
    """The own one."""
    whole_packets: bool = False
    """Whether also what is sent with its IP header (raw(7), IPPROTO_RAW), as a mobile router does
    for its clients."""

    @property
    def tables(self) -> range:
        """The tables that may be used."""
        return range(self.first_table, self.first_table + TABLES)


@dataclass(frozen=True, slots=True)
class SourceRoutes:
    """Routes in tables of hipgw's own, and the rules that lead there."""

    routes: frozenset[TableRoute] = frozenset()
    rules: frozenset[Rule] = frozenset()


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be done, in this order: routes come before the rules that need them."""

    make: tuple[Entry, ...] = ()
    """A route takes the place of one to the same network with the same metric."""
    remove: tuple[Entry, ...] = ()


def plan(snapshot: Snapshot, underlay: Underlay, settings: SourceRouteSettings) -> SourceRoutes:
    """What should be there. Nothing for a family in which one interface at most leads out.

    A table stays with its interface as long as any route in it is there.
    """
    routes: set[TableRoute] = set()
    rules: set[Rule] = set()
    steered = {version: _steered(snapshot, underlay, version) for version in snapshot.rules}
    tables = _tables(snapshot, {index for found in steered.values() for index in found}, settings)
    for version, copies in steered.items():
        for index, table in tables.items():
            routes.update(replace(one, table=table) for one in copies.get(index, ()))
        found = [
            (address, tables[index])
            for address, index in underlay.places
            if address.version == version and index in copies and index in tables
        ]
        for address, table in found[:ADDRESSES_MAX]:
            rules.update(_rules(address, table, settings))
    return SourceRoutes(frozenset(routes), frozenset(rules))


def present(snapshot: Snapshot, tables: range) -> SourceRoutes:
    """What is there of hipgw's own; what others have put into its tables is not."""
    rules = (rule for rules in snapshot.rules.values() for rule in rules)
    return SourceRoutes(
        frozenset(route for route in snapshot.table_routes if _is_own(route, tables)),
        frozenset(rule for rule in rules if _is_own(rule, tables)),
    )


def changes(wanted: SourceRoutes, there: SourceRoutes) -> Changes:
    """How to come from what is there to what should be."""
    kept = {_key(route) for route in wanted.routes}
    return Changes(
        make=(
            # Gateways can be used once there is a route to them.
            *sorted(wanted.routes - there.routes, key=_order),
            *sorted(wanted.rules - there.rules, key=repr),
        ),
        remove=(
            *sorted(there.rules - wanted.rules, key=repr),
            *sorted((one for one in there.routes if _key(one) not in kept), key=_order)[::-1],
        ),
    )


def _steered(
    snapshot: Snapshot, underlay: Underlay, version: int
) -> dict[int, tuple[TableRoute, ...]]:
    """The interfaces of a family that need a table, with its contents."""
    places = {index for address, index in underlay.places if address.version == version}
    leading_out = {
        route.interface
        for route in snapshot.routes
        if route.main and route.version == version and route.interface in places
    }
    if len(leading_out) < 2:
        return {}
    by_interface: defaultdict[int, list[TableRoute]] = defaultdict(list)
    for route in snapshot.table_routes:
        if route.version == version and route.table == TABLE_MAIN:
            by_interface[route.interface].append(route)
    return {
        index: tuple(_copies(routes))
        for index, routes in by_interface.items()
        if index in leading_out
        and len(routes) <= COPIED_MAX
        and all(route.plain for route in routes)
    }


def _copies(routes: Iterable[TableRoute]) -> Iterator[TableRoute]:
    """The routes as hipgw makes them; of several to one network by one metric the best."""
    best: dict[tuple[int, int, bytes, int, int], TableRoute] = {}
    for route in sorted(routes, key=lambda one: _PREFERENCES.get(one.preference, 1)):
        best.setdefault(_key(route), replace(route, preference=0, origin=OWN_ORIGIN))
    yield from best.values()


def _tables(
    snapshot: Snapshot, interfaces: set[int], settings: SourceRouteSettings
) -> dict[int, int]:
    """A table for each interface, while there are any."""
    entries: list[Entry] = [*snapshot.table_routes]
    entries += (rule for rules in snapshot.rules.values() for rule in rules)
    foreign = {entry.table for entry in entries if not _is_own(entry, settings.tables)}
    before = {
        route.interface: route.table
        for route in snapshot.table_routes
        if _is_own(route, settings.tables) and route.table not in foreign
    }
    kept = {index: table for index, table in before.items() if index in interfaces}
    free = (
        table for table in settings.tables if table not in foreign and table not in kept.values()
    )
    new = sorted(interfaces - kept.keys())
    return kept | dict(zip(new, free, strict=False))


def _rules(address: IPAddress, table: int, settings: SourceRouteSettings) -> Iterator[Rule]:
    common = Rule(address.version, priority=table, table=table, source=address)
    yield replace(common, ip_protocol=_UDP, source_port=settings.udp_port)
    yield replace(common, ip_protocol=_HIP)
    yield replace(common, ip_protocol=_ESP)
    if settings.whole_packets:
        # The kernel does not look for the protocol in the header.
        yield replace(common, ip_protocol=_RAW)


def _is_own(entry: Entry, tables: range) -> bool:
    if entry.origin != OWN_ORIGIN or entry.table not in tables:
        return False
    return not isinstance(entry, Rule) or (entry.priority == entry.table and not entry.more)


def _key(route: TableRoute) -> tuple[int, int, bytes, int, int]:
    """What the kernel tells the routes of a table apart by."""
    return route.version, route.table, route.destination, route.length, route.metric


def _order(route: TableRoute) -> tuple[bool, str]:
    return route.gateway is not None, repr(route)
