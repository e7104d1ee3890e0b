"""`hipgw run --rvs` without a configuration: one is made that leaves nothing to be decided."""

from pathlib import Path

import click

from hipgw.errors import ConfigError

DEFAULT_FILE = Path("/var/lib/hipgw/rvs/hipgw.toml")

_KEYS = (("host.pem", "ecdsa-p256"), ("host-v1.pem", "rsa2048"))
_TEXT = """\
# Made by `hipgw run --rvs`: a rendezvous server for everybody.

[identity]
key_file = "host.pem"
key_file_v1 = "host-v1.pem"

[hip]
accept = "any"              # "peers" and [[peer]] tables let in only those
versions = ["v2", "v1"]     # clients choose; OpenHIP has version 1 alone

[rvs]
"""


def at_hand(config_file: Path | None) -> Path:
    """The configuration to be read: the file named, or the usual one; made if it is not there.

    Keys that are there already are kept. Raises HipgwError.
    """
    from hipgw.identity.host_identity import LocalIdentity
    from hipgw.identity.keyfile import save_key_file

    path = config_file or DEFAULT_FILE
    if path.exists():
        return path
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, kind in _KEYS:
            key_file = path.parent / name
            if not key_file.exists():
                save_key_file(key_file, LocalIdentity.generate(kind))  # type: ignore[arg-type]
        path.write_text(_TEXT)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be made: {error.strerror}",
            hint="run as root, or name a file with --config FILE",
        ) from None
    click.echo(f"made {path}, and keys beside it: every client is taken", err=True)
    return path
