"""Doing something with a peer: ping, connect, close, rekey."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from hipgw.cli import output
from hipgw.cli.exits import Exit
from hipgw.cli.options import (
    Command,
    connect_to_daemon,
    json_option,
    peer_argument,
    socket_option,
)

if TYPE_CHECKING:
    from hipgw.control.api import PingReplyAnswer, PingSummary


@click.command()
@peer_argument
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1, 100000),
    default=4,
    show_default=True,
    metavar="N",
    help="Echoes to send.",
)
@click.option(
    "-i",
    "--interval",
    "interval_s",
    type=click.FloatRange(0.05, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="From one echo to the next.",
)
@click.option(
    "-W",
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, 300),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for an answer.",
)
@json_option
@socket_option
@click.pass_context
def ping(
    ctx: click.Context,
    peer: str,
    count: int,
    interval_s: float,
    timeout_s: float,
    as_json: bool,
    socket_path: Path | None,
) -> None:
    """Send authenticated echoes to an associated peer, over HIP itself.

    It shows that the peer's daemon answers at this path with the right keys. If it does and an
    ordinary ping through the tunnel does not, look at the far LAN or at its firewall.

    Exits with status 1 if nothing came back.
    """
    replies: list[PingReplyAnswer] = []
    summary: PingSummary | None = None
    with connect_to_daemon(socket_path) as client:
        try:
            for answer in client.ping(
                peer, count=count, interval_s=interval_s, timeout_s=timeout_s
            ):
                if "sent" in answer:
                    summary = cast("PingSummary", answer)
                    break
                replies.append(answer)
                if not as_json:
                    _print_reply(peer, answer)
        except KeyboardInterrupt:
            # As with ping(8), what came back until now is summed up.
            click.echo(err=True)
    _print_end(peer, replies, summary, as_json=as_json)
    if not any(reply["rtt_s"] is not None for reply in replies):
        ctx.exit(Exit.NO)


def _print_reply(peer: str, reply: "PingReplyAnswer") -> None:
    if reply["rtt_s"] is None:
        click.echo(f"no answer from {peer}: seq={reply['sequence']}")
        return
    click.echo(
        f"answer from {peer} via {output.path(reply['path'])}: seq={reply['sequence']} "
        f"time={output.milliseconds(reply['rtt_s'])}"
    )


def _print_end(
    peer: str, replies: "list[PingReplyAnswer]", summary: "PingSummary | None", *, as_json: bool
) -> None:
    times_s = [reply["rtt_s"] for reply in replies if reply["rtt_s"] is not None]
    if as_json:
        output.print_json({"replies": replies, "summary": summary})
        return
    text = f"{len(replies)} sent, {len(times_s)} answered"
    if times_s:
        average = sum(times_s) / len(times_s)
        figures = (min(times_s), average, max(times_s))
        text += ", min/avg/max " + " / ".join(output.milliseconds(value) or "" for value in figures)
    click.echo(f"{peer}: {text}")


def _wait_option(default_s: float, what: str) -> Callable[[Command], Command]:
    return click.option(
        "-W",
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0, 300),
        default=default_s,
        show_default=True,
        metavar="SECONDS",
        help=f"Longest wait for {what}; 0 does not wait.",
    )


@click.command()
@peer_argument
@_wait_option(15.0, "the association")
@json_option
@socket_option
@click.pass_context
def connect(
    ctx: click.Context, peer: str, timeout_s: float, as_json: bool, socket_path: Path | None
) -> None:
    """Make an association with a peer, unless there is one.

    With hip.opportunistic, PEER may be the address of a machine whose HIT is not known.
    Exits with status 1 if it was not established in time (with --timeout 0: if it is not yet).
    """
    with connect_to_daemon(socket_path) as client:
        answer = client.connect(peer, timeout_s=timeout_s)
    if as_json:
        output.print_json(answer)
    elif answer["established"]:
        took = answer["duration_s"]
        how = "already" if took is None else f"in {output.milliseconds(took)}"
        click.echo(f"{answer['peer']}: established {how}")
    else:
        reason = f": {answer['reason']}" if answer["reason"] else ""
        click.echo(f"{answer['peer']}: not established ({answer['state']}){reason}")
    if not answer["established"]:
        ctx.exit(Exit.NO)


@click.command()
@peer_argument
@_wait_option(5.0, "the peer's consent")
@json_option
@socket_option
@click.pass_context
def close(
    ctx: click.Context, peer: str, timeout_s: float, as_json: bool, socket_path: Path | None
) -> None:
    """Close the association with a peer.

    An endbox makes it again after a while. Exits with status 1 if there was none.
    """
    with connect_to_daemon(socket_path) as client:
        answer = client.close_association(peer, timeout_s=timeout_s)
    if as_json:
        output.print_json(answer)
    else:
        what = "closed" if answer["closed"] else "there was no association"
        if answer["closed"] and answer["state"] == "CLOSING":
            what = "closed here; the peer has not confirmed it yet"
        click.echo(f"{answer['peer']}: {what} ({answer['state']})")
    if not answer["closed"]:
        ctx.exit(Exit.NO)


@click.command()
@peer_argument
@_wait_option(5.0, "the new keys")
@json_option
@socket_option
@click.pass_context
def rekey(
    ctx: click.Context, peer: str, timeout_s: float, as_json: bool, socket_path: Path | None
) -> None:
    """Replace the ESP keys of the association with a peer, while data flows.

    This happens by itself too: see `esp.rekey_s` and its neighbours in the configuration. Exits
    with status 1 if the new keys were not in force in time (with --timeout 0: are not yet).
    """
    with connect_to_daemon(socket_path) as client:
        answer = client.rekey(peer, timeout_s=timeout_s)
    if as_json:
        output.print_json(answer)
    elif answer["rekeyed"]:
        spis = f"in {output.spi(answer['inbound_spi'])}, out {output.spi(answer['outbound_spi'])}"
        click.echo(f"{answer['peer']}: new keys are in force ({spis})")
    else:
        reason = f": {answer['reason']}" if answer["reason"] else ""
        click.echo(f"{answer['peer']}: no new keys yet{reason}")
    if not answer["rekeyed"]:
        ctx.exit(Exit.NO)
