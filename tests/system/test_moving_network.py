"""A mobile router moves among four networks, and its clients' connections notice nothing."""

import os
import shutil
import threading
import time
from collections.abc import Iterator

import pytest

from hipgw.lab import Lab, wait_until
from hipgw.lab.beats import Beats, beats
from hipgw.lab.mobile_router import ROUND, Hip, MovingNetwork, Spot, Vehicle
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


def test_both_ends_are_inside_of_routers_that_move(lab: Lab) -> None:
    """One after the other, and at once: they are found by way of a rendezvous server then."""
    network = started(
        lab,
        routers=2,
        clients=2,
        # A router knows only where the other one has said that it is: there is always IPv4.
        inside=((4,),),
        versions=(2,),
        correspondents_ride=True,
        rvs=True,
    )
    with beats(network.pairs(), 0.02) as running, network.streams() as streams:
        go_on(running, streams, time.monotonic(), "the beginning")
        for router, spot in zip(network.routers, ("four0", "nat0"), strict=True):
            go_on(running, streams, router.place.go(spot), (router.name, spot))
        usable = together(network.routers, ("dual0", "dual0"), make_first=True)
        go_on(running, streams, usable, "a move at once that leaves the old addresses for a while")
        usable = together(network.routers, ("four0", "four0"))
        go_on(running, streams, usable, "a double jump")
    nothing_was_closed(network)


def together(routers: list[Vehicle], spots: tuple[Spot, ...], *, make_first: bool = False) -> float:
    """Have all routers move at the same moment; the least time from which all are there."""
    how = {"make_first": make_first, "gap_s": 0.3}
    movers = [
        threading.Thread(target=router.place.go, args=(spot,), kwargs=how)
        for router, spot in zip(routers, spots, strict=True)
    ]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    return time.monotonic()


def test_a_client_changes_routers_and_leaves_them(lab: Lab) -> None:
    network = started(lab, routers=2, clients=1)
    (one,), (first, second) = network.clients, network.routers
    with beats(network.pairs(), 0.02) as running, network.streams() as streams:
        go_on(running, streams, time.monotonic(), "the beginning")
        network.board(one, second)
        go_on(running, streams, time.monotonic(), "changing routers")
        network.leave(one)
        go_on(running, streams, time.monotonic(), "leaving the router")
        network.board(one, first, make_first=True)
        go_on(running, streams, time.monotonic(), "coming back")
        go_on(running, streams, first.place.go("four0"), "a move")
    nothing_was_closed(network)


def test_a_router_inside_of_a_router(lab: Lab) -> None:
    network = started(lab, routers=2, clients=2, nested=True)
    inner, outer = network.routers
    with beats(network.pairs(), 0.02) as running, network.streams() as streams:
        go_on(running, streams, time.monotonic(), "the beginning")
        for spot in ("four0", "six0", "dual0"):
            go_on(running, streams, outer.place.go(spot), f"the outer one: {spot}")
        go_on(running, streams, inner.place.go("four0"), "the inner one left")
        go_on(running, streams, inner.place.go("outer0"), "the inner one came back")
    nothing_was_closed(network)


def test_a_router_that_was_killed(lab: Lab) -> None:
    """Its clients are back by themselves, and its rules are there once."""
    network = started(lab, clients=2)
    (router,) = network.routers
    rules = ruleset(router)
    assert rules
    with beats(network.pairs(), 0.02) as running, network.streams() as streams:
        go_on(running, streams, time.monotonic(), "the beginning")
        router.daemon.kill()
        again = time.monotonic()
        router.daemon.start(wait=False)
        go_on(running, streams, again, "the crash")
        network.wait_known(router)
        usable = router.place.go("six0")
        go_on(running, streams, usable, "the crash and a move")
        # Elsewhere by the time it runs again.
        router.daemon.kill()
        router.place.go("dual0")
        again = time.monotonic()
        router.daemon.start(wait=False)
        go_on(running, streams, again, "a move while it did not run")
    assert ruleset(router) == rules
    nothing_was_closed(network)
    assert router.daemon.stop() == 0
    wait_until(lambda: not ruleset(router), what="an end of all rules")


def ruleset(one: Hip) -> list[str]:
    """All rules of all firewalls of a host, without counters."""
    host, found = one.place.host, []
    for command in (["iptables-save"], ["ip6tables-save"], ["nft", "-s", "list", "ruleset"]):
        if shutil.which(command[0]) is not None:
            lines = host.run(command, check=False).stdout.splitlines()
            found += [line for line in lines if line.startswith("-A") or "queue" in line]
    return found
