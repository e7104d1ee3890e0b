"""Hosts behind every pair of NATs find a path to each other, at worst by a relay (RFC 9028)."""

from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise, product
from pathlib import Path
from random import Random

import pytest

from hipgw.protocol import reachability, update_tasks
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import Established, Failed, PacketTrace, PathChanged
from hipgw.protocol.nat.checklist import Pair
from hipgw.protocol.nat.config import NatConfig, NatMode, RegistrarConfig
from hipgw.protocol.path import Path as NetworkPath
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.states import State
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    CandidatePriority,
    Locator,
    LocatorSet,
    Parameter,
    PlainLocator,
)
from protocol.nats import Internet, NatKind
from protocol.network import FAST, Node, identity

HIP, ESP = ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP
RELAY = "203.0.113.1"
PORTS = tuple((IPv4Address("0.0.0.0"), port) for port in range(30000, 30016))
KINDS = list(NatKind)
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "nat.md"


def relay_config(**settings: object) -> MachineConfig:
    config = RegistrarConfig(services=(HIP, ESP), allow=lambda hit: True, relayed=PORTS)
    return replace(FAST, registrar=replace(config, **settings))  # type: ignore[arg-type]


def register(net: Internet, node: Node, relay: Node, *services: int) -> None:
    effects = node.machine.register(relay.hit, services or (HIP, ESP), 120.0, net.now)
    net.perform(node, effects)
    net.call(node, relay.hit, str(relay.address))
    net.until(lambda: bool(node.machine.registrations()))


def site(
    first: NatKind, second: NatKind, *, services: tuple[int, ...] = (HIP, ESP), seed: int = 1
) -> tuple[Internet, Node, Node, Node]:
    """A relay, and two hosts that are registered there, each behind a NAT."""
    net = Internet(seed)
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config(services=services))
    a = net.behind("a", first, 1, identity("ecdsa-p256", 2))
    b = net.behind("b", second, 2, identity("ecdsa-p256", 3))
    register(net, b, relay, *services)
    register(net, a, relay, *services)
    return net, relay, a, b


def path_between(a: Node, b: Node) -> NetworkPath | None:
    infos = a.machine.associations(b.hit)
    return infos[0].path if infos else None


def meet(net: Internet, a: Node, b: Node) -> None:
    net.call(a, b.hit, RELAY)
    net.until(lambda: a.state(b) is State.ESTABLISHED and bool(established(a, b)), 60)
    net.until(lambda: bool(established(b, a)), 5)


def established(node: Node, peer: Node) -> list[Established]:
    return [e for e in node.of(Established) if e.peer_hit == peer.hit]


def by_relay(net: Internet, a: Node, b: Node) -> bool:
    before = net.relaying["relay"].forwarded
    assert net.flows(a, b)
    return net.relaying["relay"].forwarded > before


def expected_direct(first: NatKind, second: NatKind) -> bool:
    """Only a symmetric NAT is a hindrance, if the other side looks at ports."""
    kinds = {first, second}
    looks_at_ports = {NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC, NatKind.DOUBLE}
    if NatKind.SYMMETRIC not in kinds:
        return True
    other = second if first is NatKind.SYMMETRIC else first
    return other not in looks_at_ports


@cache
def outcome(first: NatKind, second: NatKind) -> str:
    """How data flows when a host behind the first calls one behind the second."""
    net, _relay, a, b = site(first, second)
    meet(net, a, b)
    return "relay" if by_relay(net, a, b) else "direct"


def table() -> str:
    """Of every pair, for the documentation."""
    head = ["caller's NAT", *(kind.value for kind in KINDS)]
    rows = [[kind.value, *(outcome(kind, other) for other in KINDS)] for kind in KINDS]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@pytest.mark.parametrize(("first", "second"), list(product(KINDS, KINDS)))
def test_every_pair_of_nats(first: NatKind, second: NatKind) -> None:
    assert outcome(first, second) == ("direct" if expected_direct(first, second) else "relay")


def test_the_documentation_shows_the_table() -> None:
    assert table() in DOCUMENTATION.read_text(), f"docs/nat.md lacks this:\n{table()}"


@pytest.mark.parametrize("services", [(HIP,)])
@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in product(KINDS, KINDS) if expected_direct(*pair)],
)
def test_without_a_data_relay(first: NatKind, second: NatKind, services: tuple[int, ...]) -> None:
    net, _relay, a, b = site(first, second, services=services)
    meet(net, a, b)
    assert not by_relay(net, a, b)


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_an_initiator_that_is_registered_nowhere(first: NatKind, second: NatKind) -> None:
    net = Internet()
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config())
    a = net.behind("a", first, 1, identity("ecdsa-p256", 2))
    b = net.behind("b", second, 2, identity("ecdsa-p256", 3))
    register(net, b, relay)
    meet(net, a, b)
    assert by_relay(net, a, b) is not expected_direct(first, second)


