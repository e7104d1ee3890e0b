"""Host Identities: make a key file, show what it stands for."""

import contextlib
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from hipgw.cli import output
from hipgw.cli.options import json_option
from hipgw.errors import ConfigError, IdentityError

if TYPE_CHECKING:
    from hipgw.config.schema import Config
    from hipgw.identity.host_identity import KeyKind, LocalIdentity

KEY_TYPES = ("rsa2048", "rsa3072", "rsa4096", "ecdsa-p256", "ecdsa-p384", "ed25519")
"""As `hipgw.identity.host_identity.KEY_KINDS`, which takes longer to import than the help may."""

DEFAULT_KEY_TYPE = "ecdsa-p256"
"""Every HIPv2 stack has it (RFC 7401 §5.2.9), it outlasts the 96 bits of a HIT, and signing with
it takes a fraction of the time that the larger curve or RSA takes: that is what a responder under
load is short of."""

_ELSEWHERE = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses that no route is special for (RFC 5737, RFC 3849)."""


@click.command()
@click.argument("key_file", metavar="FILE", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-t",
    "--type",
    "kind",
    type=click.Choice(KEY_TYPES),
    default=DEFAULT_KEY_TYPE,
    show_default=True,
    help="Kind of key.",
)
@click.option("--force", is_flag=True, help="Replace a key file. Its identity is lost for ever.")
def keygen(key_file: Path, kind: str, force: bool) -> None:
    """Make a Host Identity: a private key in FILE (mode 0600), and its HIT."""
    from hipgw.identity.host_identity import LocalIdentity
    from hipgw.identity.keyfile import save_key_file

    identity = LocalIdentity.generate(cast("KeyKind", kind))
    try:
        save_key_file(key_file, identity, overwrite=force)
    except IdentityError as error:
        if key_file.exists() and not force:
            raise IdentityError(
                str(error),
                hint="a lost key is a lost identity: move the file away, or give --force",
            ) from None
        raise
    output.print_pairs(
        {"key file": str(key_file), "kind": identity.public.describe(), "HIT": str(identity.hit)}
    )


@click.command("id")
@click.argument(
    "key_file", metavar="[KEYFILE]", type=click.Path(path_type=Path, readable=False), required=False
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Show the identity that this configuration names.",
)
@click.option("--name", metavar="NAME", help="Name in the stanza.  [default: the host's name]")
@click.option(
    "--address",
    "addresses",
    metavar="ADDRESS",
    multiple=True,
    help="Address in the stanza; may be repeated.  [default: those of the default routes]",
)
@json_option
def show_identity(
    key_file: Path | None,
    config_file: Path | None,
    name: str | None,
    addresses: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show a Host Identity, and the [[peer]] table for the other machines.

    Give a KEYFILE, or a configuration with --config.
    """
    from hipgw.identity.keyfile import load_key_file
    from hipgw.identity.lsi import default_lsi

    if (key_file is None) == (config_file is None):
        raise click.UsageError("give a KEYFILE, or --config FILE")
    if name is not None:
        _check_name(name)
    config: Config | None = None
    hit_v1: IPv6Address | None = None
    if config_file is not None:
        config, identity = _configured(config_file)
        hit_v1 = _hit_v1(config.identity.key_file_v1 or config.identity.key_file)
    else:
        path = cast("Path", key_file)
        hit_v1 = _hit_v1(path)
        try:
            identity = load_key_file(path)
        except IdentityError:
            if hit_v1 is None:
                raise
            # A key of OpenHIP's, which HIP version 2 does not have or finds too weak.
            identity = load_key_file(path, 1, weak_keys=True)
    shown = [_checked(text) for text in addresses] or own_addresses()
    public = identity.public
    lsi = default_lsi(identity.hit)
    if config is not None and config.host is not None and config.host.lsi is not None:
        lsi = config.host.lsi
    if hit_v1 == identity.hit:
        hit_v1 = None
    stanza = peer_stanza(name or _host_name(), identity, shown, config, hit_v1)
    import base64

    encoded = base64.b64encode(public.encoded).decode()
    if as_json:
        output.print_json(
            {
                "hit": str(identity.hit),
                "hit_v1": None if hit_v1 is None else str(hit_v1),
                "hit_suite": public.hit_suite,
                "kind": public.describe(),
                "algorithm": public.algorithm,
                "lsi": str(lsi),
                "host_identity": encoded,
                "peer": stanza,
            }
        )
        return
    output.print_pairs(
        {
            "HIT": str(identity.hit),
            **({} if hit_v1 is None else {"HIT in version 1": str(hit_v1)}),
            "LSI": str(lsi),
            "kind": public.describe(),
            "algorithm": public.algorithm,
            "HIT suite": public.hit_suite or None,
            "Host Identity": encoded,
        }
    )
    click.echo("\nFor the configuration of the other machines:\n")
    click.echo(stanza)


