"""Routes: what goes through which interface, and how large it may be."""

import errno
import fcntl
import socket
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from hipgw.errors import PlatformError
from hipgw.platform.netlink import Netlink, refused, with_netlink

IPAddress = IPv4Address | IPv6Address

DEFAULT_MTU = 1500
_DISCARD_PORT = 9
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLM_F_REQUEST = 1
_RTM_F_FIB_MATCH = 0x2000
_RTA_DST, _RTA_OIF, _RTA_METRICS, _RTAX_MTU = 1, 4, 8, 2
_NLMSGHDR = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTATTR = struct.Struct("=HH")
_SIOCGIFMTU = 0x8921
_IP_MTU = 14
_IPV6_MTU = 24


def add_route(
    network: IPv4Network | IPv6Network, interface: str, source: IPAddress | None = None
) -> None:
    """Send a network through an interface. Raises PlatformError."""
    options: dict[str, Any] = {"dst": str(network)}
    if source is not None:
        options["prefsrc"] = str(source)

    def add(ip: Netlink) -> None:
        found = list(ip.link_lookup(ifname=interface))
        if not found:
            raise PlatformError(f"There is no interface {interface}.")
        ip.route("replace", oif=found[0], **options)

    try:
        with_netlink(add)
    except NetlinkError as error:
        raise refused(f"Routing {network} through {interface}", error) from error


def source_address(destination: IPAddress) -> IPAddress | None:
    """The own address that packets to *destination* would leave from; None without a route."""
    with _probe(destination) as sock:
        try:
            sock.connect((str(destination), _DISCARD_PORT))
        except OSError:
            return None
        return ip_address(sock.getsockname()[0].partition("%")[0])


def interface_to(destination: IPAddress) -> str | None:
    """The interface that packets to *destination* leave by; None without a route."""

    def look(ip: Netlink) -> str | None:
        for route in ip.route("get", dst=str(destination)):
            for link in ip.get_links(route.get("oif")):
                return str(link.get("ifname"))
        return None

    try:
        return with_netlink(look)
    except NetlinkError:
        return None


def interface_index_to(destination: IPAddress) -> int:
    """The number of the interface that packets to *destination* leave by; 0 without a route.

    As the main table has it; takes some 50 microseconds.
    """
    try:
        return _route_entry(destination)[0]
    except OSError:
        return 0


def interface_index(address: IPAddress) -> int:
    """The number of the interface that has an own address. Raises PlatformError."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6

    def look(ip: Netlink) -> list[int]:
        entries = ip.get_addr(family=family, address=str(address))
        return [int(entry["index"]) for entry in entries]

    if found := with_netlink(look):
        return found[0]
    raise PlatformError(f"No interface has the address {address}.")


def route_mtu(destination: IPAddress) -> int:
    """Octets of the largest IP packet that fits the route to *destination*, as far as known.

    The kernel knows its own link's MTU and what routers have told it. Without a route it is 1500.
    """
    with _probe(destination) as sock:
        level, option = (
            (socket.IPPROTO_IP, _IP_MTU)
            if destination.version == 4
            else (socket.IPPROTO_IPV6, _IPV6_MTU)
        )
        try:
            sock.connect((str(destination), _DISCARD_PORT))
            return sock.getsockopt(level, option)
        except OSError as error:
            if error.errno in {errno.EAFNOSUPPORT, errno.EPERM}:
                raise PlatformError(f"{destination}: {error.strerror}.") from error
            return DEFAULT_MTU


def configured_mtu(destination: IPAddress) -> int:
    """The same as the own link and the routing table have it, without what routers have told.

    Anybody can pretend to be a router, so what the kernel has heard may be wrong.
    """
    try:
        interface, mtu = _route_entry(destination)
        name = socket.if_indextoname(interface)
        with _probe(destination) as sock:
            answer = fcntl.ioctl(sock, _SIOCGIFMTU, struct.pack("16si12x", name.encode(), 0))
        link_mtu: int = struct.unpack_from("16xi", answer)[0]
        return min(mtu or link_mtu, link_mtu)
    except OSError:
        # No route, or a kernel that does not show its table's entries (before Linux 4.13).
        return route_mtu(destination)


def _route_entry(destination: IPAddress) -> tuple[int, int]:
    """Interface and MTU (0 if none is set) of the entry of the routing table. Raises OSError.

    Asked by hand, since this is done for each association and has to be quick.
    """
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    address = destination.packed
    route = _RTMSG.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
    body = route + _RTATTR.pack(_RTATTR.size + len(address), _RTA_DST) + address
    header = _NLMSGHDR.pack(_NLMSGHDR.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as sock:
        sock.send(header + body)
        answer = sock.recv(8192)
    if _NLMSGHDR.unpack_from(answer)[1] != _RTM_NEWROUTE:
        raise OSError(errno.ENETUNREACH, "no such route")
    attributes = _attributes(answer[_NLMSGHDR.size + _RTMSG.size :])
    if _RTA_OIF not in attributes:
        raise OSError(errno.ENETUNREACH, "a route without an interface")
    metrics = _attributes(attributes.get(_RTA_METRICS, b""))
    mtu = struct.unpack_from("=I", metrics.get(_RTAX_MTU, bytes(4)))[0]
    return struct.unpack_from("=I", attributes[_RTA_OIF])[0], mtu


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _RTATTR.size:
        length, kind = _RTATTR.unpack_from(data)
        if length < _RTATTR.size:
            break
        found[kind & 0x3FFF] = data[_RTATTR.size : length]
        data = data[(length + 3) & ~3 :]
    return found


def _probe(destination: IPAddress) -> socket.socket:
    """A UDP socket: connecting it asks the routing table and sends nothing."""
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
