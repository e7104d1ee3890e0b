"""How errors of commands reach the user: a text, a hint and an exit status, never a traceback."""

import errno
import os
import sys
from typing import Any

import click

from hipgw.cli.exits import Exit, exit_of
from hipgw.errors import HipgwError


class ErrorsShown(click.Command):
    """A command that turns errors into a text, a hint and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; no HipgwError ever shows a traceback."""
        try:
            return super().invoke(ctx)
        except HipgwError as error:
            show_error(error)
            ctx.exit(exit_of(error))
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(Exit.INTERRUPTED)
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            # The reader of a pipe went away (`hipgw events | head`). What is still buffered must
            # not raise again while Python shuts down.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(Exit.OK)


def show_error(error: HipgwError) -> None:
    """Write an error and its hint to standard error."""
    label = click.style("error:", fg="red", bold=True)
    for line in str(error).splitlines():
        click.echo(f"{label} {line}", err=True)
    if error.hint:
        click.echo(f"{click.style('hint:', fg='yellow', bold=True)}  {error.hint}", err=True)
