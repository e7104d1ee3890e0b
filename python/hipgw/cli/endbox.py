"""`hipgw endbox`: the LAN that this endbox shares with its peers."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.options import connect_to_daemon, json_option, socket_option

if TYPE_CHECKING:
    from hipgw.control.api import EndboxAnswer

_SHOWN = 4
"""Addresses of a peer that a table has room for."""


@click.command()
@json_option
@socket_option
def endbox(as_json: bool, socket_path: Path | None) -> None:
    """Who is on the shared LAN, which addresses are behind whom, and who delivers."""
    with connect_to_daemon(socket_path) as client:
        answer = client.endbox()
    if as_json:
        output.print_json(answer)
        return
    if answer is None:
        click.echo("This machine is no endbox: [endbox] makes it one.")
        return
    output.print_pairs(_pairs(answer))
    click.echo()
    output.print_table(
        ("peer", "mode", "frames", "legacy nodes", "up", "MACs"),
        [
            (
                peer["peer"],
                peer["mode"] if peer["allowed"] else "not allowed",
                peer["frames"],
                _nodes(peer["legacy_nodes"], default=peer["default_endbox"]),
                "yes" if peer["established"] else "no",
                peer["macs"],
            )
            for peer in answer["peers"]
        ],
        right=("MACs",),
    )


def _pairs(answer: "EndboxAnswer") -> dict[str, str]:
    pairs = {
        "mode": answer["mode"],
        "legacy nodes": _nodes(answer["legacy_nodes"], default=answer["default_endbox"]) or "any",
        "source filter": "on" if answer["source_filter"] else "off",
    }
    if election := answer["election"]:
        state = "this endbox delivers"
        if not election["delivers"]:
            winner = election["winner"]
            state = f"{winner} delivers {election['extent']}" if winner else "listening"
        pairs["election"] = f"{state}; {election['hellos_heard']} hellos heard"
    if multicast := answer["multicast"]:
        pairs["multicast"] = (
            f"{multicast['group']}, SPI {multicast['spi']:#010x}, "
            f"from {multicast['local'] or 'nowhere yet'}"
        )
    return pairs


def _nodes(nodes: list[str], *, default: bool) -> str | None:
    shown = [*nodes[:_SHOWN]]
    if len(nodes) > _SHOWN:
        shown.append(f"and {len(nodes) - _SHOWN} more")
    if default:
        shown.append("all others")
    return ", ".join(shown) or None
