"""`hipgw lab`: networks of namespaces to try hipgw in. Root is needed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgw.cli import output
from hipgw.cli.options import json_option
from hipgw.errors import LabError

if TYPE_CHECKING:
    from hipgw.lab.topologies import GatewayNetwork

TOPOLOGIES = ("endbox-pair", "endbox-triangle", "host-pair")

_NAMESPACE = re.compile(r"hipgw-(?P<lab>[a-z][a-z0-9_]*-\d+)-(?P<host>.+)")
"""As `hipgw.lab.stale` names them: hipgw-NAME-PID-HOST."""


@click.group()
def lab() -> None:
    """Networks of namespaces on this machine, to try hipgw in (root only)."""


@lab.command("list")
@json_option
def list_labs(as_json: bool) -> None:
    """The labs on this machine, with their hosts."""
    found = _hosts()
    stale = set(_stale())
    rows = [
        {"lab": name, "stale": name in stale, "hosts": found.get(name, [])}
        for name in sorted(stale | found.keys())
    ]
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ("lab", "state", "hosts"),
        [
            (
                name,
                "left behind" if name in stale else "in use",
                " ".join(found.get(name, [])) or None,
            )
            for name in sorted(stale | found.keys())
        ],
    )


@lab.command()
def clean() -> None:
    """Remove what killed labs left behind; labs in use are left alone."""
    from hipgw.lab.stale import clean_stale

    _need_root()
    for name in clean_stale():
        click.echo(f"removed {name}")


@lab.command()
@click.option(
    "--stay",
    "stay_s",
    type=click.FloatRange(0, 86400),
    default=0.0,
    metavar="SECONDS",
    help="Leave the LANs joined for so long at the end.",
)
@click.pass_context
def demo(ctx: click.Context, stay_s: float) -> None:
    """Two endboxes join two LANs, live and measured; ends by itself."""
    from rich.console import Console

    from hipgw.lab.demo import run as play

    ctx.exit(play(Console(), keep_going_s=stay_s))


@lab.command()
@click.argument("topology", type=click.Choice(TOPOLOGIES))
@click.option(
    "--family",
    type=click.Choice(("4", "6")),
    default="4",
    show_default=True,
    help="Underlay: IPv4 or IPv6.",
)
@click.option(
    "--transport",
    type=click.Choice(("udp", "raw")),
    default="udp",
    show_default=True,
    help="What carries HIP and ESP.",
)
def run(topology: str, family: str, transport: str) -> None:
    """Build a network with running daemons, and keep it until Ctrl-C."""
    from hipgw.lab import topologies
    from hipgw.lab.lab import Lab

    _need_root()
    options: dict[str, Any] = {"family": int(family), "transport": transport}
    build = getattr(topologies, topology.replace("-", "_"))
    with Lab("run") as built:
        network = build(built, **options)
        network.start()
        _describe(network)
        try:
            signal.pause()
        except KeyboardInterrupt:
            click.echo("\nremoving it", err=True)


def _describe(network: "GatewayNetwork") -> None:
    rows: list[tuple[output.Cell, ...]] = []
    for site in network.sites:
        rows.append((site.gateway.name, str(site.daemon.hit), str(site.daemon.control_socket)))
        if site.lan_host is not None:
            rows.append((site.lan_host.name, f"{site.lan4}, {site.lan6}", None))
    output.print_table(("host", "HIT or LAN addresses", "control socket"), rows)
    click.echo("\nhipgw lab shell HOST opens a shell on one of them; Ctrl-C here removes all.")


@lab.command(context_settings={"ignore_unknown_options": True})
@click.option("--lab", "lab_name", metavar="LAB", help="Needed if the host's name is in several.")
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def shell(ctx: click.Context, lab_name: str | None, host: str, command: tuple[str, ...]) -> None:
    """Open a shell on a HOST of a lab, or run a COMMAND there."""
    _need_root()
    name = _namespace(host, lab_name)
    wanted = list(command) or [os.environ.get("SHELL") or "/bin/sh"]
    environment = {**os.environ, "PATH": _path_with_hipgw()}
    if found := _control_socket(name):
        environment["HIPGW_SOCKET"] = found
    ctx.exit(subprocess.run([*_entering(name), *wanted], env=environment, check=False).returncode)


def _path_with_hipgw() -> str:
    """Where programs are looked for, so that `hipgw` is found there too."""
    known = os.environ.get("PATH", os.defpath)
    return known if shutil.which("hipgw") else f"{known}:{Path(sys.executable).parent}"


def _entering(namespace: str) -> list[str]:
    """The beginning of a command that runs in a namespace."""
    from hipgw.platform.netns import DIRECTORY

    nsenter = shutil.which("nsenter")
    if nsenter is None:
        raise LabError("nsenter is not installed", hint="it is part of util-linux")
    return [nsenter, f"--net={DIRECTORY / namespace}", "--"]


def _namespace(host: str, lab_name: str | None) -> str:
    """The namespace of a host, which has to be clear."""
    labs = [
        name
        for name, hosts in _hosts().items()
        if host in hosts and (lab_name is None or name == lab_name)
    ]
    if len(labs) == 1:
        return f"hipgw-{labs[0]}-{host}"
    if labs:
        raise LabError(f"{host} is in several labs: {', '.join(labs)}", hint="choose with --lab")
    raise LabError(f"no lab has a host {host}", hint="`hipgw lab list` shows labs and hosts")


def _control_socket(namespace: str) -> str | None:
    """Where the daemon in a namespace listens, if one runs there.

    The kernel lists Unix sockets by network namespace (proc_net(5)): flags in the fourth column,
    of which 0x10000 is a listening one, and the path in the last.
    """
    listed = subprocess.run(
        [*_entering(namespace), "cat", "/proc/net/unix"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listed.stdout.splitlines()[1:]:
        columns = line.split(None, 7)
        if len(columns) == 8 and columns[3] == "00010000" and columns[7].endswith("/control.sock"):
            return columns[7]
    return None


def _hosts() -> dict[str, list[str]]:
    """Names of hosts by lab."""
    from hipgw.platform.netns import names

    found: dict[str, list[str]] = {}
    for name in names():
        if match := _NAMESPACE.fullmatch(name):
            found.setdefault(match["lab"], []).append(match["host"])
    return found


def _stale() -> list[str]:
    from hipgw.lab.stale import stale_labs

    return stale_labs()


def _need_root() -> None:
    if os.geteuid():
        raise LabError("a lab needs network namespaces, so root", hint="try it with sudo")
