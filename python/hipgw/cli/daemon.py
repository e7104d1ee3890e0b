"""The daemon's life: run, stop, check-config."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.exits import Exit
from hipgw.cli.options import connect_to_daemon, json_option, socket_option
from hipgw.errors import ConfigError, HipgwError, IdentityError, PlatformError

if TYPE_CHECKING:
    from hipgw.config.schema import Config
    from hipgw.identity.host_identity import LocalIdentity

LOG_FORMATS = ("auto", "human", "text", "json")
"""As `hipgw.config.names.LogFormat`, which takes longer to import than the help may take."""


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="The configuration, hipgw.toml; needed without --rvs or --mr.",
)
@click.option(
    "--rvs",
    is_flag=True,
    help="Be a rendezvous server, too. Without a configuration, or one that is not there yet, a "
    "key and a configuration that take every client are made.",
)
@click.option(
    "--mr",
    is_flag=True,
    help="Be a mobile router, too, with a configuration or without, as with --rvs.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log everything, each packet included.")
@click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    help="How to log; overrides daemon.log_format.",
)
@click.pass_context
def run(
    ctx: click.Context,
    config_file: Path | None,
    rvs: bool,
    mr: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C.

    Needs root to begin with; see daemon.user.
    """
    roles = [name for name, wanted in (("rvs", rvs), ("mobile_router", mr)) if wanted]
    if roles:
        from hipgw.cli.at_hand import at_hand

        config_file = at_hand(config_file, roles)
    if config_file is None:
        raise click.UsageError("Missing option '--config'.", ctx)
    from hipgw.config.load import load
    from hipgw.config.names import LogFormat, LogLevel

    config = load(config_file, add=roles)
    logging_choices: dict[str, object] = {}
    if verbose:
        logging_choices["log_level"] = LogLevel.DEBUG
    if log_format:
        logging_choices["log_format"] = LogFormat(log_format)
    daemon = config.daemon.model_copy(update=logging_choices)
    config = config.model_copy(update={"daemon": daemon})
    try:
        from hipgw.daemon.main import run as run_daemon
    except ImportError as error:
        raise PlatformError(
            f"hipgw is not installed completely: {error}", hint="install it with `pip install .`"
        ) from None
    try:
        ctx.exit(run_daemon(config, config_file.absolute()))
    except IdentityError as error:
        raise ConfigError(str(error), hint=error.hint) from None


@click.command()
@click.option(
    "-W",
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, 300),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for its end; 0 does not wait.",
)
@socket_option
@click.pass_context
def stop(ctx: click.Context, timeout_s: float, socket_path: Path | None) -> None:
    """Stop the daemon: associations are closed and its interfaces removed.

    Exits with status 1 if it was still there after the timeout.
    """
    with connect_to_daemon(socket_path) as client:
        client.stop()
        ended = timeout_s == 0 or client.wait_for_end(timeout_s)
    if not ended:
        click.echo(f"it still runs after {timeout_s:g} s", err=True)
        ctx.exit(Exit.NO)


@click.command("check-config")
@click.argument("config_file", metavar="FILE", type=click.Path(path_type=Path, readable=False))
@json_option
@click.pass_context
def check_config(ctx: click.Context, config_file: Path, as_json: bool) -> None:
    """Check a configuration file and the key that it names, without starting anything.

    Every mistake is named with its key; those between keys (a name that is there twice, say) once
    each is right by itself. Exits with status 4 if there is one.
    """
    from hipgw.config.load import load, load_identity
    from hipgw.config.mobile_router_consistency import mobile_router_warnings

    try:
        config = load(config_file)
        identity = load_identity(config, config_file)
    except HipgwError as error:
        if as_json:
            output.print_json({"good": False, "problems": _problems(error)})
            ctx.exit(Exit.CONFIG)
        if isinstance(error, IdentityError):
            raise ConfigError(str(error), hint=error.hint) from None
        raise
    warnings = mobile_router_warnings(config)
    if as_json:
        good = {"good": True, "problems": [], "hit": str(identity.hit)}
        output.print_json({**good, "warnings": warnings} if warnings else good)
        return
    _print_good(config_file, config, identity)
    for warning in warnings:
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)


def _problems(error: HipgwError) -> list[dict[str, str]]:
    from hipgw.config.load import InvalidConfigError

    if isinstance(error, InvalidConfigError):
        return [
            {"key": problem.key, "what": problem.what, "hint": problem.hint}
            for problem in error.problems
        ]
    return [{"key": "", "what": str(error), "hint": error.hint}]


def _print_good(config_file: Path, config: "Config", identity: "LocalIdentity") -> None:
    click.secho(f"{config_file} is good.", fg="green")
    click.echo()
    pairs: dict[str, output.Cell] = {
        "roles": ", ".join(config.roles),
        "identity": f"{identity.hit} ({identity.public.describe()})",
    }
    if config.host is not None:
        pairs["host"] = f"HIT and LSI at {config.host.interface}"
    if config.endbox is not None:
        ports = ", ".join(config.endbox.ports) or "no port"
        pairs["endbox"] = f"bridge {config.endbox.bridge}: {ports} and {config.endbox.interface}"
    if config.relay is not None:
        lent_ports = config.relay.port_range
        first_last = f"{lent_ports[0]} to {lent_ports[-1]}" if lent_ports else ""
        lent = f", ports {first_last} for data" if lent_ports else ""
        services = " and ".join(name.value for name in config.relay.services)
        pairs["relay"] = f"{services}{lent}"
    if config.rvs is not None:
        pairs["rvs"] = f"for {config.rvs.clients_max} clients"
    if config.mobile_router is not None:
        outside = (*config.mobile_router.external_interfaces,)
        outside = outside or config.mobility.preferred_interfaces
        by = ", ".join(outside) or "interfaces with a default route"
        pairs["mobile router"] = f"for {config.mobile_router.clients_max} clients, outside by {by}"
    if config.nat.relays:
        pairs["relays"] = f"registers with {', '.join(config.nat.relays)}"
    if config.rendezvous.servers:
        pairs["rendezvous"] = f"registers with {', '.join(config.rendezvous.servers)}"
    if config.mobile_node.routers:
        pairs["mobile node"] = f"registers with {', '.join(config.mobile_node.routers)}"
    output.print_pairs(pairs)
    if not config.peers:
        return
    click.echo()
    sharing = {peer.name for peer in config.endbox_peers}
    output.print_table(
        ("peer", "HIT", "addresses", "transport", "endbox"),
        [
            (
                peer.name,
                str(peer.hit),
                ", ".join(
                    [
                        *(f"by {server}" for server in peer.rvs),
                        *map(str, peer.addresses),
                        *(f"by {name}" for name in peer.relays),
                    ]
                )
                or "waits to be called",
                config.transport_of(peer).value,
                "yes" if peer.name in sharing else None,
            )
            for peer in config.peers
        ],
    )
