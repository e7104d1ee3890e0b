"""Network interfaces: up, MTU, addresses, bridges."""

import os
import socket
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


def require(*names: str) -> None:
    """Raises PlatformError if there is no interface of one of these names."""

    def find(ip: Netlink) -> None:
        for name in names:
            _index(ip, name)

    _do("Looking for interfaces", find)


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


def set_mtu(name: str, mtu: int) -> None:
    """Set the largest packet of an interface, in octets. Raises PlatformError."""
    _do(
        f"Setting the MTU of {name} to {mtu}",
        lambda ip: ip.link("set", index=_index(ip, name), mtu=mtu),
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


def mac_of(name: str) -> str:
    """The Ethernet address of an interface, "02:…" in small letters. Raises PlatformError."""

    def look(ip: Netlink) -> str:
        return str(next(iter(ip.get_links(_index(ip, name)))).get("address"))

    return _do(f"Looking at {name}", look)


def random_mac() -> str:
    """A new Ethernet address of the locally administered kind (IEEE 802 §8.4)."""
    octets = bytearray(os.urandom(6))
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def create_bridge(name: str, mac: str) -> None:
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
            address=mac,
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


def is_silent(name: str) -> bool:
    """Whether the kernel speaks no IPv6 on an interface."""
    try:
        return _ipv6_switch(name).read_text().strip() != "0"
    except OSError:
        return True  # no IPv6 in this kernel


def be_silent(name: str, *, silent: bool = True) -> None:
    """Keep the kernel from speaking IPv6 on an interface that only carries others' frames.

    Its IPv6 addresses go; link-local ones come back when it may speak again. Raises PlatformError.
    """
    try:
        _ipv6_switch(name).write_text("1" if silent else "0")
    except FileNotFoundError:
        return  # no IPv6 in this kernel: silent already
    except OSError as error:
        raise PlatformError(f"IPv6 cannot be turned off on {name}: {error.strerror}.") from error


def has_global_ipv6(name: str) -> bool:
    """Whether an interface has an IPv6 address besides link-local ones. Raises PlatformError."""

    def look(ip: Netlink) -> bool:
        entries = ip.get_addr(index=_index(ip, name), family=socket.AF_INET6)
        return any(not IPv6Address(entry.get("address")).is_link_local for entry in entries)

    return _do(f"Looking at {name}", look)


def bridged_frames_are_filtered() -> bool:
    """Whether iptables rules of this machine also see (and may drop) bridged IPv4 packets."""
    try:
        place = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        return place.read_text().strip() != "0"
    except OSError:
        return False  # br_netfilter is not loaded


def _ipv6_switch(name: str) -> Path:
    return Path("/proc/sys/net/ipv6/conf") / name / "disable_ipv6"


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
