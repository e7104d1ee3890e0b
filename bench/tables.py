"""The end-to-end figures as tables, for a terminal and for the documents."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table

import figures
from figures import Figure
from latest import Latest, is_hipgw, plain_of, short

Row = tuple[str, ...]

MAIN_TITLE, MORE_TITLE = "End to end", "Delay, loss, cost"


def main_rows(latest: Latest) -> list[Row]:
    """TCP, small datagrams and ping with their ratios, heading first."""
    rows: list[Row] = [
        (
            "path",
            *("TCP, one stream", "of plain, of best peer"),
            *("64-byte UDP", "of plain, of best peer"),
            *("ping", "over plain, of best peer"),
            "how",
        )
    ]
    for name in latest.contestants:
        plain = plain_of(name)
        cells = [_name(name)]
        for figure in (figures.TCP, figures.UDP64, figures.PING):
            value = latest.value(name, figure)
            base, best = latest.value(plain, figure), latest.best_peer(figure)
            of_best = _ratio(value, best)
            if figure is figures.PING:
                compared = "-" if value is None or base is None else f"{value - base:+.0f} us"
            else:
                compared = _ratio(value, base)
            cells += [_cell(latest.result(name, figure), figure), f"{compared}, {of_best}"]
        rows.append((*cells, latest.content["notes"].get(short(name), "")))
    return rows


def more_rows(latest: Latest) -> list[Row]:
    """Tails of the delay, large datagrams, processor time and memory, heading first."""
    rows: list[Row] = [
        (
            "path",
            *("ping, p99", "ping beside a stream, p99"),
            *("1400-byte UDP, loss", "CPU per Gbit: daemons, machine", "memory idle, loaded"),
        )
    ]
    for name in latest.contestants:
        values = {figure: latest.value(name, figure) for figure in figures.ALL_FIGURES}
        rows.append(
            (
                _name(name),
                _pair(values, figures.PING, figures.PING_P99),
                _pair(values, figures.PING_LOADED, figures.PING_LOADED_P99),
                f"{_short(values[figures.UDP1400], figures.UDP1400)},"
                f" {_short(values[figures.UDP1400_LOSS], figures.UDP1400_LOSS)}",
                _pair(values, figures.CPU, figures.MACHINE_CPU),
                _pair(values, figures.RSS_IDLE, figures.RSS_LOADED),
            )
        )
    return rows


def terminal(title: str, rows: list[Row], *, right: Iterable[int]) -> Table:
    """Rows for a terminal; hipgw's own stand out. *right* are the columns of figures."""
    heading, *body = rows
    table = Table(title=title, title_style="bold", header_style="bold")
    for n, column in enumerate(heading):
        table.add_column(column, justify="right" if n in set(right) else "left", no_wrap=n == 0)
    for row in body:
        table.add_row(*row, style="bold cyan" if row[0].startswith("hipgw ") else "")
    return table


def markdown(rows: list[Row]) -> str:
    """Rows for the documents; hipgw's own in bold."""
    bold = [
        (f"**{row[0]}**", *row[1:]) if row[0].startswith("hipgw ") else tuple(row) for row in rows
    ]
    widths = [max(len(row[column]) for row in bold) for column in range(len(bold[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in bold
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _name(contestant: str) -> str:
    return f"hipgw {short(contestant)}" if is_hipgw(contestant) else short(contestant)


def _cell(result: dict[str, Any] | None, figure: Figure) -> str:
    if result is None:
        return "-"
    runs, digits = result["runs"], figure.digits
    spread = f" ({min(runs):.{digits}f}-{max(runs):.{digits}f})" if len(runs) > 1 else ""
    return f"{result['value']:.{digits}f} {figure.unit}{spread}"


def _ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}" if value is not None and base else "-"


def _pair(values: dict[Figure, float | None], first: Figure, second: Figure) -> str:
    """Two figures of one unit."""
    texts = [
        "-" if (value := values[figure]) is None else f"{value:,.{figure.digits}f}"
        for figure in (first, second)
    ]
    return f"{texts[0]}, {texts[1]} {first.unit}"


def _short(value: float | None, figure: Figure) -> str:
    return "-" if value is None else f"{value:.{figure.digits}f} {figure.unit}"
