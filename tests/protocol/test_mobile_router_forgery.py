"""What strangers, neighbours and other clients cannot do to a mobile router, in virtual time."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.protocol.effects import Direction
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.states import State
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    Ack,
    AuthTicket,
    EspInfo,
    EspInfoNoSig,
    HipMac,
    Locator,
    LocatorSet,
    Parameter,
    Seq,
    SpiLocator,
)
from protocol.moving import Moving, both_ways
from protocol.moving_clients import CLIENT_2, ELSEWHERE, HERE, PEER, THERE, moving, updates
from protocol.network import Node, hip_version, parse

pytestmark = pytest.mark.both_versions


def test_who_is_not_registered_is_not_passed_on() -> None:
    network, router, _client, peer = moving()
    stranger = network.host("stranger", CLIENT_2, 4, "router")
    network.perform(
        stranger,
        stranger.machine.connect(
            peer.hit, [Path(stranger.address, peer.address, network.transport)], network.now
        ),
    )
    network.run(5.0)
    assert router.drops()["not_relayed"]
    assert not network.spinat(router).flow_count


def test_nobody_speaks_for_another_client() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.where[ip_address(CLIENT_2)] = "router"
    sent = [one for name, one in network.forwarded if name == "router"]
    packet = next(o for o in sent if parse(o.data).packet_type is PacketType.I2)
    forged = Transit(Place(ip_address(CLIENT_2), Transport.UDP), Place(peer.address, Transport.UDP))
    lent = dict(network.routers["router"].lent)
    effects = router.machine.transit_received(packet.data, forged, network.now, inside=True)
    assert effects == []
    assert router.drops()["not_relayed"] == 1
    assert network.routers["router"].lent == lent


def test_a_ticket_for_somebody_unknown_is_refused() -> None:
    network, router, client, _peer = moving()
    far = network.host("far", CLIENT_2, 4, "router")
    network.join(client, far)  # directly, inside
    network.run(1.0)
    assert router.drops()["bad_ticket"]
    network.move(router, [THERE])
    network.run(3.0)
    assert not updates(network, AuthTicket)


def test_an_update_that_is_played_again_changes_nothing() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.move(router, [THERE])
    network.run(2.0)
    (first, *_rest) = [o for o in updates(network, AuthTicket) if parse(o.data).get(LocatorSet)]
    network.move(router, [ELSEWHERE])
    network.run(2.0)
    place = first.transit.source
    path = Path(peer.address, place.address, place.transport)
    network.perform(peer, peer.machine.datagram_received(first.data, path, network.now))
    network.run(2.0)
    assert peer.drops()["duplicate"] == 1
    assert peer.path_to(client).remote == ip_address(ELSEWHERE)


def test_a_ticket_ends() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    session = client.machine._core.with_peer(peer.hit)[0].session
    assert session is not None
    session.ticket_renew_at = None
    (flow,) = network.spinat(router).flows()
    assert flow.ticket is not None
    association = peer.machine._core.with_peer(client.hit)[0]
    assert association.established_at is not None
    association.established_at -= 5 * 3600
    network.move(router, [THERE])
    network.run(1.0)
    assert peer.drops()["bad_ticket"]


def test_a_stretched_ticket_is_refused() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    assert flow.ticket is not None
    flow.ticket.shown = replace(flow.ticket.shown, lifetime=0xFFFF)
    network.move(router, [THERE])
    network.run(1.0)
    assert peer.drops()["bad_ticket"]
    assert peer.path_to(client).remote == ip_address(HERE)


def test_floods_from_outside_cost_no_memory() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    machine, spinat = router.machine, network.spinat(router)
    i1 = next(
        one for _n, one in network.forwarded if parse(one.data).packet_type is PacketType.I1
    ).data
    count = spinat.flow_count
    for number in range(2000):
        sender = i1[8:20] + number.to_bytes(4, "big")
        data = i1[:1] + bytes([4]) + i1[2:4] + bytes(4) + sender + client.hit.packed
        transit = Transit(
            Place(peer.address, Transport.UDP), Place(ip_address(HERE), Transport.UDP)
        )
        for kind in (PacketType.I1, PacketType.R1, PacketType.I2, PacketType.UPDATE):
            forged = data[:2] + bytes([kind]) + data[3:]
            machine.transit_received(forged[:40], transit, network.now, inside=False)
    assert spinat.flow_count == count
    assert len(spinat.clients) == 1
    assert router.drops()["rate_limit"]


def test_forged_spis_displace_no_genuine_one() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    genuine = flow.peer_spis
    transit = Transit(Place(peer.address, Transport.UDP), Place(ip_address(HERE), Transport.UDP))
    for number in range(20):
        forged = HipPacket(
            PacketType.UPDATE,
            peer.hit,
            client.hit,
            (EspInfo(0, genuine[0], 5000 + number), Seq(number), EspInfoNoSig(0, 0, 6000 + number)),
            version=hip_version.get(),
        )
        router.machine.transit_received(forged.emit(), transit, network.now, inside=False)
    assert genuine[0] in flow.peer_spis
    assert len(flow.peer_spis) <= 4


def forged(peer: Node, client: Node, kind: PacketType, *parameters: Parameter) -> bytes:
    """What anybody can make who knows the HITs of both, in UDP."""
    return HipPacket(kind, peer.hit, client.hit, parameters, version=hip_version.get()).emit()


def from_outside(network: Moving, router: Node, data: bytes, source: str) -> None:
    transit = Transit(Place(ip_address(source), Transport.UDP), Place(ip_address(HERE)))
    transit = replace(transit, destination=Place(ip_address(HERE), Transport.UDP))
    effects = router.machine.transit_received(data, transit, network.now, inside=False)
    network.perform(router, effects)


@pytest.mark.parametrize("source", [ELSEWHERE, PEER])
def test_forged_packets_change_nothing(source: str) -> None:
    """Of each type, with HITs and even the address of the correspondent."""
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    spi = peer.sa(Direction.INBOUND).spi
    lent = {key: one.private_spi for key, one in network.routers["router"].lent.items()}
    elsewhere = LocatorSet((Locator(SpiLocator(300, ip_address("203.0.113.99")), 60),))
    for number in range(40):
        for kind in PacketType:
            own = (EspInfo(0, 0, 4000 + number), Seq(number), Ack((number,)), elsewhere)
            data = forged(peer, client, kind, *sorted(own, key=lambda one: one.type))
            from_outside(network, router, data, source)
    network.run(5.0)
    assert spi in flow.peer_spis
    assert len(flow.peer_spis) <= 4
    assert {k: one.private_spi for k, one in network.routers["router"].lent.items()} == lent
    assert flow.peer == {4: Place(peer.address, network.transport)}
    both_ways(network, client, peer)
    for node, other in ((client, peer), (peer, client)):
        network.perform(node, node.machine.rekey(other.hit, network.now))
        for number in range(40):
            info = EspInfo(0, spi, 9000 + number)
            data = forged(peer, client, PacketType.UPDATE, info, Seq(number))
            from_outside(network, router, data, source)
            network.run(0.002)
        network.run(5.0)
        both_ways(network, client, peer)
    network.run(100.0)  # a forged CLOSE_ACK would have had it forgotten
    assert network.spinat(router).flow_count == 1
    network.move(router, [THERE])
    network.run(2.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


def test_a_neighbour_cannot_cut_a_client_off() -> None:
    """Somebody else inside can use the client's address, and knows the HITs."""
    network, router, client, peer = moving(Transport.UDP)
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    spi = flow.lent[-1].private
    for number in range(20):
        info = EspInfo(0, spi, 7000 + number)
        for kind in (PacketType.I2, PacketType.R2, PacketType.UPDATE, PacketType.NOTIFY):
            data = forged(client, peer, kind, info, Seq(number))
            for port, to in ((10500, PEER), (4444, PEER), (10500, "198.51.100.66")):
                transit = Transit(
                    Place(client.address, Transport.UDP, port),
                    Place(ip_address(to), Transport.UDP),
                )
                effects = router.machine.transit_received(data, transit, network.now, inside=True)
                network.perform(router, effects)
    both_ways(network, client, peer)
    network.run(3.0)
    both_ways(network, client, peer)
    assert len(network.routers["router"].lent) <= 4
    assert flow.client == Place(client.address, Transport.UDP)
    assert flow.peer == {4: Place(peer.address, Transport.UDP)}
    network.run(90.0)
    both_ways(network, client, peer)
    assert len(network.routers["router"].lent) == 1
    for node, other in ((client, peer), (peer, client)):
        network.perform(node, node.machine.rekey(other.hit, network.now))
        network.run(5.0)
        both_ways(network, client, peer)
    network.run(90.0)
    both_ways(network, client, peer)
    network.move(router, [THERE])
    network.run(3.0)
    both_ways(network, client, peer)


