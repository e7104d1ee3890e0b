"""A host that is found by rendezvous servers, and those who look for it (RFC 8004, RFC 5204)."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address, ip_address

import pytest

from hipgw.protocol.compat import OPENHIP
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import (
    Closed,
    Established,
    PathChanged,
    RegistrationChanged,
    SendDatagram,
)
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Path, Transport
from hipgw.protocol.registration import ServiceType, Wanted
from hipgw.protocol.rendezvous.config import RendezvousConfig
from hipgw.protocol.states import State
from hipgw.wire.coverage import rvs_hmac_coverage
from hipgw.wire.insertion import with_parameters
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import DhGroupList, From, RelayFrom, RvsHmac, ViaRvs
from protocol.network import FAST, Network, Node, hip_version, identity, parse

RENDEZVOUS = ServiceType.RENDEZVOUS
SERVER, SERVER_6 = "203.0.113.1", "2001:db8:5::1"
SECOND = "203.0.113.2"
STRANGER = "192.0.2.66"
TRANSPORTS = [Transport.UDP, Transport.RAW]

pytestmark = pytest.mark.both_versions


def server_config(base: MachineConfig = FAST, *, compact: bool = False) -> MachineConfig:
    """*compact*: clients that are quiet are kept in little room."""
    terms = RendezvousConfig(allow=lambda hit: True, compact=compact, rest_s=2.0)
    offered = RegistrarConfig(services=(RENDEZVOUS,), rendezvous=terms)
    return replace(base, registrar=offered)


def keys(number: int):  # type: ignore[no-untyped-def]
    """One of several identities of the version that the test is about."""
    version = hip_version.get()
    return identity("ecdsa-p256" if version == 2 else "rsa2048", number, version)


class Place:
    """Servers at fixed places, a mobile host that is registered there, and one who looks for it."""

    def __init__(
        self,
        *,
        transport: Transport = Transport.UDP,
        servers: tuple[str, ...] = (SERVER,),
        mobile: str = "198.51.100.1",
        caller: str = "198.51.100.2",
        config: MachineConfig = FAST,
        compact: bool = False,
        known: bool = False,
    ) -> None:
        """*known*: the caller's configuration tells the servers of the mobile host, too."""
        self.net = net = Network(transport=transport)
        self.servers = [
            net.add(
                f"server {number}",
                address,
                keys(3 + number),
                server_config(config, compact=compact),
            )
            for number, address in enumerate(servers)
        ]
        places = [(node.address, HIP_UDP_PORT) for node in self.servers]
        self.mobile = net.add("mobile", mobile, keys(1), config)
        told = replace(config, rendezvous_of=lambda hit: places) if known else config
        self.caller = net.add("caller", caller, keys(2), told)
        for node in (*self.servers, self.mobile, self.caller):
            net.perform(node, node.machine.addresses_changed([node.address], net.now))
        for server in self.servers:
            self.register(server)

    def register(self, server: Node) -> None:
        net, mobile = self.net, self.mobile
        net.perform(mobile, mobile.machine.register(server.hit, [RENDEZVOUS], 300.0, net.now))
        net.connect(mobile, server)
        net.until(lambda: server.hit in {one.peer_hit for one in mobile.machine.registrations()})
        net.run(0.1)

    def path(self, address: str, *, by_rendezvous: bool = True) -> Path:
        remote = ip_address(address)
        local = next(own for own in self.caller.addresses if own.version == remote.version)
        return Path(local, remote, self.net.transport, by_rendezvous=by_rendezvous)

    def call(self, *servers: str, direct: tuple[str, ...] = ()) -> None:
        ways = [self.path(server) for server in servers or (() if direct else (SERVER,))]
        ways += [self.path(address, by_rendezvous=False) for address in direct]
        effects = self.caller.machine.connect(self.mobile.hit, ways, self.net.now)
        self.net.perform(self.caller, effects)

    def meet(self, *servers: str, direct: tuple[str, ...] = ()) -> float:
        self.call(*servers, direct=direct)
        took = self.net.until(lambda: self.caller.state(self.mobile) is State.ESTABLISHED)
        self.net.run(0.1)
        return took

    def flows(self) -> bool:
        net = self.net
        return net.data(self.caller, self.mobile) and net.data(self.mobile, self.caller)


def packets(node: Node, kind: PacketType) -> list[tuple[HipPacket, Path]]:
    """What a node has sent of a kind, and which way."""
    sent = [one for one in node.events if isinstance(one, SendDatagram)]
    return [(parse(one.data), one.path) for one in sent if one.data[2] & 0x7F == kind]


