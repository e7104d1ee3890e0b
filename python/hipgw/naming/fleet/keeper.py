"""Keeps what is known of a fleet up to date, whether or not its directories can be reached."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hipgw.errors import NamingError
from hipgw.logs import packet_path_logger
from hipgw.naming.fleet.book import Book, Judgement, Verdict
from hipgw.naming.fleet.directory import Batch, Directory, Offered
from hipgw.naming.fleet.entry import Entry
from hipgw.naming.fleet.store import Store

RETRY_MIN_S, RETRY_MAX_S = 0.25, 10.0
"""Between two tries to reach the directory, doubled each time."""
_LOOK_MAX_S = 3600.0
"""Longest sleep until the next expiry is looked for: the clock may be set."""
_REST = 4.0
"""How much longer a rest is than the telling before it."""
_AT_ONCE = 16
"""Entries between two turns of the loop: each costs a signature check, some 0.1 ms."""
REFUSALS_MAX = 32

Listener = Callable[[Mapping[str, Entry]], None]
"""Gets the entries in force by name."""

_log = logging.getLogger(__name__)
_refusals_log = packet_path_logger(__name__ + ".refusals")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that was refused."""

    at: float
    """Seconds since 1970."""
    name: str
    """As it says itself."""
    where: str
    reason: str


@dataclass(slots=True)
class Followed:
    """A directory, and how it stands."""

    directory: Directory
    reached: bool = False
    """Whether it can be read and watched now."""
    read_at: float | None = None
    """When it told something last, in seconds since 1970."""
    trouble: str = ""
    """Why it cannot be reached."""
    names: set[str] = field(default_factory=set)
    """Of the entries that it has, of those that are known."""


