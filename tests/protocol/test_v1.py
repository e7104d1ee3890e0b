"""HIPv1 (RFC 5201) as a version of the machine: what is sent, what is taken, what is not."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa

from hipgw.errors import LocalProtocolError
from hipgw.identity.hit import HIT_PREFIX_V1
from hipgw.identity.host_identity import LocalIdentity
from hipgw.protocol.compat import CUTEHIP, HIP_VPLS, OPENHIP, RFC, Compat
from hipgw.protocol.config import MachineConfig, V1Config
from hipgw.protocol.effects import Direction, SendDatagram
from hipgw.protocol.path import Transport
from hipgw.protocol.states import State
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import DiffieHellmanV1, HipTransform
from protocol.network import FAST, Network, Node, assert_joined, identity, parse

CONFIG = replace(FAST, rekey_s=0.0, keepalive_s=0.0)


def v1(number: int) -> LocalIdentity:
    return identity("rsa2048", number, 1)


def pair(
    config: MachineConfig = CONFIG,
    other: MachineConfig | None = None,
    *,
    keys: tuple[LocalIdentity, LocalIdentity] | None = None,
    transport: Transport = Transport.UDP,
) -> tuple[Network, Node, Node]:
    network = Network(1, transport)
    one, two = keys or (v1(1), v1(2))
    a = network.add("a", "192.0.2.1", one, config)
    b = network.add("b", "198.51.100.2", two, other or config)
    return network, a, b


def sent(node: Node, kind: PacketType) -> list[HipPacket]:
    packets = (parse(e.data) for e in node.of(SendDatagram))
    return [packet for packet in packets if packet.packet_type is kind]


@pytest.mark.parametrize("transport", list(Transport))
def test_a_base_exchange_is_of_version_1_throughout(transport: Transport) -> None:
    network, a, b = pair(transport=transport)
    assert a.hit in HIT_PREFIX_V1
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert_joined(a, b)
    for node in (a, b):
        for event in node.of(SendDatagram):
            assert event.data[3] >> 4 == 1
    (r1,) = sent(b, PacketType.R1)
    kinds = [parameter.type for parameter in r1.parameters]
    # RFC 5201 §5.3.2, RFC 5202 §5.3
    assert kinds == [128, 257, 513, 577, 705, 4095, 61633]
    (i2,) = sent(a, PacketType.I2)
    assert [parameter.type for parameter in i2.parameters] == [
        *(65, 128, 321, 513, 577, 641, 4095, 61505, 61697)
    ]
    (r2,) = sent(b, PacketType.R2)
    assert [parameter.type for parameter in r2.parameters] == [65, 61569, 61697]
    assert not a.sa(Direction.OUTBOUND).format.esn


@pytest.mark.parametrize("hip_suite", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("compat", [RFC, OPENHIP], ids=lambda profile: profile.name)
def test_every_hip_suite(hip_suite: int, compat: Compat) -> None:
    suites = V1Config(dh_groups=(3,), hip_suites=(hip_suite,), esp_suites=(hip_suite,))
    network, a, b = pair(replace(CONFIG, v1=suites, compat=lambda _hit: compat))
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert_joined(a, b)
    assert sent(a, PacketType.I2)[0].get(HipTransform) == HipTransform((hip_suite,))
    network.perform(a, a.machine.rekey(b.hit, network.now))
    network.run(70.0)
    assert_joined(a, b)


@pytest.mark.parametrize("group", [1, 2, 3, 4])
def test_diffie_hellman_groups(group: int) -> None:
    network, a, b = pair(replace(CONFIG, v1=V1Config(dh_groups=(group,))))
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert_joined(a, b)


def test_of_two_public_values_the_one_that_the_initiator_prefers_is_answered() -> None:
    both = replace(CONFIG, v1=V1Config(dh_groups=(3, 2)))
    second = replace(CONFIG, v1=V1Config(dh_groups=(2,)))
    network, a, b = pair(second, both)
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert_joined(a, b)
    value = sent(b, PacketType.R1)[0].get(DiffieHellmanV1)
    assert value is not None
    assert [one.group for one in value.values] == [3, 2]
    assert sent(a, PacketType.I2)[0].get(DiffieHellmanV1).group == 2  # type: ignore[union-attr]


def test_no_common_group_is_told_apart_from_silence() -> None:
    network, a, b = pair(
        replace(CONFIG, v1=V1Config(dh_groups=(4,))), replace(CONFIG, v1=V1Config(dh_groups=(3,)))
    )
    network.connect(a, b)
    network.run(30.0)
    assert a.drops() == {"no_proposal": a.drops()["no_proposal"]}


def test_dsa_identities() -> None:
    keys = LocalIdentity(dsa.generate_private_key(1024), 1), v1(2)
    for one, two in (keys, keys[::-1]):
        network, a, b = pair(keys=(one, two))
        network.connect(a, b)
        network.until(lambda a=a, b=b: a.state(b) is State.ESTABLISHED)
        assert_joined(a, b)


def test_opportunistic_mode_keeps_to_the_callers_version() -> None:
    network, a, b = pair(replace(CONFIG, opportunistic=True))
    network.connect(a, b, opportunistic=True)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert_joined(a, b)


def test_a_host_without_an_identity_of_that_version_says_so() -> None:
    network, a, b = pair(keys=(identity("ecdsa-p256", 1), v1(2)))
    with pytest.raises(LocalProtocolError, match="no Host Identity of HIP version 1"):
        network.connect(a, b)


def test_a_packet_of_another_version_than_its_hits_is_dropped() -> None:
    network, a, b = pair()
    forged = HipPacket(PacketType.I1, a.hit, b.hit, version=2).emit()
    path = network.path(b, a)
    network.perform(b, b.machine.datagram_received(forged, path, network.now))
    assert b.drops() == {"version": 1}


def test_both_versions_in_one_machine() -> None:
    network, a, b = pair(keys=(v1(1), v1(2)))
    old, new = v1(3), identity("ecdsa-p256", 3)
    c = network.add("c", "203.0.113.3", new, CONFIG, others=[old])
    d = network.add("d", "203.0.113.4", identity("ecdsa-p256", 4), CONFIG)
    for peer in (a, d):
        network.perform(c, c.machine.connect(peer.hit, [network.path(c, peer)], network.now))
    network.run(5.0)
    states = {info.peer_hit: info.state for info in c.machine.associations()}
    assert states == {a.hit: State.ESTABLISHED, d.hit: State.ESTABLISHED}
    assert {info.local_hit for info in c.machine.associations()} == {old.hit, new.hit}
    del b


@pytest.mark.parametrize("profile", [CUTEHIP, HIP_VPLS], ids=lambda profile: profile.name)
def test_profiles_of_hipv2_peers_agree_with_themselves(profile: Compat) -> None:
    config = replace(CONFIG, esp_suites=(8,), compat=lambda _hit: profile)
    network, a, b = pair(config, keys=(identity("rsa2048", 1), identity("rsa2048", 2)))
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert_joined(a, b)
    number = a.machine.ping(b.hit, network.now)
    network.perform(a, number[1])
    network.run(5.0)
    assert any(getattr(event, "request", None) == number[0] for event in a.events)
    assert not a.drops()
    assert not b.drops()


def test_a_profile_is_nothing_a_conforming_peer_can_talk_to() -> None:
    deviant = replace(CONFIG, compat=lambda _hit: CUTEHIP)
    network, a, b = pair(deviant, CONFIG, keys=(identity("rsa2048", 1), identity("rsa2048", 2)))
    network.connect(a, b)
    network.run(60.0)
    assert a.state(b) is not State.ESTABLISHED
