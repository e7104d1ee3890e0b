"""`hipstatus`: what runs, asked for by OpenHIP's words."""

import sys
from pathlib import Path

import click

from hipgw.cli import queries
from hipgw.cli.openhip.options import HELP
from hipgw.cli.options import socket_option
from hipgw.cli.shown import ErrorsShown, show_error
from hipgw.errors import HipgwError

WORDS: dict[str, tuple[click.Command, str]] = {
    "threads": (queries.status, "what the daemon does"),
    "ids": (queries.status, "the own identity"),
    "peers": (queries.peers, "the peers and their addresses"),
    "lsi": (queries.peers, "the peers and their LSIs"),
    "dst": (queries.associations, "the associations and their paths"),
    "sadb": (queries.security_associations, "the security associations"),
    "spi": (queries.security_associations, "the security associations by SPI"),
}
_LEAVE = ("quit", "exit", "q")
_PROMPT = "hipstatus> "


@click.command("hipstatus", cls=ErrorsShown, context_settings=HELP)
@click.argument("words", metavar="[WORD]...", nargs=-1, type=click.Choice(list(WORDS)))
@socket_option
@click.pass_context
def hipstatus(ctx: click.Context, words: tuple[str, ...], socket_path: Path | None) -> None:
    """Ask the daemon by OpenHIP's words: threads, ids, peers, lsi, dst, sadb, spi.

    Without a WORD, they are read from the standard input, one a line, until `quit`. Unlike
    OpenHIP's, it asks by a socket that only root and `daemon.control_group` can use.
    """
    for word in words:
        _answer(ctx, word, socket_path)
    if words:
        return
    terminal = sys.stdin.isatty()
    while True:
        if terminal:
            click.echo(_PROMPT, nl=False)
        line = sys.stdin.readline()
        word = line.strip().lower()
        if not line or word in _LEAVE:
            return
        if word in WORDS:
            try:
                _answer(ctx, word, socket_path)
            except HipgwError as error:
                show_error(error)
        elif word:
            for known, (_, meaning) in WORDS.items():
                click.echo(f"  {known:<8} {meaning}")
            click.echo(f"  {_LEAVE[0]:<8} leave")


def _answer(ctx: click.Context, word: str, socket_path: Path | None) -> None:
    command = WORDS[word][0]
    arguments = ["--socket", str(socket_path)] if socket_path is not None else []
    with command.make_context(word, arguments, parent=ctx) as inner:
        command.invoke(inner)
