"""Connections through hipgw survive whatever happens to its addresses (RFC 8046, RFC 8047)."""

import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from hipgw.lab import Impairment, Lab, NatKind, wait_until
from hipgw.lab.roaming import RoamingNetwork, roaming_pair
from hipgw.lab.stream import stream
from hipgw.lab.topologies import Family

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("mobility") as lab:
        yield lab


def started(lab: Lab, role: Any, **options: Any) -> RoamingNetwork:
    network = roaming_pair(lab, role, **options)
    network.start(wait=False)
    network.connect()
    return network


def settled(network: RoamingNetwork) -> None:
    """Wait until both daemons send between the places where they really are."""
    ours, theirs = network.roamers
    ends = ours.place.address, theirs.address(ours.place.family)

    def there() -> bool:
        paths = [site.daemon.request("associations")[0]["path"] for site in network.sites]
        near, far = ((path["local"], path["remote"]) for path in paths)
        return near == ends and far == ends[::-1]

    wait_until(there, 20.0, what=f"the path between {ends[0]} and {ends[1]}")


MOVES: list[dict[str, Any]] = [
    {},
    {"make_first": False},
    {"uplink": "wwan0"},
    {"uplink": "wan0", "make_first": False},
    {"family": 6},
    {"family": 4, "make_first": False},
    {"uplink": "wwan0", "family": 6, "make_first": False, "gap_s": 1.0},
    {"uplink": "wan0", "family": 4, "gap_s": 0.0},
]


@pytest.mark.both_versions
@pytest.mark.parametrize("role", ["endbox", "host"])
def test_a_stream_survives_every_kind_of_handover(lab: Lab, role: str) -> None:
    network = started(lab, role)
    ours, _ = network.roamers
    with stream(*network.ends, network.target) as running:
        assert running.progresses()
        for move in MOVES:
            ours.go(**move)
            assert running.progresses(), f"after {move}"
            settled(network)
        assert not closed(network)


def closed(network: RoamingNetwork) -> list[str]:
    """What a daemon has logged of an association that ended."""
    return [
        line
        for site in network.sites
        for line in site.daemon.output().splitlines()
        if "association closed" in line
    ]


@pytest.mark.both_versions
@pytest.mark.parametrize("role", ["endbox", "host"])
def test_both_ends_move_at_once(lab: Lab, role: str) -> None:
    """Each still has its old address when the other's news come: `make_first`."""
    network = started(lab, role)
    with stream(*network.ends, network.target) as running:
        assert running.progresses()
        for uplink in ("wwan0", "wan0"):
            # Long enough for a busy machine to see both addresses.
            together(network, uplink=uplink, gap_s=0.3)
            assert running.progresses()
            settled(network)
        assert not closed(network)


def test_both_ends_break_at_once_and_meet_at_an_address_that_stays(lab: Lab) -> None:
    network = started(lab, "host")
    network.roamers[0].stay(6)
    with stream(*network.ends, network.target) as running:
        for _ in range(2):
            assert running.progresses()
            # Long enough that both have been told of the other family.
            wait_until(lambda: knows_ipv6(network), what="the addresses of the peer")
            together(network, make_first=False)
        assert running.progresses()
        assert not closed(network)


def knows_ipv6(network: RoamingNetwork) -> bool:
    """Whether both have verified an IPv6 address of the other."""
    return all(
        any(
            one["state"] == "ACTIVE" and ":" in one["address"]
            for one in site.daemon.request("addresses")["peers"][0]["locators"]
        )
        for site in network.sites
    )


def together(network: RoamingNetwork, **options: Any) -> None:
    movers = [threading.Thread(target=roamer.go, kwargs=options) for roamer in network.roamers]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()


