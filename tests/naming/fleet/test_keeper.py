"""A fleet's directory is followed, lost, and found again."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import pytest

from hipgw.errors import NamingError
from hipgw.naming.fleet.book import Book
from hipgw.naming.fleet.directory import Batch, Offered
from hipgw.naming.fleet.entry import Entry
from hipgw.naming.fleet.keeper import FleetKeeper
from hipgw.naming.fleet.store import Store
from naming.fleet.signing import FLEET, KEYS, hit, signed

NOW = 1.7e9


class Place:
    """A directory that says what it is told to; None is a loss of it."""

    name = "place"

    def __init__(self) -> None:
        self.news: asyncio.Queue[Batch | None] = asyncio.Queue()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        while (batch := await self.news.get()) is not None:
            yield batch
        raise NamingError("it burns")


def batch(*tables: object, whole: bool = True, gone: tuple[str, ...] = ()) -> Batch:
    entries = [
        Offered(f"entry[{n}]", table if isinstance(table, dict) else None)
        for n, table in enumerate(tables)
    ]
    return Batch(entries, whole=whole, gone=gone)


class Following:
    """A keeper, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.time = NOW
        self.told: list[set[str]] = []
        self.place = Place()
        self.keeper = FleetKeeper(
            [self.place],
            Book(FLEET, KEYS),
            Store(folder / "fleet.db"),
            self._take,
            clock=lambda: self.time,
        )

        (self.followed,) = self.keeper.followed

    async def take(self, batch: Batch) -> None:
        await self.keeper.take(batch, self.followed)

    def _take(self, entries: Mapping[str, Entry]) -> None:
        self.told.append(set(entries))

    async def until(self, names: set[str]) -> None:
        async with asyncio.timeout(30):
            while not self.told or self.told[-1] != names:
                await asyncio.sleep(0.005)


def test_a_loss_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def run() -> None:
        following = Following(tmp_path)
        following.keeper.start()
        await following.place.news.put(batch(signed("a"), signed("b")))
        await following.until({"a", "b"})
        while not following.followed.reached:
            await asyncio.sleep(0.005)
        await following.place.news.put(None)
        while following.followed.reached:
            await asyncio.sleep(0.005)
        assert following.followed.trouble == "it burns"
        await following.place.news.put(batch(signed("a"), signed("b", 2), signed("c")))
        await following.until({"a", "b", "c"})
        assert following.told == [{"a", "b"}, {"a", "b", "c"}]
        await following.keeper.stop()
        # After a restart without any directory.
        again = Following(tmp_path)
        again.keeper.start()
        await again.until({"a", "b", "c"})
        await again.place.news.put(batch(signed("b", 1, lans=["x"])))
        while not again.keeper.refusals:
            await asyncio.sleep(0.005)
        assert "older than 2" in again.keeper.refusals[0].reason
        await again.keeper.stop()

    asyncio.run(run())
    assert "going on with what was known last" in caplog.text


def test_what_is_gone_without_a_signature_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        following = Following(tmp_path)
        keeper = following.keeper
        await following.take(batch(signed("a"), signed("b"), signed("c")))
        await following.take(batch(signed("a"), signed("b", 2, removed=True)))
        await following.take(batch(signed("a"), signed("b", 2, removed=True)))
        assert following.told[-1] == {"a", "c"}
        assert keeper.missing == {"c"}
        await following.take(batch(whole=False, gone=("a",)))
        assert keeper.missing == {"a", "c"}
        await following.take(batch(signed("a", 2), whole=False))
        assert keeper.missing == {"c"}
        assert following.told[-1] == {"a", "c"}

    asyncio.run(run())
    assert caplog.text.count("without a signed removal") == 2


def test_refused_entries_are_told_and_harm_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        following = Following(tmp_path)
        bad = {**signed("a", 2), "hit": hit(66)}
        await following.take(batch(signed("a"), bad, "nonsense", {"name": "x\ny"}))
        await following.take(batch(signed("a"), bad))
        assert following.told == [{"a"}]
        assert [one.name for one in following.keeper.refusals] == ["a", "?", "?"]

    asyncio.run(run())
    assert caplog.text.count("its signature is wrong") == 1
    (record,) = [one for one in caplog.records if "signature is wrong" in one.getMessage()]
    assert (record.entry, record.where) == ("a", "entry[1]")  # type: ignore[attr-defined]


def test_entries_expire_while_nothing_else_happens(tmp_path: Path) -> None:
    async def run() -> None:
        following = Following(tmp_path)
        following.time = NOW + 0.9
        following.keeper.start()
        await following.place.news.put(
            batch(signed("a", expires="2023-11-14T22:13:21Z"), signed("b"))
        )
        await following.until({"a", "b"})
        following.time = NOW + 1
        await following.until({"b"})
        await following.keeper.stop()

    asyncio.run(run())


def test_a_listener_that_fails_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_entries: Mapping[str, Entry]) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        store = Store(tmp_path / "fleet.db")
        keeper = FleetKeeper([Place()], Book(FLEET, KEYS), store, fail)
        await keeper.take(batch(signed("a")), keeper.followed[0])
        await keeper.take(batch(signed("b"), whole=False), keeper.followed[0])
        assert set(keeper.valid) == {"a", "b"}

    asyncio.run(run())
    assert caplog.text.count("a change of the fleet") == 2


def test_of_two_directories_the_newest_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        places = [Place(), Place()]
        told: list[dict[str, int]] = []
        keeper = FleetKeeper(
            places,
            Book(FLEET, KEYS),
            Store(tmp_path / "fleet.db"),
            lambda entries: told.append({name: one.revision for name, one in entries.items()}),
        )
        one, other = keeper.followed
        await keeper.take(batch(signed("a", 2), signed("b", 1)), one)
        await keeper.take(batch(signed("b", 2), signed("c", 1)), other)
        assert told[-1] == {"a": 2, "b": 2, "c": 1}
        assert not keeper.missing
        await keeper.take(batch(signed("b", 2)), other)
        assert keeper.missing == {"c"}
        keeper.start()
        await places[0].news.put(batch(signed("c", 2)))
        while told[-1] != {"a": 2, "b": 2, "c": 2}:
            await asyncio.sleep(0.005)
        await places[1].news.put(None)
        while not other.trouble:
            await asyncio.sleep(0.005)
        assert one.reached
        assert keeper.missing == {"a"}
        await keeper.stop()

    asyncio.run(run())
    assert "without a signed removal" in caplog.text


def test_names_that_nobody_signed_are_not_remembered(tmp_path: Path) -> None:
    async def run() -> None:
        following = Following(tmp_path)
        await following.take(batch(signed("a"), *({"name": f"x{n}"} for n in range(50))))
        await following.take(batch({"name": "y"}, {**signed("a"), "port": 7}, whole=False))
        assert following.followed.names == {"a"}
        assert not following.keeper.missing
        assert len(following.keeper.refusals) == 32

    asyncio.run(run())
