"""Which rules and routes are wanted, and how to get there; by snapshots made by hand."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from hipgw.platform.rtnetlink import (
    IFA_F_DEPRECATED,
    IFF_RUNNING,
    IFF_UP,
    OWN_ORIGIN,
    TABLE_MAIN,
    InterfaceAddress,
    Link,
    Route,
    Rule,
    Snapshot,
    TableRoute,
)
from hipgw.platform.source_routes import (
    ADDRESSES_MAX,
    COPIED_MAX,
    Changes,
    SourceRoutes,
    SourceRouteSettings,
    changes,
    plan,
    present,
)
from hipgw.platform.underlay import UnderlaySettings, choose

ETH, WWAN, WIFI = 2, 3, 7
RTPROT_KERNEL, RTPROT_STATIC = 2, 4
SETTINGS = SourceRouteSettings(first_table=20000, udp_port=10501)
NAMES = {ETH: "eth0", WWAN: "wwan0", WIFI: "wlan0"}
LINKS = {index: Link(index, name, IFF_UP | IFF_RUNNING, 0) for index, name in NAMES.items()}
SYSTEM_RULES = {
    version: (Rule(version, 0, 255, origin=2), Rule(version, 32766, TABLE_MAIN, origin=2))
    for version in (4, 6)
}


def main(
    network: str, interface: int, gateway: str | None = None, metric: int = 0, **more: int
) -> TableRoute:
    """A route in the main table."""
    to = ip_network(network)
    return TableRoute(
        to.version,
        TABLE_MAIN,
        to.network_address.packed,
        to.prefixlen,
        interface,
        ip_address(gateway) if gateway else None,
        metric,
        origin=RTPROT_STATIC if gateway else RTPROT_KERNEL,
        **more,  # type: ignore[arg-type]
    )


def uplink(interface: int, metric: int) -> tuple[TableRoute, ...]:
    """Networks and default routes of an interface, of both families."""
    return (
        main(f"192.0.{interface}.0/24", interface),
        main("0.0.0.0/0", interface, f"192.0.{interface}.254", metric),
        main(f"2001:db8:{interface}::/64", interface, metric=256),
        main("::/0", interface, "fe80::1", metric),
    )


def own(text: str, interface: int, flags: int = 0) -> InterfaceAddress:
    return InterfaceAddress(ip_address(text), interface, 0, flags)


def snapshot(
    addresses: tuple[InterfaceAddress, ...],
    routes: tuple[TableRoute, ...],
    rules: tuple[Rule, ...] = (),
    versions: tuple[int, ...] = (4, 6),
) -> Snapshot:
    """As rtnetlink makes it."""
    leading = tuple(
        Route(one.version, one.interface, not one.length, one.metric, one.table == TABLE_MAIN)
        for one in routes
        if (one.gateway or not one.length or one.origin != RTPROT_KERNEL)
        and one.table not in SETTINGS.tables
    )
    found = {
        version: SYSTEM_RULES[version] + tuple(one for one in rules if one.version == version)
        for version in versions
    }
    return Snapshot(LINKS, addresses, leading, routes, found)


def planned(state: Snapshot) -> SourceRoutes:
    return plan(state, choose(state, UnderlaySettings()), SETTINGS)


def after(state: Snapshot, made: SourceRoutes) -> Snapshot:
    """The snapshot that follows once everything wanted is there."""
    routes = (*(one for one in state.table_routes if one.origin != OWN_ORIGIN), *made.routes)
    return snapshot(state.addresses, routes, tuple(made.rules), tuple(state.rules))


TWO = (
    own("192.0.2.1", ETH),
    own("192.0.3.1", WWAN),
    own("2001:db8:2::1", ETH),
    own("2001:db8:3::1", WWAN),
)
BOTH = uplink(ETH, 10) + uplink(WWAN, 20)


def test_each_uplink_has_a_table_and_each_address_its_rules() -> None:
    wanted = planned(snapshot(TWO, BOTH))
    assert wanted.routes == {
        replace(one, table=20000 + (one.interface == WWAN), origin=OWN_ORIGIN) for one in BOTH
    }
    rules = set()
    for address, table in zip(TWO, (20000, 20001) * 2, strict=True):
        common = Rule(address.address.version, table, table, address.address)
        rules |= {
            replace(common, ip_protocol=17, source_port=10501),
            replace(common, ip_protocol=139),
            replace(common, ip_protocol=50),
        }
    assert wanted.rules == rules


def test_what_a_mobile_router_sends_for_others_follows_its_source_as_well() -> None:
    settings = replace(SETTINGS, whole_packets=True)
    kernel = snapshot(TWO, BOTH)
    underlay = choose(kernel, UnderlaySettings())
    wanted, plain = plan(kernel, underlay, settings), plan(kernel, underlay, SETTINGS)
    assert wanted.routes == plain.routes
    assert {rule.ip_protocol for rule in wanted.rules - plain.rules} == {255}
    assert len(wanted.rules - plain.rules) == len(TWO)


def test_one_uplink_is_left_alone() -> None:
    assert planned(snapshot(TWO[::2], uplink(ETH, 10))) == SourceRoutes()
    # The other one leads nowhere, so there is no choice.
    assert planned(snapshot(TWO, (*uplink(ETH, 10), main("192.0.3.0/24", WWAN)))) == SourceRoutes()
    # Nor is there within either family.
    one_each = (own("192.0.2.1", ETH), own("2001:db8:3::1", WWAN))
    assert planned(snapshot(one_each, BOTH)) == SourceRoutes()
    assert planned(snapshot((), ())) == SourceRoutes()


def test_families_are_independent() -> None:
    wanted = planned(snapshot(TWO[2:], BOTH))
    assert {one.version for one in wanted.routes} == {6}
    assert {one.version for one in wanted.rules} == {6}


def test_a_kernel_without_rules_for_a_family_gets_none() -> None:
    wanted = planned(snapshot(TWO, BOTH, versions=(4,)))
    assert {one.version for one in wanted.routes} == {4}
    assert planned(snapshot(TWO, BOTH, versions=())) == SourceRoutes()


def test_an_address_about_to_go_still_leaves_by_its_interface() -> None:
    addresses = (TWO[2], own("2001:db8:3::1", WWAN, IFA_F_DEPRECATED))
    wanted = planned(snapshot(addresses, BOTH))
    assert {str(rule.source) for rule in wanted.rules} == {"2001:db8:2::1", "2001:db8:3::1"}


def test_routes_to_single_networks_are_copied() -> None:
    more = main("10.0.0.0/8", WWAN, "192.0.3.77", 5, mtu=1300, onlink=True)
    wanted = planned(snapshot(TWO, (*BOTH, more)))
    assert replace(more, table=20001, origin=OWN_ORIGIN) in wanted.routes


def test_what_cannot_be_copied_is_left_alone() -> None:
    many = tuple(main(f"10.{n}.0.0/16", WIFI, "192.0.7.9") for n in range(COPIED_MAX))
    wrapped = replace(main("10.0.0.0/8", WIFI, "192.0.7.9"), plain=False)
    addresses = (*TWO, own("192.0.7.1", WIFI))
    for odd in (many, (wrapped,)):
        wanted = planned(snapshot(addresses, (*BOTH, *uplink(WIFI, 30), *odd)))
        assert {one.interface for one in wanted.routes} == {ETH, WWAN}
        assert "192.0.7.1" not in {str(rule.source) for rule in wanted.rules}


def test_of_two_announced_routers_the_preferred_one_counts() -> None:
    low, high = (
        main("::/0", ETH, f"fe80::{n}", 1024, preference=preference)
        for n, preference in ((1, 3), (2, 1))
    )
    connected = main("2001:db8:2::/64", ETH, metric=256)
    wanted = planned(snapshot(TWO, (connected, low, high, *uplink(WWAN, 20))))
    gateways = {one.gateway for one in wanted.routes if not one.length and one.interface == ETH}
    assert gateways == {ip_address("fe80::2")}


def test_there_is_a_bound_to_rules() -> None:
    many = tuple(own(f"192.0.2.{n}", ETH) for n in range(1, 100))
    wanted = planned(snapshot((own("192.0.3.1", WWAN), *many), BOTH))
    assert len(wanted.rules) == 3 * ADDRESSES_MAX


def test_tables_of_others_are_passed_over() -> None:
    theirs = replace(main("10.0.0.0/8", WIFI, "192.0.7.9"), table=20000)
    rule = Rule(6, 7, 20002, origin=0)
    similar = Rule(4, 5, 20003)
    wanted = planned(snapshot(TWO, (*BOTH, theirs), (rule, similar)))
    assert {one.table for one in wanted.rules} == {20001, 20004}
    there = present(after(snapshot(TWO, (*BOTH, theirs), (rule, similar)), wanted), SETTINGS.tables)
    assert there == wanted


def test_a_table_stays_with_its_interface() -> None:
    first = planned(snapshot(TWO, BOTH))
    state = after(snapshot(TWO, BOTH), first)
    third = replace(
        state,
        addresses=(*TWO[1::2], own("192.0.7.1", WIFI), own("2001:db8:7::1", WIFI)),
        table_routes=(*uplink(WWAN, 20), *uplink(WIFI, 30), *first.routes),
        routes=snapshot((), uplink(WWAN, 20) + uplink(WIFI, 30)).routes,
    )
    wanted = planned(third)
    tables = {one.interface: one.table for one in wanted.routes}
    assert tables == {WWAN: 20001, WIFI: 20000}


def test_changes_lead_there_in_an_order_that_works() -> None:
    wanted = planned(snapshot(TWO, BOTH))
    todo = changes(wanted, SourceRoutes())
    kinds = [
        "rule" if isinstance(one, Rule) else "gateway" if one.gateway else "network"
        for one in todo.make
    ]
    assert kinds == ["network"] * 4 + ["gateway"] * 4 + ["rule"] * 12
    assert not todo.remove
    assert changes(wanted, wanted) == Changes()
    undo = changes(SourceRoutes(), wanted)
    assert not undo.make
    assert set(undo.remove) == set(todo.make)
    assert all(isinstance(one, Rule) for one in undo.remove[:12])


def test_another_gateway_takes_the_place_of_the_old_one() -> None:
    before = planned(snapshot(TWO, BOTH))
    moved = tuple(
        replace(one, gateway=ip_address("192.0.2.99"))
        if one.gateway == ip_address("192.0.2.254")
        else one
        for one in BOTH
    )
    todo = changes(planned(snapshot(TWO, moved)), before)
    assert len(todo.make) == 1
    assert not todo.remove  # it would take the new one away


subsets = st.lists(st.sampled_from(BOTH + uplink(WIFI, 5)), unique=True).map(tuple)
addresses = st.lists(
    st.sampled_from((*TWO, own("192.0.7.1", WIFI), own("2001:db8:7::1", WIFI))), unique=True
).map(tuple)


def key(route: TableRoute) -> tuple[object, ...]:
    """What the kernel tells routes apart by."""
    return route.version, route.table, route.destination, route.length, route.metric


@given(addresses, subsets, addresses, subsets)
def test_from_anything_to_anything(
    old: tuple[InterfaceAddress, ...],
    old_routes: tuple[TableRoute, ...],
    new: tuple[InterfaceAddress, ...],
    new_routes: tuple[TableRoute, ...],
) -> None:
    before = planned(snapshot(old, old_routes))
    state = after(snapshot(new, new_routes), before)
    wanted = planned(state)
    there = present(state, SETTINGS.tables)
    todo = changes(wanted, there)
    made = [one for one in todo.make if isinstance(one, TableRoute)]
    # As the kernel does it: a route takes the place of one with the same key.
    table = {key(one): one for one in (*there.routes, *made)}
    routes = set(table.values()) - set(todo.remove)
    rules = (there.rules | {one for one in todo.make if isinstance(one, Rule)}) - set(todo.remove)
    assert SourceRoutes(frozenset(routes), frozenset(rules)) == wanted
    # And then it is quiet.
    again = after(state, wanted)
    assert changes(planned(again), present(again, SETTINGS.tables)) == Changes()
