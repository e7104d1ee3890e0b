"""Probes between two machines on a simulated narrow path, and what routers may say of it."""

from ipaddress import IPv4Address

import pytest

from hipgw.protocol.effects import (
    Direction,
    Effect,
    PathMtuChanged,
    PingReply,
    SendDatagram,
)
from hipgw.protocol.path import Transport
from hipgw.protocol.path_mtu import MtuSource
from hipgw.wire.checksum import PseudoHeader, hip_checksum
from hipgw.wire.icmp import TooBig
from hipgw.wire.packet import MAX_LENGTH, HipPacket, PacketType
from hipgw.wire.parameters import EchoRequestSigned, EchoResponseSigned, Padding
from protocol.network import Network, Node, ordered

ROUTE = 1500
HEADERS = {Transport.UDP: 32, Transport.RAW: 20}


def joined(
    transport: Transport = Transport.UDP, addresses: tuple[str, str] = ("10.0.0.1", "10.0.0.2")
) -> tuple[Network, Node, Node]:
    network = Network(transport=transport)
    one, other = ordered()
    a, b = network.add("a", addresses[0], one), network.add("b", addresses[1], other)
    network.connect(a, b)
    network.run(5)
    return network, a, b


def narrow(network: Network, mtu: int) -> None:
    """Lose what does not fit, without a word."""
    headers = HEADERS[network.transport]
    network.filter = lambda sender, data: [0.01] if len(data) + headers <= mtu else []


def discover(network: Network, node: Node, peer: Node, mtu: int = ROUTE) -> list[Effect]:
    effects = node.machine.discover_path_mtu(peer.hit, mtu, network.now)
    network.perform(node, effects)
    return effects


