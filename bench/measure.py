"""One measurement of one path each."""

import json
import statistics
import time

from contestants import Ends
from hipgw.lab import wait_until

PORT = 5201


def tcp_gbps(ends: Ends, seconds: int) -> float:
    """One TCP stream; what the receiver got, in Gb/s."""
    report = _iperf(ends, ["-t", str(seconds)], seconds)
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def udp64_kpps(ends: Ends, seconds: int) -> float:
    """64-byte UDP datagrams as fast as iperf3 makes them; thousands a second that arrived."""
    report = _iperf(ends, ["-u", "-l", "64", "-b", "0", "-t", str(seconds)], seconds)
    total = report["end"]["sum"]
    return float(total["packets"] - total["lost_packets"]) / float(total["seconds"]) / 1e3


def ping_us(ends: Ends, count: int) -> float:
    """Median round trip of an idle path, in microseconds."""
    result = ends.client.ping(ends.address, count=count, interval_s=0.005)
    return statistics.median(result.times_ms) * 1e3


def _iperf(ends: Ends, options: list[str], seconds: int) -> dict:
    listener = ends.server.popen(["iperf3", "--server", "--one-off", "-p", str(PORT)])
    try:
        wait_until(lambda: f":{PORT}" in ends.server.run(["ss", "-Hltn"]).stdout, what="iperf3")
        command = ["iperf3", "--json", "-c", ends.address, "-p", str(PORT), *options]
        done = ends.client.run(command, timeout_s=seconds + 30, check=False)
    finally:
        listener.stop()
    time.sleep(0.2)  # let queues run empty before the next one
    report = json.loads(done.stdout)
    if "error" in report:
        raise RuntimeError(f"iperf3: {report['error']}")
    return report
