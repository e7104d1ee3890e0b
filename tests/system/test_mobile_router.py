"""A mobile router between one client and one correspondent: what is thinnest of all there is."""

import json
import sys
from collections.abc import Iterator

import pytest

from hipgw.lab import Lab, wait_until
from hipgw.lab.mobile_router import MovingNetwork

pytestmark = pytest.mark.system

PATIENCE_S = 40.0
HIPGW = (sys.executable, "-m", "hipgw.cli.main")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("mobile_router") as lab:
        yield lab


def test_ping_through_a_router_that_moves(lab: Lab) -> None:
    network = MovingNetwork(lab, clients=1)
    (router,), (client,) = network.routers, network.clients
    peer = network.correspondents[1]
    network.start()

    def answered() -> bool:
        return bool(client.place.host.ping(str(peer.hits[2]), count=2, timeout_s=1.0))

    wait_until(answered, PATIENCE_S, what="an answer through the router")

    def remote() -> str:
        (entry,) = [
            one
            for one in peer.daemon.request("associations")
            if one["peer_hit"] == str(client.hits[2])
        ]
        return str(entry["path"]["remote"])

    # The correspondent sees the router and nothing of what is behind it.
    assert remote() in router.place.addresses.values()
    for spot in ("four0", "six0"):
        router.place.go(spot)
        wait_until(answered, PATIENCE_S, what=f"an answer at {spot}")
        wait_until(
            lambda: remote() in router.place.addresses.values(),
            PATIENCE_S,
            what=f"the correspondent to know of {spot}",
        )
    assert not network.closed()
    shown = {
        command: router.place.host.run(
            [*HIPGW, "mobile-router", command, "--json", "--socket", router.daemon.control_socket]
        ).stdout
        for command in ("status", "clients")
    }
    status = json.loads(shown["status"])
    assert [one["interface"] for one in status["outside"]] == ["six0"]
    assert (status["clients"], status["correspondents"], status["refused"]) == (1, 1, 0)
    (one,) = json.loads(shown["clients"])
    assert one["hit"] == str(client.hits[2])
    assert one["tickets"] == 1
    assert min(one["packets_in"], one["packets_out"], one["octets_in"], one["octets_out"]) > 0
    counters = router.daemon.request("counters")["dataplane"]
    assert counters["spinat_rewritten"] > 0
    assert router.daemon.stop() == 0
