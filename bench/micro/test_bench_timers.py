"""What associations cost that nothing happens to: the machine looks at its timers all the time.

Run with: pytest --benchmark-enable bench/micro/test_bench_timers.py
"""

from dataclasses import replace
from itertools import cycle
from random import Random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hipgw.protocol.machine import HipMachine
from protocol.network import FAST, establish, identity, peer_hits

NOW = 1000.0
QUIET = replace(FAST, rekey_s=0.0, keepalive_s=0.0)
"""Nothing is due before an association counts as unused."""
COUNTS = pytest.mark.parametrize("associations", [10, 10_000])


def machine(associations: int) -> HipMachine:
    """A machine that is associated with so many peers."""
    made = HipMachine(QUIET, [identity("ed25519")], Random(7401).randbytes, NOW)
    for hit in peer_hits(associations):
        establish(made, hit, NOW)
    assert len(made.associations()) == associations
    return made


@COUNTS
def test_traffic_seen(benchmark: BenchmarkFixture, associations: int) -> None:
    """One peer of which a look at the traffic says that it is there."""
    made = machine(associations)
    made.timer_expired(NOW)
    hits = cycle(peer_hits(associations))

    def look() -> float | None:
        made.traffic_seen(next(hits), NOW)
        return made.next_timer()

    assert benchmark(look) == NOW + QUIET.ual_s


@COUNTS
def test_nothing_due(benchmark: BenchmarkFixture, associations: int) -> None:
    """A timer that finds nothing to do, as after a packet that moved a deadline."""
    made = machine(associations)
    made.timer_expired(NOW)

    assert benchmark(made.timer_expired, NOW) == []
    assert len(made.associations()) == associations
