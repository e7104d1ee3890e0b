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

from rich.console import Console

from contestants import ALL, Contestant, newer_wireguard
from hipgw.errors import HipgwError
from hipgw.lab import Lab
from measure import ping_us, tcp_gbps, udp64_kpps
from micro import MicroBenchError, micro_results
from report import FIGURES, terminal_micro_table, terminal_table

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "build" / "bench" / "latest.json"
TABLE_WIDTH = 200
"""Columns of the table where the output is no terminal."""


def main() -> int:
    """Run everything; 1 if a contestant has no figures or the micro benches failed."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
    chosen: list[Contestant] = [kind() for kind in ALL]
    if options.wireguard_go:
        chosen += newer_wireguard(options.wireguard_go)
    if options.only:
        chosen = [contestant for contestant in chosen if contestant.name in options.only]
    try:
        runs, failed = end_to_end(chosen, options, console)
    except KeyboardInterrupt:
        console.print("Interrupted; everything is cleaned up and nothing was written.")
        return 130
    units = {figure.key: figure.unit for figure in FIGURES}
    results = [
        {
            "name": name,
            "value": statistics.median(values),
            "unit": units[name.rpartition(".")[2]],
            "runs": values,
        }
        for name, values in runs.items()
    ]
    if not options.no_micro:
        console.print("micro benches")
        try:
            results += micro_results(ROOT)
        except MicroBenchError as error:
            failed["micro"] = f"micro benches: {error}"
    latest = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(chosen),
        "notes": {contestant.name: contestant.note for contestant in chosen},
        "failed": failed,
        "results": results,
    }
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps(latest, indent=1) + "\n")
    if not options.no_micro:
        console.print(terminal_micro_table(latest))
    console.print(terminal_table(latest))
    for trouble in failed.values():
        console.print(trouble, style="red", markup=False)
    console.print(f"{LATEST.relative_to(ROOT)} has all runs.")
    measured = {name.split(".")[1] for name in runs}
    complete = all(contestant.name in measured for contestant in chosen)
    return 0 if complete and "micro" not in failed else 1


def end_to_end(
    chosen: list[Contestant], options: argparse.Namespace, console: Console
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """All runs by the names of their figures, and what went wrong by contestant.

    Contestants take turns, so that what else the machine does hits all of them alike. Each turn
    begins in a new lab with new keys, and nothing but its contestant runs meanwhile.
    """
    runs: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    present = []
    for contestant in chosen:
        if program := contestant.missing():
            hint = "Try: tools/setup.sh bench"
            failed[contestant.name] = f"{contestant.name}: {program} is not installed. {hint}"
            console.print(failed[contestant.name], style="red", markup=False)
        else:
            present.append(contestant)
    for turn in range(1, options.rounds + 1):
        for contestant in present:
            try:
                with Lab("bench_" + contestant.name.replace("-", "_")) as lab:
                    ends = contestant.start(lab)
                    measured = {
                        "tcp_gbps": tcp_gbps(ends, options.seconds),
                        "udp64_kpps": udp64_kpps(ends, options.seconds),
                        "ping_us": ping_us(ends, options.pings),
                    }
            except (HipgwError, ValueError, LookupError) as error:
                trouble = f"{contestant.name}: round {turn} failed: {error}"
                failed[contestant.name] = trouble
                console.print(trouble, style="red", markup=False)
                continue
            figures = [f"{measured[figure.key]:.3g} {figure.unit}" for figure in FIGURES]
            console.print(
                f"round {turn} of {options.rounds}  {contestant.name:20} {', '.join(figures)}",
                highlight=False,
            )
            for what, value in measured.items():
                name = f"{contestant.prefix}.{contestant.name}.{what}"
                runs.setdefault(name, []).append(value)
    return runs, failed


def machine() -> dict[str, str | int]:
    """What the figures were taken on."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def versions(contestants: list[Contestant]) -> dict[str, str]:
    """What each program says of its version: the first line with a number in it."""
    found = {"python": platform.python_version()}
    commands = {c.name: c.version_command for c in contestants if c.version_command}
    commands["iperf3"] = ("iperf3", "--version")
    commands["rustc"] = ("rustc", "--version")
    commands["hipgw commit"] = ("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    for name, command in commands.items():
        with contextlib.suppress(OSError, StopIteration):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = (done.stdout or done.stderr).strip().splitlines()
            found[name] = next(line for line in lines if any(map(str.isdigit, line)))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of two seconds")
    parser.add_argument("--rounds", type=int, default=3, help="of every contestant in turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each throughput run")
    parser.add_argument("--pings", type=int, default=200)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contestants, by name")
    parser.add_argument("--no-micro", action="store_true", help="leave the micro benches out")
    parser.add_argument("--wireguard-go", metavar="PATH", help="measure this build of it, too")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 2.0
    if options.rounds < 1 or options.seconds <= 0 or options.pings < 1:
        parser.error("--rounds, --seconds and --pings must be positive")
    known = {kind.name for kind in ALL}
    if options.wireguard_go:
        known |= {contestant.name for contestant in newer_wireguard(options.wireguard_go)}
    if unknown := set(options.only or ()) - known:
        parser.error(f"no such contestant: {', '.join(unknown)}; there are {', '.join(known)}")
    if os.geteuid():
        parser.error("network namespaces need root: try it with sudo")
    return options


if __name__ == "__main__":
    sys.exit(main())
