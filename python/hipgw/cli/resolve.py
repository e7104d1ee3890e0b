"""`hipgw resolve`: who a name stands for, and where that is, by what each source says."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.exits import Exit
from hipgw.cli.options import connect_to_daemon, json_option, socket_option

if TYPE_CHECKING:
    from hipgw.control.api import FoundAnswer, ResolveAnswer


@click.command()
@click.argument("query", metavar="NAME|HIT|LSI")
@json_option
@socket_option
@click.pass_context
def resolve(ctx: click.Context, query: str, as_json: bool, socket_path: Path | None) -> None:
    """Ask all sources of names who that is and where, and how long each took.

    The sources stand in the order in which they are believed (naming.order). They are asked anew,
    whatever is remembered. Exits with status 1 if nobody knows anything.
    """
    _refuse_addresses(query)
    with connect_to_daemon(socket_path) as client:
        answer = client.resolve(query)
    if as_json:
        output.print_json(answer)
    else:
        _print(answer)
    if answer["hit"] is None and not any(source["found"] for source in answer["sources"]):
        ctx.exit(Exit.NO)


def _refuse_addresses(query: str) -> None:
    """Nobody is found by an address; "nobody knows it" would say something else."""
    from ipaddress import IPv6Address, ip_address

    from hipgw.identity.hit import is_hit
    from hipgw.identity.lsi import is_lsi

    try:
        address = ip_address(query)
    except ValueError:
        return
    if not is_lsi(address) and not (isinstance(address, IPv6Address) and is_hit(address)):
        raise click.BadParameter(f"{query} is an address, and neither an LSI nor a HIT")


def _print(answer: "ResolveAnswer") -> None:
    if answer["hit"] is not None:
        output.print_pairs({"peer": answer["name"], "HIT": answer["hit"], "LSI": answer["lsi"]})
        click.echo()
    elif not any(source["found"] for source in answer["sources"]):
        click.echo(f"{answer['query']}: nobody knows it")
        click.echo()
    rows: list[tuple[output.Cell, ...]] = []
    for source in answer["sources"]:
        head = (source["source"], source["asked"])
        took = output.milliseconds(source["duration_s"])
        if not source["found"]:
            rows.append((*head, took, source["error"] or "nothing", None, None, None))
        for found in source["found"]:
            ttl = output.duration(found["ttl_s"]) if found["ttl_s"] else None
            rows.append((*head, took, found["hit"], _places(found), found["provenance"], ttl))
    output.print_table(
        ("source", "asked for", "time", "HIT", "found at", "trust", "TTL"),
        rows,
        right=("time", "TTL"),
    )


def _places(found: "FoundAnswer") -> str | None:
    """Where it is called, in order."""
    places = [f"by {server}" for server in found["rendezvous"]] + found["addresses"]
    return ", ".join(places) or None
