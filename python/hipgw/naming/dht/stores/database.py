"""A SQLite file in the daemon's state folder, used from a thread of its own."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hipgw.errors import NamingError

Result = TypeVar("Result")

_FORMAT = 1
"""`user_version` of files that are laid out as below."""
_SCHEMA = """
CREATE TABLE records (
    key BLOB, application TEXT, value BLOB, value_hash BLOB, expires INTEGER, secret_hash BLOB,
    PRIMARY KEY (key, application, value_hash, secret_hash)
) WITHOUT ROWID;
CREATE INDEX records_expire ON records (expires);
CREATE TABLE removed (
    key BLOB, application TEXT, value BLOB, secret BLOB, expires INTEGER,
    PRIMARY KEY (key, application, value, secret)
) WITHOUT ROWID;
CREATE TABLE newest (key BLOB PRIMARY KEY, sequence INTEGER, digest BLOB, touched INTEGER)
    WITHOUT ROWID;
CREATE INDEX newest_touched ON newest (touched);
CREATE TABLE superseded (key BLOB, digest BLOB, expires INTEGER, PRIMARY KEY (key, digest))
    WITHOUT ROWID;
"""


class Database:
    """The file. A disk that is slow holds up who waits for an answer, and not the event loop."""

    def __init__(self, file: Path | None) -> None:
        """None: in memory, for tests. Raises NamingError if the file cannot be used."""
        self._thread = ThreadPoolExecutor(1, "hipgw-dht")
        try:
            self._connection = self._thread.submit(_open, file).result()
        except sqlite3.Error as error:
            self._thread.shutdown(wait=False)
            raise NamingError(
                f"the DHT's records in {file} cannot be used: {error}",
                hint="move the file away: hosts publish what is theirs again",
            ) from None

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do something in one transaction; NamingError if the file does not let it."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._transact, work)
        except sqlite3.Error as error:
            raise NamingError(f"the DHT's records cannot be read or written: {error}") from None

    def close(self) -> None:
        """Close the file when what is under way has been done."""
        with contextlib.suppress(sqlite3.Error):
            self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    def _transact(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with _transaction(self._connection) as connection:
            return work(connection)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _open(file: Path | None) -> sqlite3.Connection:
    name = ":memory:" if file is None else str(file)
    if file is not None:
        # It holds the secrets of who removes records.
        file.touch(mode=0o600)
    connection = sqlite3.connect(name, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    # What a power failure takes is published again.
    connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(_SCHEMA + f"PRAGMA user_version = {_FORMAT};")
    elif version != _FORMAT:
        connection.close()
        raise sqlite3.DatabaseError(f"it has format {version}, and {_FORMAT} is known")
    return connection
