"""HIPv1 (RFC 5201) as a version of the machine: what is sent, what is taken, what is not."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.errors import LocalProtocolError
from hipgw.identity.hit import HIT_PREFIX_V1
from hipgw.identity.host_identity import LocalIdentity
from hipgw.protocol import update_tasks
from hipgw.protocol.compat import CUTEHIP, HIP_VPLS, OPENHIP, RFC, Compat
from hipgw.protocol.config import MachineConfig, V1Config
from hipgw.protocol.effects import Direction, Failed, SendDatagram
from hipgw.protocol.locators import LocatorState
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.states import State
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    Ack,
    DiffieHellmanV1,
    HipTransform,
    Locator,
    LocatorSet,
    Parameter,
    RegInfo,
    RegRequest,
    SpiLocator,
)
from identity.test_host_identity_v1 import rsa_key_of_512_bits
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


# -- OpenHIP's ways of moving and registering ----------------------------------------------------

AS_OPENHIP = replace(CONFIG, compat=lambda _hit: OPENHIP)


def joined(config: MachineConfig = AS_OPENHIP) -> tuple[Network, Node, Node]:
    network, a, b = pair(config)
    network.connect(a, b)
    network.until(lambda: a.state(b) is b.state(a) is State.ESTABLISHED)
    return network, a, b


def test_the_profile_shows_before_the_peer_has_answered() -> None:
    network, a, b = pair(AS_OPENHIP)
    network.connect(a, b)
    (info,) = a.machine.associations()
    assert (info.state, info.compat) == (State.I1_SENT, "openhip")


def update(node: Node, peer: Node, *parameters: Parameter) -> bytes:
    """An UPDATE of a node, as its machine would protect it."""
    association = node.machine._core.find(node.hit, peer.hit)
    assert association is not None
    assert association.session is not None
    return update_tasks.build(association, association.session, parameters)


def locators(*addresses: str) -> LocatorSet:
    return LocatorSet(
        tuple(
            Locator(SpiLocator(256, ip_address(address)), 1800, preferred=number == 0)
            for number, address in enumerate(addresses)
        )
    )


def known(node: Node, peer: Node) -> set[str]:
    (info,) = node.machine.associations(peer.hit)
    return {str(locator.address) for locator in info.locators}


def test_data_on_the_new_keys_does_not_end_the_check_of_the_new_address() -> None:
    network, a, b = joined()
    network.data(a, b)
    # What acknowledges b's question is lost once, and data is faster.
    network.filter = lambda sender, data: (
        [] if sender == "a" and parse(data).get(Ack) is not None else [0.01]
    )
    network.readdress(a, "192.0.2.99")
    network.run(0.1)
    newest = b.installed[-1]
    assert newest.direction is Direction.INBOUND
    network.perform(b, b.machine.data_received(newest.spi, network.now))
    network.filter = lambda _sender, _data: [0.01]
    network.run(10.0)
    assert b.path_to(a).remote == a.address
    assert b.machine.associations(a.hit)[0].path_verified


def test_addresses_that_are_listed_without_a_number_are_verified() -> None:
    network, a, b = pair(AS_OPENHIP)
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    assert b.state(a) is State.R2_SENT
    a.others = [ip_address("192.0.2.77")]
    network.nodes[a.others[0]] = a
    network.deliver(b, update(a, b, locators("192.0.2.1", "192.0.2.77")), a.address)
    network.run(2.0)
    (info,) = b.machine.associations(a.hit)
    states = {str(one.address): one.state for one in info.locators}
    assert states == {
        "192.0.2.1": LocatorState.ACTIVE,
        "192.0.2.77": LocatorState.ACTIVE,
    }
    assert not b.drops()
    assert b.state(a) is State.ESTABLISHED


def test_nothing_is_listed_without_a_number_once_there_was_one() -> None:
    """It could be an old packet, which somebody sends again."""
    network, a, b = joined()
    old = update(a, b, locators("192.0.2.55"))
    network.perform(a, a.machine.ping(b.hit, network.now)[1])
    network.run(1.0)
    network.deliver(b, old, a.address)
    assert b.drops() == {"missing_parameter": 1}
    assert known(b, a) == {"192.0.2.1"}


def test_conforming_peers_number_what_they_list() -> None:
    network, a, b = joined(CONFIG)
    network.deliver(b, update(a, b, locators("192.0.2.55")), a.address)
    assert b.drops() == {"missing_parameter": 1}


def test_registration_type_3_is_not_shared_with_openhip() -> None:
    registrar = RegistrarConfig(services=(1, 3), allow=lambda _hit: True)
    for compat, expected in ((OPENHIP, (1,)), (RFC, (1, 3))):
        config = replace(CONFIG, compat=lambda _hit, compat=compat: compat)
        network, a, b = pair(config, replace(config, registrar=registrar))
        network.perform(a, a.machine.register(b.hit, (1, 3), 600.0, network.now))
        network.connect(a, b)
        network.until(lambda a=a, b=b: a.state(b) is State.ESTABLISHED)
        (offer,) = sent(b, PacketType.R1)[0].all(RegInfo)
        (request,) = sent(a, PacketType.I2)[0].all(RegRequest)
        assert offer.reg_types == request.reg_types == expected


def test_openhip_is_asked_for_the_longest_registration() -> None:
    registrar = RegistrarConfig(services=(1,), allow=lambda _hit: True, max_lifetime_s=86400.0)
    codes = {}
    for compat in (OPENHIP, RFC):
        config = replace(CONFIG, compat=lambda _hit, compat=compat: compat)
        network, a, b = pair(config, replace(config, registrar=registrar))
        network.perform(a, a.machine.register(b.hit, (1,), 600.0, network.now))
        network.connect(a, b)
        network.until(lambda a=a, b=b: a.state(b) is State.ESTABLISHED)
        (offer,) = sent(b, PacketType.R1)[0].all(RegInfo)
        (request,) = sent(a, PacketType.I2)[0].all(RegRequest)
        codes[compat.name] = request.lifetime, offer.max_lifetime
    assert codes["openhip"][0] == codes["openhip"][1]
    assert codes["none"][0] < codes["none"][1]


def test_openhip_has_no_udp_over_ipv6() -> None:
    for compat, expected in ((OPENHIP, [True, False]), (RFC, [True, True])):
        addresses = ip_address("192.0.2.1"), ip_address("2001:db8::1")
        assert [compat.takes_udp(address) for address in addresses] == expected


@pytest.mark.parametrize("config", [CONFIG, AS_OPENHIP], ids=["none", "openhip"])
def test_a_peer_that_tells_no_address_is_found_where_else_it_was_called(
    config: MachineConfig,
) -> None:
    """OpenHIP lists none before it moves, so this host knows no other than what it was told."""
    quiet = replace(config, announce_all=False)
    network, a, b, ways = called_in_both_families(quiet, Transport.RAW)
    network.readdress(a, "2001:db8::1")
    network.run(70.0)
    assert a.path_to(b) == ways[1]
    assert b.path_to(a).remote == ways[1].local
    assert a.machine.associations(b.hit)[0].path_verified
    assert_joined(a, b)


def test_what_was_called_in_another_way_is_not_mixed_up() -> None:
    """OpenHIP has no UDP over IPv6, so it is called there by plain IP; an association has one."""
    network, a, b, ways = called_in_both_families(AS_OPENHIP, Transport.UDP)
    network.readdress(a, "2001:db8::1")
    network.run(10.0)
    assert a.path_to(b) == ways[0]
    assert known(a, b) == {"198.51.100.2"}


def test_openhip_is_told_the_preferred_address_alone() -> None:
    network, a, b, _ways = called_in_both_families(AS_OPENHIP, Transport.RAW)
    network.run(5.0)
    assert not sent(a, PacketType.UPDATE)
    network.readdress(a, "192.0.2.7", "192.0.2.8", "2001:db8::1")
    network.run(5.0)
    listed = [one.get(LocatorSet) for one in sent(a, PacketType.UPDATE)]
    assert [len(one.locators) for one in listed if one is not None] == [1]
    assert str(b.path_to(a).remote) == "192.0.2.7"


def called_in_both_families(
    config: MachineConfig, first: Transport
) -> tuple[Network, Node, Node, list[Path]]:
    """Two hosts with addresses of both IP versions; the one of IPv6 is called by plain IP."""
    network, a, b = pair(config, transport=first)
    network.readdress(a, "192.0.2.1", "2001:db8::1")
    network.readdress(b, "198.51.100.2", "2001:db8::2")
    ways = [
        Path(ip_address("192.0.2.1"), ip_address("198.51.100.2"), first),
        Path(ip_address("2001:db8::1"), ip_address("2001:db8::2"), Transport.RAW),
    ]
    network.perform(a, a.machine.connect(b.hit, ways, network.now))
    network.until(lambda: a.state(b) is b.state(a) is State.ESTABLISHED)
    assert a.path_to(b) == ways[0]
    return network, a, b, ways


def test_short_sequence_numbers_are_never_used_up() -> None:
    """Though any number of packets is allowed."""
    network, a, b = pair(replace(CONFIG, rekey_packets=0))
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    spi = a.sa(Direction.INBOUND).spi
    network.perform(a, a.machine.sa_used(spi, (1 << 31) - 1, 0, network.now))
    network.run(1.0)
    assert a.sa(Direction.INBOUND).spi == spi
    network.perform(a, a.machine.sa_used(spi, 1 << 31, 0, network.now))
    network.run(70.0)
    assert a.sa(Direction.INBOUND).spi != spi
    assert_joined(a, b)


@pytest.mark.parametrize(
    ("offers", "why"),
    [
        (V1Config(dh_groups=(3,), hip_suites=(2,), esp_suites=(2,)), "no suite or Diffie-Hellman"),
        (V1Config(dh_groups=(4,)), "no suite or Diffie-Hellman"),
    ],
    ids=["suites", "groups"],
)
def test_a_peer_that_offers_nothing_allowed_is_told_apart_from_silence(
    offers: V1Config, why: str
) -> None:
    network, a, b = pair(CONFIG, replace(CONFIG, v1=offers))
    network.connect(a, b)
    network.run(60.0)
    (failed,) = a.of(Failed)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("its R1 cannot be used: it offers")
    assert why in failed.reason


def test_a_weak_key_is_told_apart_from_silence() -> None:
    weak = LocalIdentity(rsa.generate_private_key(65537, 1024), 1)
    network, a, b = pair(CONFIG, keys=(v1(1), weak))
    network.connect(a, b)
    network.until(lambda: a.state(b) is State.ESTABLISHED)
    short = LocalIdentity(rsa_key_of_512_bits(), 1, weak_keys=True)
    network, a, b = pair(CONFIG, keys=(v1(1), short))
    network.connect(a, b)
    network.run(60.0)
    (failed,) = a.of(Failed)
    assert isinstance(failed, Failed)
    assert failed.reason == (
        "its R1 cannot be used: its key is of a kind or a length that is not allowed here"
    )
