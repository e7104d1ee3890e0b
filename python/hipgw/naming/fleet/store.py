"""What was known of the fleet last, on disk: for when the directory is away, or shows old entries.

Entries are kept as they were signed and are verified again when they are read: whoever can write to
the file can admit nobody by it.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hipgw.errors import NamingError
from hipgw.naming.fleet.book import ENTRIES_MAX
from hipgw.naming.fleet.entry import Entry

_SCHEMA = "CREATE TABLE IF NOT EXISTS entries (name TEXT PRIMARY KEY, body TEXT NOT NULL)"
_PUT = (
    "INSERT INTO entries (name, body) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET body = excluded.body"
)


class Store:
    """The newest entry of each name, in one SQLite file.

    Every method may block, and may be called from any thread, one at a time.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None

    def load(self) -> list[dict[str, Any]]:
        """Tables as they were kept; none if there is no file yet. Raises NamingError."""
        try:
            rows = self._open().execute("SELECT body FROM entries LIMIT ?", (ENTRIES_MAX,))
            bodies = [str(body) for (body,) in rows]
        except (sqlite3.Error, OSError) as error:
            raise NamingError(f"{self._file}: {error}") from None
        tables = []
        for body in bodies:
            with contextlib.suppress(ValueError, RecursionError):
                table = json.loads(body)
                if isinstance(table, dict):
                    tables.append(table)
        return tables

    def save(self, entries: Iterable[Entry]) -> None:
        """Keep these; those of other names stay. Raises NamingError."""
        rows = [(entry.name, json.dumps(entry.table)) for entry in entries]
        try:
            connection = self._open()
            with connection:
                connection.executemany(_PUT, rows)
        except (sqlite3.Error, OSError) as error:
            raise NamingError(f"{self._file}: {error}") from None

    def close(self) -> None:
        """Be done with the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # Nobody else need know who the fleet is.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            connection = sqlite3.connect(self._file, check_same_thread=False, timeout=2.0)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                # An entry that was acted on is not to be forgotten: the older one could come back.
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection
