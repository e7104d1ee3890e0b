"""`hipgw registrations`: relays and servers that this machine uses, and clients that it serves."""

from pathlib import Path

import click

from hipgw.cli import output
from hipgw.cli.options import connect_to_daemon, json_option, socket_option
from hipgw.control.api import REGISTRATIONS_MAX, RegistrationAnswer


@click.command()
@json_option
@socket_option
def registrations(as_json: bool, socket_path: Path | None) -> None:
    """Services that this machine uses (as client) or offers (as registrar)."""
    with connect_to_daemon(socket_path) as client:
        answers = client.registrations()
    if as_json:
        output.print_json(answers)
        return
    if not answers:
        click.echo(
            "No registrations as a client (nat.relays, rendezvous.servers, mobile_node.routers)"
            " or of clients."
        )
        return
    _print(answers)
    if len(answers) == REGISTRATIONS_MAX:
        click.echo(f"The first {len(answers)}; rendezvous_clients of `hipgw counters` counts all.")


def _print(answers: list[RegistrationAnswer]) -> None:
    output.print_table(
        ("peer", "HIP", "this machine is", "service", "client seen at", "relayed", "remaining"),
        [
            (
                answer["peer"] or answer["peer_hit"],
                f"v{answer['version']}",
                answer["role"],
                answer["service"],
                answer["mapped"],
                ", ".join(answer["relayed"]) if answer["service"] == "RELAY_UDP_ESP" else None,
                f"{answer['remaining_s']:.0f} s",
            )
            for answer in answers
        ],
    )
