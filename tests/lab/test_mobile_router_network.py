"""The network of mobile routers: who reaches whom by plain IP, before any daemon runs."""

from collections.abc import Iterator

import pytest

from hipgw.lab import Lab, wait_until
from hipgw.lab.beats import Pair, beats
from hipgw.lab.mobile_router import SPOTS, MovingNetwork

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("moving_plain") as lab:
        yield lab


def test_a_router_is_in_one_of_four_networks_and_forwards_nothing(lab: Lab) -> None:
    network = MovingNetwork(lab, routers=2)
    router, other = network.routers
    peer = network.correspondents[0].place
    for make_first in (False, True):
        for spot, families in SPOTS.items():
            router.place.go(spot, make_first=make_first, gap_s=0.0)
            assert tuple(router.place.addresses) == families
            for family in (4, 6):
                answer = router.place.host.ping(peer.addresses[family], timeout_s=0.5)
                assert bool(answer) == (family in families), (spot, family)
    assert router.place.addresses[4].startswith("192.168.1.")
    for client in network.clients:
        for family in client.place.addresses:
            assert client.place.host.ping(router.inner_address(family))
            assert not client.place.host.ping(peer.addresses[family], timeout_s=0.2)
    one = network.clients[2]
    network.board(one, other)
    assert one.place.host.ping(other.inner_address(6))
    network.leave(one)
    assert one.place.host.ping(peer.addresses[6])
    network.nest(other, router)
    other.place.go("outer0")
    assert other.place.host.ping(router.inner_address(4))
    assert other.place.host.ping(router.inner_address(6))


def test_beats_tell_what_is_lost(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    link = lab.lossy_link(a, "eth0", b, "eth0")
    a.address("eth0", "10.0.0.1/24")
    b.address("eth0", "10.0.0.2/24")
    with beats([Pair(a, "10.0.0.1", b, "10.0.0.2")]) as running:
        running.wait(0.0)
        link.set(cut=True)
        begin = max(running.up[0].sent.values())
        wanted = len(running.down[0].sent) + 30
        wait_until(lambda: len(running.down[0].sent) >= wanted, interval_s=0.001)
        link.set(cut=False)
        end = max(running.up[0].sent.values())
        running.wait(end)
    assert running.pairs[0].name == "a-b"
    for _, ticks in running.directions():
        assert ticks.missing(begin, end) > 20
        assert ticks.longest(begin, end) > 0.1
        first = ticks.first_after(end, 5.0)
        assert first is not None
        assert first < 5.0
        assert ticks.first_after(end + 1000.0, 5.0) is None
