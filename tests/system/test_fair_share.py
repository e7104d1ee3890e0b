"""Data threads that go before others leave these what is due to them."""

import os
import subprocess
import sys

import pytest

from hipgw.lab import Lab, wait_until
from hipgw.lab.topologies import endbox_pair

pytestmark = [pytest.mark.system, pytest.mark.alone, pytest.mark.timeout(400)]

ROUNDS = 3
"""By turns: what else happens on the machine is not to count for one of both alone."""
BUSY_S = 3.0
"""How long each of the busy programs works."""
CROWD = 4
"""Busy programs for each CPU."""
LEAST = 0.6
"""Of what they get done beside data threads that take turns. Without a limit it was 0.4."""
WORK = """
import sys, time
end, done = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    sum(range(1000))
    done += 1
print(done)
"""


def beside_a_stream(lab: Lab, *, realtime: bool) -> tuple[int, int]:
    """What busy programs get done beside a loaded pair, and how often precedence was given up."""
    network = endbox_pair(lab, esp={"realtime": realtime})
    network.start()
    one, two = network.sites
    listener = two.lan.popen(["iperf3", "-s", "-1"])
    wait_until(lambda: ":5201" in two.lan.run(["ss", "-Hltn"]).stdout, what="iperf3")
    stream = one.lan.popen(["iperf3", "-c", two.lan4, "-t", "60", "--bidir"])
    wait_until(
        lambda: one.daemon.request("counters")["dataplane"]["net_tx_packets"] > 20_000,
        what="a stream",
    )
    crowd = [
        subprocess.Popen([sys.executable, "-c", WORK, f"{BUSY_S}"], stdout=subprocess.PIPE)
        for _ in range(CROWD * len(os.sched_getaffinity(0)))
    ]
    done = sum(int(busy.communicate(timeout=60)[0]) for busy in crowd)
    stream.require_running()
    stream.stop()
    listener.stop()
    counts = [site.daemon.request("counters")["dataplane"] for site in network.sites]
    assert not any(count["precedence_refused"] for count in counts)
    return done, sum(count["precedence_given_up"] for count in counts)


def test_busy_programs_get_their_share_beside_a_loaded_pair() -> None:
    """Precedence without a limit once made a daemon's start beside a loaded pair take 15 s."""
    done = {False: 0, True: 0}
    given_up = {False: 0, True: 0}
    for realtime in (False, True) * ROUNDS:
        with Lab("fair") as lab:
            work, count = beside_a_stream(lab, realtime=realtime)
        done[realtime] += work
        given_up[realtime] += count
    assert given_up[True], "more than its share was taken"
    assert done[True] >= LEAST * done[False], done
