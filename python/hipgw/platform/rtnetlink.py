"""The kernel's links, addresses, routes and rules, read at once, and the news of their changes.

By hand instead of by pyroute2: a handover waits for this, it has to run on the daemon's own event
loop, and parsing everything with pyroute2 takes longer than the rest of a handover.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from hipgw.errors import PlatformError

IPAddress = IPv4Address | IPv6Address

_NLMSGHDR = struct.Struct("=IHHII")
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTATTR = struct.Struct("=HH")
_RTNEXTHOP = struct.Struct("=HBBi")
_U32 = struct.Struct("=I")

_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x001, 0x300, 0x010
_NLMSG_ERROR, _NLMSG_DONE, _NLMSG_OVERRUN = 2, 3, 4
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_EXT_MASK = 3, 4, 10, 29
_RTEXT_FILTER_SKIP_STATS = 8
_RTM_NEWRULE, _RTM_DELRULE, _RTM_GETRULE = 32, 33, 34
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_METRICS = 1, 4, 5, 6, 8
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA, _RTA_PREF, _RTA_ENCAP = 9, 15, 18, 20, 22
_RTAX_MTU = 2
_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 2, 6, 15, 21
_FRA_IP_PROTO, _FRA_SPORT_RANGE, _FRA_SPORT_MASK = 22, 23, 28
_FRA_SUPPRESS_PREFIXLEN, _FRA_PAD = 14, 18
_FRA_KNOWN = frozenset(
    {
        *(_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL, _FRA_IP_PROTO, _FRA_SPORT_RANGE),
        *(_FRA_SPORT_MASK, _FRA_SUPPRESS_PREFIXLEN, _FRA_PAD),
    }
)
"""What `Rule` tells of, or is there without a meaning."""
_WHOLE_PORT, _NO_SUPPRESSION = b"\xff\xff", b"\xff\xff\xff\xff"
_FR_ACT_TO_TBL = 1
_RTM_F_CLONED = 0x200
_RTN_UNICAST = 1
_RTNH_F_DEAD, _RTNH_F_ONLINK, _RTNH_F_LINKDOWN = 1, 4, 16
_RTPROT_KERNEL = 2
_TABLE_COMPAT, _TABLE_LOCAL = 252, 255
_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, and what would be
_IPV6_RULE."""
_SO_RCVBUFFORCE, _SO_MEMINFO = 33, 55
_MEMINFO_DROPS = 8
_SOL_NETLINK = 270
_NETLINK_NO_ENOBUFS = 5

_NEWS_BUFFER = 1 << 20
_READ = 1 << 16
_BATCH = 64
_DUMP_TRIES = 5
_DST_LENGTH, _ORIGIN = 1, 5
"""Where the length of the prefix, and who made it, stand in a route."""
ROUTES_LOOKED_AT = 1000
"""Routes to single networks that are taken apart each time. A router may have a million of them,
and which interfaces they lead to is known long before."""

TABLE_MAIN = 254
OWN_ORIGIN = 139
"""What routes and rules of hipgw are marked with, as their protocol: who made them."""

IFF_UP, IFF_LOOPBACK, IFF_RUNNING = 0x1, 0x8, 0x40
IFA_F_TEMPORARY, IFA_F_OPTIMISTIC, IFA_F_DADFAILED = 0x01, 0x04, 0x08
IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x20, 0x40
"""Flags of addresses; 0x01 means "secondary" for IPv4 ones."""
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    flags: int
    """IFF_UP, IFF_RUNNING, …"""
    master: int
    """Index of the bridge (or the like) it is a port of, or 0."""
    mtu: int = 1500
    """In octets, without the Ethernet header."""


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An own address on an interface."""

    address: IPAddress
    interface: int
    scope: int
    flags: int
    """IFA_F_TENTATIVE, …"""


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route that leads further than the link itself, or everywhere."""

    version: int
    """4 or 6."""
    interface: int
    default: bool
    """Whether it is for all destinations."""
    metric: int
    main: bool
    """Whether it is in the main table, else in one that rules choose."""


