"""Tables, durations and paths on the terminal; plain aligned columns in a pipe."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from hipgw.control.api import PathAnswer

Cell = str | int | None

NOTHING = "-"
"""What stands in a table for what is not known."""

STATE_COLOURS = {"ESTABLISHED": "green", "R2-SENT": "green", "E-FAILED": "red"}


def print_json(value: Any) -> None:
    """Write JSON: indented on a terminal, one line otherwise."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def print_json_line(value: Any) -> None:
    """Write one JSON object as a line of its own, at once."""
    click.echo(json.dumps(value))
    sys.stdout.flush()


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Iterable[str] = ()
) -> None:
    """Write a table, one row a line; `right` names the columns of figures.

    In a pipe nothing is coloured, folded or cut, so that awk and cut can read it.
    """
    texts = [[NOTHING if cell is None else clean(str(cell)) for cell in row] for row in rows]
    figures = set(right)
    if sys.stdout.isatty():
        _print_rich(headings, texts, figures)
        return
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    for line in ([heading.upper().replace(" ", "_") for heading in headings], *texts):
        cells = [
            cell.rjust(width) if heading in figures else cell.ljust(width)
            for heading, cell, width in zip(headings, line, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _print_rich(headings: Sequence[str], rows: list[list[str]], figures: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in figures else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(cell, STATE_COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


def print_pairs(pairs: Mapping[str, Cell]) -> None:
    """Write names and values under each other."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        label = click.style(f"{name + ':':<{width + 1}}", bold=True)
        click.echo(f"{label} {NOTHING if value is None else clean(str(value))}")


def duration(seconds: float | None) -> str | None:
    """`1d 2h`, `3m 4s`, `5.2s`, `12ms`: two units at most."""
    if seconds is None:
        return None
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    units = (("d", whole // 86400), ("h", whole // 3600 % 24), ("m", whole // 60 % 60))
    parts = [f"{count}{unit}" for unit, count in (*units, ("s", whole % 60)) if count]
    return " ".join(parts[:2])


def milliseconds(seconds: float | None) -> str | None:
    """`0.085 ms`, `1.25 ms`, `21.5 ms`, `340 ms`, `1.20 s`: three figures."""
    if seconds is None:
        return None
    if seconds >= 1:
        return f"{seconds:.2f} s"
    value = seconds * 1000
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f} ms"


def path(answer: PathAnswer | None) -> str | None:
    """`192.0.2.2:10500/udp`, `[2001:db8::2]:10500/udp` or `192.0.2.2/raw`.

    By a relay of this machine: `192.0.2.2:10500/udp via 198.51.100.1:10500`.
    """
    if answer is None:
        return None
    remote = answer["remote"]
    if answer["transport"] == "raw":
        return f"{remote}/raw"
    host = f"[{remote}]" if ":" in remote else remote
    if "relay_to" in answer:
        return f"{answer['relay_to']}/udp via {host}:{answer['remote_port']}"
    return f"{host}:{answer['remote_port']}/udp"


def hip(version: int, compat: str) -> str:
    """Version of HIP, and the profile of a peer's deviations if it has one."""
    return f"v{version}" if compat == "none" else f"v{version} {compat}"


def spi(number: int | None) -> str | None:
    """`0xdeadbeef`."""
    return None if number is None else f"0x{number:08x}"


def path_mtu(octets: int | None, source: str | None) -> str | None:
    """`1400 (icmp)`."""
    return None if octets is None else f"{octets} ({source})"


def clean(text: str) -> str:
    """Without controls, so that nothing in an answer can drive the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
