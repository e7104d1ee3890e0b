"""The machine wants to be called in time, acts on what is due alone, and its timers stay few."""

from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.identity.host_identity import KeyKind
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import Path
from hipgw.protocol.timers import SLACK, Timers
from protocol.due import expire, first_due
from protocol.network import FAST, Network, Node, establish, identity, peer_hits

KINDS: tuple[KeyKind, ...] = ("ed25519", "ecdsa-p256")
OWNERS = st.integers(0, 5)
TIMES = st.integers(0, 30).map(float)


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["arm", "put off"]), OWNERS, TIMES),
            st.tuples(st.just("disarm"), OWNERS, st.just(0.0)),
            st.tuples(st.just("wait"), st.just(0), TIMES),
        ),
        max_size=200,
    )
)
def test_timers_are_never_late(steps: list[tuple[str, int, float]]) -> None:
    timers: Timers[int] = Timers()
    wanted: dict[int, float] = {}
    now = 0.0
    for step, owner, delay in steps:
        match step:
            case "arm":
                wanted[owner] = now + delay
                timers.arm(owner, now + delay)
            case "put off" if owner in wanted:  # nobody tells the timers
                wanted[owner] += delay
            case "disarm":
                wanted.pop(owner, None)
                timers.disarm(owner)
            case "wait":
                now += delay
                expired = timers.expired(now)
                assert len(expired) == len(set(expired))
                assert {known for known, when in wanted.items() if when <= now} <= set(expired)
                for known in expired:
                    if wanted[known] > now:
                        timers.arm(known, wanted[known])
                    else:
                        del wanted[known]
        first = timers.next()
        assert (first is None) == (not wanted)
        assert first is None or first <= min(wanted.values())
        assert len(timers) <= 2 * len(wanted) + SLACK


def test_those_due_at_once_come_in_the_order_in_which_they_were_armed() -> None:
    timers: Timers[str] = Timers()
    for owner, when in (("late", 3.0), ("first", 1.0), ("second", 1.0), ("early", 0.5)):
        timers.arm(owner, when)
    assert timers.expired(2.0) == ["early", "first", "second"]
    assert timers.next() == 3.0


@pytest.mark.parametrize("seed", range(30))
def test_random_schedules(seed: int) -> None:
    """Whatever happens to several associations: `Network` looks at the timers in every step."""
    chance = Random(seed)
    network = Network(seed)
    config = replace(
        FAST,
        puzzle_difficulty=0,
        opportunistic=True,
        retries=chance.randint(0, 3),
        retransmit_s=chance.choice([0.05, 0.5, 2.0]),
        ual_s=chance.choice([0.3, 5.0, 40.0]),
        msl_s=chance.choice([0.1, 3.0]),
        failed_s=chance.choice([0.1, 1.0, 20.0]),
    )
    nodes = [
        network.add(f"n{n}", f"192.0.2.{n + 1}", identity(KINDS[n % 2], 10 + n), config)
        for n in range(6)
    ]
    loss = chance.choice([0, 0.1, 0.5])
    network.filter = lambda sender, data: (
        [] if chance.random() < loss else [chance.uniform(0.001, 0.5)]
    )
    for _ in range(120):
        one, other = chance.sample(nodes, 2)
        if chance.random() < 0.7:
            one = nodes[0]
            other = chance.choice(nodes[1:])
        _something(chance, network, one, other)
        network.run(chance.choice([0, 0.01, 0.2, 3.0]))
    network.run(1000)
    assert all(first_due(node.machine) is None for node in nodes)
    assert all(len(node.machine._core.timers) == 0 for node in nodes)
    assert all(node.machine.association_count == 0 for node in nodes)


def _something(chance: Random, network: Network, one: Node, other: Node) -> None:
    machine, now = one.machine, network.now
    up = machine.is_up(other.hit)
    match chance.choice(["connect", "connect", "anybody", "close", "data", "seen", "late", "all"]):
        case "connect":
            network.connect(one, other)
        case "anybody":
            network.connect(one, other, opportunistic=True)
        case "close":
            network.perform(one, machine.close(other.hit, now))
        case "data" if up:
            spis = list(machine._core.by_inbound_spi)
            network.perform(one, machine.data_received(chance.choice(spis), now))
        case "seen":
            machine.traffic_seen(other.hit, now)
        case "late":  # the host was asleep: much is due at once
            network.now += chance.choice([1.0, 10.0])
            for node in network.nodes.values():
                network.perform(node, expire(node.machine, network.now))
        case "all" if chance.random() < 0.1:
            network.perform(one, machine.close_all(now))
        case _ if up:
            network.perform(one, machine.ping(other.hit, now)[1])


def test_traffic_leaves_no_timers_behind() -> None:
    now = 1000.0
    hits = peer_hits(100)
    machine = HipMachine(FAST, [identity("ed25519")], Random(1).randbytes, now)
    sessions = [establish(machine, hit, now).session for hit in hits]
    timers = machine._core.timers
    for step in range(50):
        now += 1.0
        for hit, session in zip(hits, sessions, strict=True):
            assert session
            machine.traffic_seen(hit, now)
            machine.data_received(session.inbound_spi, now)
        if step % 10 == 0:
            expire(machine, now)
        assert len(timers) <= 2 * len(hits) + SLACK
    expire(machine, now + FAST.ual_s - 1)
    assert len(machine.associations()) == len(hits)


def test_coming_and_going_leaves_no_timers_behind() -> None:
    """Every new attempt brings the time forward that the failed one before has put off."""
    now = 1000.0
    config = replace(FAST, failed_s=1e6)
    machine = HipMachine(config, [identity("ed25519")], Random(1).randbytes, now)
    path = Path(ip_address("192.0.2.1"), ip_address("192.0.2.2"))
    hits = peer_hits(10)
    for _ in range(100):
        now += 0.001
        for hit in hits:
            machine.connect(hit, [path], now)
            machine.close(hit, now)
        assert len(machine._core.timers) <= 2 * len(hits) + SLACK


def test_what_is_forgotten_is_not_kept_by_its_timer() -> None:
    now = 1000.0
    machine = HipMachine(FAST, [identity("ed25519")], Random(1).randbytes, now)
    for association in [establish(machine, hit, now) for hit in peer_hits(1000)]:
        machine._core.forget(association)
    assert machine.next_timer() is None
    assert len(machine._core.timers) == 0
