"""A mobile router on a machine with a firewall and NAT of its own, which it leaves as they are."""

import json
import re
from collections.abc import Iterator

import pytest

from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.mobile_router import MovingNetwork, Spot
from hipgw.platform import nf_tables
from hipgw.platform.diversion import TABLE

pytestmark = pytest.mark.system

PATIENCE_S = 60.0
OUTSIDE: tuple[Spot, ...] = ("four0", "six0", "dual0")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("mr_firewall") as lab:
        yield lab


def fence(host: Host) -> None:
    """Let nothing through, and in only what a mobile router needs; masquerade what goes out."""
    for tool, icmp in (("iptables", "icmp"), ("ip6tables", "icmpv6")):

        def rule(table: str, *words: str, tool: str = tool) -> None:
            host.run([tool, "-w", "-t", table, *words])

        rule("filter", "-P", "FORWARD", "DROP")
        rule("filter", "-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
        rule("filter", "-A", "INPUT", "-i", "lan0", "-p", "udp", "--dport", "10500", "-j", "ACCEPT")
        rule("filter", "-A", "INPUT", "-p", icmp, "-j", "ACCEPT")
        rule("filter", "-P", "INPUT", "DROP")
        rule("raw", "-A", "PREROUTING", "-p", "tcp", "--dport", "23", "-j", "DROP")
        rule("mangle", "-A", "FORWARD", "-j", "DROP")
        for interface in OUTSIDE:
            rule("nat", "-A", "POSTROUTING", "-o", interface, "-j", "MASQUERADE")


def rules(host: Host) -> list[str]:
    """All of them, as iptables shows them."""
    said = "".join(host.run([f"{tool}-save"]).stdout for tool in ("iptables", "ip6tables"))
    lines = re.sub(r"\[\d+:\d+\]", "", said).splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_beside_the_rules_of_others(lab: Lab) -> None:
    """Nothing is forwarded, nothing let through, everything masqueraded: clients do not mind."""
    network = MovingNetwork(lab, clients=2)
    (router,) = network.routers
    host = router.place.host
    fence(host)
    before = rules(host)
    forwarding = "/proc/sys/net/ipv4/ip_forward"
    network.start()
    assert rules(host) == before
    assert host.call(nf_tables.exists, TABLE)

    peer = network.correspondents[1]

    def answered() -> bool:
        return all(
            client.place.host.ping(str(peer.hits[2]), count=2, timeout_s=1.0)
            for client in network.clients
        )

    wait_until(answered, PATIENCE_S, what="answers through the router")
    for spot in OUTSIDE[:2]:
        router.place.go(spot)
        wait_until(answered, PATIENCE_S, what=f"answers at {spot}")
    assert not network.closed()
    assert host.run(["cat", forwarding]).stdout.strip() == "0"
    # An administrator who begins anew with nftables does not take the router's rules along.
    host.run(["nft", "flush", "ruleset"])
    assert rules(host) != before
    assert host.call(nf_tables.exists, TABLE)
    wait_until(answered, PATIENCE_S, what="answers without the rules of others")
    assert router.daemon.stop() == 0
    assert not host.call(nf_tables.exists, TABLE)
    assert json.loads(host.run(["nft", "-j", "list", "tables"]).stdout)["nftables"][1:] == []
