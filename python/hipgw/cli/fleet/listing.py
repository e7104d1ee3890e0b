"""The commands that read the directory: `hipgw fleet list` and `verify`."""

import time
from pathlib import Path
from typing import Any

import click

from hipgw.cli import output
from hipgw.cli.exits import Exit
from hipgw.cli.fleet.options import operator_option, place_options
from hipgw.cli.fleet.place import Place, at_place
from hipgw.cli.options import json_option
from hipgw.errors import IdentityError


@click.command("list")
@place_options
@operator_option
@click.option("--all", "show_all", is_flag=True, help="Show also what was removed or has expired.")
@json_option
def list_entries(
    place: str | None,
    config_file: Path | None,
    fleet_name: str | None,
    operator_keys: tuple[str, ...],
    show_all: bool,
    as_json: bool,
) -> None:
    """The machines in the directory, and what machines would make of each entry."""
    rows = _judged(config_file, place, fleet_name, operator_keys)
    if not show_all:
        rows = [row for row in rows if row["state"] not in ("removed", "expired")]
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ("name", "HIT", "addresses", "LANs", "revision", "signer", "state", "reason"),
        [
            (
                row["name"],
                row["hit"],
                ", ".join(row["addresses"]) or None,
                ", ".join(row["lans"]) or None,
                row["revision"],
                row["signer"],
                row["state"],
                row["reason"] or None,
            )
            for row in rows
        ],
        right=("revision",),
    )


@click.command("verify")
@place_options
@operator_option
@click.pass_context
def verify_entries(
    ctx: click.Context,
    place: str | None,
    config_file: Path | None,
    fleet_name: str | None,
    operator_keys: tuple[str, ...],
) -> None:
    """Check every signature in the directory. Exits with status 1 if one entry is refused."""
    rows = _judged(config_file, place, fleet_name, operator_keys)
    bad = [row for row in rows if row["state"] == "refused"]
    for row in bad:
        click.echo(output.clean(f"{row['where']} ({row['name']}): {row['reason']}"), err=True)
    click.echo(f"{len(rows) - len(bad)} of {len(rows)} entries are signed and in order")
    if bad:
        ctx.exit(Exit.NO)


def _judged(
    config_file: Path | None,
    place: str | None,
    fleet_name: str | None,
    operator_keys: tuple[str, ...],
) -> list[dict[str, Any]]:
    from hipgw.identity.operator_key import OperatorPublicKey
    from hipgw.naming.fleet.entry import claimed_name

    try:
        keys = tuple(map(OperatorPublicKey.parse, operator_keys))
    except IdentityError as error:
        raise click.BadParameter(str(error), param_hint="--operator-key") from None
    if place is not None and not keys:
        raise click.UsageError("--directory needs an --operator-key to check signatures by")

    async def work(at: Place) -> list[dict[str, Any]]:
        now = time.time()
        rows = []
        for offered, entry, reason in at.entries(await at.directory.read()):
            table = offered.table or {}
            state = "refused"
            if entry is not None:
                expired = "removed" if entry.removed else "expired"
                state = "in force" if entry.valid_at(now) else expired
                if state == "in force" and not entry.accept:
                    state = "kept out"
            rows.append(
                {
                    "where": offered.where,
                    "name": claimed_name(table),
                    "hit": str(entry.hits[0]) if entry and entry.hits else None,
                    "addresses": [str(one) for one in entry.addresses] if entry else [],
                    "lans": list(entry.lans) if entry else [],
                    "revision": entry.revision if entry else None,
                    "expires": entry.expires.isoformat() if entry and entry.expires else None,
                    "signer": entry.signer if entry else None,
                    "state": state,
                    "reason": reason,
                }
            )
        return rows

    return at_place(work, config_file, place, fleet_name, keys)
