"""`hipgw run --rvs` or `--mr` without a configuration: one is made that needs no decisions."""

from collections.abc import Sequence
from pathlib import Path

import click

from hipgw.errors import ConfigError

FOLDER = Path("/var/lib/hipgw")

KEYS = (("host.pem", "ecdsa-p256"), ("host-v1.pem", "rsa2048"))
WHAT = {
    "rvs": "a rendezvous server for everybody",
    "mobile_router": "a mobile router for everybody behind it",
}
"""What each role is that can be had so; by its table."""
_TEXT = """\
# Made by `hipgw run`: {what}.

[identity]
key_file = "{keys}host.pem"
key_file_v1 = "{keys}host-v1.pem"

[hip]
accept = "any"              # "peers" and [[peer]] tables let in only those
versions = ["v2", "v1"]     # clients choose; OpenHIP has version 1 alone

{tables}"""


def at_hand(config_file: Path | None, roles: Sequence[str]) -> Path:
    """The configuration to be read: the file named, or the usual one; made if it is not there.

    *roles* are of `WHAT`, at least one. Keys that are there already are kept, also those that were
    made for another role: clients know this machine by them. Raises HipgwError.
    """
    from hipgw.identity.host_identity import LocalIdentity
    from hipgw.identity.keyfile import save_key_file

    path = config_file or _folder(roles[0]) / "hipgw.toml"
    others = [] if config_file is not None else [one for one in WHAT if _folder(one) != path.parent]
    others = [one for one in others if (_folder(one) / KEYS[0][0]).exists()]
    if path.exists():
        return path
    own = [path.parent / name for name, _ in KEYS if (path.parent / name).exists()]
    keys = f"../{_folder(others[0]).name}/" if others and not own else ""
    what = " and ".join(WHAT[role] for role in roles)
    tables = "".join(f"[{role}]\n" for role in roles)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, kind in KEYS:
            key_file = path.parent / keys / name
            if not key_file.exists():
                save_key_file(key_file, LocalIdentity.generate(kind))  # type: ignore[arg-type]
        path.write_text(_TEXT.format(what=what, tables=tables, keys=keys))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be made: {error.strerror}",
            hint="run as root, or name a file with --config FILE",
        ) from None
    beside = f"with the keys of {_folder(others[0])}" if keys else "and keys beside it"
    click.echo(f"made {path}, {beside}: every client is taken", err=True)
    return path


def _folder(role: str) -> Path:
    return FOLDER / role.replace("_", "-")