@pytest.mark.both_versions
def test_handovers_on_a_bad_network(lab: Lab) -> None:
    bad = Impairment(loss=0.02, duplicate=0.01, reorder=0.02, delay_s=0.01)
    network = started(lab, "host", impairment=bad)
    ours, _ = network.roamers
    moves: list[dict[str, Any]] = [{}, {"make_first": False}, {"uplink": "wwan0"}, {"family": 6}]
    with stream(*network.ends, network.target) as running:
        for move in moves:
            ours.go(**move)
            assert running.progresses(), f"after {move}"
            settled(network)
        assert not closed(network)


@pytest.mark.both_versions("openhip")
@pytest.mark.parametrize("kind", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
def test_a_nat_takes_other_ports_and_another_address(lab: Lab, kind: NatKind) -> None:
    network = started(lab, "host", nat=kind)
    with stream(*network.ends, network.target) as running:
        assert running.progresses()
        for address in (None, "192.168.100.77"):
            network.nat.rebind(address=address)
            assert running.progresses()
        # And a handover of the host itself, behind it.
        network.roamers[0].go(uplink="wwan0")
        assert running.progresses()
        network.nat.rebind()
        assert running.progresses()
        assert not closed(network)


@pytest.mark.parametrize(
    ("family", "transport", "rules"),
    [
        *((4, "udp", False), (4, "udp", True), (4, "raw", False)),
        *((6, "udp", False), (6, "udp", True), (6, "raw", False)),
    ],
)
def test_another_path_is_found_when_one_is_dead_behind_its_link(
    lab: Lab, family: Family, transport: Literal["udp", "raw"], rules: bool
) -> None:
    """The default routes have different metrics, so Linux alone would send everything by one.

    With and without rules that somebody has made by hand.
    """
    network = started(lab, "host", bad_uplinks=True, transport=transport)
    ours, _ = network.roamers
    with stream(*network.ends, network.target) as running:
        assert running.progresses()
        if family == 6:
            ours.go(family=6)
            settled(network)
        home, away = ours.place, ours.somewhere("wwan0", family)
        ours.arrive(away)
        for number, place in enumerate((home, away) if rules else (), 100):
            gateway = f"default via {place.gateway} dev {place.uplink}"
            rule = f"rule add from {place.address} lookup {number}"
            ours.gateway.run(["ip", f"-{family}", *rule.split()])
            ours.gateway.ip(f"route add {gateway} table {number}")
        settled(network)
        # The link keeps its carrier, and the host its address: only silence tells.
        ours.links["wwan0"].set(cut=True)
        assert running.progresses()
        ours.place = home
        settled(network)
        assert not closed(network)


def test_events_and_answers_tell_of_a_handover(lab: Lab) -> None:
    network = started(lab, "host")
    ours, theirs = (site.daemon for site in network.sites)
    with theirs.client() as watching, theirs.client() as asking:
        events = watching.subscribe("path", timeout_s=10.0)
        network.roamers[0].go()
        event = next(events)
        new = network.roamers[0].place.address
        assert event["path"]["remote"] == new
        assert event["reason"] == "the peer has moved"
        settled(network)
        peer = asking.addresses()["peers"][0]
        assert [one["address"] for one in peer["locators"] if one["in_use"]] == [new]
        assert peer["verified"]
    assert [own["address"] for own in ours.request("addresses")["own"]] == [new]


@pytest.mark.both_versions("openhip")
def test_new_keys_while_data_flows(lab: Lab) -> None:
    network = started(lab, "host", tables={"esp": {"rekey_packets": 1000}})
    ours, theirs = (site.daemon for site in network.sites)
    with ours.client() as watching, stream(*network.ends, network.target) as running:
        events = watching.subscribe("rekeyed", timeout_s=30.0)
        answer = ours.request("rekey", peer=network.sites[1].gateway.name)
        assert answer["rekeyed"], answer["reason"]
        first = next(events)
        assert first["outbound_spi"] == answer["outbound_spi"]
        # And by itself, after so many packets.
        second = next(events)
        assert second["outbound_spi"] != first["outbound_spi"]
        assert running.progresses()
    assert second["outbound_spi"] in {entry["spi"] for entry in theirs.request("sa")}
