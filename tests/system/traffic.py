"""Traffic between two hosts of a lab."""

import json

from hipgw.lab import Host, wait_until


def transfer(client: Host, server: Host, address: str, *options: str) -> float:
    """Send TCP (or what *options* ask of iperf3) for a second; returns what arrived, in Mb/s."""
    listener = server.popen(["iperf3", "-s", "-1"])
    wait_until(lambda: ":5201" in server.run(["ss", "-Hltn"]).stdout, what="iperf3")
    done = client.run(["iperf3", "-c", address, "-t", "1", "--json", *options], check=False)
    listener.stop()
    report = json.loads(done.stdout)
    assert "error" not in report, report["error"]
    end = report["end"]
    received = end.get("sum_received") or end["sum"]
    return float(received["bits_per_second"]) / 1e6
