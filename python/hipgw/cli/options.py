"""Options and arguments that several commands share, and the way to the daemon."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from hipgw.control.client import ControlClient

Command = TypeVar("Command", bound=Callable[..., Any])

COMPLETION_TIMEOUT_S = 0.5


def socket_option(command: Command) -> Command:
    """`--socket PATH`, also from HIPGW_SOCKET; without it the daemon's default."""
    return click.option(
        "--socket",
        "socket_path",
        type=click.Path(path_type=Path, readable=False),
        envvar="HIPGW_SOCKET",
        show_envvar=True,
        metavar="PATH",
        help="Control socket of the daemon.  [default: /run/hipgw/control.sock]",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")(
        command
    )


def peer_argument(command: Command) -> Command:
    """`PEER`, completed from what the daemon knows."""
    return click.argument("peer", metavar="PEER", shell_complete=_complete_peer)(command)


def connect_to_daemon(socket_path: Path | None) -> "ControlClient":
    """Open the control socket. Raises NotReachableError."""
    from hipgw.control.client import ControlClient

    return ControlClient(socket_path)


def complete_peer_names(socket_path: Path | None, incomplete: str) -> list[str]:
    """Names of peers that begin so; none if the daemon cannot be asked."""
    from hipgw.control.client import ControlClient
    from hipgw.errors import HipgwError

    try:
        with ControlClient(socket_path, timeout_s=COMPLETION_TIMEOUT_S) as client:
            names = [peer["name"] or peer["hit"] for peer in client.peers()]
    except (HipgwError, KeyError, TypeError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def _complete_peer(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    found = complete_peer_names(ctx.params.get("socket_path"), incomplete)
    return [CompletionItem(name) for name in found]
