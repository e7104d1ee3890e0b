"""A real STUN server tells hosts how their NATs map HIP's own port (RFC 9028 §4.2)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hipgw.lab import Lab, wait_until
from hipgw.lab.nat import NatKind
from system.test_relay import PATIENCE_S, Network, Site, build, path

pytestmark = pytest.mark.system

STUN = "100.64.9.2"
PORT = 13478


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("stun") as lab:
        yield lab


def start_server(lab: Lab, folder: Path) -> None:
    """coturn on a host of its own in the public internet."""
    server, router = lab.host("stun"), lab.hosts["r"]
    lab.link(server, "wan0", router, "stun")
    server.address("wan0", f"{STUN}/24")
    router.address("stun", "100.64.9.1/24")
    server.route("default", "100.64.9.1")
    process = server.popen(
        [
            *("turnserver", "-n", "--stun-only", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp"),
            *(f"--listening-ip={STUN}", f"--listening-port={PORT}", f"--relay-ip={STUN}"),
            *(f"--pidfile={folder / 'pid'}", f"--userdb={folder / 'db'}", "--log-file=stdout"),
        ]
    )
    time.sleep(0.5)
    process.require_running()


def sees_apart(site: Site, net: str) -> None:
    """Have a NAT give what goes to the relay another outside address than everything else.

    What the relay sees is no use to peers then, as with NATs that have a pool of addresses (RFC
    4787 §4.1).
    """
    site.nat.address("wan0", f"{net}.3/24")
    to_relay = ("-d", "198.51.100.2", "-p", "udp")
    site.nat.firewall(
        *("-t", "nat", "-I", "POSTROUTING", *to_relay, "-j", "SNAT", "--to-source", f"{net}.3")
    )


def prepare(lab: Lab, folder: Path, *, stun: bool) -> Network:
    servers = {"stun_servers": [f"{STUN}:{PORT}"]} if stun else {}
    network = build(
        lab, NatKind.PORT_RESTRICTED, relay={"services": ["control"]}, traversal=servers
    )
    start_server(lab, folder)
    sees_apart(network.a, "192.0.2")
    sees_apart(network.b, "203.0.113")
    network.start()
    return network


def reflexive(site: Site) -> list[str]:
    (own,) = site.daemon.request("addresses")["own"]
    return list(own["reflexive"])


def test_hosts_meet_by_what_a_stun_server_sees(lab: Lab, tmp_path: Path) -> None:
    network = prepare(lab, tmp_path, stun=True)
    for site, outside in ((network.a, "192.0.2.2"), (network.b, "203.0.113.2")):
        wait_until(lambda site=site: reflexive(site) != [], PATIENCE_S, what="an answer of coturn")
        assert reflexive(site) == [f"{outside}:10500"]
        seen = {answer["mapped"] for answer in site.daemon.request("registrations")}
        assert seen == {f"{outside[:-1]}3:10500"}, "the relay sees something else"
    assert network.reaches()
    assert path(network.a, network.b)["remote"] == "203.0.113.2"
    assert path(network.b, network.a)["remote"] == "192.0.2.2"
    assert network.relayed() == 0
    counters = network.a.daemon.request("counters")["dataplane"]
    assert counters["stun_messages"] > 0


def test_without_it_they_do_not_meet(lab: Lab, tmp_path: Path) -> None:
    network = prepare(lab, tmp_path, stun=False)
    assert reflexive(network.a) == []
    assert not network.a.host.ping(str(network.b.daemon.hit), count=3, timeout_s=1.0)
    reason = "no path between the hosts was found"
    wait_until(
        lambda: any(reason in site.daemon.output() for site in (network.a, network.b)),
        60.0,
        what="the checks' end",
    )


def test_a_nat_that_rebinds(lab: Lab, tmp_path: Path) -> None:
    """The server is asked again with each keepalive, so that peers learn where to try now."""
    network = build(
        lab,
        NatKind.PORT_RESTRICTED,
        hip={"keepalive_s": 2},
        traversal={"stun_servers": [f"{STUN}:{PORT}"]},
    )
    start_server(lab, tmp_path)
    network.start()
    wait_until(lambda: reflexive(network.b) != [], PATIENCE_S, what="an answer of coturn")
    before = reflexive(network.b)
    network.b.nat.rebind()
    wait_until(lambda: reflexive(network.b) not in ([], before), PATIENCE_S, what="the new mapping")
    assert network.reaches()
