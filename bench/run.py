"""Measure hipgw beside the plain path and other tunnels, in one run.

    python bench/run.py [--quick] [--only NAME ...] [--rounds N] [--seconds N] [--no-micro]

Prints a table with ratios and writes build/bench/latest.json. Root is needed; everything happens in
network namespaces and is gone at the end, also after Ctrl-C.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from contestants import ALL, Contestant, Ends
from hipgw.errors import HipgwError
from hipgw.lab import Lab
from measure import ping_us, tcp_gbps, udp64_kpps
from micro import micro_results
from report import table

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "build" / "bench" / "latest.json"
UNITS = {"tcp_gbps": "Gb/s", "udp64_kpps": "kpps", "ping_us": "us"}


def main() -> int:
    """Run everything; 1 if a contestant failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of two seconds")
    parser.add_argument("--rounds", type=int, default=3, help="of every contestant in turn")
    parser.add_argument("--seconds", type=int, default=4, help="of each throughput run")
    parser.add_argument("--pings", type=int, default=200)
    parser.add_argument("--only", nargs="*", help="contestants, by name")
    parser.add_argument("--no-micro", action="store_true", help="leave the micro benches out")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 2
    if os.geteuid():
        parser.error("network namespaces need root: try it with sudo")

    wanted = [kind() for kind in ALL if not options.only or kind.name in options.only]
    failed: dict[str, str] = {}
    runs: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        ready: list[tuple[Contestant, Ends]] = []
        for contestant in wanted:
            if program := contestant.missing():
                failed[contestant.name] = f"{program} is not installed (tools/setup.sh bench)"
                continue
            print(f"starting {contestant.name} …", flush=True)
            lab = stack.enter_context(Lab("bench_" + contestant.name.replace("-", "_")))
            try:
                ready.append((contestant, contestant.start(lab)))
            except HipgwError as error:
                failed[contestant.name] = str(error)
        # Contestants take turns, so that what else the machine does hits all of them alike.
        for turn in range(options.rounds):
            for contestant, ends in ready:
                print(f"round {turn + 1} of {options.rounds}: {contestant.name}", flush=True)
                try:
                    measured = {
                        "tcp_gbps": tcp_gbps(ends, options.seconds),
                        "udp64_kpps": udp64_kpps(ends, options.seconds),
                        "ping_us": ping_us(ends, options.pings),
                    }
                except (HipgwError, RuntimeError, statistics.StatisticsError) as error:
                    failed[contestant.name] = str(error)
                    continue
                for what, value in measured.items():
                    name = f"{contestant.prefix}.{contestant.name}.{what}"
                    runs.setdefault(name, []).append(value)

    results = [
        {
            "name": name,
            "value": statistics.median(values),
            "unit": UNITS[name.rsplit(".", 1)[1]],
            "runs": values,
        }
        for name, values in runs.items()
    ]
    if not options.no_micro:
        results += micro_results(ROOT)
    latest = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(wanted),
        "notes": {contestant.name: contestant.note for contestant in wanted},
        "failed": failed,
        "results": results,
    }
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps(latest, indent=1) + "\n")
    print()
    print(table(latest))
    for name, why in failed.items():
        print(f"{name} was not measured: {why}", file=sys.stderr)
    print(f"\n{LATEST.relative_to(ROOT)} has all runs")
    return 1 if failed else 0


def machine() -> dict[str, str | int]:
    """What the figures were taken on."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {"cpu": cpu, "cores": os.cpu_count() or 0, "kernel": platform.release()}


def versions(contestants: list[Contestant]) -> dict[str, str]:
    """First line of what each program says of itself."""
    found = {"python": platform.python_version()}
    commands = {c.name: c.version_command for c in contestants if c.version_command}
    commands["iperf3"] = ("iperf3", "--version")
    commands["rustc"] = ("rustc", "--version")
    for name, command in commands.items():
        with contextlib.suppress(OSError, IndexError):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = (done.stdout or done.stderr).strip().splitlines()[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
