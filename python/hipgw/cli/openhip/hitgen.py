"""`hitgen`: makes identities, publishes them, writes a hip.conf."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.openhip.options import HELP, folder_option, system_folder
from hipgw.cli.shown import ErrorsShown
from hipgw.errors import ConfigError, IdentityError

if TYPE_CHECKING:
    from hipgw.config.openhip.hosts import Host

_FILE = click.Path(path_type=Path, readable=False)


@click.command("hitgen", cls=ErrorsShown, context_settings=HELP)
@click.option("-v", "verbose", is_flag=True, help="Show what was made.")
@click.option("-name", metavar="NAME", help="Name of the identity.  [default: the host's name]")
@click.option("-noinput", is_flag=True, help="Without effect: nothing is ever asked.")
@click.option("-file", "file", type=_FILE, metavar="FILE", help="Write to this file.")
@click.option("-append", is_flag=True, help="Add to a file that exists.")
@click.option(
    "-type",
    "kind",
    type=click.Choice(["DSA", "RSA"]),
    help="Kind of key.  [default: RSA, or DSA if a length is given]",
)
@click.option("-bits", type=int, metavar="N", help="Length of the key in bits.  [default: 2048]")
@click.option("-length", type=int, metavar="N", help="Length of the key in octets.")
@click.option("-anon", is_flag=True, help="Mark the identity as anonymous.")
@click.option("-incoming", is_flag=True, help="Mark it as not to be called.")
@click.option(
    "-r1count",
    type=click.IntRange(0, 2**64 - 1),
    default=10,
    metavar="N",
    show_default=True,
    help="First value of its R1 counter.",
)
@click.option(
    "-publish",
    is_flag=True,
    help="Write what others need, NAME_host_identities.pub.xml, and make nothing.",
)
@click.option("-conf", is_flag=True, help="Write a hip.conf with defaults, and make nothing.")
@folder_option
def hitgen(
    verbose: bool,
    name: str | None,
    noinput: bool,
    file: Path | None,
    append: bool,
    kind: str | None,
    bits: int | None,
    length: int | None,
    anon: bool,
    incoming: bool,
    r1count: int,
    publish: bool,
    conf: bool,
    folder: Path | None,
) -> None:
    """Make Host Identities for OpenHIP, or for `hipgw import openhip`.

    As OpenHIP's own command of this name, but that its default is RSA with 2048 bits and that it
    makes no key below 1024. Writes my_host_identities.xml (mode 0600), with the private keys in it.
    """
    del noinput
    from hipgw.config.openhip.directory import MY_HOSTS_FILE

    if bits is not None and length is not None:
        raise click.UsageError("give -bits or -length, not both")
    word = name or socket.gethostname()
    if publish:
        _publish(system_folder(folder) / MY_HOSTS_FILE, file, word)
    elif conf:
        _write_conf(file)
    else:
        wanted = length * 8 if length is not None else bits
        host = _made(word, kind, wanted, anon=anon, incoming=not incoming, r1_count=r1count)
        _add(host, file or system_folder(folder) / MY_HOSTS_FILE, append=append)
        if verbose:
            output.print_pairs(
                {"name": host.name, "HIT": str(host.hit), "LSI": str(host.lsi or "")}
            )


def _made(
    name: str, kind: str | None, bits: int | None, *, anon: bool, incoming: bool, r1_count: int
) -> "Host":
    from hipgw.config.openhip.generating import DEFAULT_BITS, new_host
    from hipgw.config.openhip.keys import Algorithm

    # OpenHIP takes DSA if there is a length and no type.
    default = Algorithm.RSA if bits is None else Algorithm.DSA
    algorithm = default if kind is None else Algorithm[kind]
    if bits is None:
        bits = DEFAULT_BITS if algorithm is Algorithm.RSA else 1024
    return new_host(name, algorithm, bits, anonymous=anon, incoming=incoming, r1_count=r1_count)


def _add(host: "Host", file: Path, *, append: bool) -> None:
    from dataclasses import replace

    from hipgw.config.openhip.directory import PRIVATE, write_file
    from hipgw.config.openhip.hosts import Hosts, emit_my_hosts, read_my_hosts

    before = Hosts()
    if file.exists():
        if not append:
            raise IdentityError(f"{file}: exists already", hint="-append adds an identity to it")
        before = read_my_hosts(file)
    _make_folder(file)
    hosts = replace(before, hosts=(*before.hosts, host))
    write_file(file, emit_my_hosts(hosts), PRIVATE)
    click.echo(file)


def _publish(mine: Path, file: Path | None, name: str) -> None:
    from dataclasses import replace

    from hipgw.config.openhip.directory import PUBLIC, PUBLIC_SUFFIX, write_file
    from hipgw.config.openhip.hosts import (
        Hosts,
        emit_known_hosts,
        read_known_hosts,
        read_my_hosts,
    )

    target = file or Path(f"{name}{PUBLIC_SUFFIX}")
    before = read_known_hosts(target) if target.exists() else Hosts()
    shown = tuple(replace(host, key=None, r1_count=0) for host in read_my_hosts(mine).hosts)
    write_file(target, emit_known_hosts(replace(before, hosts=(*before.hosts, *shown))), PUBLIC)
    click.echo(target)


def _write_conf(file: Path | None) -> None:
    from hipgw.config.openhip.conf import emit_conf
    from hipgw.config.openhip.directory import CONF_FILE, PUBLIC, write_file
    from hipgw.config.openhip.generating import HITGEN_CONF

    target = file or Path(CONF_FILE)
    write_file(target, emit_conf(HITGEN_CONF), PUBLIC)
    click.echo(target)


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{file.parent}: cannot be made: {error.strerror}") from None
