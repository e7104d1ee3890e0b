"""What ails the LAN side of an endbox, by links made by hand."""

import dataclasses

import pytest

from hipgw.platform.lan_links import LanLinks, lan_faults
from hipgw.platform.rtnetlink import IFF_RUNNING, IFF_UP, Link

UP = IFF_UP | IFF_RUNNING
LAN = LanLinks("hipgw0", "br-hipgw", ("eth1", "eth2"), 9000)
WELL = {
    "lo": Link(1, "lo", UP, 0, 65536),
    "eth1": Link(2, "eth1", UP, 5, 9000),
    "eth2": Link(3, "eth2", UP, 5, 9216),
    "hipgw0": Link(4, "hipgw0", UP, 5, 9000),
    "br-hipgw": Link(5, "br-hipgw", UP, 0, 9000),
    "br-own": Link(6, "br-own", UP, 0, 1500),
}


def told(**changes: object) -> list[tuple[str, str]]:
    """Codes and messages if one link is otherwise, or (None) not there."""
    links = dict(WELL)
    for name, options in changes.items():
        name = name.replace("_", "-")
        link = links.pop(name)
        if isinstance(options, dict):
            links[name] = dataclasses.replace(link, **options)
    faults = lan_faults({link.index: link for link in links.values()}, LAN)
    assert all(fault.hint for fault in faults)
    return [(fault.code, fault.message) for fault in faults]


def test_all_is_well() -> None:
    assert told() == []
    assert told(br_hipgw={"mtu": 1500}) == []  # of a bridge, ports alone limit what passes


@pytest.mark.parametrize(
    ("name", "change", "code", "message"),
    [
        ("eth1", None, "lan_port_missing", "the LAN port eth1 is not there"),
        ("eth1", {"flags": 0}, "lan_port_down", "the LAN port eth1 is switched off"),
        ("eth2", {"flags": IFF_UP}, "lan_port_no_carrier", "the LAN port eth2 has no carrier"),
        ("eth2", {"master": 0}, "lan_port_not_bridged", "the LAN port eth2 is not in br-hipgw"),
        (
            "eth2",
            {"master": 6},
            "lan_port_not_bridged",
            "the LAN port eth2 is not in br-hipgw but in br-own",
        ),
        (
            "eth1",
            {"mtu": 1500},
            "lan_port_mtu",
            "the LAN port eth1 has an MTU of 1500, and endbox.mtu is 9000",
        ),
        (
            "hipgw0",
            {"flags": IFF_RUNNING},
            "lan_tap_down",
            "the endbox's interface hipgw0 is switched off",
        ),
        (
            "hipgw0",
            {"master": 0},
            "lan_tap_not_bridged",
            "the endbox's interface hipgw0 is not in br-hipgw",
        ),
        (
            "hipgw0",
            {"mtu": 1500},
            "lan_tap_mtu",
            "the endbox's interface hipgw0 has an MTU of 1500, and endbox.mtu is 9000",
        ),
        ("br_hipgw", {"flags": 0}, "lan_bridge_down", "the bridge br-hipgw is switched off"),
        ("br_hipgw", None, "lan_bridge_missing", "the bridge br-hipgw is gone"),
    ],
)
def test_each_fault_is_told_once(
    name: str, change: dict[str, object] | None, code: str, message: str
) -> None:
    assert told(**{name: change}) == [(code, message)]


def test_several_at_once() -> None:
    codes = [code for code, _ in told(eth1=None, eth2={"flags": IFF_UP, "mtu": 1500})]
    assert codes == ["lan_port_missing", "lan_port_no_carrier", "lan_port_mtu"]
