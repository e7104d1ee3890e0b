"""The micro benches in compact tables: one line for all that differs in one thing."""

import re
from collections import defaultdict

from rich.table import Table

from core import BARS, TITLES
from latest import Latest
from tables import markdown

BY_SIZE = ("seal", "open", "beside_raw_seal", "beside_raw_open")
"""Rust benches named WHAT.WHOSE.OCTETS, which have a table of their own."""


def core_rows(latest: Latest) -> list[tuple[str, ...]]:
    """The core's figures beside their bars, heading first."""
    rows: list[tuple[str, ...]] = [("core", "figure", "bar", "")]
    for name, bar in BARS.items():
        if (value := latest.micro(name)) is not None:
            verdict = "met" if bar.met(value) else "MISSED"
            rows.append((TITLES[name], f"{value:.2f}", str(bar), verdict))
    return rows


def terminal_core(latest: Latest) -> Table:
    """The core's figures for a terminal."""
    heading, *body = core_rows(latest)
    table = Table(title="Core", title_style="bold", header_style="bold")
    for n, column in enumerate(heading):
        table.add_column(column, justify="right" if n == 1 else "left")
    for row in body:
        table.add_row(*row, style="" if row[-1] == "met" else "red")
    return table


def markdown_pieces(latest: Latest) -> str:
    """All micro benches for the documents."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    sized: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for result in latest.results:
        if not result["name"].startswith("micro."):
            continue
        language, _, name = result["name"].removeprefix("micro.").partition(".")
        if language == "rust":
            parts = name.split(".")
            if parts[0] in BY_SIZE and len(parts) == 3:
                sized[parts[0]][parts[1]][parts[2]] = result["value"]
                continue
            group, variant = parts[0], ".".join(parts[1:])
        else:
            found = re.fullmatch(r"(\w+)(?:\[(.*)\])?", name)
            group, variant = (found[1], found[2] or "") if found else (name, "")
        groups[f"{language} {group}"][variant] = result["value"] * (
            1 if result["unit"] == "us" else 1e-3
        )
    blocks = []
    for what, suites in sized.items():
        sizes = sorted({size for values in suites.values() for size in values}, key=int)
        rows: list[tuple[str, ...]] = [(f"{what}, ns", *(f"{size} octets" for size in sizes))]
        rows += [
            (suite, *(f"{values[size]:,.0f}" if size in values else "-" for size in sizes))
            for suite, values in suites.items()
        ]
        blocks.append(markdown(rows))
    rows = [("what", "median")]
    for group, variants in groups.items():
        told = [f"{variant} {_time(us)}".strip() for variant, us in variants.items()]
        rows.append((group, "; ".join(told)))
    # Not padded: one long line would make all of them long.
    blocks.append("\n".join(["| what | median |", "|---|---|", *(_line(row) for row in rows[1:])]))
    return "\n\n".join(blocks)


def _line(row: tuple[str, ...]) -> str:
    return "| " + " | ".join(row) + " |"


def _time(us: float) -> str:
    if us < 1:
        return f"{us * 1e3:.3g} ns"
    if us < 1e4:
        return f"{us:.3g} us" if us < 100 else f"{us:,.0f} us"
    return f"{us / 1e3:,.0f} ms"
