"""What a client of a mobile router, or a stranger, cannot do to the others."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from hipgw.lab import Lab, read_pcap
from hipgw.lab.beats import beats
from hipgw.lab.mobile_router import Hip, MovingNetwork, pair
from hipgw.wire.packet import PacketType
from system.forged_hip import Forger, heard, speaking

pytestmark = pytest.mark.system

FLOOD = 60_000
GROWTH_KIB = 16 * 1024
"""Far less than a table of so many would take."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("moving_attacks") as lab:
        yield lab


def started(lab: Lab, clients: int) -> MovingNetwork:
    network = MovingNetwork(lab, clients=clients)
    network.start()
    network.connect()
    return network


def spis(one: Hip) -> dict[str, list[int]]:
    """Those of a host's associations by direction, as they are on the wire inside."""
    found: dict[str, list[int]] = {"in": [], "out": []}
    for entry in one.daemon.request("sa"):
        found[entry["direction"]].append(entry["spi"])
    return found


def table(network: MovingNetwork) -> list[dict[str, object]]:
    """What the router tells of its clients, without what goes on by itself."""
    counted = ("packets", "octets", "hip_packets", "since", "used", "expires")
    return [
        {key: value for key, value in entry.items() if not key.startswith(counted)}
        for entry in network.routers[0].daemon.request("mobile_router_clients")
    ]


def resident_kib(one: Hip) -> int:
    process = one.daemon.process
    assert process is not None
    process.require_running()
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def test_a_client_does_not_get_what_is_anothers(lab: Lab) -> None:
    """Another registered one, from its own address and with that of its victim."""
    network = started(lab, 3)
    victim, _, attacker = network.clients
    forger = Forger(attacker.place.host)
    own, victims = attacker.place.addresses[4], victim.place.addresses[4]
    known = spis(victim)
    with beats([pair(victim, peer) for peer in network.correspondents]) as running:
        running.wait(time.monotonic())
        before = table(network)
        for peer in network.correspondents:
            target, version = peer.place.addresses[4], peer.version
            hits = attacker.hits[version], victim.hits[version]
            for mine in hits:
                packets = speaking(mine, peer.hits[version], known["in"] + known["out"], version)
                assert forger.hip(own, target, packets)
                # As if the correspondent had said it, from inside.
                assert forger.hip(own, network.routers[0].inner_address(4), packets)
            forger.take(victims)
            packets = speaking(hits[0], peer.hits[version], known["in"] + known["out"], version)
            assert forger.hip(victims, target, packets)
            forger.drop(victims)
            assert forger.esp(own, target, known["in"] + known["out"])
        running.wait(time.monotonic())
        assert table(network) == before
        # And the victim's traffic follows the router as ever.
        running.wait(network.routers[0].place.go("four0"))
    assert not network.closed()


def test_correspondents_are_told_of_nobody_they_do_not_know(lab: Lab) -> None:
    """A client cannot make its router send UPDATEs to whoever it likes, nor can a stranger."""
    network = started(lab, 3)
    (router,), (client, _, attacker) = network.routers, network.clients
    bystander = network.lab.host("x")
    network.lab.link(bystander, "wan0", network.core, "to_x")
    network.core.address("to_x", "10.66.0.254/24")
    bystander.address("wan0", "10.66.0.1/24")
    bystander.route("default", "10.66.0.254")
    stranger = Forger(bystander)
    peer = network.correspondents[1]
    unknown = peer.hits[2].__class__(int(peer.hits[2]) ^ 0xFFFF)
    capture = bystander.capture("wan0")
    with beats([pair(client, peer)]) as running:
        running.wait(time.monotonic())
        forger = Forger(attacker.place.host)
        own, numbers = attacker.place.addresses[4], spis(client)["in"]
        forger.hip(own, "10.66.0.1", speaking(attacker.hits[2], unknown, [0x1234, *numbers]))
        # Another one's correspondent at an address where it is not.
        forger.hip(own, "10.66.0.1", speaking(client.hits[2], peer.hits[2], [0x1235, *numbers]))
        # And the bystander says that it is the correspondent, to the router and to its client.
        outside = router.place.addresses[4]
        stranger.hip("10.66.0.1", outside, speaking(peer.hits[2], client.hits[2], numbers))
        stranger.hip("10.66.0.1", outside, speaking(unknown, client.hits[2], numbers))
        running.wait(time.monotonic())
        time.sleep(1.0)  # all that came by has been passed on
        places = set()
        for spot in ("four0", "dual0"):
            running.wait(router.place.go(spot))
            places.add(router.place.addresses[4])
        time.sleep(1.0)
    capture.stop()
    told = list(heard(frame.data for frame in read_pcap(capture.file)))
    # What the attacker sent came by, from where the router was then.
    assert (outside, PacketType.UPDATE) in told
    assert not places & {source for source, _ in told}
    assert not network.closed()


def test_unknown_spis_cost_no_memory(lab: Lab) -> None:
    """A flood of them from outside and from inside, beside data that has to get through."""
    network = started(lab, 1)
    (router,), (client,) = network.routers, network.clients
    chance = Random(7)
    outside, inside = router.place.addresses[4], client.place.addresses[4]
    peer = network.correspondents[1]
    attacker, neighbour = Forger(peer.place.host), Forger(client.place.host)
    with beats([pair(client, one) for one in network.correspondents]) as running:
        running.wait(time.monotonic())
        # What is set up once for anything unknown is there before.
        attacker.esp(peer.place.addresses[4], outside, [chance.randrange(256, 1 << 32)] * 100)
        before, known = resident_kib(router), table(network)
        for forger, source, target in (
            (attacker, peer.place.addresses[4], outside),
            (neighbour, inside, peer.place.addresses[4]),
        ):
            numbers = [chance.randrange(256, 1 << 32) for _ in range(FLOOD // 4)]
            assert forger.esp(source, target, numbers) == FLOOD // 2
        running.wait(time.monotonic())
        assert resident_kib(router) < before + GROWTH_KIB
        assert table(network) == known
    assert not network.closed()
