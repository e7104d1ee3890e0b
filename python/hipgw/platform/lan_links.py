"""What ails the interfaces of an endbox's LAN: its ports, the bridge, and the TAP between them.

Judged by what the kernel told of its links, so that the daemon and `hipgw doctor` say the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hipgw.platform.rtnetlink import IFF_RUNNING, IFF_UP, Link


@dataclass(frozen=True, slots=True)
class LanLinks:
    """Names of the interfaces that frames pass, and what they have to be large enough for."""

    tap: str
    bridge: str
    ports: tuple[str, ...]
    mtu: int
    """Octets of the largest IP packet in a frame."""


@dataclass(frozen=True, slots=True)
class LanFault:
    """Something that keeps frames from passing."""

    code: str
    """For scripts, such as `lan_port_missing`."""
    message: str
    hint: str
    """What to do about it."""


def by_name(links: Mapping[int, Link]) -> dict[str, Link]:
    """The links of a snapshot by their names."""
    return {link.name: link for link in links.values()}


def lan_faults(links: Mapping[int, Link], lan: LanLinks) -> tuple[LanFault, ...]:
    """All that ails the LAN of an endbox that runs. *links*: those of a `Snapshot`."""
    there = by_name(links)
    bridge = there.get(lan.bridge)
    found: list[LanFault] = []
    if bridge is None:
        found.append(
            LanFault(
                "lan_bridge_missing",
                f"the bridge {lan.bridge} is gone",
                "ports are put into it again once it is there; a restart of hipgw makes it",
            )
        )
    elif not bridge.flags & IFF_UP:
        found.append(_off("lan_bridge_down", f"the bridge {lan.bridge}", lan.bridge))
    tap = there.get(lan.tap)
    if tap is not None:  # without it the data plane stops, and says so
        label = f"the endbox's interface {lan.tap}"
        if not tap.flags & IFF_UP:
            found.append(_off("lan_tap_down", label, lan.tap))
        if bridge is not None and tap.master != bridge.index:
            found.append(_not_bridged("lan_tap_not_bridged", label, tap, lan, links))
        found += _too_small("lan_tap_mtu", label, tap, lan)
    for name in lan.ports:
        label, port = f"the LAN port {name}", there.get(name)
        if port is None:
            hint = f"it is put into {lan.bridge} again once it is there"
            found.append(LanFault("lan_port_missing", f"{label} is not there", hint))
            continue
        if not port.flags & IFF_UP:
            found.append(_off("lan_port_down", label, name))
        if bridge is not None and port.master != bridge.index:
            found.append(_not_bridged("lan_port_not_bridged", label, port, lan, links))
        found += port_faults(port, lan)
    return tuple(found)


def port_faults(port: Link, lan: LanLinks) -> Iterator[LanFault]:
    """What ails a port by itself, whether or not an endbox uses it now."""
    label = f"the LAN port {port.name}"
    if port.flags & IFF_UP and not port.flags & IFF_RUNNING:
        hint = "look at its cable, and at what is at the other end"
        yield LanFault("lan_port_no_carrier", f"{label} has no carrier", hint)
    yield from _too_small("lan_port_mtu", label, port, lan)


def _off(code: str, label: str, name: str) -> LanFault:
    return LanFault(code, f"{label} is switched off", f"`ip link set {name} up`")


def _not_bridged(
    code: str, label: str, link: Link, lan: LanLinks, links: Mapping[int, Link]
) -> LanFault:
    other = links.get(link.master)
    instead = f" but in {other.name}" if other is not None else ""
    hint = f"`ip link set {link.name} master {lan.bridge}`"
    return LanFault(code, f"{label} is not in {lan.bridge}{instead}", hint)


def _too_small(code: str, label: str, link: Link, lan: LanLinks) -> Iterator[LanFault]:
    if link.mtu < lan.mtu:
        yield LanFault(
            code,
            f"{label} has an MTU of {link.mtu}, and endbox.mtu is {lan.mtu}",
            f"what is larger is lost there: `ip link set {link.name} mtu {lan.mtu}`, or lower"
            " endbox.mtu at every site",
        )
