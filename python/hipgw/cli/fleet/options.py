"""Options that commands of `hipgw fleet` share."""

from pathlib import Path

import click

from hipgw.cli.options import Command


def place_options(command: Command) -> Command:
    """Where the directory is: `place`, `config_file` and `fleet_name`."""
    for option in (
        click.option(
            "--fleet",
            "fleet_name",
            metavar="NAME",
            help='With --directory: the fleet\'s name.  [default: "fleet"]',
        ),
        click.option(
            "-d",
            "--directory",
            "place",
            metavar="PLACE",
            help="The directory: a TOML file, or http://HOST:PORT/PREFIX of an etcd.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, readable=False),
            metavar="FILE",
            help="A hipgw.toml whose [fleet] says where the directory is.",
        ),
    ):
        command = option(command)
    return command


def key_option(command: Command) -> Command:
    """What is signed with: `key_file`."""
    return click.option(
        "--key",
        "key_file",
        type=click.Path(path_type=Path, readable=False),
        required=True,
        envvar="HIPGW_FLEET_KEY",
        show_envvar=True,
        metavar="FILE",
        help="The operator's private key.",
    )(command)


def operator_option(command: Command) -> Command:
    """Whose signatures count: `operator_keys`."""
    return click.option(
        "--operator-key",
        "operator_keys",
        metavar="KEY",
        multiple=True,
        help="With --directory: a public key of the operators, ed25519:…; may be repeated.",
    )(command)