# -- the base exchange -----------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_host_is_found_by_its_server(transport: Transport) -> None:
    place = Place(transport=transport)
    place.meet()
    infos = place.caller.machine.associations(place.mobile.hit)
    assert infos[0].path is not None
    assert infos[0].path.remote == place.mobile.address, "all but the I1 goes directly"
    assert place.flows()


def test_only_the_r1_names_the_server() -> None:
    place = Place()
    place.meet()
    r1s = [(r1, path) for r1, path in packets(place.mobile, PacketType.R1)]
    ((r1, path),) = r1s
    assert r1.get(ViaRvs) == ViaRvs((place.servers[0].address,))
    assert path.remote == place.caller.address
    others = [*packets(place.mobile, PacketType.R2), *packets(place.mobile, PacketType.UPDATE)]
    assert all(packet.get(ViaRvs) is None for packet, _ in others)


def test_a_server_that_is_gone_is_replaced_by_the_second() -> None:
    place = Place(servers=(SERVER, SECOND))
    place.net.cut_off(place.servers[0])
    took = place.meet(SERVER, SECOND)
    assert took < 2 * FAST.retransmit_s
    assert [str(path.remote) for _, path in packets(place.caller, PacketType.I1)] == [
        SERVER,
        SECOND,
    ]


def test_servers_are_called_before_addresses() -> None:
    """RFC 8005 §4: in order, so that an address that is somebody else's by now comes last."""
    place = Place(servers=(SERVER,))
    place.net.cut_off(place.servers[0])
    place.meet(SERVER, direct=(str(place.mobile.address),))
    called = [str(path.remote) for _, path in packets(place.caller, PacketType.I1)]
    assert called == [SERVER, str(place.mobile.address)]


def test_the_answer_goes_by_the_ip_version_of_the_caller() -> None:
    """The server is reached over IPv4 by one of them and over IPv6 by the other."""
    place = Place()
    net, server, mobile = place.net, place.servers[0], place.mobile
    net.readdress(server, SERVER, SERVER_6)
    net.readdress(mobile, str(mobile.address), "2001:db8:1::1")
    net.readdress(place.caller, "2001:db8:2::2")
    net.run(5)
    place.meet(SERVER_6)
    assert place.flows()
    path = place.caller.path_to(mobile)
    assert str(path.remote) == "2001:db8:1::1"


def test_without_an_address_of_that_version_there_is_no_answer() -> None:
    place = Place()
    net = place.net
    net.readdress(place.servers[0], SERVER, SERVER_6)
    net.readdress(place.caller, "2001:db8:2::2")
    net.run(5)
    place.call(SERVER_6)
    net.run(5)
    assert place.caller.state(place.mobile) is State.I1_SENT
    assert place.mobile.drops().keys() == {DropReason.BAD_FROM.value}


def test_the_server_is_known_by_what_the_r1_says() -> None:
    """An address in the DNS may be that of a server, and nothing there tells (RFC 8005 §4)."""
    place = Place()
    place.call(direct=(SERVER,))
    place.net.until(lambda: place.caller.state(place.mobile) is State.ESTABLISHED)
    (association,) = place.caller.machine._core.with_peer(place.mobile.hit)
    assert association.mobility.home == ()
    assert [str(way.remote) for way in association.mobility.rendezvous] == [SERVER]


# -- both ends move --------------------------------------------------------------------------


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_both_move_at_once(transport: Transport, *, compact: bool) -> None:
    place = Place(transport=transport, compact=compact)
    place.net.run(30)
    net, mobile, caller = place.net, place.mobile, place.caller
    place.meet()
    assert place.flows()
    net.readdress(mobile, "198.51.100.11")
    net.readdress(caller, "198.51.100.12")
    took = net.until(place.flows)
    assert took < 3
    net.run(5)
    assert place.flows()
    assert not caller.of(Closed)
    assert not mobile.of(Closed)
    assert_both_verified(place)
    assert len(caller.of(Established)) == 1, "nothing is begun anew"


def assert_both_verified(place: Place) -> None:
    for one, other in ((place.caller, place.mobile), (place.mobile, place.caller)):
        path = one.path_to(other)
        assert path.remote == other.address
        assert not path.by_rendezvous
        assert path.via is None
        assert one.outbound[other.hit][2], "verified"


