"""`hipgw fleet status`: what the daemon knows of its fleet."""

from pathlib import Path

import click

from hipgw.cli import output
from hipgw.cli.options import connect_to_daemon, json_option, socket_option


@click.command("status")
@json_option
@socket_option
def status(as_json: bool, socket_path: Path | None) -> None:
    """What the daemon here knows of its fleet: is the directory there, what was refused?"""
    with connect_to_daemon(socket_path) as client:
        answer = client.fleet()
    if as_json:
        output.print_json(answer)
        return
    if answer is None:
        click.echo("There is no [fleet] here.")
        return
    pairs: dict[str, output.Cell] = {
        "fleet": answer["fleet"],
        "LAN": answer["lan"],
        "entries in force": answer["entries"],
    }
    for number, one in enumerate(answer["directories"]):
        silent = output.duration(one["silent_s"])
        state = f"followed, told something {silent} ago" if silent else "followed"
        if not one["reached"]:
            state = f"cannot be used: {one['trouble'] or 'not read yet'}"
        pairs["directory" if not number else f"directory {number + 1}"] = (
            f"{one['directory']} ({state})"
        )
    pairs["missing there"] = ", ".join(answer["missing"]) or "none"
    output.print_pairs(pairs)
    if answer["refused"]:
        click.echo("\nRefused:\n")
        output.print_table(
            ("ago", "name", "where", "reason"),
            [
                (output.duration(one["age_s"]), one["name"], one["where"], one["reason"])
                for one in answer["refused"]
            ],
        )
