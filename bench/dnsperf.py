"""What the interceptor costs a query that is not for it, beside the direct path.

    python bench/dnsperf.py [--rate 10000] [--seconds 5] [--names 10000] [--realtime]

BIND on one host; on another one, two hops away, `dnsperf` asks it at a fixed rate: directly, and at
hipgw's interceptor there, with its cache off (every query is passed on) and on. The median is of
the times that dnsperf writes down of each query. Before that, each name is asked for in all three
ways, and the answers are compared octet for octet.

With `--realtime` all of them run before any other program of the machine (SCHED_RR): what else runs
there is hardly seen then. At rates that fill the cores the kernel holds such programs up, though.
"""

import argparse
import os
import re
import socket
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import dns.message

from hipgw.lab import Lab
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.dns import Bind, Zone, ask_name_servers
from hipgw.lab.host import Host
from hipgw.lab.topologies import underlay

ZONE = "bench.example"
BIND, OURS = "192.168.102.1", "127.0.0.139"
KINDS = ("A", "AAAA", "TXT", "MX")
"""AAAA is absent, and a name in four does not exist."""


@dataclass(frozen=True)
class Run:
    """What dnsperf measured, times in seconds."""

    what: str
    sent: int
    lost: int
    rate: float
    times: list[float]

    @property
    def median(self) -> float:
        """The time of the query in the middle."""
        return statistics.median(self.times)

    def percentile(self, share: float) -> float:
        """The time that so many queries took at most."""
        return sorted(self.times)[min(int(share * len(self.times)), len(self.times) - 1)]


def queries(names: int) -> list[tuple[str, str]]:
    """Names and types in turn."""
    found = []
    for n in range(names):
        label = f"n{n}" if n % 4 else f"absent{n}"
        found.append((f"{label}.{ZONE}", KINDS[n % len(KINDS)]))
    return found


def altered(host: Host, names: int) -> int:
    """How many answers are others by the interceptor than directly."""
    sockets = [host.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock, address in zip(sockets, (BIND, OURS), strict=True):
        sock.settimeout(5)
        sock.connect((address, 53))
    count = 0
    for n, (name, kind) in enumerate(queries(names)):
        edns = 0 if n % 3 else -1
        query = dns.message.make_query(name, kind, use_edns=edns, want_dnssec=n % 6 == 1)
        answers = []
        for sock in sockets:
            sock.send(query.to_wire())
            answers.append(sock.recv(65535))
        count += answers[0] != answers[1]
    for sock in sockets:
        sock.close()
    return count


def perf(host: Host, what: str, address: str, file: Path, options: argparse.Namespace) -> Run:
    """One run of dnsperf."""
    command: list[str | Path] = ["dnsperf", "-s", address, "-d", file]
    command += ["-l", str(options.seconds)]
    command += ["-Q", str(options.rate), "-c", "4", "-T", "1", "-v", "-W"]
    # Into a file: who reads a pipe meanwhile takes processor time from those that are measured.
    process = host.popen(command, name="dnsperf")
    process.wait(options.seconds + 60)
    output = process.output()
    times = [float(time) for time in re.findall(r"^> \S+ \S+ \S+ ([\d.]+)$", output, re.M)]

    def figure(name: str) -> float:
        match = re.search(rf"{name}:\s+([\d.]+)", output)
        if match is None:
            sys.exit(f"dnsperf says nothing of {name}:\n{output[-2000:]}")
        return float(match[1])

    return Run(
        what,
        int(figure("Queries sent")),
        int(figure("Queries lost")),
        figure("Queries per second"),
        times,
    )


def cpu_s(daemon: HipgwDaemon) -> float:
    """Processor time that the daemon has used."""
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=10000, help="queries a second")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--names", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--realtime", action="store_true", help="before all other programs")
    options = parser.parse_args()
    if options.realtime:
        # Inherited by everything that is started.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with Lab("dnsbench") as lab:
        _, (client, server) = underlay(lab, 2, names="b")
        records = tuple(
            line
            for n in range(options.names)
            if n % 4
            for line in (
                f"n{n} 3600 IN A 10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}",
                f'n{n} 3600 IN TXT "name number {n}"',
                f"n{n} 3600 IN MX 10 n{n}",
            )
        )
        Bind(server, BIND, [Zone(ZONE, records)]).start()
        ask_name_servers(client, BIND)
        file = lab.directory / "queries"
        file.write_text("".join(f"{name} {kind}\n" for name, kind in queries(options.names)))
        daemon = HipgwDaemon(client)
        runs: list[tuple[Run, float]] = []
        for cache_max in (0, 100000):
            table = {"resolver": "off", "cache_max": cache_max}
            daemon.configure({"host": {}, "dns": table})
            daemon.start()
            wrong = altered(client, options.names)
            what = "cache on" if cache_max else "cache off"
            print(f"{options.names} answers, {what}: {wrong} altered")
            for _ in range(options.rounds):
                runs.append((perf(client, "direct", BIND, file, options), 0.0))
                before = cpu_s(daemon)
                run = perf(client, what, OURS, file, options)
                runs.append((run, (cpu_s(daemon) - before) / options.seconds))
            daemon.stop()
    base = statistics.median(run.median for run, _ in runs if run.what == "direct")
    headings = ("queries/s", "lost", "median", "99 %", "more", "cpu")
    print(f"{'way':<12}" + "".join(f"{heading:>12}" for heading in headings))
    for run, cpu in runs:
        print(
            f"{run.what:<12}{run.rate:>12.0f}{run.lost:>12}{run.median * 1e6:>9.0f} µs"
            f"{run.percentile(0.99) * 1e6:>9.0f} µs{(run.median - base) * 1e6:>9.0f} µs{cpu:>12.0%}"
        )


if __name__ == "__main__":
    main()
