"""`hip`: runs the daemon with OpenHIP's files and flags."""

import os
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgw.cli.openhip.options import HELP, folder_option, folders
from hipgw.cli.openhip.transfer import show_notes
from hipgw.cli.options import socket_option
from hipgw.cli.shown import ErrorsShown
from hipgw.errors import ConfigError, IdentityError, PlatformError

if TYPE_CHECKING:
    from hipgw.config.schema import Config

STATE = Path("/var/lib/hipgw/openhip")
_LOG = "hip.log"


@click.command("hip", cls=ErrorsShown, context_settings=HELP)
@click.option("-v", "verbose", is_flag=True, help="Log everything, each packet included.")
@click.option("-q", "quiet", is_flag=True, help="Log errors only.")
@click.option("-d", "background", is_flag=True, help="Run in the background, and log to hip.log.")
@click.option("-r1", "debug_r1", is_flag=True, help="Without effect: -v has the R1s.")
@click.option("-o", "opportunistic", is_flag=True, help="Call and answer without a HIT.")
@click.option("-a", "allow_any", is_flag=True, help="Answer every machine, not only known ones.")
@click.option(
    "-conf",
    "conf_file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="The hip.conf to read.",
)
@click.option("-p", "permissive", is_flag=True, help="Without effect: see docs/openhip.md.")
@click.option(
    "-nr", "no_retransmit", is_flag=True, help="Without effect: hip.retries is 1 at least."
)
@click.option(
    "-t",
    "trigger",
    metavar="ADDRESS",
    help="Call the known host with this address; with -o whoever has it.",
)
@click.option("-rvs", "rvs", is_flag=True, help="Be a rendezvous server, too.")
@click.option("-mr", "router", is_flag=True, help="Be a mobile router, too.")
@click.option("-mh", "multihoming", is_flag=True, help="Tell peers of all addresses.")
@click.option("-u", "udp", is_flag=True, help="Without effect: UDP is the default, see hip.conf.")
@click.option(
    "--port",
    "ports",
    metavar="INTERFACE",
    multiple=True,
    help="LAN interface of an endbox, as in bridge_up.sh; may be repeated.",
)
@click.option(
    "--state",
    "state",
    type=click.Path(path_type=Path, readable=False),
    default=STATE,
    show_default=True,
    metavar="DIR",
    help="Folder for hipgw.toml and key files, made anew from OpenHIP's files at each start.",
)
@socket_option
@folder_option
@click.pass_context
def hip(
    ctx: click.Context,
    verbose: bool,
    quiet: bool,
    background: bool,
    debug_r1: bool,
    opportunistic: bool,
    allow_any: bool,
    conf_file: Path | None,
    permissive: bool,
    no_retransmit: bool,
    trigger: str | None,
    rvs: bool,
    router: bool,
    multihoming: bool,
    udp: bool,
    ports: tuple[str, ...],
    state: Path,
    socket_path: Path | None,
    folder: Path | None,
) -> None:
    """Run the daemon with OpenHIP's files and options, until SIGTERM or Ctrl-C.

    Each file is looked for in the current folder, then where OpenHIP is configured. hip.conf and
    known_host_identities.xml need not be there.
    """
    ignored = {"-r1": debug_r1, "-p": permissive, "-nr": no_retransmit, "-u": udp}
    for flag in (flag for flag, given in ignored.items() if given):
        click.echo(f"{flag}: without effect in hipgw, see docs/openhip.md", err=True)
    settings: dict[str, dict[str, Any]] = {"daemon": {}, "hip": {}, "mobility": {}}
    if verbose or quiet:
        settings["daemon"]["log_level"] = "debug" if verbose else "error"
    if socket_path is not None:
        socket_path = socket_path.absolute()
        settings["daemon"] |= {
            "control_socket": str(socket_path),
            # Of its own, as it is given to `daemon.user`: the socket may lie in /run, or in /tmp.
            "state_dir": f"{socket_path}.state",
        }
    if opportunistic:
        settings["hip"]["opportunistic"] = True
    if allow_any:
        settings["hip"] |= {"accept": "any", "versions": ["v2", "v1"]}
    if multihoming:
        settings["mobility"]["announce"] = "all"
    places = folders(folder)
    config, config_file = translated(
        places, conf_file, state, ports, settings, rvs=rvs, router=router
    )
    called = _peer_at(config, trigger) if trigger is not None else None
    ctx.exit(_run(config, config_file, called, background=background))


def translated(
    places: list[Path],
    conf_file: Path | None,
    state: Path,
    ports: tuple[str, ...],
    settings: dict[str, dict[str, Any]],
    *,
    rvs: bool = False,
    router: bool = False,
) -> "tuple[Config, Path]":
    """The configuration that OpenHIP's files and flags come to, written to `state`."""
    from dataclasses import replace

    from hipgw.config.load import load
    from hipgw.config.openhip.conf import HipConf, read_conf
    from hipgw.config.openhip.directory import CONFIG_FILE, OpenHipFiles, save, translate_files
    from hipgw.config.openhip.registrars import mobile_router_table, rvs_table

    files = OpenHipFiles.located(places)
    if conf_file is not None:
        if not conf_file.is_file():
            raise ConfigError(f"{conf_file}: no such file", hint="name a hip.conf with -conf FILE")
        files = replace(files, conf=conf_file)
    result = translate_files(files, ports=ports)
    conf = read_conf(files.conf) if files.conf.exists() else HipConf()
    if rvs:
        settings = {**settings, "rvs": rvs_table(conf)}
    if router:
        settings = {**settings, "mobile_router": mobile_router_table(conf)}
    taken = {"min_reg_lifetime", "max_reg_lifetime"} if rvs or router else set()
    taken |= {"outbound_interface"} if router else set()
    show_notes(note for note in result.notes if note.where not in taken)
    for table, values in settings.items():
        if values:
            result.table.setdefault(table, {}).update(values)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{state}: cannot be made: {error.strerror}", hint="run as root, or give --state DIR"
        ) from None
    save(result, state, force=True, replace_keys=True)
    return load(state / CONFIG_FILE), state / CONFIG_FILE


def _peer_at(config: "Config", text: str) -> str:
    """The name of the peer with an address, or that for whoever is there.

    Raises ConfigError if nobody is known there and strangers are not to be called.
    """
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an address", param_hint="-t") from None
    for peer in config.peers:
        if address in (*peer.addresses, peer.hit, peer.lsi):
            return peer.name
    if config.hip.opportunistic:
        return str(address)
    raise ConfigError(
        f"-t {address}: no known host has this address, and without -o no others are called",
        hint="add it to known_host_identities.xml",
    )


def _run(config: "Config", config_file: Path, called: str | None, *, background: bool) -> int:
    try:
        from hipgw.daemon.main import run
    except ImportError as error:
        raise PlatformError(
            f"hipgw is not installed completely: {error}", hint="install it with `pip install .`"
        ) from None
    if background and _to_background(config_file.parent / _LOG):
        return 0
    try:
        return run(config, config_file.absolute(), call=called or "")
    except IdentityError as error:
        raise ConfigError(str(error), hint=error.hint) from None


def _to_background(log: Path) -> bool:
    """Go on as a process of its own, without a terminal; True in the one that is to end."""
    if os.fork():
        return True
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    return False
