"""`hipgw dns-record`: what the DNS is to say about this host."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.options import json_option
from hipgw.errors import ConfigError, IdentityError, NamingError

if TYPE_CHECKING:
    from hipgw.identity.host_identity import HostIdentity
    from hipgw.naming.dns.servers import NameServer
    from hipgw.naming.dns.tsig import TsigKey
    from hipgw.naming.dns.zone import Entry

_FILE = click.Path(path_type=Path, readable=False)


@click.command("dns-record")
@click.argument("name", metavar="NAME")
@click.option("--key", "key_file", type=_FILE, metavar="FILE", help="The private key of the host.")
@click.option(
    "--config",
    "config_file",
    type=_FILE,
    metavar="FILE",
    help="Take the identity that this configuration names.",
)
@click.option(
    "--rvs",
    "rendezvous",
    metavar="NAME",
    multiple=True,
    help="Domain name of a rendezvous server; may be repeated, the preferred one first.",
)
@click.option(
    "--address",
    "addresses",
    metavar="ADDRESS",
    multiple=True,
    help="Address of the host, for A and AAAA records; may be repeated.",
)
@click.option(
    "--ttl",
    "ttl_s",
    type=click.IntRange(0, 2**31 - 1),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="Time to live of the records.",
)
@click.option(
    "--hip-version",
    type=click.Choice(["1", "2"]),
    default=None,
    help="Version of HIP of the HIT in the record.  [default: 2 if the key is good for it]",
)
@click.option("--zone-file", is_flag=True, help="Write lines for a zone file, and nothing else.")
@click.option(
    "--update",
    "server",
    metavar="SERVER",
    help="Change the records on this server (RFC 2136): an address, with a port or without.",
)
@click.option("--zone", metavar="NAME", help="The zone to change.  [default: the server is asked]")
@click.option(
    "--tsig-key",
    "tsig_file",
    type=_FILE,
    metavar="FILE",
    help="Sign the change with the key in this file, as `tsig-keygen` writes it.",
)
@click.option("--delete", is_flag=True, help="With --update: remove the HIP records of the name.")
@json_option
def dns_record(
    name: str,
    key_file: Path | None,
    config_file: Path | None,
    rendezvous: tuple[str, ...],
    addresses: tuple[str, ...],
    ttl_s: int,
    hip_version: str | None,
    zone_file: bool,
    server: str | None,
    zone: str | None,
    tsig_file: Path | None,
    delete: bool,
    as_json: bool,
) -> None:
    """Write the HIP record of this host for the DNS, or put it there.

    NAME is its domain name. Give the host's --key, or a configuration with --config. The record is
    written as RFC 8005 has it, and in the form of RFC 3597 for servers that do not know its type.
    """
    from hipgw.naming.dns.hip_rr import make_rdata
    from hipgw.naming.dns.zone import (
        Entry,
        address_lines,
        generic,
        owner_of,
        presentation,
        zone_lines,
    )

    if delete and server is None:
        raise click.UsageError("--delete needs --update")
    if server is None and (zone is not None or tsig_file is not None):
        raise click.UsageError("--zone and --tsig-key need --update")
    owner = owner_of(name)
    if delete:
        _withdraw(server or "", name, zone, tsig_file)
        return
    if (key_file is None) == (config_file is None):
        raise click.UsageError("give --key FILE, or --config FILE")
    identity = _identity(key_file, config_file, hip_version)
    places = tuple(_address(text) for text in addresses)
    for text in rendezvous:
        _refuse_address(text)
    entry = Entry(owner, ttl_s, make_rdata(identity, rendezvous), places)
    if server is not None:
        _publish(entry, server, zone, tsig_file)
    if as_json:
        output.print_json(
            {
                "name": str(owner),
                "hit": str(identity.hit),
                "hip": presentation(entry),
                "rfc3597": generic(entry),
                "zone_file": list(zone_lines(entry)),
                "updated": server is not None,
            }
        )
    elif zone_file:
        for line in zone_lines(entry):
            click.echo(line)
    elif server is not None:
        output.print_pairs({"name": str(owner), "HIT": str(identity.hit), "changed at": server})
    else:
        click.echo(presentation(entry))
        for line in address_lines(entry):
            click.echo(line)
        click.echo("\nFor servers that do not know HIP records (RFC 3597):\n")
        click.echo(generic(entry))


def _identity(
    key_file: Path | None, config_file: Path | None, version: str | None
) -> "HostIdentity":
    from hipgw.identity.keyfile import load_key_file

    if key_file is None and config_file is not None:
        from hipgw.config.load import load, load_identity

        config = load(config_file)
        if version is None:
            try:
                return load_identity(config, config_file).public
            except IdentityError as error:
                raise ConfigError(str(error), hint=error.hint) from None
        own = config.identity
        key_file = (own.key_file_v1 if version == "1" else None) or own.key_file
    assert key_file is not None
    if version is not None:
        return load_key_file(key_file, int(version)).public
    try:
        return load_key_file(key_file).public
    except IdentityError:
        try:
            # A DSA key, which HIP version 2 does not have.
            return load_key_file(key_file, 1).public
        except IdentityError:
            pass
        raise


def _address(text: str) -> IPv4Address | IPv6Address:
    from hipgw.config.fields import InvalidValueError, parse_address

    try:
        return parse_address(text)
    except InvalidValueError as error:
        raise click.BadParameter(str(error), param_hint="--address") from None


def _refuse_address(text: str) -> None:
    """It would pass for a name, and lead nowhere (RFC 8005 §5)."""
    from hipgw.config.fields import InvalidValueError, parse_address

    try:
        parse_address(text)
    except InvalidValueError:
        return
    raise click.BadParameter(
        f"{text} is an address, and HIP records have names of rendezvous servers",
        param_hint="--rvs",
    )


def _server(text: str) -> "NameServer":
    from hipgw.config.fields import InvalidValueError, parse_name_server
    from hipgw.naming.dns.servers import NameServer

    try:
        place = parse_name_server(text)
    except InvalidValueError as error:
        raise click.BadParameter(str(error), param_hint="--update") from None
    return NameServer(place.address, place.port)


def _tsig(file: Path | None) -> "TsigKey | None":
    from hipgw.identity.keyfile import read_private_file
    from hipgw.naming.dns.tsig import parse_key

    if file is None:
        return None
    try:
        return parse_key(read_private_file(file))
    except FileNotFoundError:
        raise NamingError(f"{file}: there is no such file") from None
    except NamingError as error:
        raise NamingError(f"{file}: {error}", hint=error.hint) from None


def _publish(entry: "Entry", server: str, zone: str | None, tsig_file: Path | None) -> None:
    from hipgw.naming.dns.update import publish, zone_of
    from hipgw.naming.dns.zone import owner_of

    place, key = _server(server), _tsig(tsig_file)
    publish(entry, owner_of(zone) if zone else zone_of(entry.owner, place), place, key)


def _withdraw(server: str, name: str, zone: str | None, tsig_file: Path | None) -> None:
    from hipgw.naming.dns.update import withdraw, zone_of
    from hipgw.naming.dns.zone import owner_of

    place, key, owner = _server(server), _tsig(tsig_file), owner_of(name)
    withdraw(owner, owner_of(zone) if zone else zone_of(owner, place), place, key)
    output.print_pairs({"name": str(owner), "HIP records removed at": server})
