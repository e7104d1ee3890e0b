"""One measurement of one path each."""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from contestants import Ends
from hipgw.errors import LabError
from hipgw.lab import wait_until

PORT = 5201
DATAGRAMS = Path(__file__).with_name("datagrams.py")
SKIP_S = 0.25
"""What the first datagrams find differs: caches are cold, queues empty."""
OFFERED = (2.0, 1.2)
"""Rates to offer after the flood, as multiples of what arrived of it."""
DRAIN_S = 0.2
"""Time for queues to run empty before the next measurement."""


def tcp_gbps(ends: Ends, seconds: float) -> float:
    """One TCP stream of iperf3; what the receiver got, in Gb/s."""
    listener = ends.server.popen(["iperf3", "--server", "--one-off", "-p", str(PORT)])
    try:
        _wait_bound(ends, "-t")
        command = ["iperf3", "--json", "-c", ends.address, "-p", str(PORT), "-t", f"{seconds:g}"]
        done = ends.client.run(command, timeout_s=seconds + 30, check=False)
    finally:
        listener.stop()
    time.sleep(DRAIN_S)
    report = json.loads(done.stdout)
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def udp64_kpps(ends: Ends, seconds: float) -> float:
    """64-byte datagrams that arrive, in thousands a second, at the offered rate that suits best.

    A flood comes first: as much as one sender can. Some tunnels get less done under a flood than
    under a load they can carry, so gentler rates follow and the best result counts.
    """
    window_s = seconds / (1 + len(OFFERED))
    best = flood = _datagrams(ends, window_s, 0.0)
    if not flood:
        raise LabError(f"None of the datagrams arrived at {ends.address}.")
    for factor in OFFERED:
        best = max(best, _datagrams(ends, window_s, flood * factor))
    return best / 1e3


def ping_us(ends: Ends, count: int) -> float:
    """Median round trip of an idle path, in microseconds."""
    result = ends.client.ping(ends.address, count=count, interval_s=0.005)
    if result.received < count * 0.95:
        raise LabError(f"Only {result.received} of {result.sent} pings were answered.")
    return statistics.median(result.times_ms) * 1e3


def _datagrams(ends: Ends, window_s: float, rate: float) -> float:
    """Datagrams a second that arrive when *rate* a second are offered (0: all that go)."""
    own = [sys.executable, "-S", DATAGRAMS]
    counter = ends.server.popen([*own, "receive", str(PORT), str(SKIP_S), str(window_s)])
    try:
        _wait_bound(ends, "-u")
        seconds = SKIP_S + window_s + 0.2
        options = [ends.address, str(PORT), f"{seconds:g}", f"{rate:.0f}"]
        ends.client.run([*own, "send", *options], timeout_s=seconds + 30)
        counter.wait(15.0)
    finally:
        counter.stop()
    time.sleep(DRAIN_S)
    report: dict[str, Any] = json.loads(counter.output())
    return float(report["packets"]) / float(report["seconds"])


def _wait_bound(ends: Ends, protocol: str) -> None:
    """Wait until somebody listens at the port; *protocol* is the option of `ss` for it."""
    wait_until(
        lambda: f":{PORT} " in ends.server.run(["ss", "-Hln", protocol]).stdout,
        what=f"a listener at port {PORT}",
    )
