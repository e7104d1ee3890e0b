"""Which own addresses peers can be reached from, and which of them is the best."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hipgw.identity.hit import HIT_PREFIX, HIT_PREFIX_V1
from hipgw.identity.lsi import LSI_PREFIX
from hipgw.platform.rtnetlink import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_OPTIMISTIC,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    IFF_LOOPBACK,
    IFF_RUNNING,
    IFF_UP,
    SCOPE_UNIVERSE,
    InterfaceAddress,
    Link,
    Snapshot,
)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_UNIQUE_LOCAL = IPv6Network("fc00::/7")
_OWN_LINK_ONLY = 2
"""The last level of `_Reach.rank`."""
_NO_METRIC = 1 << 32
"""Behind every metric that a route can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderlaySettings:
    """What the operator wants. Interfaces are named by patterns, as in a shell: "wwan*"."""

    interfaces: tuple[str, ...] = ("*",)
    """Only these."""
    ignored_interfaces: tuple[str, ...] = ()
    preferred_interfaces: tuple[str, ...] = ()
    """The best first; all others come after them."""
    ignored_addresses: tuple[IPNetwork, ...] = ()
    own_interfaces: frozenset[str] = frozenset()
    """hipgw's own ones and those behind it, by exact name; also what is a port of them."""


@dataclass(frozen=True, slots=True)
class Underlay:
    """The usable own addresses, and where packets from them have to leave."""

    addresses: tuple[IPAddress, ...] = ()
    """The best first; both families."""
    near: frozenset[IPAddress] = frozenset()
    """Those of them from which no route leads further than their own link."""
    interfaces: tuple[tuple[IPAddress, str], ...] = ()
    """Name of the interface that each address is on."""
    pins: tuple[tuple[IPAddress, int], ...] = ()
    """Interface index of the addresses whose packets the routing table alone might send
    elsewhere."""
    places: tuple[tuple[IPAddress, int], ...] = field(default=(), compare=False)
    """All addresses that packets may have to be sent from, with their interface: also those that
    are about to go, which are not used for anything new. The best first."""

    def without(self, some: Container[IPAddress]) -> "Underlay":
        """The same as if some of the addresses were not there."""
        return Underlay(
            tuple(address for address in self.addresses if address not in some),
            frozenset(address for address in self.near if address not in some),
            tuple(entry for entry in self.interfaces if entry[0] not in some),
            tuple(pin for pin in self.pins if pin[0] not in some),
            tuple(place for place in self.places if place[0] not in some),
        )


def choose(snapshot: Snapshot, settings: UnderlaySettings) -> Underlay:
    """The usable addresses of a snapshot, ordered.

    What counts, in this order: the operator's preference; how far an address reaches (a default
    route through its interface, routes to some networks, its own link only); the metric of its
    interface's default routes; and then as RFC 6724 §2.1 has it: IPv6, IPv4, unique local IPv6.
    Temporary addresses come behind others of their kind: a peer had to be told of a new one every
    day. So do secondary ones of IPv4. Deprecated ones (§5 rule 3) count only while there are no
    others: an address that is about to go is left while it still works, so that nothing is lost.
    """
    interfaces = {
        index: link for index, link in snapshot.links.items() if _counts(link, snapshot, settings)
    }
    reach = _Reach(snapshot)
    ranked = []
    for position, entry in enumerate(snapshot.addresses):
        link = interfaces.get(entry.interface)
        if link is None or not _usable(entry, settings):
            continue
        rank = (
            _preference(link.name, settings.preferred_interfaces),
            *reach.rank(entry.address.version, link),
            _family(entry.address),
            bool(entry.flags & IFA_F_TEMPORARY),
            position,
        )
        ranked.append((rank, entry))
    ranked.sort(key=lambda item: item[0])
    places = {entry.address: entry.interface for _, entry in reversed(ranked)}
    entries = [entry for _, entry in ranked if not entry.flags & IFA_F_DEPRECATED]
    entries = entries or [entry for _, entry in ranked]
    pins: dict[IPAddress, int] = {}
    for entry in entries:
        if reach.needs_pin(entry.address.version, entry.interface):
            pins.setdefault(entry.address, entry.interface)
    far = {
        entry.address
        for entry in entries
        if reach.rank(entry.address.version, interfaces[entry.interface])[0] < _OWN_LINK_ONLY
    }
    near = frozenset(entry.address for entry in entries if entry.address not in far)
    names: dict[IPAddress, str] = {}
    for entry in entries:
        names.setdefault(entry.address, interfaces[entry.interface].name)
    return Underlay(
        tuple(names),
        near,
        tuple(names.items()),
        tuple(pins.items()),
        tuple(reversed(places.items())),
    )