@dataclass(frozen=True, slots=True)
class TableRoute:
    """A unicast route with all that a copy of it needs; one of its next hops."""

    version: int
    """4 or 6."""
    table: int
    destination: bytes
    """The network, in 4 or 16 octets."""
    length: int
    """Of its prefix, in bits."""
    interface: int
    gateway: IPAddress | None = None
    metric: int = 0
    mtu: int = 0
    """In octets, if the route sets one."""
    onlink: bool = False
    """Whether the gateway is on the link even if no other route says so."""
    preference: int = 0
    """Of a router that announced itself (RFC 4191 §2.1): 1 is high, 0 medium, 3 low."""
    origin: int = OWN_ORIGIN
    """RTPROT_…: who made it."""
    plain: bool = True
    """Whether that is all: it is for all packets there, and wraps them in no others."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When the kernel looks into which routing table."""

    version: int
    """4 or 6."""
    priority: int
    """The least goes first."""
    table: int
    """0 for what is no lookup."""
    source: IPAddress | None = None
    """Only packets from this very address."""
    ip_protocol: int = 0
    """Only those; 0 for all."""
    source_port: int = 0
    """Only those; 0 for all."""
    origin: int = OWN_ORIGIN
    """RTPROT_…: who made it."""
    more: bool = False
    """Whether it looks at anything else as well."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment."""

    links: dict[int, Link]
    """By index."""
    addresses: tuple[InterfaceAddress, ...]
    """In the kernel's order."""
    routes: tuple[Route, ...]
    """Each kind once. Of those to single networks only the first `ROUTES_LOOKED_AT` count. Those
    in own tables are not among them."""
    table_routes: tuple[TableRoute, ...] = ()
    """Of the main table and the own ones, if there are any; otherwise limited likewise."""
    rules: Mapping[int, tuple[Rule, ...]] = field(default_factory=dict)
    """By IP version, if there are own tables; without those that the kernel has no rules for."""


class News(Enum):
    """How much what has happened matters."""

    NOTHING = 0
    MINOR = 1
    """Routes to single networks, of which a router may have many."""
    MAJOR = 2
    """Links, addresses, default routes, or the kernel dropped messages."""


def take_snapshot(own_tables: range = range(0)) -> Snapshot:
    """Read everything. Raises PlatformError if the kernel refuses.

    *own_tables* are routing tables of hipgw's own, which number 256 or more.
    """
    try:
        for _ in range(_DUMP_TRIES):
            with _open() as sock:
                taken = _read_everything(sock, own_tables)
            if taken is not None:
                return taken
    except OSError as error:
        raise PlatformError(f"Reading links, addresses and routes: {error.strerror}.") from error
    raise PlatformError("Links, addresses and routes change faster than they can be read.")


class NewsSocket:
    """Tells of changes from the moment it is made. It needs no privileges, nor `take_snapshot`."""

    def __init__(self) -> None:
        """Raises PlatformError."""
        self._dropped = 0
        try:
            self._socket = _open(socket.SOCK_NONBLOCK)
            # Else the kernel would tell of lost messages by an error of the socket, at which
            # libuv stops watching it.
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _NEWS_BUFFER)
            self._socket.bind((0, _GROUPS))
        except OSError as error:
            what = "Watching links, addresses and routes"
            raise PlatformError(f"{what}: {error.strerror}.") from error

    def fileno(self) -> int:
        """Readable while messages wait."""
        return self._socket.fileno()

    def read(self) -> News:
        """Take the messages that wait (or the first many of them) and weigh them."""
        news = News.NOTHING
        for _ in range(_BATCH):
            try:
                data, sender = self._socket.recvfrom(_READ)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                news = News.MAJOR
                continue
            if sender[0] != 0:
                continue  # a process pretends to be the kernel
            for kind, body, _ in _messages(data):
                news = max(news, _weigh(kind, body), key=lambda item: item.value)
        sizes = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
        dropped = struct.unpack_from("=I", sizes, 4 * _MEMINFO_DROPS)[0]
        if dropped != self._dropped:
            self._dropped = dropped
            return News.MAJOR  # some were lost, and nobody knows which
        return news

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def _weigh(kind: int, body: memoryview) -> News:
    if kind in (_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_DELADDR, _NLMSG_OVERRUN):
        return News.MAJOR
    if kind == _RTM_DELRULE:
        return News.MINOR  # perhaps an own one, by somebody else
    if kind in (_RTM_NEWROUTE, _RTM_DELROUTE) and len(body) >= _RTMSG.size:
        _, length, _, _, table, origin, _, route_type, flags = _RTMSG.unpack_from(body)
        if origin == OWN_ORIGIN and table == _TABLE_COMPAT:
            return News.NOTHING if kind == _RTM_NEWROUTE else News.MINOR
        # Each address has routes of its own in the local table; the address tells of itself.
        if table == _TABLE_LOCAL or flags & _RTM_F_CLONED or route_type != _RTN_UNICAST:
            return News.NOTHING
        return News.MAJOR if length == 0 else News.MINOR
    return News.NOTHING


def _open(flags: int = 0) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags
    return socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)


