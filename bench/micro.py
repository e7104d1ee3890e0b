"""Runs the micro benches (pytest-benchmark and criterion) and collects their figures."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


class MicroBenchError(Exception):
    """A micro bench did not run; the text has the end of what it said."""


def micro_results(root: Path) -> list[dict[str, Any]]:
    """Figures of bench/micro and of the Rust benches, as entries of `results`.

    `runs` are the least, median and greatest time in Python; in Rust the median and its confidence
    interval, and `least` is the mean of the fastest of its samples.
    """
    return [*_python(root), *_rust(root)]


def _python(root: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--benchmark-only", f"--benchmark-json={report}", "--benchmark-max-time=0.3"]
        _run(root, [sys.executable, "-m", "pytest", "-q", *options, root / "bench" / "micro"])
        benchmarks = json.loads(report.read_text())["benchmarks"]
    return [
        {
            "name": f"micro.python.{entry['name'].removeprefix('test_')}",
            "value": entry["stats"]["median"] * 1e6,
            "unit": "us",
            "runs": [entry["stats"][key] * 1e6 for key in ("min", "median", "max")],
        }
        for entry in benchmarks
    ]


def _rust(root: Path) -> list[dict[str, Any]]:
    # By name, as the library's own test harness would not take criterion's options.
    benches = sorted((root / "rust" / "esp_core" / "benches").glob("*.rs"))
    named = [option for bench in benches for option in ("--bench", bench.stem)]
    quick = ["--warm-up-time", "0.2", "--measurement-time", "0.5", "--noplot"]
    begun = time.time()
    _run(root, ["cargo", "bench", "--quiet", "--locked", "-p", "esp_core", *named, "--", *quick])
    results = []
    for place in sorted((root / "target" / "criterion").rglob("new/estimates.json")):
        if place.stat().st_mtime < begun:  # a bench that does not exist any more
            continue
        name = json.loads((place.parent / "benchmark.json").read_text())["full_id"]
        median = json.loads(place.read_text())["median"]
        interval = median["confidence_interval"]
        sample = json.loads((place.parent / "sample.json").read_text())
        means = (time / count for time, count in zip(sample["times"], sample["iters"], strict=True))
        results.append(
            {
                "name": "micro.rust." + name.replace("/", ".").replace(" ", "_"),
                "value": median["point_estimate"],
                "unit": "ns",
                "runs": [
                    interval["lower_bound"],
                    median["point_estimate"],
                    interval["upper_bound"],
                ],
                "least": min(means),
            }
        )
    return results


def _run(root: Path, command: list[str | Path]) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise MicroBenchError(f"{command[0]} ended with status {done.returncode}.\n{tail}")