@pytest.mark.parametrize("loss", [0.1, 0.3])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED),
        (NatKind.SYMMETRIC, NatKind.PORT_RESTRICTED),
        (NatKind.SYMMETRIC, NatKind.SYMMETRIC),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_with_losses(first: NatKind, second: NatKind, loss: float, seed: int) -> None:
    net, _relay, a, b = site(first, second, seed=seed)
    net.filter = lambda sender, data: (
        [] if net.random.random() < loss else [0.005 + net.random.random() / 20]
    )
    for _ in range(20):
        net.call(a, b.hit, RELAY)
        net.run(40)
        if established(a, b) and established(b, a):
            break
    net.filter = lambda sender, data: [0.01]
    net.run(5)
    assert net.flows(a, b)


@pytest.mark.parametrize("listed", [False, True])
def test_only_checks_decide_on_a_first_path(listed: bool) -> None:
    """Other authentic UPDATEs that come by a pair that works do not: there is no SA to move yet."""
    net, _relay, a, b = site(NatKind.FULL_CONE, NatKind.FULL_CONE)
    net.call(a, b.hit, RELAY)
    core = a.machine._core

    def works() -> Pair | None:
        association = core.associations.get((a.hit, b.hit))
        checks = association.checks if association is not None else None
        return checks.checklist.best() if checks is not None else None

    net.until(lambda: works() is not None)
    pair, association = works(), core.associations[a.hit, b.hit]
    assert pair is not None
    assert association.session is not None
    parameters: list[Parameter] = reachability.gratuitous(association.session)
    if listed:
        entry = Locator(PlainLocator(ip_address("198.51.100.1")), 100, preferred=True)
        parameters.append(LocatorSet((entry,)))
    update_tasks.begin(
        core,
        association,
        association.session,
        parameters,
        [pair.path],
        net.now,
        acknowledged=update_tasks.ignore,
        abandoned=update_tasks.ignore,
    )
    net.perform(a, a.machine.timer_expired(net.now))
    net.until(lambda: bool(established(a, b) and established(b, a)))
    assert not [event for node in (a, b) for event in node.of(PathChanged)]
    assert not by_relay(net, a, b)


@pytest.mark.parametrize("mode", [NatMode.ICE_HIP_UDP, NatMode.ICE_STUN_UDP])
def test_a_called_host_that_is_a_registrar_itself(mode: NatMode) -> None:
    """Its R2 has both: where it is, and what it grants."""
    config = replace(relay_config(), nat=NatConfig(modes=(NatMode.UDP_ENCAPSULATION, mode)))
    net = Internet()
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config())
    a = net.behind("a", NatKind.PORT_RESTRICTED, 1, identity("ecdsa-p256", 2))
    b = net.behind("b", NatKind.PORT_RESTRICTED, 2, identity("ecdsa-p256", 3), config)
    register(net, b, relay)
    meet(net, a, b)
    assert not by_relay(net, a, b)


def test_two_hosts_in_one_site_meet_there() -> None:
    net = Internet()
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config())
    net.nat(NatKind.SYMMETRIC, "198.51.100.1", "site")
    a = net.host("a", "192.168.1.2", identity("ecdsa-p256", 2), realm="site")
    b = net.host("b", "192.168.1.3", identity("ecdsa-p256", 3), realm="site")
    register(net, a, relay)
    register(net, b, relay)
    meet(net, a, b)
    path = path_between(a, b)
    assert path is not None
    assert path.remote == b.address
    assert not by_relay(net, a, b)


