"""What `hipgw doctor` looks at for an endbox: the interfaces of its LAN."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hipgw.cli.findings import Finding
from hipgw.errors import HipgwError

if TYPE_CHECKING:
    from hipgw.config.schema import EndboxConfig
    from hipgw.platform.lan_links import LanLinks
    from hipgw.platform.rtnetlink import Link


def lan(config: "EndboxConfig", *, running: bool) -> Iterator[Finding]:
    """The ports, and while a daemon is *running* also whether frames can pass the bridge."""
    from hipgw.platform.lan_links import LanLinks
    from hipgw.platform.rtnetlink import take_snapshot

    lan = LanLinks(config.interface, config.bridge, config.ports, config.mtu)
    try:
        links = take_snapshot().links
    except HipgwError as error:
        yield Finding("LAN", "slow", f"not looked at: {error}")
        return
    yield from judge(links, lan, running=running)


def judge(links: "Mapping[int, Link]", lan: "LanLinks", *, running: bool) -> Iterator[Finding]:
    """What is to be said of the links that there are."""
    from hipgw.platform.lan_links import by_name, lan_faults, port_faults

    there = by_name(links)
    for name in lan.ports:
        label, port = f"port {name}", there.get(name)
        if port is None:
            yield Finding(
                label, "bad", "no such interface", "`ip link` lists them; see endbox.ports"
            )
            continue
        bridge = links.get(port.master)
        if bridge is not None and bridge.name != lan.bridge:
            hint = f"take it out of there, or set endbox.bridge to {bridge.name!r}"
            yield Finding(label, "bad", f"is a port of {bridge.name} already", hint)
        elif not any(port_faults(port, lan)):
            yield Finding(label, "good", f"is there, with an MTU of {port.mtu}")
        if not running:
            for fault in port_faults(port, lan):
                yield Finding(label, "slow", fault.message, fault.hint)
    if running:
        for fault in lan_faults(links, lan):
            if fault.code != "lan_port_missing":  # told above
                yield Finding("LAN", "slow", fault.message, fault.hint)
