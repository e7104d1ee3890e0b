"""Registration (RFC 8003): offers, grants, refusals, renewal, expiry, cancellation."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import Closed, RegistrationChanged
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.registration import (
    FailureType,
    RegistrationInfo,
    ServiceType,
    lifetime_code,
    lifetime_s,
)
from hipgw.protocol.states import State
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import RegFailed, RegFrom, RegInfo, RegRequest, RegResponse
from protocol.network import FAST, Network, Node, identity

HIP, ESP, RVS = ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP, ServiceType.RENDEZVOUS
PORTS = tuple((IPv4Address("0.0.0.0"), port) for port in range(30000, 30003))


def registrar(**settings: object) -> MachineConfig:
    config = RegistrarConfig(allow=lambda hit: True, min_lifetime_s=10, max_lifetime_s=120)
    return replace(FAST, registrar=replace(config, **settings))  # type: ignore[arg-type]


def pair(**settings: object) -> tuple[Network, Node, Node]:
    """A registrar and somebody who knows it."""
    network = Network()
    server = network.add("server", "10.0.0.1", identity("ecdsa-p256", 1), registrar(**settings))
    client = network.add("client", "10.0.0.2", identity("ecdsa-p256", 2))
    return network, server, client


def register(
    network: Network, client: Node, server: Node, *types: int, seconds: float = 60.0
) -> None:
    effects = client.machine.register(server.hit, types, seconds, network.now)
    network.perform(client, effects)


def join(network: Network, client: Node, server: Node) -> None:
    network.connect(client, server)
    network.until(lambda: client.state(server) is State.ESTABLISHED)
    network.run(0.1)


def changes(node: Node) -> list[tuple[int, str]]:
    return [(e.reg_type, e.reason) for e in node.of(RegistrationChanged)]


def infos(node: Node) -> list[RegistrationInfo]:
    return node.machine.registrations()


@pytest.mark.parametrize(
    ("code", "seconds"), [(0, 0), (64, 1), (72, 2), (144, 1024), (152, 2048), (255, 15384775)]
)
def test_lifetimes_are_exponents(code: int, seconds: float) -> None:
    assert lifetime_s(code) == pytest.approx(seconds, rel=1e-3)


@given(st.floats(min_value=0.01, max_value=1e7))
def test_a_lifetime_is_never_coded_longer_than_meant(seconds: float) -> None:
    code = lifetime_code(seconds)
    assert lifetime_s(code) <= seconds * (1 + 1e-9)
    assert code == 255 or lifetime_s(code + 1) > seconds * (1 - 1e-9)


def test_registering_in_the_base_exchange() -> None:
    network, server, client = pair()
    seen: dict[PacketType, HipPacket] = {}

    def watch(_sender: str, data: bytes) -> list[float]:
        packet = HipPacket.parse(data)
        seen.setdefault(packet.packet_type, packet)
        return [0.01]

    network.filter = watch
    register(network, client, server, HIP)
    join(network, client, server)
    offer = seen[PacketType.R1].get(RegInfo)
    assert offer is not None
    assert offer.reg_types == (HIP,)
    assert 10 <= lifetime_s(offer.min_lifetime) < 12
    assert 100 < lifetime_s(offer.max_lifetime) <= 120
    asked = seen[PacketType.I2].get(RegRequest)
    assert asked is not None
    assert asked.reg_types == (HIP,)
    granted = seen[PacketType.R2].get(RegResponse)
    assert granted is not None
    assert granted.reg_types == (HIP,)
    where = seen[PacketType.R2].get(RegFrom)
    assert where == RegFrom(client.address, 10500)
    assert changes(client) == [(HIP, "granted")]
    assert changes(server) == [(HIP, "granted")]
    (info,) = infos(client)
    assert not info.registrar
    assert info.mapped == (client.address, 10500)
    (info,) = infos(server)
    assert info.registrar


def test_registering_with_an_association_that_is_there() -> None:
    network, server, client = pair()
    join(network, client, server)
    assert not infos(client)
    register(network, client, server, HIP)
    network.run(1)
    assert changes(client) == changes(server) == [(HIP, "granted")]
    assert infos(client)[0].mapped == (client.address, 10500)


def test_nothing_is_asked_for_that_is_not_offered() -> None:
    network, server, client = pair(services=(HIP,))
    register(network, client, server, RVS, ESP)
    join(network, client, server)
    assert not infos(client)
    assert not changes(server)


def test_it_is_renewed_for_as_long_as_it_is_wanted() -> None:
    network, server, client = pair()
    register(network, client, server, HIP, seconds=60)
    join(network, client, server)
    network.run(3600)
    assert infos(client)[0].expires > network.now
    assert infos(server)[0].expires > network.now
    assert client.state(server) is State.ESTABLISHED, "kept, though no data flows"
    assert {reason for _, reason in changes(client)} == {"granted", "renewed"}


def test_it_expires_when_the_client_is_gone() -> None:
    network, server, client = pair()
    register(network, client, server, HIP, seconds=60)
    join(network, client, server)
    network.filter = lambda sender, data: []
    network.run(90)
    assert not infos(server)
    assert changes(server)[-1] == (HIP, "expired")
    assert not infos(client)


def test_the_client_cancels() -> None:
    network, server, client = pair()
    register(network, client, server, HIP)
    join(network, client, server)
    network.perform(client, client.machine.unregister(server.hit, network.now))
    network.run(1)
    assert not infos(server)
    assert not infos(client)
    assert changes(server)[-1] == (HIP, "cancelled by the client")
    assert changes(client)[-1] == (HIP, "cancelled")


def test_it_ends_with_the_association() -> None:
    network, server, client = pair()
    register(network, client, server, HIP)
    join(network, client, server)
    network.perform(client, client.machine.close(server.hit, network.now))
    network.run(1)
    assert not infos(server)
    assert not infos(client)


def test_a_client_that_restarts_registers_anew() -> None:
    network, server, client = pair(services=(HIP, ESP), relayed=PORTS)
    for _ in range(5):
        client = network.add("client", "10.0.0.2", identity("ecdsa-p256", 2))
        register(network, client, server, HIP, ESP)
        join(network, client, server)
        assert len(infos(server)) == 2
    assert server.machine._core.registrar.data_relay._pool.free == len(PORTS) - 1


@pytest.mark.parametrize(("asked", "granted"), [(1, 10), (5000, 120)])
def test_lifetimes_stay_within_bounds(asked: float, granted: float) -> None:
    network, server, client = pair()
    register(network, client, server, HIP, seconds=asked)
    join(network, client, server)
    assert infos(client)[0].lifetime_s == pytest.approx(granted, rel=0.15)


def failures(network: Network) -> list[RegFailed]:
    found: list[RegFailed] = []

    def watch(_sender: str, data: bytes) -> list[float]:
        found.extend(HipPacket.parse(data).all(RegFailed))
        return [0.01]

    network.filter = watch
    return found


def test_strangers_are_refused() -> None:
    network, server, client = pair(allow=lambda hit: False)
    found = failures(network)
    register(network, client, server, HIP)
    join(network, client, server)
    assert found == [RegFailed(FailureType.CREDENTIALS_REQUIRED, (HIP,))]
    assert not infos(client)
    assert not infos(server)
    network.run(30)
    assert len(found) == 1, "it does not ask again at once"


def test_when_it_is_full() -> None:
    network, server, client = pair(clients_max=1)
    other = network.add("other", "10.0.0.3", identity("ecdsa-p256", 3))
    found = failures(network)
    for node in (client, other):
        register(network, node, server, HIP)
        join(network, node, server)
    assert found == [RegFailed(FailureType.INSUFFICIENT_RESOURCES, (HIP,))]
    assert len(infos(server)) == 1


def test_rendezvous_and_relay_exclude_each_other() -> None:
    network, server, client = pair(services=(RVS, HIP))
    register(network, client, server, RVS, HIP)
    join(network, client, server)
    assert [info.reg_type for info in infos(client)] == [HIP]
    found = failures(network)
    client.machine._core.associations[client.hit, server.hit].registrations.held.grants.clear()
    register(network, client, server, RVS)
    network.run(1)
    assert found == [RegFailed(FailureType.SIMULTANEOUS_REGISTRATION, (RVS,))]


def test_ports_are_lent_and_come_back() -> None:
    network, server, client = pair(services=(HIP, ESP), relayed=PORTS[:1])
    other = network.add("other", "10.0.0.3", identity("ecdsa-p256", 3))
    found = failures(network)
    register(network, client, server, HIP, ESP)
    join(network, client, server)
    lent = next(info.relayed for info in infos(client) if info.reg_type == ESP)
    assert lent == ((server.address, 30000),)
    register(network, other, server, HIP, ESP)
    join(network, other, server)
    assert found == [RegFailed(FailureType.INSUFFICIENT_RESOURCES, (ESP,))]
    network.run(600)
    assert len([e for e in server.events if type(e).__name__ == "OpenRelayedPort"]) == 1
    network.perform(client, client.machine.close(server.hit, network.now))
    network.run(90)
    assert {info.reg_type for info in infos(other)} == {HIP, ESP}


def test_a_registrar_that_grants_next_to_nothing_is_not_asked_all_the_time() -> None:
    network, server, client = pair(min_lifetime_s=0.001, max_lifetime_s=0.005)
    register(network, client, server, HIP)
    join(network, client, server)
    sent = len(network.sent)
    network.run(60)
    assert len(network.sent) - sent < 60 * 6


def test_a_registrar_that_lost_its_memory_is_called_anew() -> None:
    network, server, client = pair()
    register(network, client, server, HIP, seconds=60)
    join(network, client, server)
    server = network.add("server", "10.0.0.1", server.keys, server.config)
    network.run(120)
    assert "the registrar does not answer" in [e.reason for e in client.of(Closed)]
    join(network, client, server)
    assert infos(client)
    assert infos(server)


@pytest.mark.parametrize("lost", [1, 3])
def test_an_answer_that_is_lost_is_asked_for_again(lost: int) -> None:
    """A registrar acknowledges a request that comes again, but need not remember its answer."""
    network, server, client = pair()
    register(network, client, server, HIP)
    join(network, client, server)
    left = [lost]

    def lose(sender: str, data: bytes) -> list[float]:
        packet = HipPacket.parse(data)
        if sender == "server" and packet.get(RegResponse) is not None and left[0]:
            left[0] -= 1
            # What it would have been answered with is forgotten.
            for association in server.machine._core.associations.values():
                assert association.session is not None
                association.session.answers.clear()
            return []
        return [0.01]

    network.filter = lose
    network.run(400.0)
    assert not left[0]
    assert [one.reg_type for one in infos(client)] == [HIP]
    asked = [kind for name, kind in network.sent if name == "client" and kind == PacketType.UPDATE]
    assert len(asked) < 40
