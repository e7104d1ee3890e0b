"""A host that moves is found by its rendezvous servers, whatever its correspondent knows."""

from collections.abc import Iterator

import pytest

from hipgw.lab import Lab, NatKind, wait_until
from hipgw.lab.rendezvous import PATIENCE_S, RendezvousNetwork, Spot
from hipgw.lab.stream import stream
from hipgw.lab.topologies import Family

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("rendezvous") as lab:
        yield lab


def reaches(network: RendezvousNetwork) -> bool:
    """Whether a packet gets to the mobile host and back, within the time it may take."""
    return bool(
        wait_until(
            lambda: network.caller.host.ping(network.target, timeout_s=2.0),
            PATIENCE_S,
            what="an answer of the mobile host",
        )
    )


def closed(network: RendezvousNetwork) -> list[str]:
    """What the mobile host and the caller have logged of an association that ended."""
    return [
        line
        for one in (network.mobile, network.caller)
        for line in one.daemon.output().splitlines()
        if "association closed" in line
    ]


@pytest.mark.both_versions(by_request=True)
def test_a_mobile_host_is_found(lab: Lab) -> None:
    """Over IPv4, then over IPv6; and whoever looks for it moves at the same moment."""
    network = RendezvousNetwork(lab)
    mobile, caller = network.mobile, network.caller
    network.start()
    # The caller has never heard of where it is by now.
    mobile.go("wwan0")
    assert reaches(network)
    moves: list[tuple[Spot, Spot, Family]] = [
        ("wan0", "wwan0", 4),
        ("wwan0", "wan0", 6),
        ("wan0", "wwan0", 6),
    ]
    with stream(caller.host, mobile.host, network.target) as running:
        assert running.progresses()
        for theirs, ours, family in moves:
            # At once: what each tells the other goes to where it is no more.
            mobile.go(theirs, family)
            caller.go(ours, family)
            assert running.progresses(), (theirs, family)
        assert not closed(network), "nothing is begun anew"
    # The first server is gone, and the caller has forgotten everything.
    network.servers[0].kill()
    caller.daemon.restart()
    assert reaches(network)
    assert ":" in network.path()["remote"]


def test_a_mobile_host_is_found_behind_a_nat(lab: Lab) -> None:
    """From behind one NAT to the open and back, while its correspondent moves as well."""
    network = RendezvousNetwork(lab, mobile="nat0", nat=NatKind.SYMMETRIC)
    mobile, caller = network.mobile, network.caller
    network.start()
    assert reaches(network)
    moves: list[tuple[Spot, Spot]] = [("wan0", "wwan0"), ("nat0", "wan0")]
    with stream(caller.host, mobile.host, network.target) as running:
        for theirs, ours in moves:
            mobile.go(theirs)
            caller.go(ours)
            assert running.progresses(), theirs
        assert not closed(network)
    # The caller behind a NAT that lets everybody in; its port is not that of HIP.
    caller.nat.rebind()
    caller.go("nat0")
    caller.daemon.restart()
    assert reaches(network)
