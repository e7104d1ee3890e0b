"""The commands that sign something: `hipgw fleet keygen`, `add`, `remove` and `sign`."""

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgw.cli import output
from hipgw.cli.fleet.options import key_option, place_options
from hipgw.cli.fleet.place import Place, at_place, read_or_nothing, warn_of_others, write
from hipgw.errors import IdentityError, NamingError

if TYPE_CHECKING:
    from hipgw.identity.operator_key import OperatorKey

_PERIOD = re.compile(r"(\d{1,5})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


@click.command("keygen")
@click.argument("key_file", metavar="FILE", type=click.Path(path_type=Path, readable=False))
@click.option("--force", is_flag=True, help="Replace a key file.")
def keygen(key_file: Path, force: bool) -> None:
    """Make an operator's key: private in FILE (mode 0600), public for all machines.

    Keep FILE off the machines of the fleet: whoever has it can admit anybody.
    """
    from hipgw.identity.keyfile import write_private_file
    from hipgw.identity.operator_key import OperatorKey

    key = OperatorKey.generate()
    write_private_file(key_file, key.to_pem(), overwrite=force)
    output.print_pairs({"key file": str(key_file), "id": key.public.id, "public": str(key.public)})
    click.echo("\nFor the configuration of all machines:\n")
    click.echo(f'[fleet]\noperator_keys = ["{key.public}"]')


@click.command("add")
@click.argument("name", metavar="NAME")
@place_options
@key_option
@click.option("--hit", metavar="HIT", help="Its Host Identity Tag, as `hipgw id` shows it there.")
@click.option("--hit-v1", metavar="HIT", help="Its HIT of HIP version 1, if it speaks both.")
@click.option(
    "--address", "addresses", metavar="ADDRESS", multiple=True, help="Where it is; may be repeated."
)
@click.option(
    "--lan", "lans", metavar="LAN", multiple=True, help="A LAN that it is in; may be repeated."
)
@click.option("--transport", type=click.Choice(("udp", "raw")), help="How it is reached.")
@click.option("--port", type=click.IntRange(1, 65535), help="Its UDP port.")
@click.option(
    "--relay", "relays", metavar="NAME", multiple=True, help="A relay of it; may be repeated."
)
@click.option(
    "--rvs",
    metavar="NAME|ADDRESS",
    multiple=True,
    help="A rendezvous server of it; may be repeated.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    help="30d, 12h or a time such as 2030-01-31T12:00:00Z, from when on it counts no more.",
)
@click.option("--refused/--accepted", default=None, help="Whether it is kept out of all machines.")
@click.option("--change", is_flag=True, help="It is there: what is not given stays as it was.")
def add(
    name: str,
    place: str | None,
    config_file: Path | None,
    fleet_name: str | None,
    key_file: Path,
    refused: bool | None,
    expires: str | None,
    change: bool,
    **given: Any,
) -> None:
    """Add a machine to the fleet, or change it."""
    key = _load_key(key_file)
    values = {
        option: list(value) if isinstance(value, tuple) else value
        for option, value in given.items()
        if value not in (None, ())
    }
    if expires is not None:
        values["expires"] = _time(expires)
    if refused is not None:
        values["accept"] = not refused

    async def work(at: Place) -> int:
        read = await read_or_nothing(at)
        known = at.known(read, name)
        there = known is not None and not known.removed
        if there is not change:
            raise NamingError(
                f"{name} is {'in the fleet already' if there else 'not in the fleet'}",
                hint="give --change to change it" if there else "leave --change out to add it",
            )
        table = dict(known.table) if known is not None and there else {}
        warn_of_others(at, read, name, {**table, **values})
        return await write(at, read, key, {**table, **values, "name": name})

    revision = at_place(work, config_file, place, fleet_name, (key.public,))
    click.echo(f"{name}: revision {revision}, signed by {key.public.id}")


@click.command("remove")
@click.argument("name", metavar="NAME")
@place_options
@key_option
def remove(
    name: str,
    place: str | None,
    config_file: Path | None,
    fleet_name: str | None,
    key_file: Path,
) -> None:
    """Remove a machine from the fleet.

    Its entry stays, and says so: it must not be deleted, or machines that were away would go on
    believing the older one.
    """
    key = _load_key(key_file)

    async def work(at: Place) -> int:
        read = await at.directory.read()
        known = at.known(read, name)
        if known is None or known.removed:
            raise NamingError(f"{name} is not in the fleet")
        return await write(at, read, key, {"name": name, "removed": True})

    revision = at_place(work, config_file, place, fleet_name, (key.public,))
    click.echo(f"{name}: removed with revision {revision}, signed by {key.public.id}")


@click.command("sign")
@click.argument("file", metavar="FILE", type=click.File("rb"))
@place_options
@key_option
@click.option("--dry-run", is_flag=True, help="Show what would be signed, and do nothing.")
def sign(
    file: Any,
    place: str | None,
    config_file: Path | None,
    fleet_name: str | None,
    key_file: Path,
    dry_run: bool,
) -> None:
    """Sign the [[entry]] and [[peer]] tables of FILE into the directory.

    FILE may be the directory itself after it was edited, or what `hipgw id` shows on a machine (-
    is the standard input). Entries that are signed already, or say nothing new, are left as they
    are. Look at all of them first, with --dry-run: what is signed is believed by every machine.
    """
    key = _load_key(key_file)
    tables = _drafts(file)

    async def work(at: Place) -> list[str]:
        from hipgw.naming.fleet.entry import EntryError, verify

        done = []
        for table in tables:
            read = await read_or_nothing(at)
            try:
                entry = verify(table, at.keys, at.name)
                if (known := at.known(read, entry.name)) and known.revision >= entry.revision:
                    continue
            except EntryError:
                known = at.known(read, str(table.get("name")))
                if known is not None and _content(known.table) == _content(table):
                    continue
            name = str(table.get("name"))
            warn_of_others(at, read, name, table)
            shown = ", ".join(f"{key}={value}" for key, value in sorted(_content(table).items()))
            if dry_run:
                done.append(f"would sign {name}: {shown}")
            else:
                revision = await write(at, read, key, table)
                done.append(f"{name}: revision {revision}, signed: {shown}")
        return done

    lines = at_place(work, config_file, place, fleet_name, (key.public,))
    for line in lines or ["nothing to be signed"]:
        click.echo(output.clean(line))


def _drafts(file: Any) -> list[dict[str, Any]]:
    """The tables of a file that are to be signed."""
    try:
        text = file.read().decode()
        # What `hipgw id` tells people comes before the table.
        _, stanza, tables_of_id = text.partition("\n[[peer]]\n")
        if stanza and text.startswith("HIT:"):
            text = stanza + tables_of_id
        parsed = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise NamingError(f"{file.name}: it is no TOML file: {error}") from None
    tables = []
    for kind in ("entry", "peer"):
        found = parsed.pop(kind, [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise NamingError(f"{file.name}: {kind} is no list of tables")
        tables += found
    if parsed:
        raise NamingError(f"{file.name}: it may have [[entry]] and [[peer]] tables, nothing else")
    return tables


def _content(table: Any) -> dict[str, Any]:
    """What an entry says, without what signing adds."""
    added = ("fleet", "revision", "signer", "signature")
    return {key: value for key, value in table.items() if key not in added}


def _load_key(key_file: Path) -> "OperatorKey":
    from hipgw.identity.keyfile import read_private_file
    from hipgw.identity.operator_key import OperatorKey

    try:
        data = read_private_file(key_file)
    except FileNotFoundError:
        raise IdentityError(
            f"{key_file}: there is no key file", hint=f"make one: hipgw fleet keygen {key_file}"
        ) from None
    try:
        return OperatorKey.from_pem(data)
    except IdentityError as error:
        raise IdentityError(f"{key_file}: {error}", hint=error.hint) from None


def _time(text: str) -> str:
    """A time, given as it is or as a period from now, as it stands in an entry."""
    if match := _PERIOD.fullmatch(text):
        at = datetime.now(UTC) + timedelta(**{_UNITS[match[2]]: int(match[1])})
    else:
        try:
            at = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            raise click.BadParameter(
                f"{text!r} is neither a period such as 30d nor a time such as 2030-01-31T12:00:00Z",
                param_hint="--expires",
            ) from None
        if at <= datetime.now(UTC):
            raise click.BadParameter(f"{text} is over already", param_hint="--expires")
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
