"""The `hipgw` command: its sub-commands, and how errors reach the user."""

import click

from hipgw.cli import (
    addresses,
    completion,
    contact,
    daemon,
    dns_record,
    doctor,
    endbox,
    events,
    keys,
    lab,
    mobile_router,
    queries,
    registrations,
    resolve,
)
from hipgw.cli.fleet.group import fleet
from hipgw.cli.openhip import tools as openhip_tools
from hipgw.cli.openhip import transfer
from hipgw.cli.shown import ErrorsShown

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Set up": (
        keys.keygen,
        keys.show_identity,
        dns_record.dns_record,
        daemon.check_config,
        doctor.doctor,
    ),
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
        mobile_router.mobile_router,
        resolve.resolve,
        events.events,
    ),
    "Act": (contact.ping, contact.connect, contact.close, contact.rekey),
    "Fleet": (fleet,),
    "OpenHIP": (transfer.import_, transfer.export, openhip_tools.openhip),
    "Try out": (lab.lab,),
    "Shell": (completion.completion,),
}


class HipgwGroup(ErrorsShown, click.Group):
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
