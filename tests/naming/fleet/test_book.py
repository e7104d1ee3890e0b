"""What a machine believes: the newest of each name, and nothing that was put back."""

import asyncio
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.errors import NamingError
from hipgw.identity.operator_key import OperatorKey
from hipgw.naming.fleet.book import Book, Verdict
from hipgw.naming.fleet.source import FleetSource
from hipgw.naming.fleet.store import Store
from hipgw.naming.sources import Provenance
from naming.fleet.signing import FLEET, KEYS, hit, signed

NOW = 1.7e9


def book(*entries: dict[str, object], entries_max: int = 100) -> Book:
    made = Book(FLEET, KEYS, entries_max=entries_max)
    for entry in entries:
        assert made.offer(entry).verdict is Verdict.TAKEN
    return made


def test_newer_ones_are_taken_and_older_ones_refused() -> None:
    old, new = signed("a", 5, addresses=["192.0.2.5"]), signed("a", 6, addresses=["192.0.2.6"])
    known = book(old, new)
    judged = known.offer(old)
    assert judged.verdict is Verdict.REFUSED
    assert "revision 5 is older than 6" in judged.reason
    assert known.offer(old).verdict is Verdict.KNOWN, "it is told once"
    assert known.offer(new).verdict is Verdict.KNOWN
    assert str(known.valid(NOW)["a"].addresses[0]) == "192.0.2.6"


def test_what_has_no_signed_text_is_told_once_too() -> None:
    known = book()
    odd = {"name": "a", "lans": [1.5], "signature": "x"}
    assert known.offer(odd).verdict is Verdict.REFUSED
    assert known.offer(odd).verdict is Verdict.KNOWN
    assert known.offer({**odd, "name": "b"}).verdict is Verdict.REFUSED


def test_two_of_one_revision() -> None:
    known = book(signed("a", 5))
    judged = known.offer(signed("a", 5, lans=["plant"]))
    assert "another entry with its revision" in judged.reason
    assert known.valid(NOW)["a"].lans == ()


def test_who_was_removed_does_not_come_back_by_itself() -> None:
    old = signed("a", 5)
    known = book(old, signed("a", 6, removed=True))
    assert known.offer(old).verdict is Verdict.REFUSED
    assert known.valid(NOW) == {}
    assert known.offer(signed("a", 7)).verdict is Verdict.TAKEN
    assert list(known.valid(NOW)) == ["a"]


def test_entries_expire() -> None:
    known = book(signed("a", 5, expires="2023-11-14T22:13:21Z"), signed("b", 5))
    assert known.next_expiry(NOW) == NOW + 1
    assert set(known.valid(NOW)) == {"a", "b"}
    assert set(known.valid(NOW + 1)) == {"b"}
    assert known.next_expiry(NOW + 1) is None


def test_a_hit_belongs_to_the_newest_entry() -> None:
    known = book(signed("a", 5, hit=hit(1)), signed("b", 6, hit=hit(1)))
    assert set(known.valid(NOW)) == {"b"}
    known.offer(signed("b", 7, removed=True))
    assert set(known.valid(NOW)) == {"a"}


def test_the_number_is_bounded() -> None:
    known = book(signed("a"), signed("b"), entries_max=2)
    assert "2 entries already" in known.offer(signed("c")).reason
    assert known.offer(signed("b", 2)).verdict is Verdict.TAKEN
    assert len(known) == 2


def test_what_is_remembered_of_refusals_is_bounded() -> None:
    known = book(signed("a"))
    for number in range(1100):
        assert known.offer({**signed("a"), "port": number}).verdict is Verdict.REFUSED
    assert len(known._told) == 1024


@settings(max_examples=20)
@given(st.permutations([1, 2, 3, 4, 5, 6]))
def test_in_whatever_order_they_come(order: list[int]) -> None:
    known = book()
    for revision in order:
        known.offer(
            signed("a", revision, removed=True) if revision % 2 == 0 else signed("a", revision)
        )
    entry = known.get("a")
    assert entry is not None
    assert entry.revision == 6
    assert known.valid(NOW) == {}


def test_what_was_kept_is_verified_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "fleet.db")
    assert store.load() == []
    known = book(signed("a", 5), signed("b", 6, removed=True))
    store.save(known)
    known.offer(signed("a", 7))
    store.save([entry for entry in known if entry.name == "a"])
    store.close()
    assert (tmp_path / "fleet.db").stat().st_mode & 0o777 == 0o600
    again = Book(FLEET, KEYS)
    for table in Store(tmp_path / "fleet.db").load():
        assert again.offer(table).verdict is Verdict.TAKEN
    assert {entry.name: entry.revision for entry in again} == {"a": 7, "b": 6}
    others = Book(FLEET, [OperatorKey.generate().public])
    assert {others.offer(table).verdict for table in Store(tmp_path / "fleet.db").load()} == {
        Verdict.REFUSED
    }


def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "fleet.db").write_bytes(b"no database" * 1000)
    with pytest.raises(NamingError, match=r"fleet\.db"):
        Store(tmp_path / "fleet.db").load()
    with pytest.raises(NamingError):
        Store(tmp_path / "none" / "fleet.db").save([])


def test_the_source_answers_with_what_is_in_force() -> None:
    known = book(
        signed("Plant-A", hit=hit(1), addresses=["192.0.2.1"], rvs=["hub", "192.0.2.9", "?"]),
        signed("hub", hit=hit(2), addresses=["192.0.2.2"], transport="raw", port=4500),
        signed("bad", hit=hit(3), accept=False),
    )
    source = FleetSource(lambda: known.valid(NOW))
    (plant,) = asyncio.run(source.by_name("plant-a"))
    assert plant.hit == IPv6Address(hit(1))
    assert plant.provenance is Provenance.OPERATOR_SIGNED
    assert [str(one.addresses[0]) for one in plant.rendezvous] == ["192.0.2.2", "192.0.2.9"]
    assert (plant.udp, plant.port) == (None, None)
    (hub,) = asyncio.run(source.by_hit(IPv6Address(hit(2))))
    assert (hub.name, hub.udp, hub.port) == ("hub", False, 4500)
    assert asyncio.run(source.by_name("bad")) == ()
    assert asyncio.run(source.by_hit(IPv6Address(hit(3)))) == ()
