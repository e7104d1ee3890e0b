"""The kernel's links, addresses and routes, read at once, and the news of their changes.

By hand instead of by pyroute2: a handover waits for this, it has to run on the daemon's own event
loop, and parsing everything with pyroute2 takes longer than the rest of a handover.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_EXT_MASK = 3, 10, 29
_RTEXT_FILTER_SKIP_STATS = 8
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 4, 5, 6, 9, 15, 18
_RTM_F_CLONED = 0x200
_RTN_UNICAST = 1
_RTNH_F_DEAD, _RTNH_F_LINKDOWN = 1, 16
_RTPROT_KERNEL = 2
_TABLE_MAIN, _TABLE_LOCAL = 254, 255
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE."""
_SO_RCVBUFFORCE, _SO_MEMINFO = 33, 55
_MEMINFO_DROPS = 8
_SOL_NETLINK = 270
_NETLINK_NO_ENOBUFS = 5

_NEWS_BUFFER = 1 << 20
_READ = 1 << 16
_BATCH = 64
_DUMP_TRIES = 5
_DST_LENGTH = 1
"""Where the length of the prefix stands in a route."""
ROUTES_LOOKED_AT = 1000
"""Routes to single networks that are taken apart each time. A router may have a million of them,
and which interfaces they lead to is known long before."""

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
class Snapshot:
    """Everything at one moment."""

    links: dict[int, Link]
    """By index."""
    addresses: tuple[InterfaceAddress, ...]
    """In the kernel's order."""
    routes: tuple[Route, ...]
    """Each kind once. Of those to single networks only the first `ROUTES_LOOKED_AT` count."""


class News(Enum):
    """How much what has happened matters."""

    NOTHING = 0
    MINOR = 1
    """Routes to single networks, of which a router may have many."""
    MAJOR = 2
    """Links, addresses, default routes, or the kernel dropped messages."""


def take_snapshot() -> Snapshot:
    """Read everything. Raises PlatformError if the kernel refuses."""
    try:
        for _ in range(_DUMP_TRIES):
            with _open() as sock:
                taken = _read_everything(sock)
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
    if kind in (_RTM_NEWROUTE, _RTM_DELROUTE) and len(body) >= _RTMSG.size:
        _, length, _, _, table, _, _, route_type, flags = _RTMSG.unpack_from(body)
        # Each address has routes of its own in the local table; the address tells of itself.
        if table == _TABLE_LOCAL or flags & _RTM_F_CLONED or route_type != _RTN_UNICAST:
            return News.NOTHING
        return News.MAJOR if length == 0 else News.MINOR
    return News.NOTHING


def _open(flags: int = 0) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags
    return socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)


def _read_everything(sock: socket.socket) -> Snapshot | None:
    """A snapshot; None if something changed while it was taken."""
    links: dict[int, Link] = {}
    addresses: list[InterfaceAddress] = []
    routes: dict[Route, None] = {}
    looked_at = 0

    def take_link(body: memoryview) -> None:
        link = _link(body)
        links[link.index] = link

    def take_address(body: memoryview) -> None:
        if (address := _address(body)) is not None:
            addresses.append(address)

    def take_route(body: memoryview) -> None:
        nonlocal looked_at
        if body[_DST_LENGTH]:
            looked_at += 1
            if looked_at > ROUTES_LOOKED_AT:
                return
        routes.update(dict.fromkeys(_routes(body)))

    mask = _RTATTR.pack(8, _IFLA_EXT_MASK) + _U32.pack(_RTEXT_FILTER_SKIP_STATS)
    consistent = (
        _dump(sock, _RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0) + mask, take_link)
        and _dump(sock, _RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0), take_address)
        and _dump(sock, _RTM_GETROUTE, _RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0), take_route)
    )
    return Snapshot(links, tuple(addresses), tuple(routes)) if consistent else None


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
            if kind == _NLMSG_DONE:
                return consistent
            if kind == _NLMSG_ERROR:
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
    return Link(index, name, flags, _number(attributes, _IFLA_MASTER))


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


def _routes(body: memoryview) -> list[Route]:
    family, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    if kind != _RTN_UNICAST or table == _TABLE_LOCAL or flags & _RTM_F_CLONED:
        return []
    if family not in (socket.AF_INET, socket.AF_INET6):
        return []
    attributes = _attributes(body[_RTMSG.size :])
    has_gateway = not attributes.keys().isdisjoint((_RTA_GATEWAY, _RTA_VIA, _RTA_MULTIPATH))
    if length and not has_gateway and protocol == _RTPROT_KERNEL:
        return []  # the link's own network
    interfaces = []
    if _RTA_OIF in attributes and not flags & (_RTNH_F_DEAD | _RTNH_F_LINKDOWN):
        interfaces.append(_number(attributes, _RTA_OIF))
    hops = attributes.get(_RTA_MULTIPATH, memoryview(b""))
    while len(hops) >= _RTNEXTHOP.size:
        size, hop_flags, _, interface = _RTNEXTHOP.unpack_from(hops)
        if size < _RTNEXTHOP.size:
            break
        if not hop_flags & (_RTNH_F_DEAD | _RTNH_F_LINKDOWN):
            interfaces.append(interface)
        hops = hops[(size + 3) & ~3 :]
    version = 4 if family == socket.AF_INET else 6
    metric = _number(attributes, _RTA_PRIORITY)
    main = _number(attributes, _RTA_TABLE, table) == _TABLE_MAIN
    return [Route(version, interface, length == 0, metric, main) for interface in interfaces]
