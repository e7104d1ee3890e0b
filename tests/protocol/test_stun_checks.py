"""Connectivity checks by STUN: mode ICE-STUN-UDP (RFC 5770)."""

import hashlib
import hmac
from dataclasses import replace
from functools import cache
from ipaddress import IPv6Address, ip_address
from itertools import product

import pytest

from hipgw.protocol.config import MachineConfig
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Established, PathChanged
from hipgw.protocol.nat.config import NatConfig, NatMode
from hipgw.protocol.nat.stun_table import fragment, username
from hipgw.protocol.path import Path as NetworkPath
from hipgw.protocol.path import Transport
from hipgw.protocol.states import State
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import CandidateKind, Encrypted, LocatorSet, NatTraversalMode
from hipgw.wire.stun import (
    StunAttribute,
    StunMessage,
    StunType,
    binding_request,
    build,
    parse,
)
from protocol.nats import Internet, NatKind
from protocol.network import FAST, Node, identity
from protocol.test_nat_traversal import (
    DOCUMENTATION,
    ESP,
    HIP,
    KINDS,
    RELAY,
    by_relay,
    established,
    expected_direct,
    meet,
    register,
    relay_config,
)

STUN, BY_HIP = NatMode.ICE_STUN_UDP, NatMode.ICE_HIP_UDP
ALL = (NatMode.UDP_ENCAPSULATION, BY_HIP, STUN)
ELSEWHERE = ip_address("198.51.100.77")


def modes(*which: NatMode, config: MachineConfig = FAST) -> MachineConfig:
    return replace(config, nat=replace(config.nat, modes=(NatMode.UDP_ENCAPSULATION, *which)))


def site(
    first: NatKind,
    second: NatKind,
    *,
    caller: MachineConfig | None = None,
    called: MachineConfig | None = None,
    seed: int = 1,
) -> tuple[Internet, Node, Node, Node]:
    """A relay of both kinds, and two hosts that are registered there, each behind a NAT."""
    net = Internet(seed)
    relay = net.host("relay", RELAY, identity("ecdsa-p256", 1), relay_config())
    a = net.behind("a", first, 1, identity("ecdsa-p256", 2), caller or modes(STUN))
    b = net.behind("b", second, 2, identity("ecdsa-p256", 3), called or modes(STUN))
    for node in (b, a):
        register(net, node, relay, HIP, ESP)
    return net, relay, a, b


@cache
def outcome(first: NatKind, second: NatKind) -> str:
    net, _relay, a, b = site(first, second)
    if not expected_direct(first, second):
        net.call(a, b.hit, RELAY)
        net.run(60)
        up = established(a, b) or established(b, a) or a.state(b) is not State.UNASSOCIATED
        return "up" if up else "none"
    meet(net, a, b)
    return "relay" if by_relay(net, a, b) else "direct"


@pytest.mark.parametrize(("first", "second"), list(product(KINDS, KINDS)))
def test_every_pair_of_nats(first: NatKind, second: NatKind) -> None:
    """As with UPDATEs, but no data goes by a relay: RFC 5770 has TURN for that."""
    assert outcome(first, second) == ("direct" if expected_direct(first, second) else "none")


def test_the_documentation_tells_so() -> None:
    text = " ".join(DOCUMENTATION.read_text().split())
    assert "With ICE-STUN-UDP the table is the same, with no path in place of each `relay`" in text


def nominated(node: Node, peer: Node) -> bool:
    checks = node.machine._core.associations[node.hit, peer.hit].checks
    return checks is not None and checks.nominated is not None


def messages(net: Internet, kind: StunType, sender: str) -> list[StunMessage]:
    found = [parse(data) for name, _, _, data in net.stun if name == sender]
    return [message for message in found if message.type == kind]


def packet(net: Internet, kind: PacketType, sender: str) -> HipPacket:
    found = [data for name, _, _, data in net.travelled if name == sender and data[2] == kind]
    return HipPacket.parse(found[-1])


def password(node: Node, peer: Node) -> bytes:
    session = node.machine._core.associations[node.hit, peer.hit].session
    assert session is not None
    return session.stun_password


def sha1(key: bytes, covered: bytes) -> bytes:
    return hmac.digest(key, covered, hashlib.sha1)


def drops(node: Node, reason: DropReason) -> int:
    return node.machine._core.drops[reason]


