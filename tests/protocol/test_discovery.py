"""Relays tell hosts with several interfaces how each looks: CANDIDATE_DISCOVERY (RFC 9028 §4.2)."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.protocol.effects import PathChanged
from hipgw.protocol.nat.config import NatConfig, NatMode
from hipgw.protocol.nat.reflexive import Reflexive
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    EchoRequestSigned,
    EchoResponseSigned,
    RegFrom,
    RegRequest,
    RegResponse,
)
from protocol.nats import Internet, NatKind
from protocol.network import FAST, Node, identity
from protocol.test_nat_traversal import (
    HIP,
    RELAY,
    by_relay,
    established,
    meet,
    register,
    relay_config,
)

FIRST, SECOND = "198.51.100.1", "203.0.113.77"
"""The two NATs of a."""


def two_interfaces(
    second: NatKind = NatKind.PORT_RESTRICTED, *, modes: tuple[int, ...] | None = None
) -> tuple[Internet, Node, Node]:
    """A relay, and a host that is registered there and has a second interface, behind NATs."""
    config = FAST if modes is None else replace(FAST, nat=NatConfig(modes=modes))
    net = Internet()
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config(services=(HIP,)))
    a = net.behind("a", NatKind.SYMMETRIC, 1, identity("ecdsa-p256", 2), config)
    net.nat(second, SECOND, "other site")
    net.also_at(a, "10.5.5.5", "other site")
    register(net, a, relay, HIP)
    return net, relay, a


def seen(net: Internet, node: Node) -> list[Reflexive]:
    return node.machine.reflexive_addresses(net.now)


def requests(net: Internet, node: Node) -> list[HipPacket]:
    """All that ask for this, as they left the host."""
    sent = [HipPacket.parse(data) for name, _, _, data in net.travelled if name == node.name]
    return [
        one
        for one in sent
        if one.packet_type is PacketType.UPDATE
        and (asked := one.get(RegRequest))
        and asked.reg_types == (4,)
    ]


def test_what_a_relay_sees_of_another_interface_is_a_candidate() -> None:
    net, relay, a = two_interfaces()
    net.run(1)
    (one,) = seen(net, a)
    assert one.local == (ip_address("10.5.5.5"), 10500)
    assert one.server == (ip_address(RELAY), 10500)
    assert one.mapped == (ip_address(SECOND), 20000)
    (request,) = requests(net, a)
    assert request.get(EchoRequestSigned) is not None
    answer = next(
        packet
        for name, _, target, data in net.travelled
        if name == "relay"
        and target[0] == ip_address(SECOND)
        and (packet := HipPacket.parse(data)).get(RegFrom)
    )
    assert answer.get(EchoResponseSigned) is not None
    assert answer.get(RegResponse) is None, "nothing is granted"
    held = a.machine._core.associations[a.hit, relay.hit].registrations.held
    assert held.mapped is not None
    assert held.mapped[0] == ip_address(FIRST), "that of the first interface stays"


def test_the_relay_remembers_nothing() -> None:
    net, relay, a = two_interfaces()
    net.run(300)
    association = relay.machine._core.associations[relay.hit, a.hit]
    places = {one.address for one in association.mobility.locators}
    assert ip_address(SECOND) not in places
    assert not relay.of(PathChanged)
    assert not a.of(PathChanged)
    assert len(relay.machine.registrations()) == 1


def test_hosts_meet_by_it() -> None:
    """The first interface is behind a symmetric NAT, which leads nowhere."""
    net, relay, a = two_interfaces()
    b = net.behind("b", NatKind.PORT_RESTRICTED, 2, identity("ecdsa-p256", 3))
    register(net, b, relay, HIP)
    net.run(2)
    meet(net, b, a)
    assert not by_relay(net, a, b)
    path = a.machine.associations(b.hit)[0].path
    assert path is not None
    assert path.local == ip_address("10.5.5.5")


def test_it_is_asked_again_in_time() -> None:
    net, _relay, a = two_interfaces()
    net.run(1)
    before = seen(net, a)
    for _ in range(20):
        net.run(15)
        assert seen(net, a) == before
    assert len(requests(net, a)) >= 10


def test_what_is_not_told_any_more_does_not_count() -> None:
    net, _relay, a = two_interfaces()
    net.run(1)
    assert seen(net, a)
    net.nats["other site"].forget()
    net.nats["other site"].outside = ip_address("203.0.113.78")
    net.until(lambda: [one.mapped[0] for one in seen(net, a)] == [ip_address("203.0.113.78")], 60)
    net.hosts.pop(("other site", ip_address("10.5.5.5")))
    net.perform(a, a.machine.addresses_changed([a.address], net.now))
    assert seen(net, a) == []
    count = len(requests(net, a))
    net.run(120)
    assert len(requests(net, a)) == count


def test_one_address_has_nothing_to_ask() -> None:
    net = Internet()
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config(services=(HIP,)))
    a = net.behind("a", NatKind.PORT_RESTRICTED, 1, identity("ecdsa-p256", 2))
    register(net, a, relay, HIP)
    net.run(60)
    assert not requests(net, a)
    assert seen(net, a) == []


def test_without_checks_there_is_no_use_for_it() -> None:
    net, _relay, a = two_interfaces(modes=(NatMode.UDP_ENCAPSULATION,))
    net.run(60)
    assert not requests(net, a)


@pytest.mark.parametrize("loss", [0.3, 1.0])
def test_with_losses(loss: float) -> None:
    net, relay, a = two_interfaces()
    net.filter = lambda sender, data: [] if net.random.random() < loss else [0.01]
    net.run(60)
    net.filter = lambda sender, data: [0.01]
    net.until(lambda: bool(seen(net, a)), 60)
    assert established(a, relay)


def test_an_address_that_leads_nowhere_is_seldom_tried() -> None:
    net, relay, a = two_interfaces()
    net.hosts.pop(("other site", ip_address("10.5.5.5")))
    del net.nats["other site"]
    net.travelled.clear()
    net.perform(a, a.machine.addresses_changed([a.address, ip_address("10.5.5.5")], net.now))
    net.run(3600)
    assert 3 <= len(requests(net, a)) <= 45
    assert relay.machine.registrations()
    net.nat(NatKind.FULL_CONE, SECOND, "other site")
    net.also_at(a, "10.5.5.5", "other site")
    net.run(1)
    assert seen(net, a), "own addresses have changed, so it is tried at once"
