"""A fleet's directory in one TOML file that is watched: `[[entry]]` tables.

The file may lie on a share, be copied by whatever configures machines, or be a symbolic link that
is turned to another file: what is watched is its folder, and a look at the file from time to time
catches what no notice was given of.
"""

import asyncio
import os
import tempfile
import tomllib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from watchfiles import awatch

from hipgw.errors import NamingError
from hipgw.naming.fleet.directory import WIRE_MAX, Batch, Offered, safe_name

LOOK_S = 5.0
"""How often the file is looked at without any notice, as on file systems that give none."""
_DEBOUNCE_MS = 200
_HEADER = "# Entries of a hipgw fleet. They are signed: change them by `hipgw fleet`.\n\n"


class TomlDirectory:
    """One TOML file."""

    def __init__(self, file: Path, *, look_s: float = LOOK_S) -> None:
        self.name = str(file)
        self._file = file
        self._look_s = look_s

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """The whole file, at first and whenever it has changed; see `Directory`."""
        notices = self._notices()
        try:
            # Watched before it is read, so that nothing happens between the two.
            notice = asyncio.ensure_future(anext(notices))
            await asyncio.sleep(0)
            seen: tuple[int, ...] | None = None
            while True:
                stamp = await asyncio.to_thread(_stamp, self._file)
                if stamp != seen:
                    yield Batch(await self.read(), whole=True)
                    seen = stamp
                await notice
                notice = asyncio.ensure_future(anext(notices))
        except OSError as error:
            raise NamingError(f"{self._file.parent} cannot be watched: {error}") from None
        except StopAsyncIteration:
            raise NamingError(f"{self._file.parent} is not watched any more") from None
        finally:
            notice.cancel()
            await asyncio.gather(notice, return_exceptions=True)
            await notices.aclose()

    async def _notices(self) -> AsyncGenerator[None, None]:
        """Something has changed in the folder, or a while is over."""
        async for _ in awatch(
            self._file.parent,
            recursive=False,
            debounce=_DEBOUNCE_MS,
            rust_timeout=int(self._look_s * 1000),
            yield_on_timeout=True,
        ):
            yield

    async def read(self) -> Sequence[Offered]:
        """Everything in the file. Raises NamingError."""
        return await asyncio.to_thread(read_file, self._file)

    async def write(self, table: dict[str, Any], _read: Sequence[Offered]) -> None:
        """Put an entry in the place of the one with its name. Raises NamingError."""
        await asyncio.to_thread(_write, self._file, table)

    async def close(self) -> None:
        """Nothing is open."""


def read_file(file: Path) -> list[Offered]:
    """The entries of a TOML file. Raises NamingError if it is none, or has anything else."""
    try:
        with file.open("rb") as opened:
            data = opened.read(WIRE_MAX + 1)
    except OSError as error:
        raise NamingError(f"{file}: {error.strerror or error}") from None
    if len(data) > WIRE_MAX:
        raise NamingError(f"{file}: larger than {WIRE_MAX >> 20} MB")
    try:
        tables = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise NamingError(f"{file}: it is no TOML file: {error}") from None
    entries = tables.pop("entry", [])
    if tables or not isinstance(entries, list):
        raise NamingError(f"{file}: it may have [[entry]] tables, and nothing else")
    return [
        Offered(f"entry[{index}]", entry if isinstance(entry, dict) else None)
        for index, entry in enumerate(entries)
    ]


def _write(file: Path, table: dict[str, Any]) -> None:
    name = safe_name(table)
    entries = []
    if file.exists():
        entries = [offered.table for offered in read_file(file) if offered.table is not None]
    entries = [entry for entry in entries if entry.get("name") != name]
    entries.append(table)
    entries.sort(key=lambda entry: str(entry.get("name")))
    temporary = ""
    try:
        # Beside it, so that a machine that reads it meanwhile sees the old one or the new one.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(descriptor, file.stat().st_mode & 0o777 if file.exists() else 0o644)
            opened.write(_HEADER.encode() + tomli_w.dumps({"entry": entries}).encode())
            opened.flush()
            os.fsync(descriptor)
        Path(temporary).replace(file.resolve() if file.is_symlink() else file)
    except OSError as error:
        raise NamingError(f"{file}: it cannot be written: {error.strerror}") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _stamp(file: Path) -> tuple[int, ...]:
    """What changes with the file."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