def test_what_goes_over_the_wire() -> None:
    """RFC 5770 §4.3, §5.2; RFC 8445 §7.1, §7.2."""
    net, _relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    net.travelled.clear()
    meet(net, a, b)
    i2, r2 = packet(net, PacketType.I2, "a"), packet(net, PacketType.R2, "b")
    assert i2.get(NatTraversalMode) == NatTraversalMode((STUN,))
    for told in (i2, r2):
        listed = told.get(LocatorSet)
        assert listed is not None, "locators are in clear (§6.1)"
        kinds = {getattr(one.locator, "kind", None) for one in listed.locators}
        assert kinds == {CandidateKind.HOST, CandidateKind.SERVER_REFLEXIVE}
    assert r2.get(Encrypted) is None

    key = password(a, b)
    assert key == password(b, a)
    assert len(key) == 32
    assert set(key) <= set(b"0123456789abcdef")
    for node, peer, role, nominates in (
        (a, b, StunAttribute.ICE_CONTROLLING, True),
        (b, a, StunAttribute.ICE_CONTROLLED, False),
    ):
        requests = messages(net, StunType.BINDING_REQUEST, node.name)
        assert requests
        for request in requests:
            assert request.fingerprint
            assert request.mac == sha1(key, request.covered)
            name = f"{int(peer.hit) & 0xFFFFFFFF:08x}:{int(node.hit) & 0xFFFFFFFF:08x}"
            assert request.get(StunAttribute.USERNAME) == name.encode()
            priority = request.get(StunAttribute.PRIORITY)
            assert priority is not None
            assert priority[0] == 110, "that of a peer-reflexive candidate"
            assert len(request.get(role) or b"") == 8
        flags = [one.get(StunAttribute.USE_CANDIDATE) for one in requests]
        assert (b"" in flags) is nominates
        answers = messages(net, StunType.BINDING_SUCCESS, node.name)
        assert answers
        for answer in answers:
            assert answer.fingerprint
            assert answer.mac == sha1(key, answer.covered)
            assert answer.get(StunAttribute.XOR_MAPPED_ADDRESS) is not None
            assert answer.get(StunAttribute.USERNAME) is None


def test_username_fragments_of_the_rfc() -> None:
    one = IPv6Address("2001:15:8ebe:1aa7:42f5:b413:7237:6c0a")
    other = IPv6Address("2001:18:46fa:97c0:ba5:cd77:51:47b")
    assert (fragment(one), fragment(other)) == ("72376c0a", "0051047b")
    assert username(one, other) == b"72376c0a:0051047b"


def test_hip_is_preferred_where_both_can() -> None:
    net, _relay, a, b = site(
        NatKind.PORT_RESTRICTED,
        NatKind.PORT_RESTRICTED,
        caller=modes(BY_HIP, STUN),
        called=modes(STUN, BY_HIP),
    )
    meet(net, a, b)
    assert not net.stun
    assert password(a, b) == b""


@pytest.mark.parametrize("caller", [(BY_HIP, STUN), (STUN,)])
@pytest.mark.parametrize("called", [(BY_HIP, STUN), (STUN,)])
def test_stun_is_what_they_have_in_common(
    caller: tuple[NatMode, ...], called: tuple[NatMode, ...]
) -> None:
    net, _relay, a, b = site(
        NatKind.PORT_RESTRICTED,
        NatKind.ADDRESS_RESTRICTED,
        caller=modes(*caller),
        called=modes(*called),
    )
    meet(net, a, b)
    assert bool(net.stun) is (STUN in {*caller, *called} and BY_HIP not in {*caller} & {*called})
    assert net.flows(a, b)


def test_it_is_offered_by_default() -> None:
    assert NatConfig().modes == ALL


def test_keepalives_are_indications() -> None:
    """RFC 5770 §5.3: with FINGERPRINT and nothing else; nobody answers."""
    net, _relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    net.run(1)
    net.stun.clear()
    net.run(60)
    assert net.stun
    for name, _, target, data in net.stun:
        message = parse(data)
        assert message.type == StunType.BINDING_INDICATION, name
        assert message.fingerprint
        assert message.mac is None
        assert not message.attributes
        assert target[0] != ip_address(RELAY)
    assert {name for name, *_ in net.stun} == {"a", "b"}
    assert net.flows(a, b)


def test_rekeying_goes_on_behind_the_stun_key() -> None:
    net, _relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    for dh in (False, True, False):
        net.perform(a, a.machine.rekey(b.hit, net.now, dh=dh))
        net.run(5)
        assert net.flows(a, b)
    assert a.machine.associations(b.hit)[0].rekeyed == 3


