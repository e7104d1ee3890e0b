"""Random lives of two hosts with rendezvous servers: in the end, each finds the other again."""

import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.protocol.effects import Closed, InstallSA, MoveSA
from hipgw.protocol.path import HIP_UDP_PORT
from protocol.network import hip_version
from protocol.test_rendezvous_client import SECOND, SERVER, SERVER_6, TRANSPORTS, Place

LIVES = 12
SERVERS = (SERVER, SERVER_6, SECOND)


@pytest.mark.parametrize("seed", range(LIVES))
def test_whatever_happens_they_find_each_other(seed: int) -> None:
    """Nothing is begun anew, and no data goes to a server or along the way that led by it."""
    choose = random.Random(seed)
    token = hip_version.set(choose.choice([1, 2]))
    try:
        live(choose, seed)
    finally:
        hip_version.reset(token)


def live(choose: random.Random, seed: int) -> None:
    place = Place(
        servers=(SERVER, SECOND),
        compact=choose.random() < 0.5,
        transport=choose.choice(TRANSPORTS),
    )
    net, mobile, caller = place.net, place.mobile, place.caller
    net.random.seed(seed)
    net.readdress(place.servers[0], SERVER, SERVER_6)
    known = [(ip_address(address), HIP_UDP_PORT) for address in SERVERS]
    core = caller.machine._core
    core.config = replace(core.config, rendezvous_of=lambda hit: known)
    net.run(3)
    place.meet(SERVER, SECOND)
    loss = choose.choice([0.0, 0.05, 0.2])

    def lossy(_sender: str, _data: bytes) -> list[float]:
        return [] if net.random.random() < loss else [net.random.uniform(0.005, 0.05)]

    net.filter = lossy
    numbers = iter(range(20, 250))

    def somewhere(version: int) -> str:
        number = next(numbers)
        return f"198.51.100.{number}" if version == 4 else f"2001:db8:9::{number:x}"

    for _ in range(choose.randint(2, 8)):
        node = choose.choice([mobile, caller])
        match choose.choice(["move", "move", "two", "nowhere", "both"]):
            case "move":
                net.readdress(node, somewhere(choose.choice([4, 6])))
            case "two":
                net.readdress(node, somewhere(4), somewhere(6))
            case "nowhere":
                net.cut_off(node)
            case _:
                net.readdress(mobile, somewhere(choose.choice([4, 6])))
                net.run(choose.random() * 0.05)
                net.readdress(caller, somewhere(choose.choice([4, 6])))
        net.run(choose.choice([0.01, 0.3, 1.0, 4.0]))
    version = choose.choice([4, 6])
    net.readdress(mobile, somewhere(version))
    net.readdress(caller, somewhere(version))
    net.filter = lambda sender, data: [0.01]
    net.run(90)
    ends = (mobile.hit, caller.hit)
    closed = [*mobile.of(Closed), *caller.of(Closed)]
    assert not [one for one in closed if isinstance(one, Closed) and one.peer_hit in ends]
    assert place.flows()
    for node, other in ((mobile, caller), (caller, mobile)):
        for event in node.events:
            if isinstance(event, MoveSA | InstallSA) and event.peer_hit == other.hit:
                assert str(event.path.remote) not in SERVERS
                assert not event.path.by_rendezvous
                assert event.path.via is None