def _check_name(name: str) -> None:
    """Refuse what the other machines' configuration would refuse."""
    from pydantic import TypeAdapter, ValidationError

    from hipgw.config.fields import PeerName

    try:
        TypeAdapter(PeerName).validate_python(name)
    except ValidationError:
        raise click.BadParameter(
            f"{name!r} cannot be a peer's name: 1 to 63 letters, digits, '.', '_' or '-'",
            param_hint="--name",
        ) from None


def _configured(config_file: Path) -> "tuple[Config, LocalIdentity]":
    """A configuration and the identity to show to others: that of version 2, if they may use it.

    Peers of version 1 alone have this machine speak nothing else, until one of them has its HIT of
    version 2: so that one is shown also while it is not used.
    """
    from hipgw.config.load import load, load_identity
    from hipgw.config.names import HipVersionName
    from hipgw.identity.keyfile import load_key_file

    config = load(config_file)
    try:
        identity = load_identity(config, config_file)
    except IdentityError as error:
        raise ConfigError(str(error), hint=error.hint) from None
    v2 = HipVersionName.V2
    if v2 in config.hip.versions and v2 not in config.spoken:
        with contextlib.suppress(IdentityError):
            identity = load_key_file(config.identity.key_file)
    return config, identity


def _hit_v1(key_file: Path) -> "IPv6Address | None":
    """The HIT of a key in version 1 of HIP; None if that version has no such keys."""
    from hipgw.identity.keyfile import load_key_file

    try:
        return load_key_file(key_file, 1, weak_keys=True).hit
    except IdentityError:
        return None


def peer_stanza(
    name: str,
    identity: "LocalIdentity",
    addresses: list[IPv4Address | IPv6Address],
    config: "Config | None",
    hit_v1: IPv6Address | None = None,
) -> str:
    """The [[peer]] table by which other machines know this one."""
    listed = ", ".join(f'"{address}"' for address in addresses)
    lines = ["[[peer]]", f'name = "{name}"', f'hit = "{identity.hit}"']
    if hit_v1 is not None:
        lines.append(f'hit_v1 = "{hit_v1}"')
    lines.append(f"addresses = [{listed}]")
    if config is not None:
        if config.hip.transport.value != "udp":
            lines.append(f'transport = "{config.hip.transport.value}"')
        elif config.hip.port != type(config.hip).model_fields["port"].default:
            lines.append(f"port = {config.hip.port}")
    return "\n".join(lines)


def own_addresses() -> list[IPv4Address | IPv6Address]:
    """The addresses that packets to the world leave from; nothing is sent."""
    from hipgw.config.fields import InvalidValueError, parse_address

    found = []
    for target, family in _ELSEWHERE:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
                found.append(parse_address(probe.getsockname()[0]))
            except (OSError, InvalidValueError):
                continue
    return found


def _checked(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an address", param_hint="--address") from None


def _host_name() -> str:
    """The machine's name, in the characters that a peer's name may have."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:63].lstrip("_.-") or "peer"