@pytest.mark.parametrize("loss", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("second", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
def test_with_losses(second: NatKind, loss: float, seed: int) -> None:
    net, _relay, a, b = site(NatKind.ADDRESS_RESTRICTED, second, seed=seed)
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


@pytest.mark.parametrize("who", ["caller", "called"])
@pytest.mark.parametrize("new", [NatKind.PORT_RESTRICTED, NatKind.FULL_CONE, NatKind.NONE])
def test_a_host_that_moves_is_found_again(who: str, new: NatKind) -> None:
    net, _relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    meet(net, a, b)
    mover = a if who == "caller" else b
    if new is NatKind.NONE:
        net.move(mover, "198.51.100.9")
    else:
        net.nat(new, "198.51.100.9", "elsewhere")
        net.move(mover, "10.7.7.7", "elsewhere")
    net.until(lambda: net.flows(a, b), 30)
    assert len(established(a, b)) == len(established(b, a)) == 1
    net.run(600)
    assert net.flows(a, b)


def test_both_begin_at_once() -> None:
    net, _relay, a, b = site(NatKind.FULL_CONE, NatKind.PORT_RESTRICTED)
    net.call(a, b.hit, RELAY)
    net.call(b, a.hit, RELAY)
    net.until(lambda: bool(established(a, b)) and bool(established(b, a)))
    assert net.flows(a, b)


def test_nothing_is_kept_of_associations_that_are_over() -> None:
    net, _relay, a, b = site(NatKind.SYMMETRIC, NatKind.SYMMETRIC)
    net.call(a, b.hit, RELAY)
    net.until(lambda: bool(a.machine._core.stun.transactions))
    assert len(a.machine._core.stun) == 1
    net.run(120)
    for node in (a, b):
        assert not node.machine._core.stun.transactions
        assert len(node.machine._core.stun) == 0


# -- what others may send -------------------------------------------------------------------------


def checking() -> tuple[Internet, Node, Node]:
    """Two hosts that are about to find a path."""
    net, _relay, a, b = site(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    net.call(a, b.hit, RELAY)
    net.until(lambda: any(name == "a" for name, *_ in net.stun))
    return net, a, b


def forged(node: Node, peer: Node, key: bytes | None, *more: tuple[int, bytes]) -> bytes:
    """A check of the peer, as somebody might make it."""
    attributes = [(StunAttribute.USERNAME, username(node.hit, peer.hit)), *more]
    sign = None if key is None else lambda covered: sha1(key, covered)
    return build(StunType.BINDING_REQUEST, b"forged check", attributes, sign=sign)


PRIORITY = (StunAttribute.PRIORITY, bytes(4))


def deliver(net: Internet, node: Node, data: bytes) -> list[bytes]:
    """Hand a message over from somewhere; all that is sent at once for it."""
    path = NetworkPath(node.address, ELSEWHERE, Transport.UDP, 10500, 4444)
    effects = node.machine.stun_received(data, path, net.now)
    sent = [one.data for one in effects if type(one).__name__ in {"SendStun", "SendDatagram"}]
    net.perform(node, effects)
    return sent


def test_forged_requests_are_not_answered() -> None:
    net, a, b = checking()
    key = password(a, b)
    nominate = (StunAttribute.USE_CANDIDATE, b"")
    right = forged(b, a, key, PRIORITY)
    wrong = {
        "no key": (forged(b, a, None, PRIORITY), DropReason.BAD_MAC),
        "another key": (forged(b, a, b"0" * 32, PRIORITY, nominate), DropReason.BAD_MAC),
        "an empty key": (forged(b, a, b"", PRIORITY), DropReason.BAD_MAC),
        "the other direction": (forged(a, b, key, PRIORITY), DropReason.NO_ASSOCIATION),
        "no username": (
            build(StunType.BINDING_REQUEST, bytes(12), [PRIORITY], sign=lambda c: sha1(key, c)),
            DropReason.NO_ASSOCIATION,
        ),
        "changed": (right[:-40] + bytes([right[-40] ^ 1]) + right[-39:], DropReason.MALFORMED),
        "no fingerprint": (binding_request(bytes(12)), DropReason.MALFORMED),
        "cut": (right[:-4], DropReason.MALFORMED),
        "nothing": (b"", DropReason.MALFORMED),
    }
    for what, (data, reason) in wrong.items():
        before = drops(b, reason)
        assert deliver(net, b, data) == [], what
        assert drops(b, reason) == before + 1, what
    checks = b.machine._core.associations[b.hit, a.hit].checks
    assert checks is not None
    assert not [pair for pair in checks.checklist if pair.remote.address == ELSEWHERE]
    (answer, *_) = deliver(net, b, right)
    assert parse(answer).type == StunType.BINDING_SUCCESS
    assert len(answer) < len(right), "nobody can have more sent than he sends"
    net.until(lambda: bool(established(a, b) and established(b, a)))
    assert net.flows(a, b)


def test_one_who_plays_a_check_again_gets_nothing() -> None:
    net, a, b = checking()
    net.until(lambda: bool(established(a, b) and established(b, a)))
    genuine = [data for name, _, _, data in net.stun if name == "a"]
    requests = [one for one in genuine if parse(one).type == StunType.BINDING_REQUEST]
    arrived = [one for one in requests if parse(one).get(StunAttribute.USE_CANDIDATE) == b""]
    assert arrived
    before = drops(b, DropReason.DUPLICATE)
    assert deliver(net, b, arrived[-1]) == []
    assert drops(b, DropReason.DUPLICATE) == before + 1
    net.run(5)
    assert not [e for node in (a, b) for e in node.of(PathChanged)]
    assert net.flows(a, b)


def test_forged_answers_prove_nothing() -> None:
    net, a, b = checking()
    core = a.machine._core
    transaction = next(iter(core.stun.transactions))
    key = password(a, b)
    before = drops(a, DropReason.BAD_MAC)
    for kind in (StunType.BINDING_SUCCESS, StunType.BINDING_ERROR):
        for sign in (None, lambda covered: sha1(b"0" * 32, covered)):
            assert deliver(net, a, build(kind, transaction, sign=sign)) == []
    assert drops(a, DropReason.BAD_MAC) == before + 4
    before = drops(a, DropReason.UNEXPECTED)
    unasked = build(StunType.BINDING_SUCCESS, b"never asked.", sign=lambda c: sha1(key, c))
    assert deliver(net, a, unasked) == []
    assert drops(a, DropReason.UNEXPECTED) == before + 1
    assert transaction in core.stun.transactions
    net.until(lambda: bool(established(a, b) and established(b, a)))
    assert net.flows(a, b)


def test_an_answer_that_comes_another_way_fails_its_pair() -> None:
    """RFC 8445 §7.2.5.2.1; the others are not touched."""
    net, a, b = checking()
    core, key = a.machine._core, password(a, b)
    transaction, (_, pair) = next(iter(core.stun.transactions.items()))
    genuine = build(StunType.BINDING_SUCCESS, transaction, sign=lambda c: sha1(key, c))
    deliver(net, a, genuine)
    assert pair.state.value == "failed"
    net.until(lambda: bool(established(a, b) and established(b, a)))
    assert net.flows(a, b)


def test_what_is_not_understood_is_told() -> None:
    net, a, b = checking()
    key = password(a, b)
    strange = forged(b, a, key, PRIORITY, (0x7F00, b"?"), (0xFF00, b"?"))
    (answer,) = map(parse, deliver(net, b, strange))
    assert answer.type == StunType.BINDING_ERROR
    assert answer.get(StunAttribute.ERROR_CODE) == bytes([0, 0, 4, 20])
    assert answer.get(StunAttribute.UNKNOWN_ATTRIBUTES) == bytes.fromhex("7f00")
    assert answer.mac == sha1(key, answer.covered)
    (answer,) = map(
        parse,
        deliver(
            net,
            b,
            build(
                StunType.BINDING_REQUEST,
                b"no priority.",
                [(StunAttribute.USERNAME, username(b.hit, a.hit))],
                sign=lambda covered: sha1(key, covered),
            ),
        ),
    )
    assert answer.get(StunAttribute.ERROR_CODE) == bytes([0, 0, 4, 0])


def test_a_flood_of_genuine_requests_is_bounded() -> None:
    net, a, b = checking()
    net.until(lambda: bool(established(a, b) and established(b, a)))
    key, answered = password(a, b), 0
    attributes = [(StunAttribute.USERNAME, username(b.hit, a.hit)), PRIORITY]
    for number in range(1000):
        request = build(
            StunType.BINDING_REQUEST,
            number.to_bytes(12, "big"),
            attributes,
            sign=lambda covered: sha1(key, covered),
        )
        answered += len(deliver(net, b, request))
    assert answered <= 100
    checks = b.machine._core.associations[b.hit, a.hit].checks
    assert checks is not None
    assert len(checks.checklist) <= 100
    assert net.flows(a, b)


def test_hosts_of_the_other_mode_do_not_answer() -> None:
    net, _relay, a, b = site(
        NatKind.FULL_CONE, NatKind.FULL_CONE, caller=modes(BY_HIP), called=modes(BY_HIP)
    )
    meet(net, a, b)
    for key in (b"", b"0" * 32):
        assert deliver(net, b, forged(b, a, key, PRIORITY)) == []


def test_established_counts_once() -> None:
    net, _relay, a, b = site(NatKind.FULL_CONE, NatKind.FULL_CONE)
    meet(net, a, b)
    net.run(10)
    assert len(a.of(Established)) == 2, "the relay and the peer"
    assert nominated(a, b)
    assert nominated(b, a)
