"""`hipgw import openhip` and `hipgw export openhip`."""

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.keys import own_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hipgw.config.openhip.import_run import Note

_FOLDER = click.Path(path_type=Path, readable=False)


@click.group("import")
def import_() -> None:
    """Take over the configuration of another HIP implementation."""


@import_.command("openhip")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "--output",
    "target",
    type=_FOLDER,
    default=Path(),
    metavar="DIR",
    help="Folder for hipgw.toml and the key files.  [default: the current one]",
)
@click.option(
    "--port",
    "ports",
    metavar="INTERFACE",
    multiple=True,
    help="LAN interface of an endbox, as in OpenHIP's bridge_up.sh; may be repeated.",
)
@click.option("--force", is_flag=True, help="Replace hipgw.toml. Keys are never replaced.")
def import_openhip(folder: Path, target: Path, ports: tuple[str, ...], force: bool) -> None:
    """Make hipgw.toml and key files (mode 0600) from OpenHIP's files in DIR.

    These are hip.conf, known_host_identities.xml and my_host_identities.xml. What hipgw has no use
    for is kept for the way back and named, with the reason. The identity that other machines know
    stays the same; for version 2 of HIP a new one is made beside it.
    """
    from hipgw.config.load import InvalidConfigError, load
    from hipgw.config.openhip.directory import CONFIG_FILE, import_directory

    result = import_directory(folder, target, ports=ports, force=force)
    config_file = target / CONFIG_FILE
    show_notes(result.notes)
    pairs: dict[str, output.Cell] = {
        "configuration": str(config_file),
        "HIT in version 1": str(result.hit),
        "peers": len(result.table.get("peer", ())),
    }
    try:
        load(config_file)
    except InvalidConfigError:
        output.print_pairs(pairs)
        click.echo(f"\nBefore `hipgw run --config {config_file}`:\n", err=True)
        raise
    output.print_pairs(pairs)


def show_notes(notes: "Iterable[Note]") -> None:
    """What a user should know about what was read, on standard error."""
    told = list(notes)
    for note in told:
        if not note.kept:
            label = click.style("note:", fg="yellow", bold=True)
            click.echo(f"{label} {output.clean(f'{note.where}: {note.what}')}", err=True)
    kept = [note for note in told if note.kept]
    if kept:
        click.echo("Without effect in hipgw, kept for `hipgw export openhip`:", err=True)
    for note in kept:
        click.echo(output.clean(f"  {note.where}: {note.what}"), err=True)


@click.group()
def export() -> None:
    """Write the configuration for another HIP implementation."""


@export.command("openhip")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "--config",
    "config_file",
    type=_FOLDER,
    default=Path("hipgw.toml"),
    show_default=True,
    metavar="FILE",
    help="The configuration.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="This machine's name.  [default: as imported, or the host's name]",
)
@click.option(
    "--address",
    "addresses",
    metavar="ADDRESS",
    multiple=True,
    help="Address of this machine for the others; may be repeated.  [default: as imported, or "
    "those of the default routes]",
)
@click.option(
    "--private",
    is_flag=True,
    help="Also write the private keys: to go back to OpenHIP on this machine.",
)
def export_openhip(
    folder: Path, config_file: Path, name: str | None, addresses: tuple[str, ...], private: bool
) -> None:
    """Write OpenHIP's files for the machines that still run it to DIR.

    known_host_identities.xml and hip.conf say what hipgw.toml says; NAME_host_identities.pub.xml
    has this machine's own entry, to be added to known_host_identities.xml of the others. No private
    key is written unless --private asks for it.
    """
    import socket

    from hipgw.config.openhip.directory import export_directory

    for text in addresses:
        _check_address(text)
    written = export_directory(
        config_file,
        folder,
        private=private,
        name=name or "",
        default_name=socket.gethostname(),
        addresses=addresses,
        default_addresses=[str(address) for address in own_addresses()],
    )
    for file in written:
        click.echo(file)


def _check_address(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an address", param_hint="--address") from None