def flow(network: Network, node: Node, peer: Node, seconds: int, *, one_way: bool = False) -> None:
    """Data flows, of which the machine is told every other second."""
    for _ in range(seconds // 2):
        network.perform(node, node.machine.data_flows(peer.hit, network.now, one_way=one_way))
        node.machine.traffic_seen(peer.hit, network.now)
        network.run(2)


def last_change(node: Node) -> PathMtuChanged:
    found = node.of(PathMtuChanged)[-1]
    assert isinstance(found, PathMtuChanged)
    return found


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("mtu", [1300, 1400, 1492])
def test_both_sides_find_a_narrow_path(transport: Transport, mtu: int) -> None:
    network, a, b = joined(transport)
    narrow(network, mtu)
    for node, peer in ((a, b), (b, a)):
        discover(network, node, peer)
    network.run(60)
    for node in (a, b):
        assert (last_change(node).mtu, last_change(node).source) == (mtu, MtuSource.PROBE)
    assert not a.of(PingReply)


def test_probes_have_the_very_size_and_their_answers_are_small() -> None:
    network, a, b = joined()
    sizes: dict[str, list[int]] = {"a": [], "b": []}

    def watch(sender: str, data: bytes) -> list[float]:
        sizes[sender].append(len(data) + 32)
        packet = HipPacket.parse(data)
        assert len(packet.raw) % 8 == 0
        assert (packet.get(EchoRequestSigned) is None) == (sender == "b")
        assert (packet.get(EchoResponseSigned) is None) == (sender == "a")
        assert (packet.get(Padding) is None) == (sender == "b")
        return [0.01]

    network.filter = watch
    discover(network, a, b, 1499)
    network.run(5)
    assert sizes["a"] == [1280, 1499]
    assert max(sizes["b"]) < 400
    assert (last_change(a).mtu, last_change(a).source) == (1499, MtuSource.PROBE)


@pytest.mark.parametrize("mtu", range(1480, 1497))
def test_the_checksum_holds_with_and_without_the_tail(mtu: int) -> None:
    """Some take the whole of an IP packet for the HIP packet."""
    network, a, b = joined(Transport.RAW)
    pseudo = PseudoHeader(a.address, b.address)
    sizes: list[int] = []

    def watch(sender: str, data: bytes) -> list[float]:
        if sender == "a":
            sizes.append(len(data) + 20)
            assert hip_checksum(data, pseudo) == 0
            assert hip_checksum(HipPacket.parse(data).raw, pseudo) == 0
        return [0.01]

    network.filter = watch
    discover(network, a, b, mtu)
    network.run(5)
    assert sizes == [1276, mtu]
    assert last_change(a).mtu == mtu


def test_a_peer_that_takes_no_tail_is_served_nearly_as_well() -> None:
    network, a, b = joined()
    network.filter = lambda sender, data: (
        [0.01] if len(data) == len(HipPacket.parse(data).raw) else []
    )
    discover(network, a, b)
    network.run(60)
    assert 1470 <= last_change(a).mtu < ROUTE


def test_a_jumbo_route_is_probed_with_the_longest_hip_packet() -> None:
    network, a, b = joined()
    sizes: list[int] = []
    network.filter = lambda sender, data: sizes.append(len(data)) or [0.01]
    discover(network, a, b, 9000)
    network.run(5)
    assert max(sizes) == MAX_LENGTH
    assert last_change(a).mtu == 9000


def test_only_probes_must_not_be_cut() -> None:
    network, a, b = joined()
    for effect in [*a.events, *b.events]:
        assert not isinstance(effect, SendDatagram) or not effect.dont_fragment
    sent = [e for e in discover(network, a, b) if isinstance(e, SendDatagram)]
    assert [effect.dont_fragment for effect in sent] == [True]
    _, effects = a.machine.ping(b.hit, network.now)
    assert not any(isinstance(e, SendDatagram) and e.dont_fragment for e in effects)


def test_traffic_that_is_not_answered_makes_it_look_at_once() -> None:
    network, a, b = joined()
    discover(network, a, b)
    network.run(10)
    narrow(network, 1400)
    flow(network, a, b, 6, one_way=True)
    assert last_change(a).mtu <= 1400
    flow(network, a, b, 30)
    assert last_change(a).mtu == 1400


def test_a_wider_path_is_found_after_ten_minutes_of_use() -> None:
    network, a, b = joined()
    narrow(network, 1400)
    discover(network, a, b)
    network.run(60)
    network.filter = lambda sender, data: [0.01]
    flow(network, a, b, 700)
    assert last_change(a).mtu == ROUTE


def test_probing_keeps_no_idle_association() -> None:
    network, a, b = joined()
    for node, peer in ((a, b), (b, a)):
        discover(network, node, peer)
    network.run(1000)
    assert not a.machine.is_up(b.hit)
    assert a.machine.next_timer() is None


def test_a_new_exchange_begins_anew() -> None:
    network, a, b = joined()
    narrow(network, 1400)
    discover(network, a, b)
    network.run(60)
    network.perform(a, a.machine.close(b.hit, network.now))
    network.run(60)
    assert a.machine.discover_path_mtu(b.hit, ROUTE, network.now) == []
    network.connect(a, b)
    network.run(5)
    a.events.clear()
    discover(network, a, b)
    network.run(60)
    assert last_change(a).mtu == 1400


# -- routers ---------------------------------------------------------------------------------


def quote(node: Node, peer: Node, inner: bytes, *, protocol: int = 17, mtu: int = 1400) -> TooBig:
    udp = (10500).to_bytes(2, "big") * 2 + bytes(4)
    payload = udp + inner if protocol == 17 else inner
    return TooBig(mtu, node.address, peer.address, protocol, payload)


def spi(node: Node) -> bytes:
    return node.sa(Direction.OUTBOUND).spi.to_bytes(4, "big")


@pytest.mark.parametrize("transport", list(Transport))
def test_a_quoted_data_packet_is_believed(transport: Transport) -> None:
    network, a, b = joined(transport)
    discover(network, a, b)
    network.run(5)
    protocol = 17 if transport is Transport.UDP else 50
    message = quote(a, b, spi(a) + bytes(4), protocol=protocol)
    narrow(network, 1400)
    network.perform(a, a.machine.packet_too_big(message, network.now))
    assert (last_change(a).mtu, last_change(a).source) == (1400, MtuSource.ICMP)
    network.run(60)
    assert last_change(a).mtu == 1400


def test_a_quoted_probe_is_believed() -> None:
    network, a, b = joined()
    narrow(network, 1400)
    probes = [e.data for e in discover(network, a, b) if isinstance(e, SendDatagram)]
    message = quote(a, b, bytes(4) + probes[0][:500])
    network.perform(a, a.machine.packet_too_big(message, network.now))
    assert (last_change(a).mtu, last_change(a).source) == (1400, MtuSource.ICMP)


def test_what_others_could_make_up_is_not_believed() -> None:
    network, a, b = joined()
    discover(network, a, b)
    network.run(5)
    before = last_change(a)
    hip = HipPacket(PacketType.UPDATE, a.hit, b.hit).emit()
    wrong_ports = TooBig(1400, a.address, b.address, 17, bytes([0, 1, 0, 2]) + bytes(4) + spi(a))
    for message in (
        quote(a, b, bytes.fromhex("deadbeef") + bytes(4)),
        quote(a, b, bytes(4) + hip),
        quote(a, b, spi(a), protocol=50),
        quote(b, a, spi(a)),
        TooBig(1400, IPv4Address("10.9.9.9"), b.address, 17, quote(a, b, spi(a)).payload),
        wrong_ports,
    ):
        effects = a.machine.packet_too_big(message, network.now)
        assert effects == [], message
    assert last_change(a) == before


def test_a_short_quote_or_one_without_a_size_is_a_reason_to_look() -> None:
    network, a, b = joined()
    discover(network, a, b)
    network.run(10)
    for message in (quote(a, b, b""), quote(a, b, spi(a), mtu=0)):
        network.run(10)
        sent = a.machine.packet_too_big(message, network.now)
        network.perform(a, sent)
        assert any(isinstance(effect, SendDatagram) for effect in sent)
        assert last_change(a).mtu == ROUTE


def test_a_flood_of_messages_is_cut_short() -> None:
    network, a, b = joined()
    discover(network, a, b)
    network.run(5)
    changes = 0
    for mtu in range(1499, 1299, -1):
        effects = a.machine.packet_too_big(quote(a, b, spi(a), mtu=mtu), network.now)
        changes += sum(isinstance(effect, PathMtuChanged) for effect in effects)
    assert changes <= 5