@pytest.mark.parametrize("second", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
def test_both_begin_at_once(second: NatKind) -> None:
    net, _relay, a, b = site(NatKind.SYMMETRIC, second)
    net.call(a, b.hit, RELAY)
    net.call(b, a.hit, RELAY)
    net.until(lambda: bool(established(a, b)) and bool(established(b, a)))
    net.run(1)
    assert net.flows(a, b)
    greater = max(a, b, key=lambda node: node.hit)
    smaller = min(a, b, key=lambda node: node.hit)
    assert not greater.machine.associations(smaller.hit)[0].initiator


@pytest.mark.parametrize("second", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
def test_it_lasts(second: NatKind) -> None:
    """Registrations, permissions and keys are renewed all the time."""
    net, relay, a, b = site(NatKind.SYMMETRIC, second)
    meet(net, a, b)
    for _ in range(80):
        net.run(60)
        for node, peer in ((a, b), (b, a)):
            node.machine.traffic_seen(peer.hit, net.now)
        assert net.flows(a, b)
    assert a.machine.associations(b.hit)[0].rekeyed >= 1
    assert len(relay.machine.registrations()) == 4
    granted = [one.registrations.granted for one in relay.machine._core.associations.values()]
    assert sum(len(port.permissions) for one in granted for port in one.ports) < 20


def test_a_relay_that_is_gone() -> None:
    net, relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    net.perform(relay, relay.machine.close_all(net.now))
    net.run(5)
    assert not a.machine.registrations()
    assert not net.relaying["relay"].open
    assert net.flows(a, b), "the direct path does not need it"


def test_no_path_at_all() -> None:
    """Only signalling gets through: no data may be sent, and both ends know."""
    net, _relay, a, b = site(NatKind.SYMMETRIC, NatKind.SYMMETRIC, services=(HIP,))
    net.call(a, b.hit, RELAY)
    net.run(60)
    assert not established(a, b)
    assert not net.send_data(a, b)
    assert not net.send_data(b, a)
    assert a.state(b) is State.UNASSOCIATED
    assert b.state(a) is State.UNASSOCIATED


def test_the_checks_are_paced_and_bounded() -> None:
    net, _relay, a, b = site(NatKind.SYMMETRIC, NatKind.SYMMETRIC)
    many = [IPv4Address(f"10.0.{n}.1") for n in range(40)]
    for node in (a, b):
        net.perform(node, node.machine.addresses_changed([node.address, *many], net.now))
    times: list[float] = []
    before = len(net.travelled)

    def watch(sender: str, data: bytes) -> list[float]:
        if sender == "a" and CandidatePriority in {
            type(one) for one in HipPacket.parse(data).parameters
        }:
            times.append(net.now)
        return [0.01]

    net.filter = watch
    meet(net, a, b)
    net.run(30)
    assert net.flows(a, b)
    checks = a.machine._core.associations[a.hit, b.hit].checks
    assert checks is not None
    assert len(checks.checklist) <= 100
    assert len(times) <= 3 * 100 + 10
    assert len(net.travelled) - before < 1000
    # Retransmissions have times of their own.
    assert sum(b - a < 0.049 for a, b in pairwise(times)) < len(times) / 2


def test_an_unsuitable_configuration_is_told() -> None:
    net, _relay, a, b = site(NatKind.SYMMETRIC, NatKind.SYMMETRIC)
    a.machine._core.config = replace(a.config, nat=NatConfig(modes=(1,)))
    net.call(a, b.hit, RELAY)
    net.run(10)
    assert [e.reason for e in a.of(Failed)] == [
        "the peer offers no NAT traversal that this host has"
    ]


@pytest.mark.parametrize("who", ["caller", "called"])
@pytest.mark.parametrize("kind", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
@pytest.mark.parametrize("new", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC, NatKind.NONE])
def test_a_host_that_moves_is_found_again(who: str, kind: NatKind, new: NatKind) -> None:
    """RFC 9028 §4.9: no new base exchange, but checks for another path."""
    net, _relay, a, b = site(kind, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    assert net.flows(a, b)
    mover = a if who == "caller" else b
    if new is NatKind.NONE:
        net.move(mover, "198.51.100.9")
    else:
        net.nat(new, "198.51.100.9", "elsewhere")
        net.move(mover, "10.7.7.7", "elsewhere")
    net.until(lambda: net.flows(a, b), 30)
    assert len(established(a, b)) == len(established(b, a)) == 1
    assert a.state(b) is b.state(a) is State.ESTABLISHED
    net.run(600)
    assert net.flows(a, b)


@pytest.mark.parametrize("mode", [NatMode.ICE_HIP_UDP, NatMode.ICE_STUN_UDP])
@pytest.mark.parametrize("relay_has_both", [False, True])
@pytest.mark.parametrize("who", ["caller", "called"])
@pytest.mark.parametrize("kind", [NatKind.NONE, NatKind.PORT_RESTRICTED])
def test_a_host_that_moves_to_another_ip_version(
    kind: NatKind, who: str, relay_has_both: bool, mode: NatMode
) -> None:
    """The peer's relay and its address in use are out of reach then, but another one is not."""
    config = replace(FAST, nat=NatConfig(modes=(NatMode.UDP_ENCAPSULATION, mode)))
    net = Internet()
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config())
    mover = net.behind("mover", kind, 1, identity("ecdsa-p256", 2), config)
    stays = net.host("stays", "203.0.113.9", identity("ecdsa-p256", 3), config)
    net.also_at(stays, "2001:db8::9")
    if relay_has_both:
        net.also_at(relay, "2001:db8::1")
    if who == "called":
        register(net, mover, relay)
        net.run(2)
        meet(net, stays, mover)
    else:
        register(net, stays, relay)
        net.run(2)
        meet(net, mover, stays)
    assert net.flows(mover, stays)
    net.move(mover, "2001:db8::7")
    net.until(lambda: net.flows(mover, stays), 10)
    assert len(established(mover, stays)) == len(established(stays, mover)) == 1
    path = path_between(mover, stays)
    assert path is not None
    assert path.remote == ip_address("2001:db8::9")
    net.run(300)
    assert net.flows(mover, stays)


@pytest.mark.parametrize("first", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
@pytest.mark.parametrize("both", [False, True])
def test_what_a_nat_that_forgets_cuts_off_is_found_again(first: NatKind, both: bool) -> None:
    """What either sends is dropped by the other's NAT: checks by way of the relay find a path.

    Whoever is behind that NAT has to say something, or no relay knows where it is.
    """
    net, _relay, a, b = site(first, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    relayed = by_relay(net, a, b)
    spis = [node.machine.associations(peer.hit)[0].outbound_spi for node, peer in ((a, b), (b, a))]
    net.nats["site 1"].forget()
    assert not net.flows(a, b)
    for node, peer in ((a, b), (b, a)) if both else ((a, b),):
        net.perform(node, node.machine.path_silent(peer.hit, net.now))
    net.until(lambda: net.flows(a, b), 10)
    assert by_relay(net, a, b) is relayed
    reasons = {event.reason for node in (a, b) for event in node.of(PathChanged)}
    assert reasons <= {"connectivity checks found it"}, "not to the relay of the signalling"
    assert spis == [
        node.machine.associations(peer.hit)[0].outbound_spi for node, peer in ((a, b), (b, a))
    ]
    net.run(300)
    assert net.flows(a, b)


def test_silence_of_a_peer_that_is_gone_ends_the_association() -> None:
    """Asking again and again while checks are under way begins nothing more."""
    net, _relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    net.filter = lambda sender, data: [] if sender == "b" else [0.01]
    sent = len(a.of(PacketTrace))
    for _ in range(8):
        net.perform(a, a.machine.path_silent(b.hit, net.now))
        net.run(3)
    assert a.state(b) is not State.ESTABLISHED
    assert len(a.of(PacketTrace)) - sent < 60


def test_both_hosts_move_at_once() -> None:
    net, _relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    for number, node in enumerate((a, b), 8):
        net.nat(NatKind.PORT_RESTRICTED, f"198.51.100.{number}", f"place {number}")
        net.move(node, "10.7.7.7", f"place {number}")
    net.until(lambda: net.flows(a, b), 60)


def test_a_wide_route_does_no_harm_on_a_relayed_path() -> None:
    """Probes of a path's MTU would not fit once the relay's parameters are added."""
    net, _relay, a, b = site(NatKind.SYMMETRIC, NatKind.SYMMETRIC)
    meet(net, a, b)
    for node, peer in ((a, b), (b, a)):
        net.perform(node, node.machine.discover_path_mtu(peer.hit, 9000, net.now))
    net.run(60)
    assert net.flows(a, b)


def test_a_peer_of_a_relays_client_whose_nat_forgets() -> None:
    """The relay knows it by an address that is no more; its next HIP packet tells."""
    net = Internet()
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config())
    a = net.behind("a", NatKind.SYMMETRIC, 1, identity("ecdsa-p256", 2))
    b = net.behind("b", NatKind.SYMMETRIC, 2, identity("ecdsa-p256", 3))
    register(net, b, relay)
    meet(net, a, b)
    assert by_relay(net, a, b)
    net.nats["site 1"].forget()
    assert not net.flows(a, b)
    net.perform(a, a.machine.ping(b.hit, net.now)[1])
    net.run(2)
    assert by_relay(net, a, b)
    net.run(600)
    assert net.flows(a, b)


def test_signalling_by_the_control_relay_does_not_move_data() -> None:
    net, relay, a, b = site(NatKind.SYMMETRIC, NatKind.SYMMETRIC)
    meet(net, a, b)
    caller, called = (a, b) if path_between(b, a).relay_to else (b, a)  # type: ignore[union-attr]
    core = caller.machine._core
    association = core.associations[caller.hit, called.hit]
    association.path = NetworkPath(caller.address, relay.address)
    net.perform(caller, caller.machine.ping(called.hit, net.now)[1])
    net.run(5)
    path = path_between(called, caller)
    assert path is not None
    assert path.relay_to is not None
    assert net.flows(a, b)


@pytest.mark.parametrize("first", [NatKind.NONE, NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
@pytest.mark.parametrize("second", [NatKind.NONE, NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
def test_each_has_a_relay_of_its_own(first: NatKind, second: NatKind) -> None:
    net = Internet()
    relays = [
        net.host(name, address, identity("ecdsa-p256", number), relay_config())
        for name, address, number in (("r1", "203.0.113.11", 11), ("r2", "203.0.113.12", 12))
    ]
    a = net.behind("a", first, 1, identity("ecdsa-p256", 2))
    b = net.behind("b", second, 2, identity("ecdsa-p256", 3))
    register(net, a, relays[0])
    register(net, b, relays[1])
    net.call(a, b.hit, "203.0.113.12")
    net.until(lambda: bool(established(a, b)) and bool(established(b, a)))
    assert net.flows(a, b)
    forwarded = sum(net.relaying[relay.name].forwarded for relay in relays)
    assert (forwarded > 0) is not expected_direct(first, second)


def test_over_ipv6() -> None:
    net = Internet()
    ports = tuple((IPv6Address("::"), port) for port in range(30000, 30004))
    config = relay_config(relayed=ports)
    relay = net.host("relay", "2001:db8::1", identity("ecdsa-p256", 1), config)
    sites = []
    for number, name in ((2, "a"), (3, "b")):
        net.nat(NatKind.SYMMETRIC, f"2001:db8::{number}", f"site {number}")
        keys = identity("ecdsa-p256", number)
        sites.append(net.host(name, "fd00::2", keys, realm=f"site {number}"))
    a, b = sites
    register(net, a, relay)
    register(net, b, relay)
    net.call(a, b.hit, "2001:db8::1")
    net.until(lambda: bool(established(a, b)) and bool(established(b, a)))
    assert by_relay(net, a, b)


def retry(net: Internet, node: Node, peer: Node, target: str) -> None:
    """As a role would: call a peer that one is not associated with."""
    busy = {State.ESTABLISHED, State.R2_SENT, State.I1_SENT, State.I2_SENT, State.E_FAILED}
    if node.state(peer) not in busy:
        net.call(node, peer.hit, target)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_they_find_each_other_again(seed: int) -> None:
    """NATs that forget, hosts that move, losses, a relay that loses its memory, new keys."""
    random = Random(seed)
    kinds = [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC, NatKind.FULL_CONE]
    net, relay, a, b = site(random.choice(kinds), random.choice(kinds), seed=seed)
    places = 20
    for _ in range(12):
        node, peer = random.sample([a, b], 2)
        match random.randrange(7):
            case 0:
                for nat in net.nats.values():
                    nat.forget()
            case 1:
                places += 1
                net.nat(random.choice(kinds), f"198.51.100.{places}", f"place {places}")
                net.move(node, f"10.7.{places}.7", f"place {places}")
            case 2:
                net.filter = lambda sender, data: [] if random.random() < 0.3 else [0.01]
            case 3:
                net.perform(relay, relay.machine.close_all(net.now))
            case 4:
                net.perform(node, node.machine.close(peer.hit, net.now))
            case 5 if node.state(peer) is State.ESTABLISHED:
                net.perform(node, node.machine.rekey(peer.hit, net.now))
            case _:
                net.filter = lambda sender, data: [0.01]
        for _ in range(random.randrange(1, 12)):
            net.run(3)
            for host in (a, b):
                retry(net, host, relay, RELAY)
            retry(net, a, b, RELAY)
    net.filter = lambda sender, data: [0.01]
    for _ in range(40):
        net.run(5)
        for host in (a, b):
            retry(net, host, relay, RELAY)
        retry(net, a, b, RELAY)
        if net.flows(a, b):
            return
        # What a role does that hears nothing.
        for host, other in ((a, b), (b, a)):
            if host.state(other) is State.ESTABLISHED and random.random() < 0.3:
                net.perform(host, host.machine.close(other.hit, net.now))
    raise AssertionError("they have lost each other")
