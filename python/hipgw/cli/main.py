"""The `hipgw` command: its sub-commands, and how errors reach the user."""

import errno
import os
import sys
from typing import Any

import click

from hipgw.cli import (
    addresses,
    completion,
    contact,
    daemon,
    doctor,
    endbox,
    events,
    keys,
    lab,
    queries,
    registrations,
)
from hipgw.cli.exits import Exit, exit_of
from hipgw.errors import HipgwError

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Set up": (keys.keygen, keys.show_identity, daemon.check_config, doctor.doctor),
    "Run": (daemon.run, daemon.stop),
    "Ask": (
        queries.status,
        queries.peers,
        queries.associations,
        queries.security_associations,
        queries.mac_table,
        endbox.endbox,
        queries.counters,
        addresses.addresses,
        registrations.registrations,
        events.events,
    ),
    "Act": (contact.ping, contact.connect, contact.close, contact.rekey),
    "Try out": (lab.lab,),
    "Shell": (completion.completion,),
}


class HipgwGroup(click.Group):
    """Lists commands by purpose, and turns errors into a text, a hint and an exit status."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each section."""
        width = max(len(name) for name in self.list_commands(ctx))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (f"{command.name:<{width}}", command.get_short_help_str(100))
                        for command in commands
                    ]
                )

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; no HipgwError ever shows a traceback."""
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


@click.group(
    cls=HipgwGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="hipgw", prog_name="hipgw", message="%(prog)s %(version)s")
def cli() -> None:
    """Host Identity Protocol gateway: encrypted LANs and hosts with cryptographic names."""


for _commands in SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)


def main() -> None:
    """Entry point of the `hipgw` program."""
    cli.main(prog_name="hipgw")


if __name__ == "__main__":
    main()