def test_the_one_that_was_called_knows_the_servers_of_the_other_by_its_configuration() -> None:
    place = Place(known=True)
    net, mobile, caller = place.net, place.mobile, place.caller
    path = Path(mobile.address, caller.address)
    net.perform(mobile, mobile.machine.connect(caller.hit, [path], net.now))
    net.until(lambda: mobile.state(caller) is State.ESTABLISHED)
    net.run(1)
    net.readdress(mobile, "198.51.100.11")
    net.readdress(caller, "198.51.100.12")
    net.until(place.flows)
    net.run(5)
    assert_both_verified(place)


def test_the_answer_to_an_update_names_the_server() -> None:
    place = Place()
    net = place.net
    place.meet()
    net.run(1)
    net.readdress(place.mobile, "198.51.100.11")
    net.readdress(place.caller, "198.51.100.12")
    net.until(place.flows)
    named = [
        packet.get(ViaRvs)
        for packet, path in packets(place.mobile, PacketType.UPDATE)
        if path.via is not None
    ]
    assert named
    assert all(one == ViaRvs((place.servers[0].address,)) for one in named)


@pytest.mark.parametrize("seed", range(8))
def test_both_move_again_and_again(seed: int) -> None:
    place = Place(known=True)
    net, mobile, caller = place.net, place.mobile, place.caller
    net.random.seed(seed)
    place.meet()
    net.filter = lambda sender, data: [] if net.random.random() < 0.1 else [0.01]
    for turn in range(5):
        net.readdress(mobile, f"198.51.100.{20 + turn}")
        net.run(net.random.random() * 0.5)
        net.readdress(caller, f"198.51.100.{40 + turn}")
        net.run(net.random.random() * 3)
    net.filter = lambda sender, data: [0.01]
    net.run(30)
    assert place.flows() or place.caller.of(Closed)
    if not caller.of(Closed) and not mobile.of(Closed):
        assert_both_verified(place)


def test_a_move_to_the_other_ip_version() -> None:
    place = Place()
    net, mobile, caller = place.net, place.mobile, place.caller
    net.readdress(place.servers[0], SERVER, SERVER_6)
    net.run(1)
    place.meet()
    places = [(ip_address(SERVER_6), HIP_UDP_PORT)]
    caller.machine._core.config = replace(FAST, rendezvous_of=lambda hit: places)
    net.readdress(mobile, "2001:db8:1::1")
    net.readdress(caller, "2001:db8:2::2")
    net.until(place.flows, 20)
    net.run(5)
    assert_both_verified(place)


def test_a_silent_peer_is_asked_by_its_server() -> None:
    """It has moved while this host heard nothing of it, for want of a network."""
    place = Place()
    net, mobile, caller = place.net, place.mobile, place.caller
    place.meet()
    net.blocked = lambda path: caller.address in (path.local, path.remote)
    net.readdress(mobile, "198.51.100.11")
    net.run(2)
    direct = {mobile.address, ip_address("198.51.100.1")}
    net.blocked = lambda path: path.remote == caller.address and path.local in direct
    net.run(0.5)
    net.blocked = lambda path: False
    net.perform(caller, caller.machine.path_silent(mobile.hit, net.now))
    net.until(place.flows, 5)


def test_data_never_goes_to_a_server() -> None:
    """What this host does while it knows no address of the peer that could be reached."""
    place = Place()
    net, mobile, caller = place.net, place.mobile, place.caller
    net.readdress(place.servers[0], SERVER, SERVER_6)
    net.run(1)
    place.meet()
    net.cut_off(mobile)
    net.readdress(caller, "2001:db8:2::2")
    net.run(20)
    net.readdress(caller, "198.51.100.12")
    net.run(20)
    changed = [one for one in caller.of(PathChanged) if isinstance(one, PathChanged)]
    assert str(SERVER) not in {str(one.new.remote) for one in changed}
    assert str(SERVER_6) not in {str(one.new.remote) for one in changed}


# -- what is not believed --------------------------------------------------------------------


def passed_on(place: Place, **changes: object) -> bytes:
    """An I1 as the server passes it on."""
    seen: list[bytes] = []
    server = place.servers[0]

    def look(sender: str, data: bytes) -> list[float]:
        if sender == server.name and data[2] & 0x7F == PacketType.I1:
            seen.append(data)
            return []
        return [0.01]

    place.net.filter = look
    place.call()
    place.net.until(lambda: bool(seen))
    place.net.filter = lambda sender, data: [0.01]
    return seen[0]


def refused(place: Place, data: bytes, source: IPAddress | None = None) -> str:
    """Why the mobile host drops a packet; nothing is sent then."""
    net, mobile = place.net, place.mobile
    before, sent = dict(mobile.drops()), len(net.sent)
    net.deliver(mobile, data, source or place.servers[0].address)
    assert len(net.sent) == sent
    after = mobile.drops()
    (reason,) = [name for name, count in after.items() if count > before.get(name, 0)]
    return reason


