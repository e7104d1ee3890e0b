"""What strangers, peers and clients could try with a relay, and what comes of it."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from hipgw.protocol.drops import DropReason
from hipgw.protocol.nat.config import NatConfig
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.states import State
from hipgw.wire.insertion import with_parameters
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    DhGroupList,
    NatTraversalMode,
    Notification,
    PeerPermission,
    RelayFrom,
    RelayHmac,
    RelayTo,
    RvsHmac,
)
from protocol.nats import PUBLIC, Internet, NatKind
from protocol.network import FAST, Node, identity, peer_hits
from protocol.test_nat_traversal import (
    ESP,
    HIP,
    RELAY,
    established,
    meet,
    register,
    relay_config,
    site,
)

STRANGER = ip_address("192.0.2.66")


def from_stranger(
    net: Internet, target: Node, data: bytes, *, port: int = 10500, source_port: int = 4444
) -> list[tuple[str, bytes]]:
    """Hand a packet of somebody unknown to a node; returns what the node then sends, and where."""
    before = len(net.travelled)
    path = Path(target.address, STRANGER, Transport.UDP, port, source_port)
    net.perform(target, target.machine.datagram_received(data, path, net.now))
    net.run(0.015)
    return [
        (str(to[0]), sent) for name, _, to, sent in net.travelled[before:] if name == target.name
    ]


def i1(target: Node, number: int = 0) -> bytes:
    sender = peer_hits(number + 1)[number]
    return HipPacket(PacketType.I1, sender, target.hit, (DhGroupList((7,)),)).emit()


def drops(node: Node) -> dict[str, int]:
    return node.drops()


def notified(sent: list[tuple[str, bytes]]) -> list[int]:
    packets = [HipPacket.parse(data) for _, data in sent]
    return [n.notify_type for packet in packets for n in packet.all(Notification)]


def test_an_i1_for_a_client_is_relayed_as_it_has_to_be() -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.PORT_RESTRICTED)
    ((where, data),) = from_stranger(net, relay, i1(b))
    packet = HipPacket.parse(data)
    assert where == "198.51.100.2", "to where the client is registered"
    assert packet.get(RelayFrom) == RelayFrom(STRANGER, 4444)
    assert packet.parameters[-1].type == RelayHmac.TYPE


def test_nothing_is_relayed_for_those_who_are_not_registered() -> None:
    net, relay, _a, _b = site(NatKind.NONE, NatKind.NONE)
    other = net.host("other", "198.51.100.9", identity("ecdsa-p256", 4))
    assert not from_stranger(net, relay, i1(other))
    assert drops(relay) == {DropReason.NOT_OUR_HIT.value: 1}


def test_an_opportunistic_i1_is_never_relayed() -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    blind = HipPacket(PacketType.I1, peer_hits(1)[0], ip_address("::"), (DhGroupList((7,)),)).emit()
    assert not from_stranger(net, relay, blind)
    assert drops(relay) == {DropReason.OPPORTUNISTIC.value: 1}
    # And if a relay did it all the same:
    forged = with_parameters(blind, [RelayFrom(STRANGER, 1), RelayHmac(bytes(32))])
    path = Path(b.address, relay.address)
    net.perform(b, b.machine.datagram_received(forged, path, net.now))
    assert drops(b) == {DropReason.OPPORTUNISTIC.value: 1}


@pytest.mark.parametrize("kind", [PacketType.R1, PacketType.R2])
def test_answers_do_not_come_to_clients_by_the_relay(kind: PacketType) -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    packet = HipPacket(kind, peer_hits(1)[0], b.hit, ()).emit()
    assert not from_stranger(net, relay, packet)
    assert drops(relay) == {DropReason.NOT_RELAYED.value: 1}


@pytest.mark.parametrize("kind", list(PacketType))
def test_only_clients_can_send_by_the_relay(kind: PacketType) -> None:
    """RELAY_TO of a stranger, also one that takes a client's HIT for its own."""
    net, relay, a, b = site(NatKind.NONE, NatKind.NONE)
    victim = RelayTo(ip_address("198.51.100.77"), 53)
    mode = NatTraversalMode((3,))
    for sender in (peer_hits(1)[0], a.hit):
        packet = HipPacket(kind, sender, peer_hits(3)[2], (mode, victim)).emit()
        assert not from_stranger(net, relay, packet)
    packet = HipPacket(kind, b.hit, a.hit, (mode, victim)).emit()
    assert not from_stranger(net, relay, packet)
    assert set(drops(relay)) == {DropReason.NOT_RELAYED.value}


