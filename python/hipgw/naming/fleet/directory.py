"""What a place is that a fleet's entries are kept in."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hipgw.errors import NamingError
from hipgw.naming.fleet.entry import NAME

WIRE_MAX = 64 * 1024 * 1024
"""Octets of a whole directory; 65,536 entries need some 30 MB."""


@dataclass(frozen=True, slots=True)
class Offered:
    """One thing that stands in a directory; nothing of it is verified."""

    where: str
    """Its place, for a log."""
    table: dict[str, Any] | None
    """None if it is none."""
    version: int = 0
    """By which the directory knows whether it was changed since."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a directory has, or what is new in it."""

    entries: Sequence[Offered] = ()
    whole: bool = False
    """These are all that there are; else those that were changed."""
    gone: Sequence[str] = ()
    """Names that the directory has no more; not needed if it is `whole`."""


class Directory(Protocol):
    """One place that can be read, and that tells when it changes."""

    name: str
    """What logs and commands call it."""

    def batches(self) -> AsyncGenerator[Batch, None]:
        """First everything that it has, then what changes, for ever.

        Raises NamingError when it cannot be read; it may then be called again.
        """


class WritableDirectory(Protocol):
    """One place that an operator changes."""

    name: str

    async def read(self) -> Sequence[Offered]:
        """Everything that it has. Raises NamingError."""

    async def write(self, table: dict[str, Any], read: Sequence[Offered]) -> None:
        """Put an entry in the place of the one with its name, if that still is what was *read*.

        Raises NamingError.
        """

    async def close(self) -> None:
        """Be done with it."""


def safe_name(table: dict[str, Any]) -> str:
    """The name of an entry that is to be written. Raises NamingError."""
    name = table.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise NamingError("an entry needs a name of 1 to 63 letters, digits, '.', '_' or '-'")
    return name
