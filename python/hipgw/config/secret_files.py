"""Secrets that stand in files of their own, in hexadecimal, readable by their owner only."""

import os
import stat
from pathlib import Path

from hipgw.errors import ConfigError

_LIMIT_OCTETS = 4096


def load_hex_key(path: Path, octets: int) -> bytes:
    """Read a key of so many octets, which may be separated by spaces or begin with 0x.

    Raises ConfigError for a file that others may read or that holds something else; no text of an
    error has anything of it.
    """
    try:
        # O_NONBLOCK: a FIFO in the file's place must not hang the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"{path}: the key file cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: the key file is not a regular file")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError(
                f"{path}: the key file is open to others (mode {mode:04o})",
                hint=f"chmod 600 {path}",
            )
        data = file.read(_LIMIT_OCTETS)
    text = b"".join(data.split()).removeprefix(b"0x")
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise ConfigError(f"{path}: the key is not written in hexadecimal") from None
    if len(key) != octets:
        raise ConfigError(
            f"{path}: the key has {len(key)} octets, and {octets} are needed",
            hint=f"`openssl rand -hex {octets}` makes one",
        )
    return key