def test_a_client_cannot_point_the_relay_at_a_victim() -> None:
    net, relay, a, _b = site(NatKind.NONE, NatKind.NONE)
    victim = RelayTo(ip_address("198.51.100.77"), 53)
    packet = HipPacket(PacketType.UPDATE, a.hit, peer_hits(1)[0], (victim,)).emit()
    before = len(net.travelled)
    for _ in range(50):
        path = Path(relay.address, a.address)
        net.perform(relay, relay.machine.datagram_received(packet, path, net.now))
    net.run(0.1)
    sent = [(to, data) for name, _, to, data in net.travelled[before:] if name == "relay"]
    assert {str(to[0]) for to, _ in sent} == {str(a.address)}
    assert set(notified([("", data) for _, data in sent])) == {NotifyType.MESSAGE_NOT_RELAYED}
    assert len(sent) <= 2, "and it is not told more often than is of use"


def test_a_missing_mode_is_told_but_not_amplified() -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    small = HipPacket(PacketType.I2, peer_hits(1)[0], b.hit, ()).emit()
    assert not from_stranger(net, relay, small)
    large = HipPacket(
        PacketType.I2, peer_hits(1)[0], b.hit, (DhGroupList((7,)), RvsHmac(bytes(1200)))
    ).emit()
    ((where, data),) = from_stranger(net, relay, large)
    assert where == str(STRANGER)
    assert len(data) <= len(large)
    assert notified([(where, data)]) == [NotifyType.NO_VALID_NAT_TRAVERSAL_MODE_PARAMETER]
    assert drops(relay)[DropReason.NAT_MODE.value] == 2


def test_nothing_that_is_relayed_becomes_much_larger() -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    data = i1(b)
    ((_, relayed),) = from_stranger(net, relay, data)
    assert len(relayed) - len(data) <= 24 + 56
    before = len(net.travelled)
    for number in range(40):
        from_stranger(net, relay, i1(b, number))
    net.run(1)
    kinds = [data[2] & 0x7F for name, _, _, data in net.travelled[before:] if name == "relay"]
    assert kinds.count(PacketType.I1) <= 40
    assert kinds.count(PacketType.R1) <= 20, "as many as b answers to one source"
    assert len(kinds) <= 60


