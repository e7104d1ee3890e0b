"""Measure hipgw beside the plain path and other tunnels, in one run.

    python bench/run.py [--quick] [--only NAME ...] [--rounds N] [--seconds N] [--no-micro]
                        [--peer NAME=PATH ...] [--lock FILE]

Prints tables with ratios and writes build/bench/latest.json. Root is needed; everything happens in
network namespaces and is gone at the end, also after Ctrl-C.
"""

import argparse
import contextlib
import fcntl
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

import figures
from contestants import ALL, Contestant, built_elsewhere
from core import core_results
from hipgw.errors import HipgwError
from latest import PLACE, ROOT, Latest
from measures.turn import measure
from micro import MicroBenchError, micro_results
from pieces import terminal_core
from tables import MAIN_TITLE, MORE_TITLE, main_rows, more_rows, terminal

TABLE_WIDTH = 200
"""Columns of the tables where the output is no terminal."""


def main() -> int:
    """Run everything; 1 if a contestant has no figures or the micro benches failed."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
    try:
        runs, failed = end_to_end(options, console)
        results = [_result(name, values) for name, values in runs.items()]
        if not options.no_micro:
            console.print("micro benches")
            with _turn(options.lock):
                found = micro_results(ROOT)
            results += [*core_results(found), *found]
    except KeyboardInterrupt:
        console.print("Interrupted; everything is cleaned up and nothing was written.")
        return 130
    except MicroBenchError as error:
        failed["micro"] = f"micro benches: {error}"
    latest = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(options.chosen),
        "notes": {contestant.name: contestant.note for contestant in options.chosen},
        "unencrypted": [one.name for one in options.chosen if not one.encrypted],
        "built_elsewhere": [name for name, _ in options.peer],
        "failed": failed,
        "results": results,
    }
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    PLACE.write_text(json.dumps(latest, indent=1) + "\n")
    show(Latest(latest), console)
    for trouble in failed.values():
        console.print(trouble, style="red", markup=False)
    console.print(f"{PLACE.relative_to(ROOT)} has all runs.")
    measured = {name.split(".")[1] for name in runs}
    complete = all(contestant.name in measured for contestant in options.chosen)
    return 0 if complete and "micro" not in failed else 1


def end_to_end(
    options: argparse.Namespace, console: Console
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """All runs by the names of their figures, and what went wrong by contestant.

    Contestants take turns, so that what else the machine does hits all of them alike. Each turn
    begins in a new lab with new keys, and nothing but its contestant runs meanwhile.
    """
    runs: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    present: list[Contestant] = []
    for contestant in options.chosen:
        if program := contestant.missing():
            hint = "Try: tools/setup.sh bench"
            failed[contestant.name] = f"{contestant.name}: {program} is not installed. {hint}"
            console.print(failed[contestant.name], style="red", markup=False)
        else:
            present.append(contestant)
    for turn in range(1, options.rounds + 1):
        for contestant in present:
            try:
                with _turn(options.lock):
                    begin = time.monotonic()
                    measured = measure(contestant, options.seconds, options.pings)
            except (HipgwError, ValueError, LookupError, OSError) as error:
                trouble = f"{contestant.name}: round {turn} failed: {error}"
                failed[contestant.name] = trouble
                console.print(trouble, style="red", markup=False)
                continue
            told = ", ".join(
                f"{measured[figure.key]:.3g} {figure.unit}"
                for figure in (figures.TCP, figures.UDP64, figures.UDP1400, figures.PING)
            )
            console.print(
                f"round {turn} of {options.rounds}  {contestant.name:21} {told}"
                f"  ({time.monotonic() - begin:.0f} s)",
                highlight=False,
            )
            for what, value in measured.items():
                name = f"{contestant.prefix}.{contestant.name}.{what}"
                runs.setdefault(name, []).append(value)
    return runs, failed


def show(latest: Latest, console: Console) -> None:
    """All tables in a terminal."""
    core = terminal_core(latest)
    if core.row_count:
        console.print(core)
    console.print(terminal(MAIN_TITLE, main_rows(latest), right=range(1, 7)))
    console.print(terminal(MORE_TITLE, more_rows(latest), right=range(1, 6)))


def machine() -> dict[str, str | int | float]:
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


def _result(name: str, values: list[float]) -> dict[str, Any]:
    return {
        "name": name,
        "value": statistics.median(values),
        "unit": figures.UNITS[name.rpartition(".")[2]],
        "runs": values,
    }


@contextlib.contextmanager
def _turn(lock: Path | None) -> Iterator[None]:
    """Hold the lock of those who share the machine, if there is one, for a turn."""
    if lock is None:
        yield
        return
    with lock.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _options() -> argparse.Namespace:
    """Options, and what they choose as `chosen`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of two seconds")
    parser.add_argument("--rounds", type=int, default=3, help="of every contestant in turn")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each throughput run")
    parser.add_argument("--pings", type=int, default=500)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contestants, by name")
    parser.add_argument("--no-micro", action="store_true", help="leave the micro benches out")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PATH",
        type=_named_path,
        help="measure this WireGuard, too; see bench/build_peers.sh",
    )
    parser.add_argument(
        "--lock",
        type=Path,
        metavar="FILE",
        help="lock it (flock) for each turn, where others measure on the same machine",
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 2.0
    if options.rounds < 1 or options.seconds <= 0 or options.pings < 1:
        parser.error("--rounds, --seconds and --pings must be positive")
    options.chosen = [kind() for kind in ALL]
    for name, path in options.peer:
        try:
            options.chosen += built_elsewhere(name, path)
        except ValueError as error:
            parser.error(str(error))
    known = [contestant.name for contestant in options.chosen]
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"no such contestant: {', '.join(unknown)}; there are {', '.join(known)}")
    if options.only:
        options.chosen = [one for one in options.chosen if one.name in options.only]
    if os.geteuid():
        parser.error("network namespaces need root: try it with sudo")
    return options


def _named_path(text: str) -> tuple[str, str]:
    name, found, path = text.partition("=")
    if not (name and found and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path


if __name__ == "__main__":
    sys.exit(main())