def test_a_forged_answer_does_not_end_a_base_exchange() -> None:
    network, router, client, peer = moving()
    network.perform(
        client,
        client.machine.connect(
            peer.hit, [Path(client.address, peer.address, network.transport)], network.now
        ),
    )
    for number in range(100):
        info = EspInfo(0, 0, 4000 + number)
        for kind in (PacketType.R1, PacketType.R2):
            from_outside(network, router, forged(peer, client, kind, info), ELSEWHERE)
        network.run(0.002)
    network.run(5.0)
    assert client.state(peer) is State.ESTABLISHED
    both_ways(network, client, peer)


def test_forged_answers_from_the_correspondents_address_do_not_last() -> None:
    """They may be believed during a base exchange, until the client says better."""
    network, router, client, peer = moving()
    network.perform(
        client,
        client.machine.connect(
            peer.hit, [Path(client.address, peer.address, network.transport)], network.now
        ),
    )
    for number in range(100):
        info = EspInfo(0, 0, 4000 + number)
        from_outside(network, router, forged(peer, client, PacketType.R2, info), PEER)
        network.run(0.002)
    network.run(5.0)
    both_ways(network, client, peer)


def test_a_forged_update_with_the_number_of_a_genuine_one_moves_nobody() -> None:
    """Numbers are easy to guess: it comes before or after, from where data is to be led to."""
    network, router, client, peer = moving()
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, PEER, "2001:db8::9")
    network.join(client, peer)
    network.move(router, [HERE, "2001:db8:1::1"])
    network.run(5.0)
    (flow,) = network.spinat(router).flows()
    thief = "2001:db8:bad::1"
    listed = LocatorSet((Locator(SpiLocator(300, ip_address(thief)), 60, preferred=True),))
    inside, outside = Place(ip_address(thief), Transport.UDP), ip_address("2001:db8:1::1")
    for attempt in range(3):
        for number in range(64):
            data = forged(peer, client, PacketType.UPDATE, listed, Seq(number))
            transit = Transit(inside, Place(outside, Transport.UDP))
            router.machine.transit_received(data, transit, network.now, inside=False)
        if attempt == 0:
            network.perform(peer, peer.machine.rekey(client.hit, network.now))
        if attempt == 1:
            network.perform(peer, peer.machine.ping(client.hit, network.now)[1])
        network.run(3.0)
    places = [*flow.peer.values(), *flow.claimed.values()]
    assert ip_address(thief) not in {place.address for place in places}
    network.move(router, ["2001:db8:1::2"])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address("2001:db8:1::2")
    both_ways(network, client, peer)