class _Reach:
    """How far each interface reaches, by family."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._defaults: dict[tuple[int, int], tuple[bool, int]] = {}
        """The best default route of a family through an interface: not main, metric."""
        self._far: set[tuple[int, int]] = set()
        for route in snapshot.routes:
            key = (route.version, route.interface)
            if not route.default:
                self._far.add(key)
                continue
            quality = (not route.main, route.metric)
            self._defaults[key] = min(quality, self._defaults.get(key, quality))

    def rank(self, version: int, link: Link) -> tuple[int, bool, int]:
        """Level, table and metric; less is better."""
        if (version, link.index) in self._defaults:
            # Of both families, as the kernel's own metrics of IPv4 (0) and IPv6 (1024) cannot be
            # compared: what is told apart here is interfaces.
            both = [self._defaults.get((family, link.index)) for family in (4, 6)]
            return 0, *min(quality for quality in both if quality is not None)
        anywhere = any(family == version for family, _ in self._defaults)
        if (version, link.index) in self._far or (link.flags & IFF_LOOPBACK and anywhere):
            return 1, False, _NO_METRIC
        return _OWN_LINK_ONLY, False, _NO_METRIC

    def needs_pin(self, version: int, interface: int) -> bool:
        """Whether an interface has one of several default routes.

        Without any, what it cannot reach would be looked for on its link.
        """
        out = {index for family, index in self._defaults if family == version}
        return interface in out and len(out) > 1


def _counts(link: Link, snapshot: Snapshot, settings: UnderlaySettings) -> bool:
    if not link.flags & IFF_UP or not link.flags & IFF_RUNNING:
        return False
    master = snapshot.links.get(link.master)
    if link.name in settings.own_interfaces:
        return False
    if master is not None and master.name in settings.own_interfaces:
        return False
    return _matches(link.name, settings.interfaces) and not _matches(
        link.name, settings.ignored_interfaces
    )


def _usable(entry: InterfaceAddress, settings: UnderlaySettings) -> bool:
    address = entry.address
    if entry.flags & IFA_F_DADFAILED:
        return False
    # An optimistic address may be used while it is still looked whether it is unique (RFC 4429).
    if entry.flags & IFA_F_TENTATIVE and not entry.flags & IFA_F_OPTIMISTIC:
        return False
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        return False
    # Link-local ones would need the link's name beside them wherever they are told.
    if address.is_link_local or entry.scope != SCOPE_UNIVERSE:
        return False
    ignored = (HIT_PREFIX, HIT_PREFIX_V1, LSI_PREFIX, *settings.ignored_addresses)
    return not any(address.version == net.version and address in net for net in ignored)


def _family(address: IPAddress) -> int:
    """Place in the default policy table of RFC 6724 §2.1."""
    if isinstance(address, IPv4Address):
        return 1
    return 2 if address in _UNIQUE_LOCAL else 0


def _preference(name: str, preferred: tuple[str, ...]) -> int:
    for place, pattern in enumerate(preferred):
        if fnmatchcase(name, pattern):
            return place
    return len(preferred)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
