"""A mobile router moves among four networks, and its clients' connections notice nothing."""

import os
import time
from collections.abc import Iterator

import pytest

from hipgw.lab import Lab
from hipgw.lab.beats import Beats, beats
from hipgw.lab.mobile_router import ROUND, MovingNetwork, Vehicle
from hipgw.lab.stream import Stream

pytestmark = pytest.mark.system

MOVES = int(os.environ.get("HIPGW_MOVES", "8"))
"""How often the router moves. `bench/mobile_router.py` does it 50 times and counts losses."""
PATIENCE_S = 40.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("moving") as lab:
        yield lab


def started(lab: Lab, **options: object) -> MovingNetwork:
    network = MovingNetwork(lab, **options)  # type: ignore[arg-type]
    network.start()
    network.connect()
    return network


def go_on(running: Beats, streams: list[Stream], since: float, after: object) -> None:
    """All that was there is there again."""
    try:
        running.wait(since, PATIENCE_S)
    except Exception as error:
        raise AssertionError(f"after {after}: {error}") from error
    for stream in streams:
        assert stream.progresses(), f"after {after}"


def nothing_was_closed(network: MovingNetwork) -> None:
    assert not network.closed()


def through(router: Vehicle) -> dict[str, int]:
    """Packets that a router has passed on for each of its clients, by HIT."""
    return {
        entry["hit"]: entry["packets_in"] + entry["packets_out"]
        for entry in router.daemon.request("mobile_router_clients")
    }


def test_a_router_moves_among_four_networks(lab: Lab) -> None:
    network = started(lab)
    (router,) = network.routers
    with beats(network.pairs(), 0.02) as running, network.streams() as streams:
        go_on(running, streams, time.monotonic(), "the beginning")
        for n in range(MOVES):
            spot = ROUND[n % len(ROUND)]
            make_first = (n + n // len(ROUND)) % 2 == 1
            usable = router.place.go(spot, make_first=make_first, gap_s=0.2)
            go_on(running, streams, usable, (n, spot, make_first))
        # In the same network, by another address.
        usable = router.place.go(ROUND[(MOVES - 1) % len(ROUND)])
        go_on(running, streams, usable, "another address")
    nothing_was_closed(network)
    passed = through(router)
    assert set(passed) == {str(hit) for client in network.clients for hit in client.hits.values()}
    assert all(count > 100 for count in passed.values())
