"""Routes: what goes through which interface, and how large it may be."""

import errno
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from hipgw.errors import PlatformError
from hipgw.platform.netlink import Netlink, refused, with_netlink

IPAddress = IPv4Address | IPv6Address

DEFAULT_MTU = 1500
_DISCARD_PORT = 9
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


def _probe(destination: IPAddress) -> socket.socket:
    """A UDP socket: connecting it asks the routing table and sends nothing."""
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
