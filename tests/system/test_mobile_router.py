"""A mobile router between a client and two correspondents."""

import json
import sys
from collections.abc import Iterator

import pytest

from hipgw.lab import Lab, wait_until
from hipgw.lab.mobile_router import SPOTS, MovingNetwork

pytestmark = pytest.mark.system

PATIENCE_S = 40.0
HIPGW = (sys.executable, "-m", "hipgw.cli.main")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("mobile_router") as lab:
        yield lab


def test_a_router_moves(lab: Lab) -> None:
    """Its client talks HIPv1 with one, by IP protocols 139 and 50, and HIPv2 with the other."""
    network = MovingNetwork(lab, clients=1)
    (router,), (client,), peers = network.routers, network.clients, network.correspondents
    both = {"versions": ["v2", "v1"], "v1": {"compat": "none"}}
    # The client registers by both its HITs, as it has a correspondent for each.
    router.daemon.configure(
        {"hip": {"accept": "any", **both}, "mobile_router": {"external_interfaces": [*SPOTS]}}
    )
    client.daemon.configure(
        {"hip": both, "host": {}, "mobile_node": {"routers": ["m1"], "automatic": False}},
        [
            {
                "name": "m1",
                "hit": str(router.hits[2]),
                "hit_v1": str(router.hits[1]),
                "addresses": [router.inner_address(4)],
            },
            *(peer.known(addresses=True) for peer in peers),
        ],
    )
    network.start()
    wait_until(
        lambda: len(client.daemon.request("registrations")) == 2, PATIENCE_S, what="registrations"
    )

    def answered() -> bool:
        return all(
            client.place.host.ping(str(peer.hits[peer.version]), count=2, timeout_s=1.0)
            for peer in peers
        )

    def remotes() -> set[str]:
        return {
            str(one["path"]["remote"])
            for peer in peers
            for one in peer.daemon.request("associations")
            if one["peer_hit"] == str(client.hits[peer.version])
        }

    wait_until(answered, PATIENCE_S, what="answers through the router")
    # Correspondents see the router and nothing of what is behind it.
    assert remotes() <= set(router.place.addresses.values())
    for spot in ("six0", "four0"):
        router.place.go(spot)
        wait_until(answered, PATIENCE_S, what=f"answers at {spot}")
        wait_until(
            lambda: remotes() <= set(router.place.addresses.values()),
            PATIENCE_S,
            what=f"correspondents to know of {spot}",
        )
    assert not network.closed()
    # It is gone without a word, and there again: its clients are back without asking for it.
    router.daemon.restart(crash=True)
    wait_until(
        lambda: len(router.daemon.request("mobile_router_clients")) == 2,
        PATIENCE_S,
        what="clients to be back",
    )
    wait_until(answered, PATIENCE_S, what="answers through the router as it was restarted")
    shown = {
        command: router.place.host.run(
            [*HIPGW, "mobile-router", command, "--json", "--socket", router.daemon.control_socket]
        ).stdout
        for command in ("status", "clients")
    }
    status = json.loads(shown["status"])
    assert [one["interface"] for one in status["outside"]] == ["four0"]
    assert (status["clients"], status["correspondents"], status["refused"]) == (2, 2, 0)
    clients = json.loads(shown["clients"])
    assert {one["hit"] for one in clients} == {str(hit) for hit in client.hits.values()}
    for one in clients:
        assert one["tickets"] == 1
        assert min(one["packets_in"], one["packets_out"], one["octets_in"], one["octets_out"]) > 0
    counters = router.daemon.request("counters")["dataplane"]
    # By the program, or by the kernel where it can.
    assert counters["spinat_rewritten"] + counters.get("spinat_ebpf_rewritten", 0) > 0
    assert router.daemon.stop() == 0