def _read_everything(sock: socket.socket, own_tables: range) -> Snapshot | None:
    """A snapshot; None if something changed while it was taken."""
    links: dict[int, Link] = {}
    addresses: list[InterfaceAddress] = []
    routes: dict[Route, None] = {}
    table_routes: list[TableRoute] = []
    rules: dict[int, tuple[Rule, ...]] = {}
    looked_at = 0

    def take_link(body: memoryview) -> None:
        link = _link(body)
        links[link.index] = link

    def take_address(body: memoryview) -> None:
        if (address := _address(body)) is not None:
            addresses.append(address)

    def take_route(body: memoryview) -> None:
        nonlocal looked_at
        if body[_DST_LENGTH] and body[_ORIGIN] != OWN_ORIGIN:
            looked_at += 1
            if looked_at > ROUTES_LOOKED_AT:
                return
        for route in _routes(body):
            own = route.table in own_tables
            main = route.table == TABLE_MAIN
            if own_tables and (own or main):
                table_routes.append(route)
            # A link's own network leads nowhere else.
            leads_out = not route.length or route.gateway or route.origin != _RTPROT_KERNEL
            if leads_out and not own:
                kind = Route(route.version, route.interface, not route.length, route.metric, main)
                routes[kind] = None

    mask = _RTATTR.pack(8, _IFLA_EXT_MASK) + _U32.pack(_RTEXT_FILTER_SKIP_STATS)
    consistent = (
        _dump(sock, _RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0) + mask, take_link)
        and _dump(sock, _RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0), take_address)
        and _dump(sock, _RTM_GETROUTE, _RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0), take_route)
    )
    if own_tables:
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            consistent = consistent and _read_rules(sock, version, family, rules)
    if not consistent:
        return None
    return Snapshot(links, tuple(addresses), tuple(routes), tuple(table_routes), rules)


def _read_rules(
    sock: socket.socket, version: int, family: int, rules: dict[int, tuple[Rule, ...]]
) -> bool:
    """Put the rules of a family there, if this kernel has any; False if they changed meanwhile."""
    found: list[Rule] = []
    request = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    try:
        consistent = _dump(sock, _RTM_GETRULE, request, lambda body: found.append(_rule(body)))
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise
        return True
    rules[version] = tuple(found)
    return consistent


def _dump(
    sock: socket.socket, request: int, body: bytes, take: Callable[[memoryview], None]
) -> bool:
    """Hand over the body of every entry; False if the table changed meanwhile. Raises OSError."""
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    sock.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), request, flags, request, 0) + body)
    consistent = True
    while True:
        for kind, content, message_flags in _messages(sock.recv(_READ)):
            consistent &= not message_flags & _NLM_F_DUMP_INTR
            failed = len(content) >= 4 and struct.unpack_from("=i", content)[0] < 0
            if kind == _NLMSG_DONE and not failed:
                return consistent
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                code = -struct.unpack_from("=i", content)[0]
                raise OSError(code, errno.errorcode.get(code, str(code)))
            if kind == request - 2:  # RTM_NEW… of RTM_GET…
                take(content)


def _messages(data: bytes) -> Iterator[tuple[int, memoryview, int]]:
    """Type, body and flags of each netlink message."""
    view, offset, end = memoryview(data), 0, len(data)
    while offset + _NLMSGHDR.size <= end:
        length, kind, flags, _, _ = _NLMSGHDR.unpack_from(view, offset)
        if not _NLMSGHDR.size <= length <= end - offset:
            return
        yield kind, view[offset + _NLMSGHDR.size : offset + length], flags
        offset += (length + 3) & ~3


def _attributes(view: memoryview) -> dict[int, memoryview]:
    found = {}
    while len(view) >= _RTATTR.size:
        length, kind = _RTATTR.unpack_from(view)
        if not _RTATTR.size <= length <= len(view):
            break
        found[kind & 0x3FFF] = view[_RTATTR.size : length]
        view = view[(length + 3) & ~3 :]
    return found


def _number(attributes: dict[int, memoryview], kind: int, default: int = 0) -> int:
    value = attributes.get(kind)
    return default if value is None or len(value) < 4 else int(_U32.unpack_from(value)[0])


def _link(body: memoryview) -> Link:
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    attributes = _attributes(body[_IFINFOMSG.size :])
    name = bytes(attributes.get(_IFLA_IFNAME, b"")).rstrip(b"\0").decode(errors="replace")
    master, mtu = _number(attributes, _IFLA_MASTER), _number(attributes, _IFLA_MTU)
    return Link(index, name, flags, master, mtu)


