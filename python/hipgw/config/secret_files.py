"""Secrets that stand in files of their own, in hexadecimal, readable by their owner only."""

from pathlib import Path

from hipgw.errors import ConfigError, IdentityError
from hipgw.identity.keyfile import read_private_file


def load_hex_key(path: Path, octets: int) -> bytes:
    """Read a key of so many octets, which may be separated by spaces or begin with 0x.

    Raises ConfigError for a file that others may read or that holds something else; no text of an
    error has anything of it.
    """
    data = _read(path)
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


def load_password(path: Path) -> str:
    """Read a password: the first line of a file.

    Raises ConfigError for a file that others may read or that is empty; no text of an error has
    anything of it.
    """
    lines = _read(path).decode(errors="replace").splitlines()
    if not lines or not lines[0]:
        raise ConfigError(f"{path}: there is no password in the first line")
    return lines[0]


def _read(path: Path) -> bytes:
    try:
        return read_private_file(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: the key file cannot be read: {error.strerror}") from None
    except IdentityError as error:
        raise ConfigError(str(error), hint=error.hint) from None
