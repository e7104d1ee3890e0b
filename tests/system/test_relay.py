"""Hosts behind NATs reach each other: directly where their NATs let them, else by a relay."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.nat import Nat, NatKind
from system.traffic import transfer

pytestmark = pytest.mark.system

PATIENCE_S = 30.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("relay") as lab:
        yield lab


@dataclass
class Site:
    """A host behind a NAT of its own."""

    host: Host
    nat: Nat
    daemon: HipgwDaemon


@dataclass
class Network:
    relay: HipgwDaemon
    a: Site
    b: Site

    def start(self) -> None:
        """Start all daemons; both hosts are registered then."""
        self.relay.start()
        for site in (self.a, self.b):
            site.daemon.start()
        self.wait_registered()

    def wait_registered(self) -> None:
        for site in (self.a, self.b):
            wait_until(
                lambda site=site: site.daemon.request("registrations") != [],
                PATIENCE_S,
                what=f"the registration of {site.host.name}",
            )

    def reaches(self) -> bool:
        """Whether a packet gets from one to the other and back, within the time it may take."""
        hit = str(self.b.daemon.hit)
        return bool(
            wait_until(
                lambda: self.a.host.ping(hit, timeout_s=2.0), PATIENCE_S, what="a ping across"
            )
        )

    def relayed(self) -> int:
        """Data packets that the relay has passed on."""
        return int(self.relay.request("counters")["dataplane"]["relayed_packets"])


def build(
    lab: Lab,
    kind: NatKind,
    other: NatKind | None = None,
    *,
    relay: dict[str, Any] | None = None,
    hip: dict[str, Any] | None = None,
    role: dict[str, Any] | None = None,
    traversal: dict[str, Any] | None = None,
) -> Network:
    """A relay and two sites around one router of the public internet, each behind a NAT."""
    router = lab.router("r")
    server = lab.host("relay")
    lab.link(server, "wan0", router, "relay")
    server.address("wan0", "198.51.100.2/24")
    router.address("relay", "198.51.100.1/24")
    server.route("default", "198.51.100.1")
    built = []
    for number, name, net in ((1, "a", "192.0.2"), (2, "b", "203.0.113")):
        nat, host = lab.nat(f"n{number}"), lab.host(name)
        lab.link(nat, "wan0", router, name)
        lab.link(host, "eth0", nat, "lan0")
        nat.address("wan0", f"{net}.2/24")
        router.address(name, f"{net}.1/24")
        nat.route("default", f"{net}.1")
        nat.address("lan0", "192.168.1.1/24")
        host.address("eth0", "192.168.1.2/24")
        host.route("default", "192.168.1.1")
        nat.hide("wan0", kind=kind if number == 1 else other or kind)
        built.append(Site(host, nat, HipgwDaemon(host, key_kind="ecdsa-p256")))
    a, b = built
    daemon = HipgwDaemon(server, key_kind="ecdsa-p256")
    clients = [{"name": site.host.name, "hit": str(site.daemon.hit)} for site in built]
    fast = {"retransmit_s": 0.2, **(hip or {})}
    daemon.configure({"hip": fast, "relay": {"ports": 8, **(relay or {})}}, clients)
    known = {"name": "relay", "hit": str(daemon.hit), "addresses": ["198.51.100.2"]}
    settings = {"relays": ["relay"], "lifetime_s": 20, **(traversal or {})}
    for site, other in ((a, b), (b, a)):
        peer = {"name": other.host.name, "hit": str(other.daemon.hit), "relays": ["relay"]}
        site.daemon.configure(
            {"hip": fast, "nat": settings, **(role or {"host": {}})},
            [known, peer],
        )
    return Network(daemon, a, b)


def path_of(network: Network, key: str) -> Any:
    (found,) = [
        entry[key]
        for entry in network.a.daemon.request("associations")
        if entry["peer_hit"] == str(network.b.daemon.hit)
    ]
    return found


def path(site: Site, peer: Site) -> dict[str, Any]:
    (found,) = [
        entry["path"]
        for entry in site.daemon.request("associations")
        if entry["peer_hit"] == str(peer.daemon.hit)
    ]
    return dict(found)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED),
        (NatKind.SYMMETRIC, NatKind.FULL_CONE),
        (NatKind.ADDRESS_RESTRICTED, NatKind.SYMMETRIC),
    ],
)
def test_a_direct_path_is_found(lab: Lab, kind: NatKind, other: NatKind) -> None:
    network = build(lab, kind, other)
    network.start()
    assert network.reaches()
    assert path(network.a, network.b)["remote"] == "203.0.113.2"
    assert path(network.b, network.a)["remote"] == "192.0.2.2"
    assert transfer(network.a.host, network.b.host, str(network.b.daemon.hit)) > 1
    assert network.relayed() == 0


@pytest.mark.parametrize("other", [NatKind.SYMMETRIC, NatKind.PORT_RESTRICTED])
def test_data_goes_by_the_relay_where_it_has_to(lab: Lab, other: NatKind) -> None:
    network = build(lab, NatKind.SYMMETRIC, other)
    network.start()
    assert network.reaches()
    assert network.relayed() > 0
    hit = str(network.b.daemon.hit)
    assert network.a.host.ping(hit, count=20, interval_s=0.1).received == 20
    assert transfer(network.a.host, network.b.host, hit) > 1
    assert transfer(network.a.host, network.b.host, hit, "-R") > 1
    ends = [path(network.a, network.b), path(network.b, network.a)]
    assert any(end["remote"] == "198.51.100.2" for end in ends)
    services = {answer["service"] for answer in network.relay.request("registrations")}
    assert services == {"RELAY_UDP_HIP", "RELAY_UDP_ESP"}


def test_two_lans_behind_nats_become_one(lab: Lab) -> None:
    network = build(lab, NatKind.SYMMETRIC, role={"endbox": {"ports": ["lan0"]}})
    stations = []
    for number, site in enumerate((network.a, network.b), 1):
        station = lab.host(f"h{number}")
        lab.link(station, "eth0", site.host, "lan0")
        station.address("eth0", f"10.77.0.{number}/24")
        stations.append(station)
    network.start()
    one, two = stations
    wait_until(lambda: one.ping("10.77.0.2", timeout_s=1.0), PATIENCE_S, what="the other LAN")
    assert network.relayed() > 0
    assert transfer(one, two, "10.77.0.2") > 1


def test_without_a_data_relay_there_may_be_no_way(lab: Lab) -> None:
    network = build(lab, NatKind.SYMMETRIC, relay={"services": ["control"]})
    network.start()
    assert not network.a.host.ping(str(network.b.daemon.hit), count=3, timeout_s=1.0)
    reason = "no path between the hosts was found"
    wait_until(
        lambda: any(reason in site.daemon.output() for site in (network.a, network.b)),
        60.0,
        what="the checks' end",
    )


def test_a_relay_that_restarts(lab: Lab) -> None:
    network = build(lab, NatKind.SYMMETRIC)
    network.start()
    assert network.reaches()
    network.relay.restart(crash=True)
    network.a.daemon.restart()
    network.b.daemon.restart()
    network.wait_registered()
    assert network.reaches()
    assert network.relayed() > 0


def test_the_clients_of_a_relay_that_restarts_are_called(lab: Lab) -> None:
    """They would notice when they renew, in minutes; the NATs still let the relay in."""
    network = build(lab, NatKind.SYMMETRIC, traversal={"lifetime_s": 3600})
    network.start()
    assert network.reaches()

    def registered() -> set[str]:
        return {one["peer_hit"] for one in network.relay.request("registrations")}

    both = {str(site.daemon.hit) for site in (network.a, network.b)}
    kept = network.relay.directory / "relay-clients.json"
    wait_until(lambda: len(json.loads(kept.read_text())) == 2, PATIENCE_S, what="two in the file")
    network.relay.restart(crash=True)
    wait_until(lambda: registered() == both, PATIENCE_S, what="the clients of before")
    wait_until(
        lambda: network.a.host.ping(str(network.b.daemon.hit), timeout_s=2.0),
        2 * PATIENCE_S,
        what="a ping across",
    )
    assert network.relayed() > 0


def test_the_status_tells_of_a_relay_that_is_gone(lab: Lab) -> None:
    network = build(lab, NatKind.PORT_RESTRICTED)
    network.start()
    site = network.a.daemon
    assert site.request("status")["health"] == []
    network.relay.stop()

    def missing() -> bool:
        codes = [warning["code"] for warning in site.request("status")["health"]]
        return codes == ["not_registered"]

    wait_until(missing, PATIENCE_S, what="a warning")
    (peer,) = [one for one in site.request("peers") if one["name"] == "b"]
    assert peer["relays"] == ["relay"]


def test_a_nat_that_forgets(lab: Lab) -> None:
    network = build(lab, NatKind.PORT_RESTRICTED)
    network.start()
    network.b.nat.forget()
    assert network.reaches()


def test_a_nat_that_gives_another_port_under_a_direct_path(lab: Lab) -> None:
    """Each NAT drops what comes from where nothing was sent to; the relay brings them together."""
    network = build(lab, NatKind.PORT_RESTRICTED)
    network.start()
    assert network.reaches()
    spi = path_of(network, "outbound_spi")
    network.a.nat.rebind()
    assert network.reaches()
    assert path_of(network, "outbound_spi") == spi, "no new association"
    assert path(network.a, network.b)["remote"] == "203.0.113.2"


def test_a_host_that_moves_to_another_nat(lab: Lab) -> None:
    """A connection lives on: keys and SPIs stay, the path is found anew."""
    network = build(lab, NatKind.PORT_RESTRICTED)
    network.start()
    assert network.reaches()
    router, b = lab.hosts["r"], network.b.host
    nat = lab.nat("n3")
    lab.link(nat, "wan0", router, "c")
    lab.link(b, "eth1", nat, "lan0")
    nat.address("wan0", "100.64.3.2/24")
    router.address("c", "100.64.3.1/24")
    nat.route("default", "100.64.3.1")
    nat.address("lan0", "10.9.9.1/24")
    nat.hide("wan0", kind=NatKind.SYMMETRIC)
    spi = path_of(network, "outbound_spi")
    b.remove_address("eth0", "192.168.1.2/24")
    b.address("eth1", "10.9.9.2/24")
    b.route("default", "10.9.9.1")
    assert network.reaches()
    assert path_of(network, "outbound_spi") == spi, "no new association"


def test_a_host_that_moves_to_ipv6(lab: Lab) -> None:
    """Neither the relay nor the address in use can be reached from there, but another one."""
    network = build(lab, NatKind.PORT_RESTRICTED)
    router, a, b = lab.hosts["r"], network.a.host, network.b.host
    for number, host in ((1, a), (2, b)):
        lab.link(host, "eth1", router, f"six{number}")
        router.address(f"six{number}", f"2001:db8:{number}::1/64")
    a.address("eth1", "2001:db8:1::2/64")
    a.route("default", "2001:db8:1::1")
    network.start()
    assert network.reaches()
    assert path(network.b, network.a)["remote"] == "192.0.2.2"
    spi = path_of(network, "outbound_spi")
    b.remove_address("eth0", "192.168.1.2/24")
    b.address("eth1", "2001:db8:2::2/64")
    b.route("default", "2001:db8:2::1")
    assert wait_until(
        lambda: b.ping(str(network.a.daemon.hit), timeout_s=1.0), PATIENCE_S, what="a ping from b"
    )
    assert path(network.b, network.a)["remote"] == "2001:db8:1::2"
    assert path_of(network, "outbound_spi") == spi, "no new association"


def test_a_second_interface_leads_to_a_direct_path(lab: Lab) -> None:
    """The relay tells how it looks from outside of its NAT; the first one's NAT lets nobody in."""
    network = build(lab, NatKind.SYMMETRIC, NatKind.PORT_RESTRICTED)
    router, a = lab.hosts["r"], network.a.host
    nat = lab.nat("n3")
    lab.link(nat, "wan0", router, "c")
    lab.link(a, "eth1", nat, "lan0")
    nat.address("wan0", "100.64.3.2/24")
    router.address("c", "100.64.3.1/24")
    nat.route("default", "100.64.3.1")
    nat.address("lan0", "10.9.9.1/24")
    nat.hide("wan0", kind=NatKind.PORT_RESTRICTED)
    a.address("eth1", "10.9.9.2/24")
    a.route("default", "10.9.9.1", metric=100)
    network.start()

    def told() -> bool:
        own = network.a.daemon.request("addresses")["own"]
        return ["100.64.3.2:10500"] in [one["reflexive"] for one in own]

    wait_until(told, PATIENCE_S, what="what the relay sees of eth1")
    assert network.reaches()
    assert path(network.a, network.b)["local"] == "10.9.9.2"
    assert path(network.b, network.a)["remote"] == "100.64.3.2"
    assert network.relayed() == 0


def test_a_stranger_gets_nothing(lab: Lab) -> None:
    network = build(lab, NatKind.PORT_RESTRICTED, relay={"clients": ["a"]})
    network.relay.start()
    network.a.daemon.start()
    network.b.daemon.start()
    wait_until(lambda: network.a.daemon.request("registrations") != [], PATIENCE_S)
    wait_until(
        lambda: "CREDENTIALS_REQUIRED" in network.b.daemon.output(), PATIENCE_S, what="the refusal"
    )
    assert network.b.daemon.request("registrations") == []
    assert not network.a.host.ping(str(network.b.daemon.hit), count=2, timeout_s=1.0)
