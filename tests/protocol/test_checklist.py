"""Candidates and pairs of them, without any packet (RFC 8445 §5.1.2, §6.1.2)."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.protocol.nat.candidates import (
    Base,
    LocalCandidate,
    RemoteCandidate,
    Source,
    gather,
    locator_set,
    priority,
    read,
)
from hipgw.protocol.nat.checklist import Checklist, PairState, pair_priority
from hipgw.protocol.path import Path, Transport
from hipgw.wire.parameters import (
    CandidateKind,
    Locator,
    LocatorSet,
    PlainLocator,
    TrafficType,
    TransportLocator,
)

HOST, REFLEXIVE, RELAYED = (
    CandidateKind.HOST,
    CandidateKind.SERVER_REFLEXIVE,
    CandidateKind.RELAYED,
)
OWN = ip_address("192.168.1.2")
RELAY = (ip_address("203.0.113.1"), 10500)


def source(kind: CandidateKind, address: str, port: int = 10500) -> Source:
    base = Base(OWN, 10500, RELAY if kind is RELAYED else None)
    return Source(kind, base, ip_address(address), port)


def usual() -> list[LocalCandidate]:
    return gather(
        [
            source(HOST, "192.168.1.2"),
            source(REFLEXIVE, "198.51.100.1", 20000),
            source(RELAYED, "203.0.113.1", 30000),
        ]
    )


def theirs(count: int = 1) -> list[RemoteCandidate]:
    return [
        RemoteCandidate(IPv4Address(0xC6336400 + n), 10500, HOST, priority(HOST, 65535 - n))
        for n in range(1, count + 1)
    ]


def checklist(controlling: bool = True, limit: int = 100, count: int = 1) -> Checklist:
    return Checklist(usual(), theirs(count), controlling=controlling, limit=limit)


def test_priorities_are_those_of_ice() -> None:
    assert priority(HOST, 65535) == 2130706431
    assert priority(REFLEXIVE, 65535) == 1694498815
    assert priority(RELAYED, 65535) == 16777215
    kinds = (HOST, CandidateKind.PEER_REFLEXIVE, REFLEXIVE, RELAYED)
    assert all(priority(one, 0) > priority(other, 65535) for one, other in pairwise(kinds))


@given(*[st.integers(0, 2**31 - 1)] * 2)
def test_both_ends_order_pairs_alike(one: int, other: int) -> None:
    value = pair_priority(one, other)
    assert value < 1 << 64
    assert value >> 32 >= min(one, other)
    if one != other:
        assert pair_priority(other, one) != value


def test_candidates_are_distinct_and_each_kind_has_room() -> None:
    sources = [source(HOST, f"10.0.0.{n}") for n in range(1, 40)]
    sources += [source(HOST, "10.0.0.1"), source(RELAYED, "203.0.113.1", 30000)]
    found = gather(sources)
    assert [one.kind for one in found].count(HOST) == 6
    assert found[-1].kind is RELAYED
    preferences = [one.local_preference for one in found]
    assert len(set(preferences)) == len(preferences)


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.1", "169.254.0.1", "0.0.0.0"])
def test_what_is_no_candidate(address: str) -> None:
    assert not gather([source(HOST, address)])


def test_a_single_candidate_has_the_greatest_local_preference() -> None:
    assert gather([source(HOST, "10.0.0.1")])[0].local_preference == 65535


def test_candidates_and_relays_come_through_a_locator_set() -> None:
    relays = [(ip_address("203.0.113.1"), 10500)]
    sent = LocatorSet.parse(locator_set(usual(), relays, 4711).emit())
    candidates, told = read(sent)
    assert [(one.address, one.port, one.kind) for one in candidates] == [
        (one.address, one.port, one.kind) for one in usual()
    ]
    assert told == relays
    assert {entry.locator.spi for entry in sent.locators} == {4711}  # type: ignore[union-attr]


def test_a_peers_locators_are_bounded_and_checked() -> None:
    def locator(n: int, port: int = 1, protocol: int = 17, lifetime: int = 9) -> Locator:
        address = IPv4Address(0x0A000000 + n)
        return Locator(TransportLocator(address, port, protocol, HOST, n, 0), lifetime)

    many = [locator(n) for n in range(1, 100)]
    bad = [locator(1, port=0), locator(2, protocol=6), locator(3, lifetime=0)]
    bad.append(Locator(PlainLocator(ip_address("10.0.0.1"))))
    bad.append(Locator(TransportLocator(ip_address("127.0.0.1"), 1, 17, HOST, 1, 0)))
    signalling = [
        Locator(
            TransportLocator(IPv4Address(n), 1, 17, HOST, 1, 0), traffic_type=TrafficType.SIGNALING
        )
        for n in range(0x0B000001, 0x0B000009)
    ]
    candidates, relays = read(LocatorSet((*bad, *many, *signalling)))
    assert len(candidates) == 16
    assert len(relays) == 2
    assert not read(LocatorSet(tuple(bad)))[0]


def test_what_a_peer_calls_by_the_own_address_is_only_tried_by_a_relay() -> None:
    same = RemoteCandidate(OWN, 10500, HOST, priority(HOST, 65535))
    other_port = RemoteCandidate(OWN, 10501, HOST, priority(HOST, 65534))
    pairs = list(Checklist(usual(), [same, other_port], controlling=True, limit=100))
    assert {(pair.local.kind, pair.remote.port) for pair in pairs} == {
        (HOST, 10501),
        (RELAYED, 10500),
        (RELAYED, 10501),
    }


def test_pairs_are_of_bases_and_of_one_family() -> None:
    remote = [*theirs(2), RemoteCandidate(IPv6Address("2001:db8::1"), 1, HOST, 5)]
    pairs = list(Checklist(usual(), remote, controlling=True, limit=100))
    assert len(pairs) == 4, "the reflexive one sends from the host's own address"
    assert {pair.path.relay_to is None for pair in pairs} == {True, False}
    assert pairs == sorted(pairs, key=lambda pair: -pair.priority)
    assert not any(pair.path.remote.version == 6 for pair in pairs)


@given(st.integers(1, 60), st.integers(1, 30))
def test_there_are_never_too_many_pairs(count: int, limit: int) -> None:
    listed = checklist(limit=limit, count=count)
    assert len(listed) <= limit
    for port in range(50):
        path = Path(OWN, ip_address("198.51.100.77"), Transport.UDP, 10500, 1000 + port)
        listed.seen(path, 1)
    assert len(listed) <= limit


def test_triggered_pairs_go_first() -> None:
    listed = checklist(count=3)
    last = list(listed)[-1]
    listed.trigger(last)
    listed.trigger(last)
    assert listed.next() is last
    last.state = PairState.IN_PROGRESS
    assert listed.next() is next(iter(listed))


def test_a_check_from_elsewhere_is_a_new_candidate() -> None:
    listed = checklist()
    path = Path(OWN, ip_address("198.51.100.9"), Transport.UDP, 10500, 40000)
    pair = listed.seen(path, 1862270975)
    assert pair is not None
    assert pair.remote.kind is CandidateKind.PEER_REFLEXIVE
    assert listed.seen(path, 1) is pair
    foreign = Path(ip_address("10.9.9.9"), path.remote, Transport.UDP, 10500, 40000)
    assert listed.seen(foreign, 1) is None, "not an own candidate"
    by_relay = Path(OWN, RELAY[0], Transport.UDP, 10500, 10500, (path.remote, 40000))
    relayed = listed.seen(by_relay, 1)
    assert relayed is not None
    assert relayed.relayed


def test_the_best_pair_that_works() -> None:
    listed = checklist(count=2)
    pairs = list(listed)
    assert listed.best() is None
    for pair in pairs[1:]:
        pair.state = PairState.SUCCEEDED
    assert listed.best() is pairs[1]
    assert listed.may_be_beaten(pairs[1])
    pairs[0].state = PairState.FAILED
    assert not listed.may_be_beaten(pairs[1])
    for pair in pairs:
        if not pair.relayed:
            pair.state = PairState.FAILED
    best = listed.best()
    assert best is not None
    assert best.relayed
    assert listed.best(relayed=False) is None
