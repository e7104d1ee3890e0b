"""`hipgw addresses`: where this machine can be reached, and where its peers are."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.options import connect_to_daemon, json_option, socket_option

if TYPE_CHECKING:
    from hipgw.control.api import AddressesAnswer, LocatorAnswer


@click.command()
@json_option
@socket_option
def addresses(as_json: bool, socket_path: Path | None) -> None:
    """Own addresses in use, the best first, and where each peer is."""
    with connect_to_daemon(socket_path) as client:
        answer = client.addresses()
    if as_json:
        output.print_json(answer)
        return
    _print_own(answer)
    if answer["peers"]:
        click.echo()
        _print_peers(answer)


def _print_own(answer: "AddressesAnswer") -> None:
    if not answer["own"]:
        click.echo("No own address is usable, or they are not watched (mobility.enabled).")
        return
    output.print_table(
        ("own address", "interface", "leaves by", "seen outside as"),
        [
            (
                own["address"],
                own["interface"],
                own["interface"] if own["pinned"] else "routes",
                ", ".join(own["reflexive"]) or None,
            )
            for own in answer["own"]
        ],
    )


def _print_peers(answer: "AddressesAnswer") -> None:
    output.print_table(
        ("peer", "address", "state", "known by", "in use", "sees this machine as"),
        [
            (
                peer["peer"] or peer["peer_hit"],
                _endpoint(locator),
                locator["state"] + (", preferred" if locator["preferred"] else ""),
                "LOCATOR_SET" if locator["listed"] else "its packets",
                "yes" if locator["in_use"] else None,
                peer["mapped"] if locator["in_use"] else None,
            )
            for peer in answer["peers"]
            for locator in peer["locators"]
        ],
    )


def _endpoint(locator: "LocatorAnswer") -> str:
    address = locator["address"]
    if not locator["port"]:
        return address
    return f"[{address}]:{locator['port']}" if ":" in address else f"{address}:{locator['port']}"
