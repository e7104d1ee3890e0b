"""What STUN servers tell becomes candidates (RFC 9028 §4.2)."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.protocol.nat import offering
from hipgw.protocol.nat.reflexive import ADDRESSES_MAX, Reflexive, ReflexiveAddresses
from hipgw.protocol.path import HIP_UDP_PORT, Path
from hipgw.protocol.registration import ServiceType
from hipgw.wire.parameters import CandidateKind
from protocol.nats import Internet, NatKind
from protocol.network import FAST, Node, identity
from protocol.test_nat_traversal import RELAY, by_relay, meet, path_between, register, relay_config

SERVER = (ip_address("192.0.2.9"), 3478)
OTHER = (ip_address("192.0.2.10"), 3478)
OUTSIDE = (ip_address("198.51.100.2"), 20077)


def host() -> tuple[Internet, Node, Reflexive]:
    net = Internet()
    node = net.behind("b", NatKind.PORT_RESTRICTED, 2, identity("ecdsa-p256", 3))
    return net, node, Reflexive((node.address, HIP_UDP_PORT), SERVER, OUTSIDE)


def candidates(node: Node, now: float) -> list[tuple[CandidateKind, object, int]]:
    path = Path(node.address, ip_address(RELAY))
    found = offering.own_candidates(node.machine._core, path, now)
    assert all(one.base.local == node.address for one in found)
    return [(one.kind, one.address, one.port) for one in found]


def test_a_candidate_for_a_time() -> None:
    net, node, seen = host()
    inside = (CandidateKind.HOST, node.address, HIP_UDP_PORT)
    assert candidates(node, net.now) == [inside]
    node.machine.reflexive_address(seen, net.now, lifetime_s=60.0)
    node.machine.reflexive_address(replace(seen, server=OTHER), net.now, lifetime_s=60.0)
    assert candidates(node, net.now + 59) == [inside, (CandidateKind.SERVER_REFLEXIVE, *OUTSIDE)]
    assert len(node.machine.reflexive_addresses(net.now + 59)) == 2
    assert candidates(node, net.now + 60) == [inside]


def test_a_server_that_sees_another_port_now() -> None:
    net, node, seen = host()
    node.machine.reflexive_address(seen, net.now, lifetime_s=60.0)
    newer = replace(seen, mapped=(OUTSIDE[0], 20078))
    node.machine.reflexive_address(newer, net.now, lifetime_s=60.0)
    assert node.machine.reflexive_addresses(net.now) == [newer]


def test_it_goes_with_the_own_address() -> None:
    net, node, seen = host()
    node.machine.reflexive_address(seen, net.now, lifetime_s=60.0)
    net.move(node, "192.168.1.3", "site 2")
    assert node.machine.reflexive_addresses(net.now) == []
    node.machine.reflexive_address(seen, net.now, lifetime_s=60.0)
    assert node.machine.reflexive_addresses(net.now) == [], "not an own address any more"


def test_it_is_bounded() -> None:
    known = ReflexiveAddresses()
    for number in range(100):
        server = (ip_address("192.0.2.9"), 1 + number)
        known.learn(Reflexive((OUTSIDE[0], 1), server, OUTSIDE), 1000.0)
    assert [one.server[1] for one in known.current(0.0)] == list(
        range(100, 100 - ADDRESSES_MAX, -1)
    )


@pytest.mark.parametrize("stun", [False, True])
def test_without_it_nobody_gets_in(stun: bool) -> None:
    """A relay that does not tell how it sees a host: only STUN does, and data goes directly."""
    net = Internet()
    services = (ServiceType.RELAY_UDP_HIP,)
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config(services=services))
    a = net.behind("a", NatKind.PORT_RESTRICTED, 1, identity("ecdsa-p256", 2), FAST)
    b = net.behind("b", NatKind.PORT_RESTRICTED, 2, identity("ecdsa-p256", 3), FAST)
    register(net, b, relay, *services)
    (association,) = b.machine._core.with_peer(relay.hit)
    association.registrations.held.mapped = None
    if not stun:
        net.call(a, b.hit, RELAY)
        net.run(60)
        assert not net.flows(a, b)
        return
    inside = (b.address, HIP_UDP_PORT)
    mapped = net.nats["site 2"].outbound(inside, SERVER)
    b.machine.reflexive_address(Reflexive(inside, SERVER, mapped), net.now, lifetime_s=600.0)
    meet(net, a, b)
    assert not by_relay(net, a, b)
    path = path_between(a, b)
    assert path is not None
    assert (path.remote, path.remote_port) == mapped