def test_forged_updates_by_proxy_do_not_use_up_what_is_let_through() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    (flow,) = network.spinat(router).flows()
    assert flow.ticket is not None
    locator = Locator(SpiLocator(256, ip_address(ELSEWHERE)), 60, preferred=True)
    rights = replace(flow.ticket.shown, mac=bytes(len(flow.ticket.shown.mac)))
    for shown in [rights] * 40 + [flow.ticket.shown] * 40:
        forged = HipPacket(
            PacketType.UPDATE,
            client.hit,
            peer.hit,
            (LocatorSet((locator,)), Seq(7), shown, HipMac(bytes(len(shown.mac)))),
            version=hip_version.get(),
        )
        pseudo = PseudoHeader(ip_address(ELSEWHERE), peer.address)
        network.deliver(peer, forged.emit(pseudo), ip_address(ELSEWHERE))
    assert peer.drops() == {"bad_ticket": 40, "bad_mac": 40}
    network.move(router, [THERE])
    network.run(1.0)
    assert peer.path_to(client).remote == ip_address(THERE)


def test_a_client_has_only_so_many_base_exchanges_under_way() -> None:
    network, router, client, _peer = moving(begun_per_client=4)
    for number in range(1, 10):
        path = Path(client.address, ip_address(f"192.0.2.{100 + number}"), network.transport)
        hit = type(client.hit)(int(client.hit) + number)
        network.perform(client, client.machine.connect(hit, [path], network.now))
    network.run(0.1)
    assert network.spinat(router).flow_count == 4
    network.run(200.0)
    assert network.spinat(router).flow_count == 0


def test_what_is_over_is_forgotten() -> None:
    network, router, client, peer = moving()
    network.join(client, peer)
    network.perform(client, client.machine.close(peer.hit, network.now))
    network.run(60.0)
    assert network.spinat(router).flow_count == 0
    assert not network.routers["router"].lent
    network.join(client, peer)
    network.perform(client, client.machine.unregister(router.hit, network.now))
    network.run(10.0)
    assert network.spinat(router).flow_count == 0
    assert not network.routers["router"].lent
