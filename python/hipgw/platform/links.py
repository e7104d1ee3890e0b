"""Network interfaces: up, MTU, addresses, bridges."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from hipgw.errors import PlatformError
from hipgw.platform.netlink import Netlink, refused, with_netlink

Result = TypeVar("Result")


def names() -> list[str]:
    """The interfaces there are."""
    return sorted(str(link.get("ifname")) for link in with_netlink(lambda ip: list(ip.get_links())))


def exists(name: str) -> bool:
    """Whether there is an interface of this name."""
    return bool(with_netlink(lambda ip: list(ip.link_lookup(ifname=name))))


def master_of(name: str) -> str | None:
    """The bridge an interface is a port of. Raises PlatformError if there is no such interface."""

    def find(ip: Netlink) -> str | None:
        link = next(iter(ip.get_links(_index(ip, name))))
        master = link.get("master")
        if not master:
            return None
        return str(next(iter(ip.get_links(int(master)))).get("ifname"))

    return _do(f"Looking at {name}", find)


def set_up(name: str, *, mtu: int | None = None, txqueuelen: int | None = None) -> None:
    """Switch an interface on, perhaps with an MTU in octets. Raises PlatformError."""
    options: dict[str, Any] = {"state": "up"}
    if mtu is not None:
        options["mtu"] = mtu
    if txqueuelen is not None:
        options["txqlen"] = txqueuelen
    _do(
        f"Switching {name} on",
        lambda ip: ip.link("set", index=_index(ip, name), **options),
    )


def set_down(name: str) -> None:
    """Switch an interface off. Raises PlatformError."""
    _do(f"Switching {name} off", lambda ip: ip.link("set", index=_index(ip, name), state="down"))


def is_up(name: str) -> bool:
    """Whether an interface is switched on. Raises PlatformError if there is none."""

    def look(ip: Netlink) -> bool:
        link = next(iter(ip.get_links(_index(ip, name))))
        return bool(link["flags"] & 1)

    return _do(f"Looking at {name}", look)


def add_address(name: str, address: IPv4Address | IPv6Address, prefix_length: int) -> None:
    """Give an interface an address, at once usable. Raises PlatformError."""
    options: dict[str, Any] = {"address": str(address), "prefixlen": prefix_length}
    if address.version == 6:
        # A HIT is unique by itself: duplicate address detection would only delay it.
        options["flags"] = 0x02  # IFA_F_NODAD
    _do(
        f"Giving {name} the address {address}",
        lambda ip: ip.addr("replace", index=_index(ip, name), **options),
    )


def create_bridge(name: str) -> None:
    """Make a bridge that is as transparent as one can be. Raises PlatformError.

    No spanning tree (the endboxes' split horizon keeps the mesh free of loops) and no multicast
    snooping, which needs a querier that a plant's LAN may not have.
    """
    _do(
        f"Making the bridge {name}",
        lambda ip: ip.link(
            "add",
            ifname=name,
            kind="bridge",
            br_stp_state=0,
            br_forward_delay=0,
            br_mcast_snooping=0,
        ),
    )


def delete(name: str) -> None:
    """Remove an interface. Raises PlatformError."""
    _do(f"Removing {name}", lambda ip: ip.link("del", index=_index(ip, name)))


def enslave(name: str, bridge: str) -> None:
    """Make an interface a port of a bridge. Raises PlatformError."""

    def join(ip: Netlink) -> None:
        ip.link("set", index=_index(ip, name), master=_index(ip, bridge))

    _do(f"Joining {name} to {bridge}", join)


def release(name: str) -> None:
    """Take an interface out of its bridge. Raises PlatformError."""
    _do(
        f"Taking {name} out of its bridge",
        lambda ip: ip.link("set", index=_index(ip, name), master=0),
    )


def be_silent(name: str) -> None:
    """Keep the kernel from speaking IPv6 on an interface that only carries others' frames."""
    place = Path("/proc/sys/net/ipv6/conf") / name / "disable_ipv6"
    try:
        place.write_text("1")
    except FileNotFoundError:
        return  # no IPv6 in this kernel: silent already
    except OSError as error:
        raise PlatformError(f"IPv6 cannot be turned off on {name}: {error.strerror}.") from error


def _index(ip: Netlink, name: str) -> int:
    found = list(ip.link_lookup(ifname=name))
    if not found:
        there = ", ".join(sorted(str(link.get("ifname")) for link in ip.get_links()))
        raise PlatformError(f"There is no interface {name}.", hint=f"There are: {there}.")
    return int(found[0])


def _do(what: str, action: Callable[[Netlink], Result]) -> Result:
    try:
        return with_netlink(action)
    except NetlinkError as error:
        raise refused(what, error) from error
