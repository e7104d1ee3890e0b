"""What OpenHIP's commands share here: where its files are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def folder_option(command: Command) -> Command:
    """`--sysconfdir DIR`."""
    return click.option(
        "--sysconfdir",
        "folder",
        type=click.Path(path_type=Path, readable=False),
        envvar="HIPGW_OPENHIP_DIR",
        show_envvar=True,
        metavar="DIR",
        help="Where OpenHIP's files are.  [default: /usr/local/etc/hip, or /etc/hip]",
    )(command)


def folders(folder: Path | None) -> list[Path]:
    """Where OpenHIP looks for its files: the current folder first."""
    from hipgw.config.openhip.directory import SYSTEM_FOLDERS

    return [Path(), *([folder] if folder is not None else SYSTEM_FOLDERS)]


def system_folder(folder: Path | None) -> Path:
    """Where OpenHIP's files are written: the first of its folders that is there."""
    from hipgw.config.openhip.directory import SYSTEM_FOLDERS

    if folder is not None:
        return folder
    return next((place for place in SYSTEM_FOLDERS if place.is_dir()), SYSTEM_FOLDERS[-1])
