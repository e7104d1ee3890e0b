"""Records on this machine alone: the default store of a gateway.

As with OpenDHT, one value is there as often as it was put with another secret: who shows a secret
takes away what came with it, and not what somebody else has put.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence

from hipgw.naming.dht.stores.base import Holding, Stored, StoreFullError
from hipgw.naming.dht.stores.database import Database

VALUES_PER_KEY = 16
"""Values under one key: hosts that want one name, or addresses put by other ways than a gateway."""

Clock = Callable[[], float]


class EmbeddedStore:
    """Values in a SQLite file, in bounded number."""

    def __init__(self, database: Database, *, records_max: int, clock: Clock = time.time) -> None:
        self._database = database
        self._records_max = records_max
        self._clock = clock

    async def put(self, key: bytes, stored: Stored, replaced: Sequence[Stored] = ()) -> None:
        """See `Store`."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM records WHERE expires <= ?", (int(self._clock()),))
            for one in replaced:
                _delete(db, key, one)
            _delete(db, key, stored)
            (here,) = db.execute("SELECT count(*) FROM records WHERE key = ?", (key,)).fetchone()
            (all_,) = db.execute("SELECT count(*) FROM records").fetchone()
            if here >= VALUES_PER_KEY or all_ >= self._records_max:
                raise StoreFullError("the store of records is full")
            db.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(key, stored.application, stored.value, stored.value_hash),
                    *(stored.expires, stored.secret_hash),
                ),
            )

        await self._database.run(work)

    async def get(self, key: bytes, application: str) -> Holding:
        """See `Store`. What was removed, the gateway knows by itself: nobody else stores here."""
        return Holding(await self._values(key, application))

    async def _values(self, key: bytes, application: str) -> Sequence[Stored]:
        return await self._database.run(
            lambda db: [
                Stored(application, *row)
                for row in db.execute(
                    "SELECT value, expires, secret_hash FROM records "
                    "WHERE key = ? AND application = ? AND expires > ? LIMIT ?",
                    (key, application, int(self._clock()), VALUES_PER_KEY),
                )
            ]
        )

    async def remove(self, key: bytes, stored: Stored, secret: bytes) -> None:  # noqa: ARG002 - as `Store` has it
        """See `Store`."""
        await self._database.run(lambda db: _delete(db, key, stored))

    async def live(self) -> Sequence[tuple[bytes, Stored]]:
        """All that has not expired, by key."""
        return await self._database.run(
            lambda db: [
                (key, Stored(*row))
                for key, *row in db.execute(
                    "SELECT key, application, value, expires, secret_hash FROM records "
                    "WHERE expires > ?",
                    (int(self._clock()),),
                )
            ]
        )

    async def close(self) -> None:
        """See `Store`; the file belongs to who opened it."""


def _delete(db: sqlite3.Connection, key: bytes, stored: Stored) -> None:
    db.execute(
        "DELETE FROM records WHERE key = ? AND application = ? AND value_hash = ? "
        "AND secret_hash = ?",
        (key, stored.application, stored.value_hash, stored.secret_hash),
    )
