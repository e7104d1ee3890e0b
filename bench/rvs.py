"""A rendezvous server with very many clients: how much memory, and how many calls a second?

    python bench/rvs.py [--clients 100000] [--rates 5000,20000,40000]

The daemon itself, `hipgw run`, runs in a network namespace, with all its threads on one core; the
clients and those who call them are in another one, on the other cores. Each client registers by a
base exchange of its own, from an address of its own. Prints what the daemon's memory is before and
after, how long a registration took on average, and for each rate how many of the calls arrived and
what share of the core that took.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from hipgw.lab import Lab, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.process import Process

HERE = Path(__file__).parent
SERVER, CROWD = "192.0.2.1", "192.0.2.2"
CLIENTS = "10.96.0.0/14"
LIMIT = 1_000_000
TICKS = os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Megabytes (10^6 octets)."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Processor time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pin(pid: int, cores: set[int]) -> None:
    """Have all threads of a process on these cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def answer(crowd: Process, number: int) -> dict[str, float]:
    """What the crowd tells, once it does."""

    def told() -> dict[str, float] | None:
        crowd.require_running()
        lines = [line for line in crowd.output().splitlines() if line.startswith("{")]
        return dict(json.loads(lines[number])) if len(lines) > number else None

    return wait_until(told, 3600.0, what="the crowd")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--rates", default="5000,20000,40000")
    options = parser.parse_args()
    rates = options.rates.split(",")
    cores = sorted(os.sched_getaffinity(0))
    with Lab("rvs_bench") as lab:
        server, crowd = lab.host("server"), lab.host("crowd")
        lab.link(server, "wan0", crowd, "wan0")
        server.address("wan0", f"{SERVER}/24")
        crowd.address("wan0", f"{CROWD}/24")
        server.route(CLIENTS, CROWD)
        crowd.run(["ip", "route", "add", "local", CLIENTS, "dev", "lo"])
        daemon = HipgwDaemon(server, key_kind="ecdsa-p256")
        daemon.configure(
            {
                "hip": {"accept": "any", "puzzle_difficulty": 0, "puzzle_difficulty_max": 0},
                "rvs": {
                    "clients_max": options.clients,
                    "max_lifetime_s": 86400,
                    "packets_per_source": LIMIT,
                    "packets_per_client": LIMIT,
                },
                "daemon": {"log_level": "error"},
            }
        )
        daemon.start()
        assert daemon.process is not None
        pid = daemon.process.pid
        pin(pid, {cores[0]})
        empty = resident_mb(pid)
        go = lab.directory / "go"
        command = [sys.executable, "-m", "measures.crowd", SERVER, str(daemon.hit)]
        command += [str(options.clients), str(go), *rates]
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        playing = crowd.popen(command, name="crowd", environment=environment)
        pin(playing.pid, set(cores[1:]) or set(cores))
        registered = answer(playing, 0)
        wait_until(
            lambda: (
                daemon.request("counters")["control"]["rendezvous_resting"]
                == registered["registered"]
            ),
            120.0,
            what="the clients' rest",
        )
        counters = daemon.request("counters")["control"]
        print(
            f"{counters['rendezvous_clients']} clients registered, "
            f"{1e3 * registered['seconds'] / registered['registered']:.2f} ms each; "
            f"memory {empty:.0f} MB without any, {resident_mb(pid):.0f} MB with them"
        )
        before = cpu_s(pid)
        go.touch()
        for seen in range(1, len(rates) + 1):
            line = answer(playing, seen)
            used, before = cpu_s(pid) - before, cpu_s(pid)
            print(
                f"{line['sent'] / line['seconds']:.0f} calls/s: "
                f"{100 * line['arrived'] / line['sent']:.2f} % arrived, "
                f"{100 * used / line['seconds']:.0f} % of a core"
            )
        time.sleep(0.1)
        print(f"memory {resident_mb(pid):.0f} MB at the end")
        playing.wait(30.0)


if __name__ == "__main__":
    main()
