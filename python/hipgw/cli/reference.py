"""Makes docs/cli.md from the commands themselves, so that the two never differ."""

import inspect
from collections.abc import Iterator

import click

from hipgw.cli.exits import MEANINGS
from hipgw.cli.main import SECTIONS, cli

_INTRODUCTION = """\
# Commands

<!-- Made by `tools/docs.py`; edit python/hipgw/cli/ instead. -->

`hipgw COMMAND --help` shows the same. Commands that ask a running daemon take `--json`, and
`--socket PATH` (or the environment variable `HIPGW_SOCKET`) when its control socket is not at
`/run/hipgw/control.sock`. Tables go to the standard output; in a pipe they are plain columns, one
row a line, not coloured, folded or cut. Errors and hints go to the standard error.

`eval "$(hipgw completion bash)"` completes commands, options and the names of peers.

## Exit statuses

| status | meaning |
|---|---|
"""


def render() -> str:
    """The whole document."""
    lines = [f"| {status.value} | {meaning} |" for status, meaning in MEANINGS.items()]
    parts = [_INTRODUCTION + "\n".join(lines) + "\n"]
    root = click.Context(cli, info_name="hipgw", max_content_width=100)
    for section, commands in SECTIONS.items():
        parts.append(f"## {section}\n")
        for command in commands:
            parts += _command(command, root)
    return "\n".join(parts)


def _command(command: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, parent, info_name=command.name)
    yield f"### `{context.command_path}`\n"
    pieces = [piece.replace("\b\n", "") for piece in command.collect_usage_pieces(context)]
    yield f"```\n{context.command_path} {' '.join(pieces)}\n```\n"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"
    options = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        and (record := parameter.get_help_record(context))
        and "--help" not in record[0]
    ]
    if options:
        yield "| option | meaning |\n|---|---|"
        for names, meaning in options:
            yield f"| `{_cell(names)}` | {_cell(meaning)} |"
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if inner := command.get_command(context, name):
                yield from _command(inner, context)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
