"""Which records are news, and which were there before: what a gateway remembers of each HIT.

A signature tells who has said something, and not when. So the greatest Update ID of each HIT is
kept, longer than any record, and one that is not greater is refused: it is stale, or a replay.

OpenHIP writes the Update ID 0 for ever. Of a HIT of HIPv1 that has never counted, the record that
came last is taken for the newest, and one that another has taken the place of is refused.
"""

import sqlite3
import time
from collections.abc import Callable
from enum import Enum

from hipgw.naming.dht.hdrr import AddressRecord, RecordError, Refusal
from hipgw.naming.dht.limits import TTL_MAX
from hipgw.naming.dht.stores.database import Database

REMEMBERED_MAX = 200_000
"""HITs whose Update IDs are remembered; those go first that were not heard of for longest."""
SUPERSEDED_MAX = 64
"""Records of one HIT without a count that are remembered as outdated."""
_LOOK_EVERY = 256
"""Records between two looks whether there are too many to be remembered."""


class Unsequenced(Enum):
    """What is done with records whose Update ID stays 0, as those of OpenHIP."""

    REFUSE = "refuse"
    """Only the first one is taken."""
    NEW = "new"
    """One that another has taken the place of is refused for a week."""
    ANY = "any"
    """A host may go back to addresses that it had; so may anybody who has listened bring it."""


class News(Enum):
    """What a record is that may be stored."""

    NEW = "new"
    REPEATED = "repeated"
    """The one that is there, put again by a host that does not count: nothing is to be done."""


class Freshness:
    """Memory of the newest record of each HIT, in the gateway's database."""

    def __init__(
        self,
        database: Database,
        unsequenced: Unsequenced,
        *,
        remembered_max: int = REMEMBERED_MAX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._unsequenced = unsequenced
        self._max = remembered_max
        self._clock = clock
        self._noted = 0

    async def check(self, key: bytes, record: AddressRecord) -> News:
        """Whether a verified record may be stored; raises RecordError if it is stale or a replay.

        Nothing is remembered by that: see `note`.
        """
        return await self._database.run(lambda db: self._check(db, key, record))

    async def note(self, key: bytes, record: AddressRecord) -> None:
        """A record that `check` has let through has been stored: it is the newest one now."""
        await self._database.run(lambda db: self._note(db, key, record))

    async def removed(self, key: bytes) -> None:
        """The owner has removed its record: the same may come again if it does not count.

        Update IDs are not forgotten, or a removed record could be replayed.
        """
        await self._database.run(
            lambda db: db.execute(
                "UPDATE newest SET digest = x'' WHERE key = ? AND sequence = 0", (key,)
            )
        )

    def _check(self, db: sqlite3.Connection, key: bytes, record: AddressRecord) -> News:
        sequence, digest = _newest(db, key)
        if record.sequence > sequence:
            return News.NEW
        # Good only from a host that does not count at all.
        counts = record.identity.version != 1 or sequence > 0
        if counts or self._unsequenced is Unsequenced.REFUSE:
            refusal = Refusal.REPLAYED if record.sequence == sequence else Refusal.STALE
            raise RecordError(refusal, f"Update ID {record.sequence}, {sequence} was there")
        if record.digest == digest:
            return News.REPEATED
        if self._unsequenced is Unsequenced.ANY:
            return News.NEW
        now = int(self._clock())
        known = db.execute(
            "SELECT 1 FROM superseded WHERE key = ? AND digest = ? AND expires > ?",
            (key, record.digest, now),
        ).fetchone()
        if known:
            raise RecordError(Refusal.REPLAYED, "another one has taken its place")
        (count,) = db.execute(
            "SELECT count(*) FROM superseded WHERE key = ? AND expires > ?", (key, now)
        ).fetchone()
        if count >= SUPERSEDED_MAX:
            raise RecordError(Refusal.STALE, "too many records without a count in a week")
        return News.NEW

    def _note(self, db: sqlite3.Connection, key: bytes, record: AddressRecord) -> None:
        now = int(self._clock())
        sequence, digest = _newest(db, key)
        db.execute("DELETE FROM superseded WHERE expires <= ?", (now,))
        if record.sequence > max(sequence, 0):
            db.execute("DELETE FROM superseded WHERE key = ?", (key,))
        elif digest and digest != record.digest:
            db.execute(
                "INSERT OR REPLACE INTO superseded VALUES (?, ?, ?)", (key, digest, now + TTL_MAX)
            )
        db.execute(
            "INSERT OR REPLACE INTO newest VALUES (?, ?, ?, ?)",
            (key, record.sequence, record.digest, now),
        )
        self._noted += 1
        if self._noted % _LOOK_EVERY == 0:
            db.execute(
                "DELETE FROM newest WHERE key IN (SELECT key FROM newest ORDER BY touched LIMIT "
                "max(0, (SELECT count(*) FROM newest) - ?))",
                (self._max,),
            )


def _newest(db: sqlite3.Connection, key: bytes) -> tuple[int, bytes]:
    """Update ID and digest of the newest record of a HIT; -1 if none was there."""
    row = db.execute("SELECT sequence, digest FROM newest WHERE key = ?", (key,)).fetchone()
    return row or (-1, b"")
