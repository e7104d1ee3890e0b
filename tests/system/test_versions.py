"""Peers that speak HIPv1, HIPv2 or both: who is talked to in which, and who cannot change that."""

from collections.abc import Iterator
from typing import Any

import pytest

from hipgw.identity.keyfile import load_key_file
from hipgw.lab import Lab, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.host import Router
from hipgw.lab.topologies import underlay, underlay_address

pytestmark = pytest.mark.system

PATIENCE_S = 30.0
QUICK = {"retransmit_s": 0.1, "retries": 3}
V2_ALONE = ["-p", "udp", "--dport", "10500", "-m", "u32", "--u32", "0>>22&0x3C@12>>4&0xF=2"]
"""iptables: HIP packets of version 2 in UDP: behind 8 octets of UDP and 4 of zeros, octet 3."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("versions") as lab:
        yield lab


class Two:
    """Two hosts around a router; each has an RSA key, so a HIT of each version."""

    def __init__(self, lab: Lab, versions: list[list[str]]) -> None:
        (self.router,), self.hosts = underlay(lab, 2, names="g")
        self.daemons = [HipgwDaemon(host, key_kind="rsa2048") for host in self.hosts]
        self.old = [load_key_file(one.directory / "key.pem", 1).hit for one in self.daemons]
        for n, daemon in enumerate(self.daemons):
            other = 1 - n
            spoken = versions[n]
            peer: dict[str, Any] = {
                "name": f"g{other + 1}",
                "addresses": [underlay_address(other + 1, 4)],
                "lsi": f"1.0.0.{other + 1}",
            }
            if spoken == ["v1"]:
                peer["hit"] = str(self.old[other])
            else:
                peer["hit"] = str(self.daemons[other].hit)
                peer["hit_v1"] = str(self.old[other])
            daemon.configure(
                {"hip": {"versions": spoken, **QUICK}, "host": {"lsi": f"1.0.0.{n + 1}"}}, [peer]
            )

    def start(self) -> None:
        for daemon in self.daemons:
            daemon.start()

    def connect(self) -> None:
        """Have the first call the second by its LSI, until that answers."""
        wait_until(
            lambda: self.hosts[0].ping("1.0.0.2", timeout_s=1.0).received,
            PATIENCE_S,
            what="an answer",
        )

    def spoken(self, n: int = 0) -> set[int]:
        """Versions of the associations of a host that are up."""
        return {
            entry["version"]
            for entry in self.daemons[n].request("associations")
            if entry["state"] in {"ESTABLISHED", "R2-SENT"}
        }


def suppress(router: Router) -> None:
    """A man in the middle lets no HIPv2 by."""
    router.run(["iptables", "-A", "FORWARD", *V2_ALONE, "-j", "DROP"])


def test_both_speak_the_newer_one(lab: Lab) -> None:
    two = Two(lab, [["v2", "v1"], ["v2", "v1"]])
    two.start()
    two.connect()
    assert two.spoken() == two.spoken(1) == {2}


def test_a_peer_that_has_the_old_one_alone_is_called_in_that(lab: Lab) -> None:
    two = Two(lab, [["v2", "v1"], ["v1"]])
    two.start()
    two.connect()
    assert two.spoken() == two.spoken(1) == {1}


def test_a_peer_that_spoke_the_newer_one_is_not_brought_down_to_the_old_one(lab: Lab) -> None:
    """Not in mid-flow, not by a new exchange, not after a restart, and not as the one called."""
    two = Two(lab, [["v2", "v1"], ["v2", "v1"]])
    two.start()
    two.connect()
    assert two.spoken() == {2}
    suppress(two.router)
    for daemon in two.daemons:
        daemon.stop()
    two.start()
    for n in (0, 1):
        answer = two.hosts[n].ping(f"1.0.0.{2 - n}", count=5, timeout_s=1.0)
        assert not answer.received
    assert not two.spoken()
    assert not two.spoken(1)
    assert all(
        entry["state"] not in {"ESTABLISHED", "R2-SENT"}
        for entry in two.daemons[0].request("associations")
    )
    two.router.run(["iptables", "-F", "FORWARD"])
    two.connect()
    assert two.spoken() == {2}


def test_without_a_policy_for_the_old_one_it_is_never_spoken(lab: Lab) -> None:
    two = Two(lab, [["v2"], ["v2", "v1"]])
    suppress(two.router)
    two.start()
    assert not two.hosts[0].ping("1.0.0.2", count=5, timeout_s=1.0).received
    assert not two.hosts[1].ping("1.0.0.1", count=5, timeout_s=1.0).received
    assert not two.spoken()


def test_one_host_speaks_to_peers_of_both(lab: Lab) -> None:
    (_, hosts) = underlay(lab, 3, names="g")
    daemons = [HipgwDaemon(host, key_kind="rsa2048") for host in hosts]
    old = [load_key_file(one.directory / "key.pem", 1).hit for one in daemons]

    def peer(n: int, hit: object) -> dict[str, Any]:
        address = underlay_address(n + 1, 4)
        return {
            "name": f"g{n + 1}",
            "hit": str(hit),
            "addresses": [address],
            "lsi": f"1.0.0.{n + 1}",
        }

    daemons[0].configure({"host": {"lsi": "1.0.0.1"}}, [peer(1, daemons[1].hit), peer(2, old[2])])
    daemons[1].configure({"host": {"lsi": "1.0.0.2"}}, [peer(0, daemons[0].hit)])
    daemons[2].configure(
        {"hip": {"versions": ["v1"]}, "host": {"lsi": "1.0.0.3"}}, [peer(0, old[0])]
    )
    for daemon in daemons:
        daemon.start()
    for target in ("1.0.0.2", "1.0.0.3", str(daemons[1].hit), str(old[2])):
        wait_until(
            lambda target=target: hosts[0].ping(target, timeout_s=1.0).received,
            PATIENCE_S,
            what=f"an answer from {target}",
        )
    for n, source in ((1, "1.0.0.1"), (2, "1.0.0.1"), (2, str(old[0]))):
        assert hosts[n].ping(source, count=3).received == 3
    spoken = {entry["peer"]: entry["version"] for entry in daemons[0].request("associations")}
    assert spoken == {"g2": 2, "g3": 1}
    answers = {
        entry["version"]: entry["hit"] for entry in daemons[0].request("status")["identities"]
    }
    assert answers == {2: str(daemons[0].hit), 1: str(old[0])}
