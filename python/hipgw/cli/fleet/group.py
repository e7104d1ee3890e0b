"""The command `hipgw fleet` with its sub-commands."""

import click

from hipgw.cli.fleet import listing, signing
from hipgw.cli.fleet.status import status
from hipgw.cli.shown import ErrorsShown


class FleetGroup(ErrorsShown, click.Group):
    """The commands of `hipgw fleet`."""


@click.group(cls=FleetGroup)
def fleet() -> None:
    """The directory of a fleet: who belongs to it, signed by its operator.

    A directory is a TOML file or lies in etcd. Machines believe nothing in it that the operator has
    not signed; see docs/fleet.md.
    """


for _command in (
    signing.keygen,
    signing.add,
    signing.remove,
    signing.sign,
    listing.list_entries,
    listing.verify_entries,
    status,
):
    fleet.add_command(_command)
