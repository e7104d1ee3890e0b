"""The table of a run, for a terminal and for the documents.

python bench/report.py            write docs/performance.md and the table in README.md
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "build" / "bench" / "latest.json"
BEGIN, END = "<!-- bench table: begin -->", "<!-- bench table: end -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured of every contestant."""

    key: str
    """Last part of its results' names."""
    title: str
    unit: str
    digits: int
    more_is_better: bool = True


FIGURES = (
    Figure("tcp_gbps", "TCP, one stream", "Gb/s", 2),
    Figure("udp64_kpps", "64-byte UDP", "kpps", 0),
    Figure("ping_us", "ping", "us", 0, more_is_better=False),
)
RATIOS = "of plain, of best peer"
HEADLINES = (
    "micro.rust.seal.AES-128-GCM-16.1400",
    "micro.rust.open.AES-128-GCM-16.1400",
    "micro.rust.seal.AES-128-CBC-SHA256.1400",
    "micro.rust.open.AES-128-CBC-SHA256.1400",
    "micro.rust.spi_lookup",
    "micro.rust.mac_table.lookup",
    "micro.python.parse",
    "micro.python.emit",
    "micro.python.answer_i1",
    "micro.python.base_exchange",
)
"""How the names of those micro benches begin that a terminal shows; the documents have all."""


def rows(latest: dict[str, Any]) -> list[tuple[str, ...]]:
    """The end-to-end figures, heading first: each with its ratio to the plain path and to the best
    peer. What is measured between gateways is held against the plain path between gateways.
    """
    values = {result["name"]: result for result in latest["results"]}
    heading = ["path"]
    for figure in FIGURES:
        heading += [figure.title, RATIOS]
    table_rows = [(*heading, "how")]
    contestants = dict.fromkeys(
        name.rpartition(".")[0] for name in values if name.startswith(("e2e.", "peer."))
    )
    for contestant in contestants:
        name = contestant.partition(".")[2]
        between_gateways = name == "host" or name.endswith("-host")
        plain = "e2e.plain-host" if between_gateways else "e2e.plain"
        cells = [name]
        for figure in FIGURES:
            result = values.get(f"{contestant}.{figure.key}")
            cells += [
                _cell(result, figure),
                _ratios(result, values.get(f"{plain}.{figure.key}"), _best(values, figure)),
            ]
        table_rows.append((*cells, latest["notes"].get(name, "")))
    return table_rows


def terminal_table(latest: dict[str, Any]) -> Table:
    """The end-to-end figures for a terminal; hipgw's own rows stand out."""
    heading, *body = rows(latest)
    table = Table(title="End to end", title_style="bold", header_style="bold")
    for n, title in enumerate(heading):
        right = 0 < n < len(heading) - 1
        table.add_column(title, justify="right" if right else "left", no_wrap=n == 0)
    for row in body:
        table.add_row(*row, style="bold cyan" if row[0] in {"endbox", "host"} else "")
    return table


def terminal_micro_table(latest: dict[str, Any]) -> Table:
    """The micro benches that tell most, for a terminal."""
    table = Table(title="Pieces", title_style="bold", header_style="bold")
    table.add_column("micro bench")
    table.add_column("median", justify="right")
    for result in latest["results"]:
        if result["name"].startswith(HEADLINES):
            name = Text(result["name"])  # as Text, for its brackets are no markup
            table.add_row(name, _short(result))
    return table


def markdown_table(latest: dict[str, Any]) -> str:
    """The end-to-end figures for the documents."""
    body = [
        (f"**hipgw {row[0]}**", *row[1:]) if row[0] in {"endbox", "host"} else row
        for row in rows(latest)
    ]
    widths = [max(len(row[column]) for row in body) for column in range(len(body[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in body
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def micro_table(latest: dict[str, Any]) -> str:
    """The micro benches as a Markdown table."""
    lines = ["| what | median |", "|---|---|"]
    for result in latest["results"]:
        if result["name"].startswith("micro."):
            name = result["name"].removeprefix("micro.")
            lines.append(f"| `{name}` | {_short(result)} |")
    return "\n".join(lines)


def main() -> int:
    """Put the tables of the latest run where they belong."""
    try:
        latest = json.loads(LATEST.read_text())
    except FileNotFoundError:
        print(f"There is no {LATEST.relative_to(ROOT)}. `make bench` makes it.", file=sys.stderr)
        return 1
    machine = latest["machine"]
    head = (
        f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, "
        f"{latest['date'][:10]}. Medians; in brackets the least and the greatest run."
    )
    if "wireguard-go-new" in latest["versions"]:
        head += (
            " wireguard-go-new is a build newer than Debian's,"
            " measured with `bench/run.py --wireguard-go PATH`."
        )
    not_measured = "".join(
        f"\n\n{name}: {trouble.splitlines()[0]}" for name, trouble in latest["failed"].items()
    )
    text = f"""# Performance

Written by `python bench/report.py` from `build/bench/latest.json`, which `make bench` makes; do
not edit.

{head}

{markdown_table(latest)}{not_measured}

Everything runs on one machine: sender, receiver, two daemons and the kernel's network namespaces
share its cores, so compare the rows and not the absolute figures. The plain path never cuts its
64 KiB super-packets into frames; a tunnel has to. `bench/README.md` says how it is measured.

## Programs

{chr(10).join(f"- {name}: {version}" for name, version in latest["versions"].items())}

## Pieces

{micro_table(latest)}
"""
    (ROOT / "docs" / "performance.md").write_text(text)
    readme = ROOT / "README.md"
    before, found, rest = readme.read_text().partition(BEGIN)
    if found:
        after = rest.partition(END)[2]
        readme.write_text(f"{before}{BEGIN}\n{markdown_table(latest)}\n\n{head}\n{END}{after}")
    return 0


def _short(result: dict[str, Any]) -> str:
    value = result["value"]
    return f"{value:,.0f} {result['unit']}" if value >= 100 else f"{value:.3g} {result['unit']}"


def _best(values: dict[str, Any], figure: Figure) -> float | None:
    peers = [
        result["value"]
        for name, result in values.items()
        if name.startswith("peer.") and name.endswith(figure.key)
    ]
    choose = max if figure.more_is_better else min
    return choose(peers, default=None)


def _cell(result: dict[str, Any] | None, figure: Figure) -> str:
    if result is None:
        return "-"
    runs, digits = result["runs"], figure.digits
    spread = f" ({min(runs):.{digits}f}-{max(runs):.{digits}f})" if len(runs) > 1 else ""
    return f"{result['value']:.{digits}f} {figure.unit}{spread}"


def _ratios(result: dict[str, Any] | None, plain: dict[str, Any] | None, best: float | None) -> str:
    if result is None:
        return "-"
    of_plain = f"{result['value'] / plain['value']:.2f}" if plain else "-"
    of_best = f"{result['value'] / best:.2f}" if best else "-"
    return f"{of_plain}, {of_best}"


if __name__ == "__main__":
    sys.exit(main())