def test_another_origin_is_not_believed() -> None:
    place = Place()
    data = passed_on(place)
    victim = From(ip_address(STRANGER)).emit()
    place_of = data.index(From(place.caller.address).emit())
    forged = data[:place_of] + victim + data[place_of + 16 :]
    assert refused(place, forged) == DropReason.BAD_RVS_HMAC.value


def test_without_a_code_no_origin_is_believed() -> None:
    place = Place()
    i1 = HipPacket.parse(passed_on(place), versions=frozenset({1, 2}))
    bare = replace(i1, parameters=tuple(p for p in i1.parameters if p.type != RvsHmac.TYPE))
    assert refused(place, bare.emit()) == DropReason.BAD_RVS_HMAC.value
    wrong = with_parameters(bare.emit(), [RvsHmac(bytes(20))])
    assert refused(place, wrong) == DropReason.BAD_RVS_HMAC.value


def test_a_code_that_does_not_hold_is_refused_also_without_an_origin() -> None:
    place = Place()
    i1 = HipPacket.parse(passed_on(place), versions=frozenset({1, 2}))
    kept = tuple(p for p in i1.parameters if not isinstance(p, From))
    assert refused(place, replace(i1, parameters=kept).emit()) == DropReason.BAD_RVS_HMAC.value


def by_server(place: Place, data: bytes) -> bytes:
    """With the code that the server would have made."""
    (association,) = place.servers[0].machine._core.with_peer(place.mobile.hit)
    session = association.session
    assert session is not None
    key = session.hip_keys.outgoing_integrity
    return with_parameters(data, [RvsHmac(session.rhash.mac(key, rvs_hmac_coverage(data)))])


def i1_for(place: Place, receiver: IPv6Address | None = None) -> bytes:
    kinds = (DhGroupList((7,)),) if hip_version.get() == 2 else ()
    hit = place.mobile.hit if receiver is None else receiver
    return HipPacket(PacketType.I1, place.caller.hit, hit, kinds, version=hip_version.get()).emit()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ([From(ip_address("224.0.0.1"))], DropReason.BAD_FROM),
        ([From(ip_address("127.0.0.1"))], DropReason.BAD_FROM),
        ([From(ip_address("198.51.100.1"))], DropReason.BAD_FROM),
        ([From(ip_address(STRANGER)), From(ip_address(SERVER))], DropReason.BAD_FROM),
        ([RelayFrom(ip_address(SERVER), 7), From(ip_address(STRANGER))], DropReason.BAD_FROM),
        ([RelayFrom(ip_address(STRANGER), 0), From(ip_address(STRANGER))], DropReason.BAD_FROM),
        ([RelayFrom(ip_address(STRANGER), 7, 6), From(ip_address(STRANGER))], DropReason.BAD_FROM),
    ],
)
def test_not_even_a_server_makes_this_host_write_anywhere(
    more: list[From | RelayFrom], reason: DropReason
) -> None:
    place = Place()
    assert refused(place, by_server(place, with_parameters(i1_for(place), more))) == reason.value


def test_an_i1_for_whoever_is_there_is_not_passed_on() -> None:
    """RFC 8004 §4.3.2."""
    place = Place(config=replace(FAST, opportunistic=True))
    blind = with_parameters(i1_for(place, IPv6Address(0)), [From(ip_address(STRANGER))])
    assert refused(place, by_server(place, blind)) == DropReason.OPPORTUNISTIC.value


@pytest.mark.parametrize("kind", [PacketType.R1, PacketType.I2, PacketType.R2, PacketType.NOTIFY])
def test_nothing_but_i1_and_update_is_passed_on(kind: PacketType) -> None:
    place = Place()
    packet = HipPacket(
        kind, place.caller.hit, place.mobile.hit, (), version=hip_version.get()
    ).emit()
    data = by_server(place, with_parameters(packet, [From(ip_address(STRANGER))]))
    assert refused(place, data) == DropReason.BAD_FROM.value


def test_a_server_that_this_host_has_left_has_no_say() -> None:
    place = Place()
    data = passed_on(place)
    net, mobile = place.net, place.mobile
    net.perform(mobile, mobile.machine.unregister(place.servers[0].hit, net.now))
    net.run(5)
    assert not mobile.machine.registrations()
    assert refused(place, data) == DropReason.BAD_RVS_HMAC.value