def test_a_flood_of_strangers_stays_within_bounds() -> None:
    net, relay, a, b = site(NatKind.NONE, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    client = relay.machine._core.associations[relay.hit, b.hit]
    flows = client.registrations.granted.flows
    assert any(flow.confirmed for flow in flows.values())
    sent = 0
    for number in range(3000):
        source = IPv4Address(0x2D000000 + number)
        path = Path(relay.address, source, Transport.UDP, 10500, 5000)
        effects = relay.machine.datagram_received(i1(b), path, net.now)
        sent += sum(type(effect).__name__ == "SendDatagram" for effect in effects)
    assert sent <= relay_config().registrar.packets_per_client  # type: ignore[union-attr]
    assert len(flows) <= 256
    assert any(flow.confirmed for flow in flows.values()), "strangers push nobody out"
    assert drops(relay)[DropReason.RATE_LIMIT.value] >= 2000


def test_one_source_is_limited() -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    net.run(1)
    path = Path(relay.address, STRANGER, Transport.UDP, 10500, 5000)
    for _ in range(500):
        relay.machine.datagram_received(i1(b), path, net.now)
    assert drops(relay)[DropReason.RATE_LIMIT.value] == 450


def tampered(data: bytes, change: Callable[[HipPacket], HipPacket]) -> bytes:
    packet = HipPacket.parse(data)
    return replace(change(packet), raw=b"").emit()


def test_a_forged_relay_hmac_is_dropped() -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    before = len(net.travelled)
    path = Path(relay.address, STRANGER, Transport.UDP, 10500, 5000)
    effects = relay.machine.datagram_received(i1(b), path, net.now)
    genuine = next(e.data for e in effects if type(e).__name__ == "SendDatagram")
    forgeries = [
        with_parameters(i1(b), [RelayFrom(STRANGER, 1)]),
        with_parameters(i1(b), [RelayFrom(STRANGER, 1), RelayHmac(bytes(32))]),
        tampered(
            genuine,
            lambda p: replace(
                p,
                parameters=tuple(
                    RelayFrom(STRANGER, 9) if isinstance(one, RelayFrom) else one
                    for one in p.parameters
                ),
            ),
        ),
        tampered(genuine, lambda p: replace(p, sender_hit=peer_hits(5)[4])),
    ]
    here = Path(b.address, relay.address)
    for forged in forgeries:
        net.perform(b, b.machine.datagram_received(forged, here, net.now))
    assert drops(b) == {DropReason.BAD_RELAY_HMAC.value: len(forgeries)}
    # The genuine one, but not from where the relay is.
    elsewhere = Path(b.address, STRANGER)
    net.perform(b, b.machine.datagram_received(genuine, elsewhere, net.now))
    assert drops(b) == {DropReason.BAD_RELAY_HMAC.value: len(forgeries) + 1}
    assert not [1 for name, *_ in net.travelled[before:] if name == "b"]
    net.perform(b, b.machine.datagram_received(genuine, here, net.now))
    net.run(0.1)
    assert [1 for name, *_ in net.travelled[before:] if name == "b"]


def test_the_relay_vouches_for_nothing_that_others_wrote() -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    for parameter in (RelayFrom(STRANGER, 1), RelayHmac(bytes(32))):
        assert not from_stranger(net, relay, with_parameters(i1(b), [parameter]))
    assert drops(relay) == {DropReason.NOT_RELAYED.value: 2}


def test_rvs_hmac_of_a_relay_is_refused() -> None:
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    packet = with_parameters(i1(b), [RvsHmac(bytes(32))])
    path = Path(b.address, relay.address)
    before = len(net.travelled)
    net.perform(b, b.machine.datagram_received(packet, path, net.now))
    net.run(0.1)
    sent = [("", data) for name, _, _, data in net.travelled[before:] if name == "b"]
    assert notified(sent) == [NotifyType.RVS_HMAC_PROHIBITED_WITH_RELAY]


def permission(relay: Node, port: int, peer: str = "198.51.100.50") -> PeerPermission:
    return PeerPermission(relay.address, port, ip_address(peer), 1234, 0x1000, 0x2000)


def ask(net: Internet, node: Node, relay: Node, *asked: PeerPermission) -> None:
    from hipgw.protocol import update_tasks

    core = node.machine._core
    association = core.associations[node.hit, relay.hit]
    assert association.session is not None
    assert association.path is not None
    update_tasks.begin(
        core,
        association,
        association.session,
        asked,
        [association.path],
        net.now,
        acknowledged=update_tasks.ignore,
        abandoned=update_tasks.ignore,
    )
    net.perform(node, node.machine._drain())
    net.run(0.1)


def lent(node: Node) -> int:
    (info,) = (info for info in node.machine.registrations() if info.reg_type == ESP)
    return info.relayed[0][1]


def test_permissions_are_for_own_ports_alone() -> None:
    net, relay, a, b = site(NatKind.NONE, NatKind.NONE)
    ask(net, a, relay, permission(relay, lent(b)))
    assert not net.relaying["relay"].permits
    ask(net, a, relay, permission(relay, lent(a)))
    assert len(net.relaying["relay"].permits) == 1


def test_permissions_need_a_registration() -> None:
    net, relay, a, _b = site(NatKind.NONE, NatKind.NONE, services=(HIP,))
    ask(net, a, relay, permission(relay, 30000))
    assert not net.relaying["relay"].permits
    assert drops(relay)[DropReason.NOT_RELAYED.value] >= 1


@pytest.mark.parametrize("peer", ["127.0.0.1", "224.0.0.1", "0.0.0.0", "2001:20::1", "fe80::1"])
def test_permissions_are_for_hosts_alone(peer: str) -> None:
    net, relay, a, _b = site(NatKind.NONE, NatKind.NONE)
    ask(net, a, relay, permission(relay, lent(a), peer))
    assert not net.relaying["relay"].permits


def test_permissions_are_bounded_and_end() -> None:
    net, relay, a, _b = site(NatKind.NONE, NatKind.NONE)
    for number in range(1, 100):
        ask(net, a, relay, permission(relay, lent(a), f"198.51.100.{number}"))
    assert len(net.relaying["relay"].permits) == 64
    net.run(400)
    assert not net.relaying["relay"].permits


def test_a_client_that_is_gone_takes_everything_with_it() -> None:
    net, relay, a, _b = site(NatKind.NONE, NatKind.NONE)
    ask(net, a, relay, permission(relay, lent(a)))
    net.perform(a, a.machine.close(relay.hit, net.now))
    net.run(0.1)
    assert not net.relaying["relay"].permits
    assert len(net.relaying["relay"].open) == 1, "that of the other client"


def test_i2_with_a_direct_mode_is_refused_by_the_responder() -> None:
    """UDP-ENCAPSULATION must not go by a relay (RFC 9028 §4.7.2)."""
    net, _relay, a, b = site(NatKind.NONE, NatKind.NONE)
    original = a.machine._core.config.nat
    assert isinstance(original, NatConfig)

    def change(sender: str, data: bytes) -> list[float]:
        return [0.01]

    net.filter = change
    import hipgw.protocol.initiator as initiator_module

    real = initiator_module.choose_mode
    initiator_module.choose_mode = lambda nat, r1: 1
    try:
        net.call(a, b.hit, RELAY)
        net.run(3)
    finally:
        initiator_module.choose_mode = real
    assert drops(b)[DropReason.NAT_MODE.value] >= 1
    assert not established(b, a)
    assert b.state(a) is State.UNASSOCIATED


def test_data_needs_a_permission() -> None:
    net, relay, a, b = site(NatKind.SYMMETRIC, NatKind.SYMMETRIC)
    meet(net, a, b)
    relaying = net.relaying["relay"]
    from protocol.nats import Esp

    for spi in (0x1000, next(iter(relaying.permits)).inbound_spi):
        for port in (10500, lent(a), lent(b)):
            net._travel(PUBLIC, (STRANGER, 1), (relay.address, port), Esp(spi, "stray"))
    assert "stray" not in {text for _, text in net.arrived}
    assert relaying.refused == 6


def test_a_client_behind_a_nat_that_forgets_is_found_again() -> None:
    net, relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    net.nats["site 2"].forget()
    net.run(60)
    info = relay.machine.associations(b.hit)[0]
    assert info.path is not None
    assert info.path.remote_port != 20000
    meet(net, a, b)
    assert net.flows(a, b)


def test_registering_twice_does_not_help_to_more_ports() -> None:
    net = Internet()
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config())
    a = net.host("a", "198.51.100.1", identity("ecdsa-p256", 2), FAST)
    register(net, a, relay)
    for _ in range(20):
        association = a.machine._core.associations[a.hit, relay.hit]
        association.registrations.held.relayed.clear()
        association.registrations.held.renew_at = net.now
        a.machine._core.arm(association)
        net.run(1)
    assert len(net.relaying["relay"].open) == 4


def test_a_client_cannot_have_a_victim_flooded_by_pretending_to_have_moved() -> None:
    """Nothing is relayed to an address before the client has shown that it is there."""
    net, relay, _a, b = site(NatKind.NONE, NatKind.NONE)
    victim = ip_address("198.51.100.77")
    asked = permission(relay, lent(b))
    ask(net, b, relay, asked)
    assert len(net.relaying["relay"].permits) == 1
    before = len(net.travelled)
    net.perform(b, b.machine.addresses_changed([victim], net.now))
    for number in range(100):
        net.run(0.1)
        path = Path(relay.address, STRANGER, Transport.UDP, 10500, 5000 + number)
        net.perform(relay, relay.machine.datagram_received(i1(b, number), path, net.now))
        ask(net, b, relay, asked)
    net.run(1)
    assert not [one for one in net.relaying["relay"].permits if one.client.remote == victim]
    sent = [
        data[2] & 0x7F
        for name, _, to, data in net.travelled[before:]
        if name == "relay" and to[0] == victim
    ]
    assert PacketType.I1 not in sent
    assert len(sent) <= 30, "questions whether it is there, and no more"
