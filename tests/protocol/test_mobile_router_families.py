"""Mobile routers between address families, and behind NATs, in virtual time."""

from ipaddress import ip_address

import pytest

from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import Transport
from hipgw.wire.packet import HipPacket, PacketType
from protocol.moving import both_ways
from protocol.moving_clients import CLIENT, HERE, PEER, THERE, moving
from protocol.network import Nat, hip_version

pytestmark = pytest.mark.both_versions


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("tickets", [True, False])
def test_a_network_behind_a_nat(transport: Transport, tickets: bool) -> None:
    """What correspondents are told is a private address; they go by where packets come from.

    What is plain otherwise goes in UDP there.
    """
    network, router, client, peer = moving(transport, tickets=tickets)
    private = "172.16.0.2"
    nat = network.nats[ip_address(private)] = Nat("203.0.113.200")
    network.join(client, peer)
    for place in (private, THERE, private):
        network.move(router, [place])
        network.run(20.0)
        seen = peer.path_to(client)
        assert seen.remote == (nat.outside if place == private else ip_address(place))
        assert seen.transport is (Transport.UDP if place == private else transport)
        both_ways(network, client, peer)
        network.run(60.0)
        both_ways(network, client, peer)
    if tickets or transport is Transport.UDP:
        nat.rebind()
        network.run(40.0)
        both_ways(network, client, peer)
    second = network.host("second", "192.0.2.10", 7)
    network.join(client, second)
    both_ways(network, client, second)
    network.move(router, [HERE])
    network.run(5.0)
    for one in (peer, second):
        assert one.path_to(client).remote == ip_address(HERE)
        both_ways(network, client, one)


def test_between_address_families() -> None:
    network, router, client, peer = moving()
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, PEER, "2001:db8::9")
    network.join(client, peer)
    both_ways(network, client, peer)
    network.run(2.0)  # the correspondent tells its addresses
    network.move(router, ["2001:db8:1::1"])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address("2001:db8:1::1")
    both_ways(network, client, peer)
    network.move(router, [THERE])
    network.run(5.0)
    assert peer.path_to(client).remote == ip_address(THERE)
    both_ways(network, client, peer)


@pytest.mark.parametrize("tickets", [True, False])
def test_a_private_address_need_not_be_behind_a_nat(tickets: bool) -> None:
    network, router, client, peer = moving(tickets=tickets)
    network.join(client, peer)
    for place in ("172.16.0.2", THERE, "10.200.0.1"):
        network.move(router, [place])
        network.run(5.0)
        seen = peer.path_to(client)
        assert (seen.remote, seen.transport) == (ip_address(place), Transport.RAW)
        both_ways(network, client, peer)


@pytest.mark.parametrize("transport", list(Transport))
def test_a_call_from_the_other_address_family(transport: Transport) -> None:
    """The client has no address for the caller: the router's own inside stands for it."""
    network, router, client, peer = moving(transport)
    six, there = "2001:db8:1::1", "2001:db8:1::2"
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, "2001:db8::9")
    second = network.host("second", "2001:db8::10", 7)
    network.move(router, [six])
    network.join(peer, client, six)
    network.join(second, client, six)
    for one in (peer, second):
        assert client.path_to(one).remote == router.address
        assert one.path_to(client).remote == ip_address(six)
        both_ways(network, client, one)
    network.move(router, [there])
    network.run(5.0)
    for one in (peer, second):
        assert one.path_to(client).remote == ip_address(there)
        both_ways(network, client, one)
    for node, other in ((client, peer), (peer, client)):
        network.perform(node, node.machine.rekey(other.hit, network.now))
        network.run(5.0)
        both_ways(network, client, peer)
    network.where[ip_address("2001:db8::99")] = ""
    network.readdress(peer, "2001:db8::99")
    network.run(10.0)
    both_ways(network, client, peer)


def test_a_client_with_both_address_families_is_called_by_either() -> None:
    network, router, client, peer = moving()
    network.where[ip_address("2001:db8:aa::10")] = "router"
    router.others.append(ip_address("2001:db8:aa::1"))
    network.nodes[ip_address("2001:db8:aa::1")] = router
    network.where[ip_address("2001:db8:aa::1")] = "router"
    network.readdress(client, CLIENT, "2001:db8:aa::10")
    network.move(router, ["2001:db8:1::1"])
    network.run(5.0)
    network.where[ip_address("2001:db8::9")] = ""
    network.readdress(peer, "2001:db8::9")
    network.join(peer, client, "2001:db8:1::1")
    assert client.path_to(peer).remote == peer.address
    both_ways(network, client, peer)


def test_calls_from_the_other_address_family_cost_no_memory() -> None:
    network, router, client, _peer = moving()
    network.move(router, ["2001:db8:1::1"])
    i1 = HipPacket(PacketType.I1, client.hit, client.hit, version=hip_version.get()).emit()
    for number in range(2000):
        source = Place(ip_address(f"2001:db8:{number:x}::1"), Transport.UDP)
        transit = Transit(source, Place(ip_address("2001:db8:1::1"), Transport.UDP))
        sender = (int(client.hit) + number + 1).to_bytes(16, "big")
        data = i1[:8] + sender + i1[24:]
        router.machine.transit_received(data, transit, network.now, inside=False)
    (known,) = network.spinat(router).clients.values()
    assert len(known.callers) == 64
    assert not network.spinat(router).flow_count
