"""The table of a run, for a terminal and for the documents.

python bench/report.py            write docs/performance.md and the table in README.md
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "build" / "bench" / "latest.json"
BEGIN, END = "<!-- bench table: begin -->", "<!-- bench table: end -->"


def table(latest: dict) -> str:
    """End-to-end figures as a Markdown table, with ratios to the plain path and the best peer."""
    values = {result["name"]: result for result in latest["results"]}
    contestants = list(
        dict.fromkeys(
            ".".join(name.split(".")[:2]) for name in values if name.startswith(("e2e.", "peer."))
        )
    )
    plain = _value(values, "e2e.plain.tcp_gbps")
    best = max(
        (r["value"] for n, r in values.items() if n.startswith("peer.") and "tcp" in n),
        default=None,
    )
    rows = [
        ("", "TCP, one stream", "of plain", "of the best peer", "64-byte UDP", "ping", "how"),
    ]
    for contestant in contestants:
        name = contestant.partition(".")[2]
        tcp = _value(values, f"{contestant}.tcp_gbps")
        rows.append(
            (
                {"endbox": "**hipgw endbox**", "host": "**hipgw host**"}.get(name, name),
                _figure(values, f"{contestant}.tcp_gbps", "Gb/s", 2),
                f"{tcp / plain:.0%}" if tcp and plain else "",
                f"{tcp / best:.1f} x" if tcp and best else "",
                _figure(values, f"{contestant}.udp64_kpps", "kpps", 0),
                _figure(values, f"{contestant}.ping_us", "us", 0),
                latest["notes"].get(name, ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def micro_table(latest: dict) -> str:
    """The micro benches as a Markdown table."""
    lines = ["| what | median |", "|---|---|"]
    for result in latest["results"]:
        if result["name"].startswith("micro."):
            name = result["name"].removeprefix("micro.")
            lines.append(f"| `{name}` | {result['value']:,.3g} {result['unit']} |")
    return "\n".join(lines)


def main() -> int:
    """Put the tables of the latest run where they belong."""
    latest = json.loads(LATEST.read_text())
    machine = latest["machine"]
    head = (
        f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, "
        f"{latest['date'][:10]}. Medians; in brackets the least and the greatest run."
    )
    text = f"""# Performance

Written by `python bench/report.py` from `build/bench/latest.json`, which `make bench` makes.

{head}

{table(latest)}

Everything runs on one machine: two iperf3, two daemons and the kernel's namespaces share its cores,
so compare the rows and not the absolute figures. `bench/README.md` says how it is measured.

## Programs

{chr(10).join(f"- {name}: {version}" for name, version in latest["versions"].items())}

## Pieces

{micro_table(latest)}
"""
    (ROOT / "docs" / "performance.md").write_text(text)
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{table(latest)}\n\n{head}\n{END}{after}")
    return 0


def _value(values: dict, name: str) -> float | None:
    return values[name]["value"] if name in values else None


def _figure(values: dict, name: str, unit: str, digits: int) -> str:
    if name not in values:
        return ""
    runs = values[name]["runs"]
    spread = f" ({min(runs):.{digits}f}-{max(runs):.{digits}f})" if len(runs) > 1 else ""
    return f"{values[name]['value']:.{digits}f} {unit}{spread}"


if __name__ == "__main__":
    sys.exit(main())
