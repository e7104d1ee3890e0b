"""Where a fleet's directory is, and what `hipgw fleet` reads and writes there."""

import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hipgw.errors import NamingError

if TYPE_CHECKING:
    from hipgw.config.schema import FleetConfig
    from hipgw.identity.operator_key import OperatorKey, OperatorPublicKey
    from hipgw.naming.fleet.directory import Offered, WritableDirectory
    from hipgw.naming.fleet.entry import Entry

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Place:
    """A directory, and whose signatures count in it."""

    name: str
    """Of the fleet."""
    directory: "WritableDirectory"
    keys: "tuple[OperatorPublicKey, ...]"

    def entries(self, read: "Sequence[Offered]") -> "list[tuple[Offered, Entry | None, str]]":
        """Each thing that was read, the entry that it is, and else why it is none."""
        from hipgw.naming.fleet.entry import EntryError, verify

        judged: list[tuple[Offered, Entry | None, str]] = []
        for offered in read:
            entry, reason = None, "it is no table"
            if offered.table is not None:
                try:
                    entry, reason = verify(offered.table, self.keys, self.name), ""
                except EntryError as error:
                    reason = str(error)
            judged.append((offered, entry, reason))
        return judged

    def known(self, read: "Sequence[Offered]", name: str) -> "Entry | None":
        """The newest signed entry of a name."""
        found = [entry for _, entry, _ in self.entries(read) if entry and entry.name == name]
        return max(found, key=lambda entry: entry.revision, default=None)


def at_place(
    work: Callable[[Place], Awaitable[_Result]],
    config_file: Path | None,
    place: str | None,
    fleet_name: str | None,
    keys: "tuple[OperatorPublicKey, ...]",
) -> _Result:
    """Do some work at the directory that the options name."""
    import asyncio

    from hipgw.daemon.fleet_directory import open_directories
    from hipgw.identity.operator_key import OperatorPublicKey

    if (config_file is None) == (place is None):
        raise click.UsageError("give --config FILE, or --directory PLACE")
    if config_file is not None:
        config = _configured(config_file)
        keys = tuple(dict.fromkeys((*map(OperatorPublicKey.parse, config.operator_keys), *keys)))
    else:
        config = _fleet_config(str(place), fleet_name or "fleet", keys)

    async def run() -> _Result:
        # With two places, the first one is the operator's: --directory names the other.
        directory = open_directories(config)[0]
        try:
            return await work(Place(config.name, directory, keys))
        finally:
            await directory.close()

    return asyncio.run(run())


async def read_or_nothing(at: Place) -> "Sequence[Offered]":
    """What the directory has; nothing if it is a file that is not there yet."""
    path = Path(at.directory.name)
    if path.is_absolute() and not path.exists():
        return ()
    return await at.directory.read()


async def write(
    at: Place, read: "Sequence[Offered]", key: "OperatorKey", table: dict[str, Any]
) -> int:
    """Sign a table as the newest entry of its name, and write it; returns its revision."""
    from hipgw.naming.fleet.entry import sign as sign_entry

    known = at.known(read, str(table.get("name")))
    # Milliseconds, so that they grow also if the directory was lost; and above what is there.
    revision = max(int(time.time() * 1000), known.revision + 1 if known is not None else 0)
    signed = sign_entry({**table, "fleet": at.name, "revision": revision}, key)
    if not signed.get("removed"):
        _check_peer(signed, key, at.name)
    await at.directory.write(signed, read)
    return revision


def warn_of_others(at: Place, read: "Sequence[Offered]", name: str, table: dict[str, Any]) -> None:
    """Say that another name has the same HIT: of the two, machines take the newer one alone."""
    hits = set()
    for key in ("hit", "hit_v1"):
        # What is no HIT is refused later.
        with contextlib.suppress(ValueError):
            hits.add(IPv6Address(str(table.get(key))))
    for other in sorted({entry.name for _, entry, _ in at.entries(read) if entry} - {name}):
        known = at.known(read, other)
        if known is not None and known.valid_at(time.time()) and hits & set(known.hits):
            click.echo(
                f"warning: {name} has the HIT of {other}, which machines will not know any more",
                err=True,
            )


def _check_peer(signed: dict[str, Any], key: "OperatorKey", fleet_name: str) -> None:
    """Refuse what machines would not make a peer of. Raises NamingError."""
    from pydantic import ValidationError

    from hipgw.config.schema import PeerConfig
    from hipgw.naming.fleet.entry import verify

    try:
        PeerConfig.model_validate(verify(signed, [key.public], fleet_name).peer())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        text = ": ".join(part for part in (where, first["msg"]) if part)
        raise NamingError(f"{signed['name']}: {text}") from None


def _configured(config_file: Path) -> "FleetConfig":
    from hipgw.config.load import load

    config = load(config_file)
    if config.fleet is None:
        raise click.UsageError(f"{config_file} has no [fleet]")
    return config.fleet


def _fleet_config(
    place: str, fleet_name: str, keys: "tuple[OperatorPublicKey, ...]"
) -> "FleetConfig":
    from pydantic import ValidationError

    from hipgw.config.schema import FleetConfig

    table: dict[str, Any] = {"name": fleet_name, "operator_keys": [str(key) for key in keys]}
    if match := re.fullmatch(r"(https?://[^/]+)(/.*)?", place):
        table["etcd"] = [match[1]]
        if match[2] and match[2] != "/":
            table["etcd_prefix"] = match[2]
    else:
        table["file"] = str(Path(place).absolute())
    try:
        return FleetConfig.model_validate(table)
    except ValidationError as error:
        text = error.errors(include_url=False)[0]["msg"]
        raise click.BadParameter(text, param_hint="--directory or --fleet") from None