class FleetKeeper:
    """Reads the directories, judges their entries, keeps them, and tells who is in the fleet now.

    With several directories the newest entry of a name counts, wherever it stands: they are signed.
    """

    def __init__(
        self,
        directories: Sequence[Directory],
        book: Book,
        store: Store,
        listener: Listener,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.followed = [Followed(directory) for directory in directories]
        self.book = book
        self.refusals: list[Refusal] = []
        """The latest ones."""
        self._store = store
        self._listener = listener
        self._clock = clock
        self._valid: Mapping[str, Entry] = {}
        self._missing: frozenset[str] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    @property
    def valid(self) -> Mapping[str, Entry]:
        """The entries in force, by name."""
        return self._valid

    @property
    def missing(self) -> frozenset[str]:
        """Names in force that no directory has any more."""
        return self._missing & self._valid.keys()

    def start(self) -> None:
        """Begin, in the background: with what was known last, then with the directories."""
        self._tasks = [asyncio.create_task(self._run())]

    async def recall(self) -> None:
        """Take up what was known last, and tell it."""
        try:
            tables = await asyncio.to_thread(self._store.load)
        except NamingError as error:
            _log.warning("what was known of the fleet last cannot be read: %s", error)
            tables = []
        for number, table in enumerate(tables):
            judgement = self.book.offer(table)
            if judgement.verdict is Verdict.REFUSED:
                self._refused(judgement.name, "the last known", judgement.reason)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        if tables:
            _log.info("the fleet as it was known last", extra={"entries": len(self.book)})
        self._publish()

    async def stop(self) -> None:
        """Do nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._store.close()

    async def take(self, batch: Batch, source: Followed) -> None:
        """Judge what a directory has, keep what is new, and tell what it comes to."""
        await self._take(batch, source)
        self._publish()

    # -- inside ------------------------------------------------------------------------------

    async def _run(self) -> None:
        await self.recall()
        self._tasks += [asyncio.create_task(self._follow(one)) for one in self.followed]
        await self._tell()

    async def _take(self, batch: Batch, source: Followed) -> None:
        async with self._one_at_a_time:
            await self._judge(batch, source)

    async def _judge(self, batch: Batch, source: Followed) -> None:
        taken: list[Entry] = []
        seen: set[str] = set()
        for first in range(0, len(batch.entries), _AT_ONCE):
            began, refused = time.monotonic(), False
            for offered in batch.entries[first : first + _AT_ONCE]:
                judgement = self._offer(offered)
                if judgement.entry is not None:
                    taken.append(judgement.entry)
                refused = refused or judgement.verdict is Verdict.REFUSED
                if self.book.get(judgement.name) is not None:
                    seen.add(judgement.name)
            # Whoever has the directory can offer nonsense without end, but not keep this busy.
            await asyncio.sleep(_REST * (time.monotonic() - began) if refused else 0)
        source.names = seen if batch.whole else (source.names | seen).difference(batch.gone)
        source.read_at = self._clock()
        if taken:
            try:
                # Before it is acted on: else a crash could let an older entry in again.
                await asyncio.to_thread(self._store.save, taken)
            except NamingError as error:
                _log.warning("what is known of the fleet cannot be kept: %s", error)
            self._changed.set()
        self._note_missing()

    def _offer(self, offered: Offered) -> Judgement:
        if offered.table is None:
            judgement = Judgement(Verdict.REFUSED, "?", "it is no table")
        else:
            judgement = self.book.offer(offered.table)
        if judgement.verdict is Verdict.REFUSED:
            self._refused(judgement.name, offered.where, judgement.reason)
        return judgement

    async def _follow(self, source: Followed) -> None:
        delay_s = RETRY_MIN_S
        while True:
            try:
                async with contextlib.aclosing(source.directory.batches()) as batches:
                    async for batch in batches:
                        await self._take(batch, source)
                        self._is_reached(source)
                        delay_s = RETRY_MIN_S
            except NamingError as error:
                self._is_lost(source, str(error))
            except Exception:
                # A fault of ours must not end the following for ever.
                _log.exception("the fleet's directory")
                self._is_lost(source, "an internal error")
            # Not all machines of a fleet at once, when the directory comes back.
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311
            delay_s = min(2 * delay_s, RETRY_MAX_S)

    async def _tell(self) -> None:
        """Tell what changes, because an entry was taken or has expired."""
        while True:
            now = self._clock()
            due = self.book.next_expiry(now)
            wait_s = _LOOK_MAX_S if due is None else min(due - now, _LOOK_MAX_S)
            with contextlib.suppress(TimeoutError):
                # wait_for() can lose a cancellation that comes along with the event.
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            self._changed.clear()
            began = time.monotonic()
            self._publish()
            # When many entries come one by one, this is not to be all that the daemon does.
            await asyncio.sleep(_REST * (time.monotonic() - began))

    def _publish(self) -> None:
        valid = self.book.valid(self._clock())
        if valid == self._valid:
            return
        for name in self._valid.keys() - valid.keys():
            known = self.book.get(name)
            if known is not None and not known.removed:
                _log.info("an entry of the fleet has expired", extra={"entry": name})
        self._valid = valid
        try:
            self._listener(valid)
        except Exception:
            _log.exception("a change of the fleet")

    def _note_missing(self) -> None:
        if any(one.read_at is None for one in self.followed):
            return  # it may be where nobody has looked yet
        present = {name for one in self.followed for name in one.names}
        missing = frozenset(self._valid.keys() - present)
        for name in sorted(missing - self._missing):
            _refusals_log.warning(
                "an entry was taken out of the fleet's directory without a signed removal: "
                "it stays in force",
                extra={"entry": name},
            )
        self._missing = missing

    def _refused(self, name: str, where: str, reason: str) -> None:
        _refusals_log.warning(
            "an entry of the fleet's directory is refused: %s",
            reason,
            extra={"entry": name, "where": where},
        )
        self.refusals.append(Refusal(self._clock(), name, where, reason))
        del self.refusals[:-REFUSALS_MAX]

    def _is_reached(self, source: Followed) -> None:
        if not source.reached:
            _log.info(
                "the fleet's directory is followed",
                extra={"directory": source.directory.name, "entries": len(self._valid)},
            )
        source.reached, source.trouble = True, ""

    def _is_lost(self, source: Followed, reason: str) -> None:
        if source.reached or reason != source.trouble:
            _log.warning(
                "the fleet's directory cannot be used: going on with what was known last",
                extra={
                    "directory": source.directory.name,
                    "reason": reason,
                    "entries": len(self._valid),
                },
            )
        source.reached, source.trouble = False, reason
