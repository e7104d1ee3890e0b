"""Which own addresses are usable, and in which order; by snapshots made by hand."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from hipgw.platform.rtnetlink import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_OPTIMISTIC,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    IFF_LOOPBACK,
    IFF_RUNNING,
    IFF_UP,
    SCOPE_LINK,
    InterfaceAddress,
    Link,
    Route,
    Snapshot,
)
from hipgw.platform.underlay import UnderlaySettings, choose

UP = IFF_UP | IFF_RUNNING
LO, ETH, WWAN, BRIDGE = 1, 2, 3, 4
NOBODY_CARES = UnderlaySettings()


def link(index: int, name: str, *, flags: int = UP, master: int = 0) -> Link:
    return Link(index, name, flags, master)


def own(text: str, interface: int, *, flags: int = 0, scope: int = 0) -> InterfaceAddress:
    return InterfaceAddress(ip_address(text), interface, scope, flags)


def default(version: int, interface: int, metric: int = 0, *, main: bool = True) -> Route:
    return Route(version, interface, True, metric, main)


LINKS = (
    link(LO, "lo", flags=UP | IFF_LOOPBACK),
    link(ETH, "eth0"),
    link(WWAN, "wwan0"),
    link(BRIDGE, "br-hipgw"),
)


def addresses_of(
    *entries: InterfaceAddress,
    routes: tuple[Route, ...] = (),
    links: tuple[Link, ...] = LINKS,
    settings: UnderlaySettings = NOBODY_CARES,
) -> list[str]:
    snapshot = Snapshot({one.index: one for one in links}, entries, routes)
    return [str(address) for address in choose(snapshot, settings).addresses]


@pytest.mark.parametrize(
    "entry",
    [
        own("127.0.0.1", LO),
        own("::1", LO),
        own("169.254.1.1", ETH),
        own("fe80::1", ETH, scope=SCOPE_LINK),
        own("192.0.2.1", ETH, scope=SCOPE_LINK),
        own("2001:db8::1", ETH, flags=IFA_F_TENTATIVE),
        own("2001:db8::1", ETH, flags=IFA_F_TENTATIVE | IFA_F_DADFAILED),
        own("2001:21::1", ETH),
        own("1.0.0.1", ETH),
    ],
)
def test_what_no_peer_can_use_is_left_out(entry: InterfaceAddress) -> None:
    assert addresses_of(entry, routes=(default(4, ETH), default(6, ETH))) == []


def test_an_optimistic_address_is_used_at_once() -> None:
    entry = own("2001:db8::1", ETH, flags=IFA_F_TENTATIVE | IFA_F_OPTIMISTIC)
    assert addresses_of(entry) == ["2001:db8::1"]


@pytest.mark.parametrize("flags", [0, IFF_UP, IFF_RUNNING])
def test_a_link_that_is_down_or_without_carrier_has_none(flags: int) -> None:
    links = (link(ETH, "eth0", flags=flags),)
    assert addresses_of(own("192.0.2.1", ETH), links=links) == []


def test_own_interfaces_and_their_ports_have_none() -> None:
    links = (*LINKS, link(5, "lan0", master=BRIDGE))
    entries = (own("10.0.0.1", BRIDGE), own("10.0.1.1", 5), own("192.0.2.1", ETH))
    settings = UnderlaySettings(own_interfaces=frozenset({"br-hipgw"}))
    assert addresses_of(*entries, links=links, settings=settings) == ["192.0.2.1"]


def test_what_the_operator_does_not_want_is_left_out() -> None:
    entries = (own("10.0.0.1", ETH), own("192.0.2.1", ETH), own("192.0.2.9", WWAN))
    for settings, left in (
        (UnderlaySettings(ignored_interfaces=("ww*",)), ["10.0.0.1", "192.0.2.1"]),
        (UnderlaySettings(interfaces=("wwan?",)), ["192.0.2.9"]),
        (UnderlaySettings(ignored_addresses=(ip_network("192.0.2.0/24"),)), ["10.0.0.1"]),
    ):
        assert addresses_of(*entries, settings=settings) == left


def test_lower_metrics_go_first_and_the_operator_before_them() -> None:
    entries = (own("192.0.2.1", ETH), own("198.51.100.1", WWAN))
    routes = (default(4, ETH, 700), default(4, WWAN, 100))
    assert addresses_of(*entries, routes=routes) == ["198.51.100.1", "192.0.2.1"]
    for patterns in (("eth*", "wwan*"), ("eth*",)):
        settings = UnderlaySettings(preferred_interfaces=patterns)
        wanted = addresses_of(*entries, routes=routes, settings=settings)
        assert wanted == ["192.0.2.1", "198.51.100.1"]


def test_ipv6_before_ipv4_before_unique_local() -> None:
    entries = (own("fd00::1", ETH), own("192.0.2.1", ETH), own("2001:db8::1", ETH))
    expected = ["2001:db8::1", "192.0.2.1", "fd00::1"]
    # The kernel's own metrics of the two families differ without any meaning.
    routes = (default(4, ETH), default(6, ETH, 1024))
    assert addresses_of(*entries, routes=routes) == expected


def test_addresses_that_lead_nowhere_come_last_but_are_there() -> None:
    entries = (
        own("10.9.9.1", 7),
        own("10.8.8.1", 6),
        own("203.0.113.5", LO),
        own("198.51.100.1", WWAN),
        own("192.0.2.1", ETH),
    )
    links = (*LINKS, link(6, "eth5"), link(7, "eth6"))
    routes = (
        default(4, WWAN, 100, main=False),
        default(4, ETH, 5000),
        Route(4, 6, False, 0, True),
    )
    assert addresses_of(*entries, routes=routes, links=links) == [
        "192.0.2.1",  # by the main table
        "198.51.100.1",  # by another table: rules choose it for this address
        "10.8.8.1",  # some networks are reached from it
        "203.0.113.5",  # on the loopback, so that any link will do
        "10.9.9.1",  # its own link only
    ]
    assert addresses_of(own("203.0.113.5", LO)) == ["203.0.113.5"]


def test_temporary_and_secondary_addresses_come_later() -> None:
    entries = (
        own("2001:db8::77", ETH, flags=IFA_F_TEMPORARY),
        own("2001:db8::1", ETH),
        own("192.0.2.1", ETH),
    )
    assert addresses_of(*entries) == ["2001:db8::1", "2001:db8::77", "192.0.2.1"]


def test_a_deprecated_address_is_used_only_while_there_is_no_other() -> None:
    old = own("2001:db8::dead", ETH, flags=IFA_F_DEPRECATED)
    assert addresses_of(old) == ["2001:db8::dead"]
    assert addresses_of(old, own("192.0.2.1", WWAN)) == ["192.0.2.1"]


def test_an_address_on_two_interfaces_is_listed_once() -> None:
    entries = (own("192.0.2.1", ETH), own("192.0.2.1", WWAN))
    assert addresses_of(*entries) == ["192.0.2.1"]


def test_the_order_is_stable() -> None:
    entries = [own(f"192.0.2.{n}", ETH) for n in (9, 3, 200, 1)]
    assert addresses_of(*entries) == [str(entry.address) for entry in entries]


def test_pins_only_where_the_routing_table_could_go_wrong() -> None:
    eth, wwan, lan = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.1"), IPv4Address("10.0.0.1")
    six = IPv6Address("2001:db8::1")
    entries = (
        own("192.0.2.1", ETH),
        own("2001:db8::1", ETH),
        own("198.51.100.1", WWAN),
        own("10.0.0.1", 6),
        own("203.0.113.5", LO),
    )
    links = {one.index: one for one in (*LINKS, link(6, "eth5"))}

    def pins(*routes: Route) -> dict[object, int]:
        return dict(choose(Snapshot(links, entries, routes), NOBODY_CARES).pins)

    assert pins() == {}
    assert pins(default(4, ETH), default(6, ETH)) == {}
    both = pins(default(4, ETH), default(4, WWAN, 100), default(6, ETH))
    assert both == {eth: ETH, wwan: WWAN}
    # The default route of an interface that the operator ignores pulls packets as well.
    settings = UnderlaySettings(ignored_interfaces=("wwan0",))
    routes = (default(4, ETH, 100), default(4, WWAN))
    ignoring = choose(Snapshot(links, entries, routes), settings)
    assert dict(ignoring.pins) == {eth: ETH}
    assert lan not in both and six not in both


def test_what_leads_nowhere_is_told_apart() -> None:
    entries = (own("192.0.2.1", ETH), own("198.51.100.1", WWAN), own("2001:db8::1", ETH))
    snapshot = Snapshot({one.index: one for one in LINKS}, entries, (default(4, ETH),))
    found = choose(snapshot, NOBODY_CARES)
    near = {IPv4Address("198.51.100.1"), IPv6Address("2001:db8::1")}
    assert found.near == near
    without = found.without(near)
    left = IPv4Address("192.0.2.1")
    assert (without.addresses, without.near) == ((left,), frozenset())
    assert without.interfaces == ((left, "eth0"),)
