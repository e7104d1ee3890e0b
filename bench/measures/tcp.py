"""One TCP stream of iperf3."""

import contextlib
import json
import time
from collections.abc import Iterator

from contestants import Ends
from hipgw.errors import LabError
from hipgw.lab.process import Process
from measures.daemons import Daemons
from measures.listening import PORT, drain, wait_bound

RISE_S = 0.5
"""How long a stream takes to fill the path, at most."""


def tcp(ends: Ends, daemons: Daemons, seconds: float) -> dict[str, float]:
    """What the receiver got, in Gb/s, and the processor time that each gigabit took."""
    with _server(ends):
        before = daemons.cpu()
        command = [*_client(ends, seconds), "--json"]
        done = ends.client.run(command, timeout_s=seconds + 30, check=False)
        spent = daemons.cpu() - before
    drain()
    report = json.loads(done.stdout)
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    received = report["end"]["sum_received"]
    gigabits = float(received["bytes"]) * 8 / 1e9
    figures = {
        "tcp_gbps": float(received["bits_per_second"]) / 1e9,
        "machine_cpu_s_per_gbit": spent.machine / gigabits,
    }
    if daemons:
        figures["cpu_s_per_gbit"] = spent.daemons / gigabits
    return figures


@contextlib.contextmanager
def stream(ends: Ends, seconds: float) -> Iterator[None]:
    """A stream that runs in the block, which must not last longer than *seconds*."""
    with _server(ends):
        client = ends.client.popen(_client(ends, seconds + RISE_S + 1))
        try:
            time.sleep(RISE_S)
            yield
            client.require_running()
        finally:
            client.stop()
    drain()


@contextlib.contextmanager
def _server(ends: Ends) -> Iterator[Process]:
    listener = ends.server.popen(["iperf3", "--server", "--one-off", "-p", str(PORT)])
    try:
        wait_bound(ends, "-t")
        yield listener
    finally:
        listener.stop()


def _client(ends: Ends, seconds: float) -> list[str]:
    return ["iperf3", "-c", ends.address, "-p", str(PORT), "-t", f"{seconds:g}"]
