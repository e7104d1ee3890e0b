"""`hipgw mobile-router`: where it is, and whom it carries packets for."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.options import connect_to_daemon, json_option, socket_option
from hipgw.cli.shown import ErrorsShown

if TYPE_CHECKING:
    from hipgw.control.api import MobileRouterAnswer


class MobileRouterGroup(ErrorsShown, click.Group):
    """Its commands are about a daemon that has the role."""


_NONE = "This machine is no mobile router: [mobile_router] makes it one."


@click.group("mobile-router", cls=MobileRouterGroup)
def mobile_router() -> None:
    """A network that moves: this machine as its router."""


@mobile_router.command()
@json_option
@socket_option
def status(as_json: bool, socket_path: Path | None) -> None:
    """Where the router is by now, and how packets pass it."""
    with connect_to_daemon(socket_path) as client:
        answer = client.mobile_router()
    if as_json:
        output.print_json(answer)
        return
    if answer is None:
        click.echo(_NONE)
        return
    output.print_pairs(pairs_of(answer))
    click.echo()
    output.print_table(
        ("packets", "count"),
        [(name.replace("_", " "), count) for name, count in sorted(answer["counters"].items())],
        right=("count",),
    )


def pairs_of(answer: "MobileRouterAnswer") -> dict[str, output.Cell]:
    """What matters of it."""
    outside = [f"{one['address']} ({one['interface']})" for one in answer["outside"]]
    path = "the kernel rewrites what it can (eBPF), this program the rest"
    if answer["path"] == "nfqueue":
        path = f"this program rewrites everything: {answer['path_reason']}"
    pairs: dict[str, output.Cell] = {
        "outside": ", ".join(outside) or "no address",
        "interfaces outside": ", ".join(answer["interfaces"]) or "none",
        "data": path,
        "rules": answer["rules"],
        "clients": f"{answer['clients']}, talking to {answer['correspondents']}",
    }
    if answer["refused"]:
        pairs["refused"] = f"{answer['refused']} ways, which others have or there was no room for"
    return pairs


@mobile_router.command()
@json_option
@socket_option
def clients(as_json: bool, socket_path: Path | None) -> None:
    """The machines behind it: where they are inside, and what has passed for them.

    "In" is what came from outside for them.
    """
    with connect_to_daemon(socket_path) as client:
        answers = client.mobile_router_clients()
    if as_json:
        output.print_json(answers)
        return
    if answers is None:
        click.echo(_NONE)
        return
    if not answers:
        click.echo("No clients are registered.")
        return
    output.print_table(
        (
            *("client", "inside", "guests", "talks to", "tickets", "packets in", "octets in"),
            *("packets out", "octets out", "HIP in", "HIP out"),
        ),
        [
            (
                answer["peer"] or answer["hit"],
                "with a client" if answer["guest"] else answer["inside"],
                answer["guests"] or None,
                answer["correspondents"],
                answer["tickets"],
                *(answer["packets_in"], answer["octets_in"]),
                *(answer["packets_out"], answer["octets_out"]),
                *(answer["hip_packets_in"], answer["hip_packets_out"]),
            )
            for answer in answers
        ],
        right=(
            *(
                "guests",
                "talks to",
                "tickets",
                "packets in",
                "octets in",
                "packets out",
                "octets out",
            ),
            *("HIP in", "HIP out"),
        ),
    )