def test_who_is_called_by_a_server_is_limited_by_who_calls() -> None:
    place = Place()
    data = passed_on(place)
    net, mobile = place.net, place.mobile
    for _ in range(3 * FAST.i1_per_source):
        net.deliver(mobile, data, place.servers[0].address)
    assert len(packets(mobile, PacketType.R1)) <= FAST.i1_per_source
    assert mobile.drops()[DropReason.RATE_LIMIT.value]


def test_an_r1_by_a_server_that_was_not_called_is_refused() -> None:
    """RFC 8004 §4.3.4."""
    place = Place()
    net, caller = place.net, place.caller

    def other_server(sender: str, data: bytes) -> list[float]:
        return [] if data[2] & 0x7F == PacketType.R1 else [0.01]

    net.filter = other_server
    place.call()
    net.run(0.2)
    net.filter = lambda sender, data: [0.01]
    ((r1, _),) = packets(place.mobile, PacketType.R1)
    kept = tuple(p for p in r1.parameters if not isinstance(p, ViaRvs))
    forged = with_parameters(replace(r1, parameters=kept).emit(), [ViaRvs((ip_address(SECOND),))])
    net.deliver(caller, forged, place.mobile.address)
    assert caller.drops() == {DropReason.BAD_VIA_RVS.value: 1}
    net.until(lambda: caller.state(place.mobile) is State.ESTABLISHED)


def test_a_server_may_send_from_another_of_its_addresses() -> None:
    place = Place(known=True)
    net, caller = place.net, place.caller
    server = place.servers[0]
    net.readdress(server, SERVER, SECOND)
    net.run(5)
    # Called by the one, it passes on from the other, which the caller's configuration has.
    place.call(SECOND)
    net.until(lambda: caller.state(place.mobile) is State.ESTABLISHED)


# -- registration ----------------------------------------------------------------------------


def automatic(*reg_types: int) -> Callable[[IPv6Address], Wanted | None]:
    wanted = Wanted(reg_types=reg_types or (RENDEZVOUS,), lifetime_s=120.0)
    return lambda hit: wanted


def test_a_host_registers_by_itself_where_that_is_offered() -> None:
    net = Network()
    server = net.add("server", SERVER, keys(3), server_config())
    mobile = net.add("mobile", "198.51.100.1", keys(1), replace(FAST, automatic=automatic()))
    net.connect(mobile, server)
    net.until(lambda: bool(mobile.machine.registrations()))
    net.run(500)
    assert mobile.machine.registrations(), "and renews it"
    granted = [
        one for one in mobile.of(RegistrationChanged) if isinstance(one, RegistrationChanged)
    ]
    assert {one.reason for one in granted} == {"granted", "renewed"}


def test_a_host_does_not_register_by_itself_if_it_is_not_to() -> None:
    net = Network()
    server = net.add("server", SERVER, keys(3), server_config())
    mobile = net.add("mobile", "198.51.100.1", keys(1))
    net.connect(mobile, server)
    net.run(5)
    assert mobile.state(server) is State.ESTABLISHED
    assert not mobile.machine.registrations()


def test_the_server_follows_a_client_that_moves() -> None:
    place = Place()
    net, mobile = place.net, place.mobile
    for number in range(20, 24):
        net.readdress(mobile, f"198.51.100.{number}")
        net.run(3)
    place.meet()
    assert str(place.caller.path_to(mobile).remote) == "198.51.100.23"


def test_a_server_that_cannot_be_told_of_a_move_is_left() -> None:
    """It would send callers to where this host is no more, for as long as it is registered."""
    place = Place()
    net, mobile = place.net, place.mobile
    net.readdress(mobile, "2001:db8:1::1")
    net.run(3)
    assert mobile.machine.registrations()
    net.run(5)
    assert not mobile.machine.registrations()
    (closed,) = mobile.of(Closed)
    assert isinstance(closed, Closed)
    assert closed.peer_hit == place.servers[0].hit, "so that it can be called elsewhere"


def test_peers_that_are_taken_for_openhip() -> None:
    """No port goes with FROM, so that of HIP is taken; each move comes with new keys."""
    token = hip_version.set(1)
    place = Place(config=replace(FAST, compat=lambda hit: OPENHIP))
    hip_version.reset(token)
    net, mobile, caller = place.net, place.mobile, place.caller
    place.meet()
    assert place.flows()
    net.readdress(mobile, "198.51.100.11")
    net.readdress(caller, "198.51.100.12")
    net.until(place.flows, 10)
    net.run(5)
    assert_both_verified(place)
    assert not caller.of(Closed)
