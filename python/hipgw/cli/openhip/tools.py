"""OpenHIP's commands: as `hipgw openhip …`, and as programs of their own.

The programs are installed as hipgw-hip, hipgw-hitgen and so on, so that they stand beside OpenHIP's
without a clash; docs/openhip.md says how to give them OpenHIP's names.
"""

import click

from hipgw.cli.openhip.daemon import hip
from hipgw.cli.openhip.hi2dns import hi2dns
from hipgw.cli.openhip.hipstatus import hipstatus
from hipgw.cli.openhip.hitgen import hitgen

TOOLS: tuple[click.Command, ...] = (hip, hitgen, hipstatus, hi2dns)


@click.group()
def openhip() -> None:
    """OpenHIP's commands with its options; also installed as hipgw-hip, hipgw-hitgen, …"""


for _tool in TOOLS:
    openhip.add_command(_tool)


def hip_program() -> None:
    """Entry point of `hipgw-hip`."""
    hip.main(prog_name="hip")


def hitgen_program() -> None:
    """Entry point of `hipgw-hitgen`."""
    hitgen.main(prog_name="hitgen")


def hipstatus_program() -> None:
    """Entry point of `hipgw-hipstatus`."""
    hipstatus.main(prog_name="hipstatus")


def hi2dns_program() -> None:
    """Entry point of `hipgw-hi2dns`."""
    hi2dns.main(prog_name="hi2dns")
