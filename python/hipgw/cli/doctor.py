"""`hipgw doctor`: what this machine offers hipgw, and what it lacks."""

from pathlib import Path

import click

from hipgw.cli import output
from hipgw.cli.exits import Exit
from hipgw.cli.options import json_option

_MARKS = {
    "good": click.style("ok  ", fg="green"),
    "slow": click.style("slow", fg="yellow"),
    "bad": click.style("BAD ", fg="red", bold=True),
}


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Check also what this configuration needs.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, config_file: Path | None, as_json: bool) -> None:
    """Check what the kernel, the CPU and this user's rights offer.

    `ok` is there; `slow` is missing, and hipgw works without it at a lower speed or with fewer
    roles; `BAD` keeps the daemon from running. With --json they are `good`, `slow` and `bad`.
    Exits with status 1 if anything is BAD.
    """
    from hipgw.cli.checks import examine

    config = None
    if config_file is not None:
        from hipgw.config.load import load

        config = load(config_file)
    findings = examine(config)
    if as_json:
        output.print_json([finding.as_dict() for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            click.echo(f"{_MARKS[finding.verdict]}  {finding.name:<{width}}  {finding.detail}")
            if finding.hint and finding.verdict != "good":
                click.echo(f"{'':6}{'':{width}}  {click.style(finding.hint, dim=True)}")
    if any(finding.verdict == "bad" for finding in findings):
        ctx.exit(Exit.NO)