def _address(body: memoryview) -> InterfaceAddress | None:
    family, _, flags, scope, index = _IFADDRMSG.unpack_from(body)
    attributes = _attributes(body[_IFADDRMSG.size :])
    # With a point-to-point link IFA_ADDRESS is the other end.
    value = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    address: IPAddress
    if family == socket.AF_INET and value is not None and len(value) == 4:
        address = IPv4Address(bytes(value))
    elif family == socket.AF_INET6 and value is not None and len(value) == 16:
        address = IPv6Address(bytes(value))
    else:
        return None
    return InterfaceAddress(address, index, scope, _number(attributes, _IFA_FLAGS, flags))


def _routes(body: memoryview) -> list[TableRoute]:
    """Each next hop of a unicast route; nothing for others."""
    family, length, source_length, tos, table, origin, _, kind, flags = _RTMSG.unpack_from(body)
    if kind != _RTN_UNICAST or table == _TABLE_LOCAL or flags & _RTM_F_CLONED:
        return []
    if family not in (socket.AF_INET, socket.AF_INET6):
        return []
    attributes = _attributes(body[_RTMSG.size :])
    hops = []
    if _RTA_OIF in attributes:
        hops.append((_number(attributes, _RTA_OIF), flags, attributes))
    rest = attributes.get(_RTA_MULTIPATH, memoryview(b""))
    while len(rest) >= _RTNEXTHOP.size:
        size, hop_flags, _, interface = _RTNEXTHOP.unpack_from(rest)
        if size < _RTNEXTHOP.size:
            break
        hops.append((interface, hop_flags, _attributes(rest[_RTNEXTHOP.size : size])))
        rest = rest[(size + 3) & ~3 :]
    metrics = _attributes(attributes.get(_RTA_METRICS, memoryview(b"")))
    preference = attributes.get(_RTA_PREF)
    version = 4 if family == socket.AF_INET else 6
    return [
        TableRoute(
            version=version,
            table=_number(attributes, _RTA_TABLE, table),
            destination=bytes(attributes.get(_RTA_DST, bytes(4 if version == 4 else 16))),
            length=length,
            interface=interface,
            gateway=_gateway(hop),
            metric=_number(attributes, _RTA_PRIORITY),
            mtu=_number(metrics, _RTAX_MTU),
            onlink=bool(hop_flags & _RTNH_F_ONLINK),
            preference=preference[0] if preference else 0,
            origin=origin,
            plain=not source_length and not tos and _RTA_ENCAP not in hop,
        )
        for interface, hop_flags, hop in hops
        if not hop_flags & (_RTNH_F_DEAD | _RTNH_F_LINKDOWN)
    ]


def _gateway(hop: dict[int, memoryview]) -> IPAddress | None:
    value = hop.get(_RTA_GATEWAY)
    if value is None and (via := hop.get(_RTA_VIA)) is not None:
        value = via[2:]  # behind its family
    return None if value is None else _ip_address(value)


def _ip_address(value: memoryview | None) -> IPAddress | None:
    if value is not None and len(value) == 4:
        return IPv4Address(bytes(value))
    if value is not None and len(value) == 16:
        return IPv6Address(bytes(value))
    return None


def _rule(body: memoryview) -> Rule:
    family, to_length, from_length, tos, table, _, _, action, flags = _RTMSG.unpack_from(body)
    attributes = _attributes(body[_RTMSG.size :])
    ports = attributes.get(_FRA_SPORT_RANGE, memoryview(bytes(4)))
    first, last = struct.unpack_from("=HH", ports)
    origin = attributes.get(_FRA_PROTOCOL)
    ip_protocol = attributes.get(_FRA_IP_PROTO)
    source = _ip_address(attributes.get(_FRA_SRC))
    return Rule(
        version=4 if family == socket.AF_INET else 6,
        priority=_number(attributes, _FRA_PRIORITY),
        table=_number(attributes, _FRA_TABLE, table) if action == _FR_ACT_TO_TBL else 0,
        source=source,
        ip_protocol=ip_protocol[0] if ip_protocol else 0,
        source_port=first,
        origin=origin[0] if origin else 0,
        more=bool(
            to_length
            or tos
            or flags
            or first != last
            or (source is not None and from_length != source.max_prefixlen)
            or attributes.get(_FRA_SPORT_MASK, _WHOLE_PORT) != _WHOLE_PORT
            or attributes.get(_FRA_SUPPRESS_PREFIXLEN, _NO_SUPPRESSION) != _NO_SUPPRESSION
            or not attributes.keys() <= _FRA_KNOWN
        ),
    )
