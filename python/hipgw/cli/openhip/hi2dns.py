"""`hi2dns`: HIP resource records of the own identities."""

from pathlib import Path

import click

from hipgw.cli.openhip.options import HELP, folder_option, folders
from hipgw.cli.shown import ErrorsShown


@click.command("hi2dns", cls=ErrorsShown, context_settings=HELP)
@click.argument(
    "file", metavar="[FILE.xml]", type=click.Path(path_type=Path, readable=False), required=False
)
@click.option("--djb", is_flag=True, help="Write lines for tinydns-data instead.")
@folder_option
def hi2dns(file: Path | None, djb: bool, folder: Path | None) -> None:
    """Write the DNS records of the identities in my_host_identities.xml (RFC 8005).

    Their names are those of the identities without the length behind the last dash.
    """
    from hipgw.config.openhip.directory import OpenHipFiles
    from hipgw.config.openhip.hosts import read_my_hosts
    from hipgw.config.openhip.records import tinydns_line, zone_lines

    source = file or OpenHipFiles.located(folders(folder)).mine
    for host in read_my_hosts(source).hosts:
        click.echo(tinydns_line(host, source) if djb else zone_lines(host, source))
