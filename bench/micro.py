"""Runs the micro benches (pytest-benchmark and criterion) and collects their figures."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def micro_results(root: Path) -> list[dict]:
    """Figures of bench/micro and of the Rust benches, as entries of `results`."""
    return [*_python(root), *_rust(root)]


def _python(root: Path) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=--import-mode=importlib"]
        options = ["--benchmark-only", f"--benchmark-json={report}", "--benchmark-max-time=0.3"]
        subprocess.run([*command, *options, root / "bench" / "micro"], cwd=root, check=True)
        benchmarks = json.loads(report.read_text())["benchmarks"]
    return [
        {
            "name": f"micro.python.{entry['name']}",
            "value": entry["stats"]["median"] * 1e6,
            "unit": "us",
            "runs": [entry["stats"][key] * 1e6 for key in ("min", "median", "max")],
        }
        for entry in benchmarks
    ]


def _rust(root: Path) -> list[dict]:
    quick = ["--warm-up-time", "0.2", "--measurement-time", "0.5", "--noplot"]
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "esp_core", "--benches", "--", *quick]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    results = []
    for place in sorted((root / "target" / "criterion").rglob("new/estimates.json")):
        name = json.loads((place.parent / "benchmark.json").read_text())["full_id"]
        median = json.loads(place.read_text())["median"]
        interval = median["confidence_interval"]
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
            }
        )
    return results
