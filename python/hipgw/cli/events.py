"""`hipgw events`: what happens, as it happens."""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.options import connect_to_daemon, json_option, socket_option

if TYPE_CHECKING:
    from hipgw.control.api import EventAnswer

KINDS = (
    *("state", "established", "closed", "failed", "path", "rekeyed", "registration", "packet"),
    *("rtt", "outside", "stopping"),
)
"""As `hipgw.control.api.EVENT_KINDS`, which takes longer to import than the help may take."""

_COLOURS = {"established": "green", "failed": "red", "closed": "yellow", "stopping": "yellow"}


@click.command()
@click.option(
    "-k",
    "--kind",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="Only events of this kind. May be repeated.",
)
@click.option(
    "-n", "--count", type=click.IntRange(min=1), help="End after so many events.", metavar="N"
)
@click.option(
    "-t",
    "--for",
    "duration_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="End after so long.",
)
@json_option
@socket_option
def events(
    kinds: tuple[str, ...],
    count: int | None,
    duration_s: float | None,
    as_json: bool,
    socket_path: Path | None,
) -> None:
    """Follow what happens: packets, states, associations. Ctrl-C ends it.

    With --json each event is an object on a line of its own.
    """
    # Ctrl-C is the ordinary way to end this.
    with contextlib.suppress(KeyboardInterrupt), connect_to_daemon(socket_path) as client:
        for number, event in enumerate(client.subscribe(*kinds, timeout_s=duration_s), start=1):
            if as_json:
                output.print_json_line(event)
            else:
                _print_event(event)
            if number == count:
                return


def _print_event(event: "EventAnswer") -> None:
    at = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    peer = event.get("peer") or event.get("peer_hit") or ""
    kind = click.style(f"{event['kind']:<12}", fg=_COLOURS.get(event["kind"]))
    fraction = int(event["time"] % 1 * 1000)
    what = output.clean(f"{peer:<16} {_describe(event)}")
    click.echo(f"{at}.{fraction:03d} {kind} {what}".rstrip())


def _describe(event: "EventAnswer") -> str:
    via = output.path(event.get("path")) or ""
    match event["kind"]:
        case "packet":
            arrow = "->" if event.get("direction") == "out" else "<-"
            text = f"{arrow} {event.get('packet', '?'):<9} {via} {event.get('size', 0)} octets"
            return text + (f" dropped: {event['dropped']}" if event.get("dropped") else "")
        case "state":
            return f"{event.get('old')} -> {event.get('new')}: {event.get('reason', '')}"
        case "established":
            role = "called" if event.get("initiator") else "was called"
            return f"{role}, {via}, {output.milliseconds(event.get('duration_s'))}"
        case "path":
            before = output.path(event.get("old_path")) or ""
            own = f" from {event['path']['local']}" if "path" in event else ""
            return f"{before} -> {via}{own}: {event.get('reason', '')}"
        case "rekeyed":
            spis = output.spi(event.get("inbound_spi")), output.spi(event.get("outbound_spi"))
            return f"in {spis[0]}, out {spis[1]}"
        case "registration":
            return f"{event.get('service')} as {event.get('role')}: {event.get('reason', '')}"
        case "rtt":
            return f"{via} {output.milliseconds(event.get('rtt_s'))}"
        case "outside":
            return ", ".join(event.get("addresses", ())) or "no address"
        case _:
            return event.get("reason", "")
