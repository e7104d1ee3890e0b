"""The rendezvous server: whom it relays what to, and what it keeps of its clients (RFC 8004)."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.protocol.compat import OPENHIP
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Closed, PacketTrace, RegistrationChanged
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import FailureType
from hipgw.protocol.rendezvous import compact
from hipgw.protocol.rendezvous.compact import Shapes
from hipgw.protocol.states import State
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.coverage import rvs_hmac_coverage
from hipgw.wire.insertion import with_parameters
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    EchoResponseUnsigned,
    From,
    Parameter,
    RegFrom,
    RelayFrom,
    RelayHmac,
    RelayTo,
    RvsHmac,
    UnknownParameter,
    ViaRvs,
)
from protocol.network import FAST, Network, hip_version, parse
from protocol.rvs_clients import (
    CLIENT,
    INITIATOR_V1,
    RELAY,
    RVS,
    SERVER,
    STRANGER,
    checked,
    host,
    i1,
    met,
    relay,
    rested,
    server_config,
)


@pytest.mark.both_versions
@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("compact_form", [False, True])
def test_an_i1_goes_to_the_client(transport: Transport, compact_form: bool) -> None:
    network, server, client = met(transport, config=server_config(compact=compact_form))
    if compact_form:
        rested(network, server)
    pseudo = None
    if transport is Transport.RAW:
        pseudo = PseudoHeader(ip_address(STRANGER), server.address)
    data = i1(client, pseudo=pseudo)
    (sent,) = relay(network, server, data)
    assert (sent.path.remote, sent.path.transport) == (client.address, transport)
    assert sent.path.local == server.address
    packet = checked(client, server, sent.data)
    assert packet.sender_hit == parse(data).sender_hit
    assert [type(one) for one in packet.parameters[-2:]] == [From, RvsHmac]
    assert packet.parameters[-2] == From(ip_address(STRANGER))
    assert packet.parameters[:-2] == parse(data).parameters
    if transport is Transport.RAW:
        # The checksum is right for the new addresses.
        between = PseudoHeader(server.address, client.address)
        HipPacket.parse(sent.data, between, versions={1, 2})
    else:
        assert sent.data[4:6] == b"\0\0"
    assert server.machine.statistics()["sent"]["I1"] == 1


@pytest.mark.parametrize(
    ("came", "port", "goes", "told"),
    [
        (Transport.UDP, 10500, Transport.UDP, None),
        (Transport.UDP, 40001, Transport.UDP, RelayFrom(ip_address(STRANGER), 40001, 17)),
        (Transport.RAW, 0, Transport.UDP, RelayFrom(ip_address(STRANGER), 0, 0)),
        (Transport.UDP, 10500, Transport.RAW, RelayFrom(ip_address(STRANGER), 10500, 17)),
        (Transport.RAW, 0, Transport.RAW, None),
    ],
)
def test_the_port_is_told_where_the_client_could_not_guess_it(
    came: Transport, port: int, goes: Transport, told: RelayFrom | None
) -> None:
    network, server, client = met(goes)
    pseudo = None
    if came is Transport.RAW:
        pseudo = PseudoHeader(ip_address(STRANGER), server.address)
    (sent,) = relay(network, server, i1(client, pseudo=pseudo), transport=came, port=port)
    packet = checked(client, server, sent.data)
    assert packet.get(RelayFrom) == told
    assert packet.get(From) == From(ip_address(STRANGER))


def test_a_peer_that_knows_from_alone_gets_no_more() -> None:
    config = replace(server_config(), compat=lambda _hit: OPENHIP)
    client_config = replace(FAST, compat=lambda _hit: OPENHIP)
    network, server, client = met(config=config, client_config=client_config)
    (sent,) = relay(network, server, i1(client), port=40001)
    assert checked(client, server, sent.data).get(RelayFrom) is None


def test_an_update_goes_to_the_client() -> None:
    network, server, client = met()
    (sent,) = relay(network, server, i1(client, kind=PacketType.UPDATE))
    assert checked(client, server, sent.data).packet_type is PacketType.UPDATE


@pytest.mark.parametrize(
    "kind", [kind for kind in PacketType if kind not in (PacketType.I1, PacketType.UPDATE)]
)
def test_nothing_else_goes_to_the_client(kind: PacketType) -> None:
    network, server, client = met()
    assert not relay(network, server, i1(client, kind=kind))
    assert server.drops() == {"not_relayed": 1}


@pytest.mark.parametrize(
    "parameter",
    [
        From(ip_address("192.0.2.9")),
        RelayFrom(ip_address("192.0.2.9"), 10500, 17),
        RelayTo(ip_address("192.0.2.9"), 10500, 17),
        RvsHmac(bytes(32)),
        RelayHmac(bytes(32)),
        ViaRvs((ip_address("192.0.2.9"),)),
    ],
    ids=lambda parameter: type(parameter).__name__,
)
def test_nobody_puts_words_into_the_mouth_of_the_server(parameter: Parameter) -> None:
    network, server, client = met()
    assert not relay(network, server, i1(client, parameter))
    assert server.drops() == {"not_relayed": 1}


def test_parameters_stay_in_order() -> None:
    network, server, client = met()
    last = UnknownParameter(65520 + 2, b"behind all others")
    for parameters in ([EchoResponseUnsigned(b"1234")], [EchoResponseUnsigned(b"1234"), last]):
        data = i1(client, *parameters, kind=PacketType.UPDATE)
        (sent,) = relay(network, server, data, port=40001)
        packet = HipPacket.parse(sent.data)  # which is strict about the order
        code = packet.get(RvsHmac)
        assert code is not None
        assert packet.get(RelayFrom) is not None


def test_no_packet_is_made_too_long() -> None:
    network, server, client = met()
    filling = EchoResponseUnsigned(bytes(2048 - 40 - 8 - 8))
    assert not relay(network, server, i1(client, filling, kind=PacketType.UPDATE))
    assert server.drops() == {"malformed": 1}


def test_strangers_are_not_relayed_to() -> None:
    network, server, client = met()
    nobody = replace(parse(i1(client)), receiver_hit=IPv6Address("2001:20::2"))
    assert not relay(network, server, nobody.emit())
    opportunistic = replace(nobody, receiver_hit=IPv6Address(0))
    assert not relay(network, server, opportunistic.emit())
    assert server.drops() == {"not_our_hit": 1, "opportunistic": 1}


def test_a_packet_is_of_the_version_of_its_hits() -> None:
    network, server, client = met()
    wrong = replace(parse(i1(client)), version=1, parameters=())
    assert not relay(network, server, wrong.emit())
    assert not relay(network, server, i1(client, sender=INITIATOR_V1))
    assert not relay(network, server, i1(client, sender=IPv6Address("2001:db8::1")))
    assert server.drops() == {"version": 1, "bad_sender": 2}


def test_a_wrong_checksum_is_not_made_right() -> None:
    network, server, client = met(Transport.RAW)
    assert not relay(network, server, i1(client))
    assert server.drops() == {"checksum": 1}


def test_limits_hold_for_each_source_and_for_each_client() -> None:
    network, server, client = met(config=server_config(packets_per_source=3, packets_per_client=5))
    network.now = float(int(network.now) + 1)
    sent = [relay(network, server, i1(client)) for _ in range(10)]
    assert sum(map(len, sent)) == 3
    sent = [relay(network, server, i1(client), f"203.0.113.{n}") for n in range(10)]
    assert sum(map(len, sent)) == 2
    assert server.drops() == {"rate_limit": 15}
    network.now += 1.0
    assert relay(network, server, i1(client))


@pytest.mark.parametrize("compact_form", [False, True])
def test_a_client_is_followed_when_it_moves(compact_form: bool) -> None:
    network, server, client = met(config=server_config(compact=compact_form))
    if compact_form:
        rested(network, server)
    network.readdress(client, "192.0.2.77")
    network.run(12.0)
    assert server.machine.resting_count == compact_form
    (sent,) = relay(network, server, i1(client))
    assert sent.path.remote == client.address == ip_address("192.0.2.77")


def test_nothing_is_relayed_to_where_a_client_only_says_that_it_is() -> None:
    network, server, client = met()
    (association,) = server.machine._core.with_peer(client.hit)
    association.mobility.verified = False
    assert not relay(network, server, i1(client))
    assert server.drops() == {"not_relayed": 1}


@pytest.mark.both_versions
def test_a_client_that_rests_renews_its_registration() -> None:
    network, server, client = met(config=server_config(compact=True))
    rested(network, server)
    network.run(600.0)
    renewed = [e for e in server.of(RegistrationChanged) if e.reason == "renewed"]
    assert len(renewed) >= 10
    assert not [e for e in client.of(RegistrationChanged) if e.reason != "renewed"][1:]
    network.until(lambda: server.machine.resting_count == 1)
    assert relay(network, server, i1(client))


@pytest.mark.both_versions
def test_a_client_that_rests_renews_its_keys() -> None:
    network, server, client = met(config=server_config(compact=True), lifetime_s=1000.0)
    rested(network, server)
    for times in (1, 2):
        network.perform(client, client.machine.rekey(server.hit, network.now))
        network.run(90.0)
        assert server.machine.resting_count == 1
        (info,) = client.machine.associations(server.hit)
        assert info.rekeyed == times
    (info,) = server.machine.associations(client.hit)
    assert info.rekeyed == 2


def test_a_client_that_rests_closes() -> None:
    network, server, client = met(config=server_config(compact=True))
    rested(network, server)
    network.perform(client, client.machine.close(server.hit, network.now))
    network.run(60.0)
    assert server.machine.association_count == server.machine.rendezvous_count == 0
    assert not relay(network, server, i1(client))


def test_a_client_that_rests_begins_anew() -> None:
    network, server, client = met(config=server_config(compact=True))
    rested(network, server)
    client = network.add("client", CLIENT, host(2))
    network.perform(client, client.machine.register(server.hit, [RVS], 60.0, network.now))
    network.connect(client, server)
    network.run(20.0)
    assert server.machine.rendezvous_count == server.machine.association_count == 1
    (sent,) = relay(network, server, i1(client))
    checked(client, server, sent.data)


@pytest.mark.parametrize("compact_form", [False, True])
def test_a_registration_ends_with_its_lifetime(compact_form: bool) -> None:
    network, server, client = met(config=server_config(compact=compact_form))
    del network.nodes[client.address]
    network.run(50.0)
    assert server.machine.resting_count == compact_form
    assert relay(network, server, i1(client))
    network.run(11.0)
    # Whatever is left of it by now: nothing is relayed to it.
    assert not relay(network, server, i1(client))
    network.run(30.0)
    assert server.machine.rendezvous_count == server.machine.resting_count == 0
    ends = [e.reason for e in server.of(RegistrationChanged) if e.lifetime_s == 0]
    assert ends == ["expired"]
    assert len(server.of(Closed)) == compact_form


def test_what_a_client_sends_to_keep_a_nat_in_mind_wakes_nobody() -> None:
    keepalives = replace(FAST, keepalive_s=5.0)
    network, server, client = met(config=server_config(compact=True), client_config=keepalives)
    rested(network, server)
    before = len(server.of(PacketTrace))
    network.run(16.0)
    assert client.machine.statistics()["sent"]["NOTIFY"] >= 3
    assert server.machine.resting_count == 1
    assert len(server.of(PacketTrace)) == before
    # From anywhere else it is looked at: the NAT may have forgotten.
    client.port = 41000
    data = client.machine._core.with_peer(server.hit)[0].session
    assert data is not None
    relay(network, server, data.keepalive, CLIENT, port=41000)
    assert server.machine.resting_count == 0


def test_strangers_cannot_have_all_clients_awake() -> None:
    network = Network()
    config = server_config(compact=True, awake_max=3)
    server = network.add("server", SERVER, host(1), config)
    clients = [network.add(f"client{n}", f"10.0.1.{n}", host(n)) for n in range(2, 10)]
    for client in clients:
        effects = client.machine.register(server.hit, [RVS], 120.0, network.now)
        network.perform(client, effects)
        network.connect(client, server)
    network.run(30.0)
    assert server.machine.resting_count == len(clients)
    for client in clients:
        forged = HipPacket(PacketType.CLOSE, client.hit, server.hit)
        relay(network, server, forged.emit())
    assert server.machine.resting_count == len(clients) - 3
    assert all(relay(network, server, i1(client)) for client in clients)
    network.run(5.0)
    assert server.machine.resting_count == len(clients)


def test_there_is_room_for_so_many_clients() -> None:
    network = Network()
    server = network.add("server", SERVER, host(1), server_config(compact=True, clients_max=2))
    clients = [network.add(f"client{n}", f"10.0.1.{n}", host(n)) for n in range(2, 5)]
    for client in clients:
        effects = client.machine.register(server.hit, [RVS], 50.0, network.now)
        network.perform(client, effects)
        network.connect(client, server)
        network.run(4.0)
    refused = [e for e in clients[2].of(RegistrationChanged) if e.failure_type is not None]
    assert [e.failure_type for e in refused] == [FailureType.INSUFFICIENT_RESOURCES]
    assert server.machine.rendezvous_count == 2
    # Those that are there may renew theirs.
    network.run(60.0)
    assert not [e for c in clients[:2] for e in c.of(RegistrationChanged) if e.failure_type]


def test_a_relay_has_terms_of_its_own() -> None:
    config = server_config(services=(RELAY, RVS), min_lifetime_s=100.0, max_lifetime_s=1000.0)
    assert config.registrar is not None
    registrar = replace(config.registrar, allow=lambda hit: hit == host(3).hit, max_lifetime_s=60)
    config = replace(config, registrar=registrar)
    network, server, client = met(config=config)
    (mine,) = client.machine.registrations()
    assert mine.lifetime_s == pytest.approx(100, rel=0.1)
    network.perform(client, client.machine.unregister(server.hit, network.now))
    network.run(1.0)
    third = network.add("third", "10.0.0.3", host(3))
    effects = third.machine.register(server.hit, [RELAY], 500.0, network.now)
    network.perform(third, effects)
    network.connect(third, server)
    network.run(1.0)
    (theirs,) = third.machine.registrations()
    assert theirs.lifetime_s == pytest.approx(60, rel=0.1)
    # Of a client of the relay nothing is relayed by rendezvous.
    assert not [s for s in relay(network, server, i1(third)) if parse(s.data).get(RvsHmac)]


def test_clients_are_told_where_they_are_seen() -> None:
    network = Network()
    seen: list[HipPacket] = []
    network.filter = lambda sender, data: (
        (
            seen.append(parse(data)) if sender == "server" else None  # type: ignore[func-returns-value]
        )
        or [0.01]
    )
    server = network.add("server", SERVER, host(1), server_config())
    client = network.add("client", CLIENT, host(2))
    network.perform(client, client.machine.register(server.hit, [RVS], 60.0, network.now))
    network.connect(client, server)
    network.run(1.0)
    told = [packet.get(RegFrom) for packet in seen if packet.packet_type is PacketType.R2]
    assert told == [RegFrom(client.address, 10500, 17)]


def test_views_show_clients_at_rest() -> None:
    network, server, client = met(config=server_config(compact=True))
    awake = server.machine.registrations()
    rested(network, server)
    assert server.machine.registrations() == awake
    assert server.machine.registrations(most=0) == []
    assert server.machine.is_up(client.hit)
    assert server.machine.resting_count == 1
    (info,) = server.machine.associations(client.hit)
    assert info.state is State.ESTABLISHED
    assert server.machine.resting_count == 0


def test_clients_at_rest_hear_that_the_server_stops() -> None:
    network, server, client = met(config=server_config(compact=True))
    rested(network, server)
    network.perform(server, server.machine.close_all(network.now))
    network.run(1.0)
    assert client.of(Closed)


def test_a_server_that_moves_tells_its_clients() -> None:
    network, server, client = met(config=server_config(compact=True), lifetime_s=600.0)
    rested(network, server)
    network.readdress(server, "10.0.0.99")
    network.run(5.0)
    (info,) = client.machine.associations(server.hit)
    assert info.path is not None
    assert info.path.remote == ip_address("10.0.0.99")


@pytest.mark.both_versions
@pytest.mark.parametrize("transport", list(Transport))
def test_the_compact_form_loses_nothing_that_matters(transport: Transport) -> None:
    network, server, client = met(transport, config=server_config())
    network.run(10.0)
    network.perform(client, client.machine.rekey(server.hit, network.now))
    network.run(90.0)
    (before,) = server.machine._core.with_peer(client.hit)
    grant = before.registrations.granted.grants[RVS]
    shapes = Shapes()
    record = compact.pack(before, grant, shapes)
    assert record is not None
    # RSA keys are longer.
    assert len(record) < 1000 + 400 * (hip_version.get() == 1)
    after = compact.unpack(record, client.hit, shapes)
    one, other = before.session, after.session
    assert one is not None
    assert other is not None
    for name in (
        *("version", "compat", "peer", "choice", "puzzle_hash", "rhash", "hip_keys", "esp_keys"),
        *("dh_group", "inbound_spi", "outbound_spi", "solution", "salt", "peer_dh", "rekeyed"),
        *("next_update_id", "seen_update_ids", "highest_update_id"),
    ):
        assert getattr(one, name) == getattr(other, name), name
    assert one.keymat.index == other.keymat.index
    assert one.keymat.at(0, 100) == other.keymat.at(0, 100)
    assert one.own_dh.public_value == other.own_dh.public_value
    theirs = client.machine._core.with_peer(server.hit)[0].session
    assert theirs is not None
    for pair in (one.own_dh, other.own_dh):
        secret = pair.shared_secret(theirs.own_dh.public_value)
        assert secret == theirs.own_dh.shared_secret(one.own_dh.public_value)
    for name in ("path", "state", "initiator", "rtt", "established_at", "exchange_s", "peer_hit"):
        assert getattr(before, name) == getattr(after, name), name
    assert before.registrations.granted == after.registrations.granted
    assert compact.expires(record) == grant.expires
    assert compact.lifetime(record) == grant.lifetime_s


@settings(max_examples=300)
@given(
    start=st.integers(0, 3),
    body=st.binary(max_size=120),
    kind=st.sampled_from([1, 16]),
    units=st.integers(0, 255),
)
def test_no_octets_raise(start: int, body: bytes, kind: int, units: int) -> None:
    network, server, client = _FUZZED
    head = bytearray(i1(client)[:40])
    head[1], head[2] = (units if start == 0 else (len(body) + 32) // 8), kind
    data = bytes(head) + body
    sent = relay(network, server, data)
    network.now += 1.0
    assert len(sent) <= 1
    if sent:
        checked(client, server, sent[0].data)


_FUZZED = met(config=server_config(packets_per_source=10_000, packets_per_client=10_000))


def test_what_is_inserted_is_as_by_the_general_means() -> None:
    network, server, client = met()
    data = i1(client)
    (sent,) = relay(network, server, data, port=40001)
    where = IPv4Address(STRANGER)
    (association,) = server.machine._core.with_peer(client.hit)
    session = association.session
    assert session is not None
    expected = with_parameters(data, [RelayFrom(where, 40001, 17), From(where)])
    code = session.rhash.mac(session.hip_keys.outgoing_integrity, rvs_hmac_coverage(expected))
    assert sent.data == with_parameters(expected, [RvsHmac(code)])


def test_drop_reasons_are_counted_and_traced() -> None:
    network, server, client = met()
    path = Path(server.address, ip_address(STRANGER))
    data = i1(client, From(ip_address("192.0.2.9")))
    effects = server.machine.datagram_received(data, path, network.now)
    (trace,) = effects
    assert isinstance(trace, PacketTrace)
    assert (trace.packet, trace.dropped) == ("I1", DropReason.NOT_RELAYED.value)
