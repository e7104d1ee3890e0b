"""Asks the sources of names in their order, within bounded time, and remembers what they said."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from cachetools import TLRUCache

from hipgw.errors import NamingError
from hipgw.naming.sources import Found, Source

_log = logging.getLogger(__name__)

Query = str | IPv6Address
"""A name without the `.hip` suffix, or a HIT."""

ERROR_TTL_S = 2.0
"""How long a source that could not be asked is left in peace with the same question."""


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """Times in seconds."""

    timeout_s: float = 3.0
    """Longest wait for one source."""
    ttl_min_s: float = 5.0
    ttl_max_s: float = 3600.0
    """Bounds of how long an answer is used, whatever it says itself."""
    negative_ttl_s: float = 30.0
    """How long it is believed that a source knows nobody."""
    cache_max: int = 10000
    """Answers; one for each source and question."""
    concurrent_max: int = 256
    """Questions that are asked at the same time; more wait."""
    waiting_max: int = 4096
    """Questions under way, those that wait included; more are refused."""


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What one source said, and how long it took."""

    source: str
    found: tuple[Found, ...] = ()
    duration_s: float = 0.0
    error: str = ""
    """Why it could not be asked; empty if it could."""
    age_s: float | None = None
    """How long ago it said so, if it is remembered; None if it was asked now."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """All that was said to one question, in the order of the sources."""

    query: Query
    answers: tuple[SourceAnswer, ...]

    @property
    def found(self) -> tuple[Found, ...]:
        """Everything that was found, that of the first source first."""
        return tuple(found for answer in self.answers for found in answer.found)

    @property
    def failed(self) -> bool:
        """Whether a source could not be asked, so that finding nothing proves nothing."""
        return any(answer.error for answer in self.answers)


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: SourceAnswer
    since: float


class Resolver:
    """The sources of names in the order of `naming.order`.

    Everything runs on one event loop. Equal questions that are under way are asked once.
    """

    def __init__(
        self,
        order: Sequence[str],
        settings: ResolverSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._order = tuple(order)
        self._settings = settings = settings or ResolverSettings()
        self._clock = clock
        self._sources: dict[str, Source] = {}
        self._uncached: set[str] = set()
        self._cache: TLRUCache[tuple[str, Query], _Kept] = TLRUCache(
            settings.cache_max, lambda _key, kept, now: now + self._ttl(kept.answer), clock
        )
        self._asking: dict[tuple[str, Query], asyncio.Task[SourceAnswer]] = {}
        self._slots = asyncio.Semaphore(settings.concurrent_max)

    # -- which sources -----------------------------------------------------------------------

    def add(self, source: Source, *, cached: bool = True) -> None:
        """Take a source in; one that is in no order is never asked.

        *cached*: off for sources that are on this machine and cost nothing.
        """
        self._sources[source.name] = source
        if not cached:
            self._uncached.add(source.name)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of those that are asked, in order."""
        return tuple(name for name in self._order if name in self._sources)

    # -- questions ---------------------------------------------------------------------------

    async def resolve(
        self, query: Query, *, enough: Callable[[Sequence[Found]], bool] = bool
    ) -> Resolution:
        """Ask one source after another until what was found is *enough*, by default anything.

        Never raises for what a source does: `Resolution.answers` tells.
        """
        answers: list[SourceAnswer] = []
        found: list[Found] = []
        for name in self.sources:
            answer = await self._ask(name, query)
            answers.append(answer)
            found += answer.found
            if found and enough(found):
                break
        return Resolution(query, tuple(answers))

    async def ask_all(self, query: Query, *, fresh: bool = True) -> Resolution:
        """Ask all sources at the same time; *fresh*: also those whose answers are remembered."""
        if fresh:
            self.forget(query)
        answers = await asyncio.gather(*(self._ask(name, query) for name in self.sources))
        return Resolution(query, tuple(answers))

    def forget(self, *queries: Query) -> None:
        """Drop what is remembered of these questions."""
        for query in map(_normal, queries):
            for name in self._order:
                self._cache.pop((name, query), None)

    def clear(self) -> None:
        """Drop everything that is remembered, such as after a change of networks."""
        self._cache.clear()

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one source --------------------------------------------------------------------------

    async def _ask(self, name: str, query: Query) -> SourceAnswer:
        key = name, _normal(query)
        if (kept := self._cache.get(key)) is not None:
            age_s = self._clock() - kept.since
            rest = tuple(
                replace(found, ttl_s=max(0.0, found.ttl_s - age_s)) for found in kept.answer.found
            )
            return replace(kept.answer, found=rest, duration_s=0.0, age_s=age_s)
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= self._settings.waiting_max:
                return SourceAnswer(name, error="too many questions are under way")
            task = asyncio.get_running_loop().create_task(self._really_ask(name, key[1]))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        # Who gives up waiting is not to take the answer from the others that wait for it.
        return await asyncio.shield(task)

    async def _really_ask(self, name: str, query: Query) -> SourceAnswer:
        source = self._sources[name]
        asked: Awaitable[Sequence[Found]]
        async with self._slots:
            began = self._clock()
            error, found = "", tuple[Found, ...]()
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    if isinstance(query, str):
                        asked = source.by_name(query)
                    else:
                        asked = source.by_hit(query)
                    found = tuple(await asked)
            except TimeoutError:
                error = f"no answer within {self._settings.timeout_s:g} s"
            except NamingError as problem:
                error = str(problem)
            except Exception as problem:
                # A fault of one source is no reason not to ask the others.
                _log.exception("source of names", extra={"source": name})
                error = f"failed ({type(problem).__name__})"
        answer = SourceAnswer(name, found, self._clock() - began, error)
        if name not in self._uncached:
            self._cache[name, query] = _Kept(answer, self._clock())
        return answer

    def _ttl(self, answer: SourceAnswer) -> float:
        if answer.error:
            return ERROR_TTL_S
        if not answer.found:
            return self._settings.negative_ttl_s
        wanted = min(found.ttl_s for found in answer.found)
        return min(max(wanted, self._settings.ttl_min_s), self._settings.ttl_max_s)


def plain_name(text: str, suffix: str) -> str:
    """A name as sources are asked for it: without *suffix*, such as `.hip`, and a final dot."""
    name = text.rstrip(".")
    if name.lower().endswith(suffix.lower()):
        return name[: -len(suffix)] or name
    return name


def _normal(query: Query) -> Query:
    return query.lower().rstrip(".") if isinstance(query, str) else query
