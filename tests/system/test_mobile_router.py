"""A mobile router between one client and one correspondent: what is thinnest of all there is."""

import json
import sys
from collections.abc import Iterator
from typing import Any

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
