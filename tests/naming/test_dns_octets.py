"""What is read of DNS messages that are passed on."""

import contextlib

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.naming.dns import octets
from hipgw.naming.dns.answer_cache import AnswerCache
from naming.name_server import Records

SUFFIX = octets.suffix_octets("hip")


def query(name: str, kind: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.hip", "A.HIP.", "b.example.com.hIp", "hip"])
def test_names_below_the_suffix(name: str) -> None:
    assert octets.asks_below(query(name), SUFFIX)
    assert octets.asks_below(query(name, use_edns=0, want_dnssec=True), SUFFIX)


@pytest.mark.parametrize("name", ["hip.example", "ship", "a.hip.b", "hipp", "example.com", "."])
def test_other_names(name: str) -> None:
    assert not octets.asks_below(query(name), SUFFIX)


def test_a_suffix_of_several_labels() -> None:
    suffix = octets.suffix_octets("Hosts.Example.")
    assert octets.asks_below(query("a.hosts.example"), suffix)
    assert not octets.asks_below(query("a.example"), suffix)
    # One label with a dot in it is another name.
    assert not octets.asks_below(query(r"a.hosts\.example"), suffix)


def test_only_ordinary_queries_are_ours() -> None:
    data = bytearray(query("a.hip"))
    for place, value in ((2, 0x80), (2, 0x28), (5, 2)):
        other = bytearray(data)
        other[place] |= value
        if place == 5:
            other[5] = value
        assert not octets.asks_below(bytes(other), SUFFIX)


@given(st.binary(max_size=100))
def test_garbage(data: bytes) -> None:
    octets.is_query(data)
    octets.asks_below(data + SUFFIX, SUFFIX)
    octets.answers(data, octets.question_of(data))
    if octets.is_query(data):
        octets.server_failure(data)
    if len(data) >= octets.HEADER_LENGTH:
        with contextlib.suppress(ValueError):
            octets.times_to_live(data)


def test_answers_to_questions() -> None:
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1")
    asked = query("www.example")
    answer = records.answer(asked)
    question = octets.question_of(asked)
    assert octets.answers(answer, question)
    assert octets.answers(records.answer(query("WWW.example")), question)
    assert not octets.answers(records.answer(query("ww2.example")), question)
    assert not octets.answers(records.answer(query("www.example", "AAAA")), question)
    assert not octets.answers(asked, question)
    # A refusal without the question, as some servers have it.
    assert octets.answers(answer[:2] + bytes([0x80, 5]) + bytes(8), question)
    assert not octets.answers(answer[:2] + bytes([0x80, 0]) + bytes(8), question)


def test_a_server_failure_can_be_read() -> None:
    asked = dns.message.make_query("www.example", "A", use_edns=0)
    response = dns.message.from_wire(octets.server_failure(asked.to_wire()))
    assert response.id == asked.id
    assert response.rcode() == 2
    assert response.question == asked.question


# -- the cache -------------------------------------------------------------------------------------


def cached(records: Records, asked: bytes, limit: int = 4) -> AnswerCache:
    cache = AnswerCache(limit)
    cache.put(asked, records.answer(asked), 100.0)
    return cache


def test_the_cache_gives_back_every_octet_but_id_and_time() -> None:
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1", "192.0.2.2")
    asked = query("www.example", use_edns=0)
    cache = cached(records, asked)
    answer = records.answers[0]
    again = b"\x12\x34" + asked[2:]
    assert cache.get(again, 100.5) == b"\x12\x34" + answer[2:]
    older = cache.get(again, 110.7)
    assert older is not None
    assert [rrset.ttl for rrset in dns.message.from_wire(older).answer] == [50]
    assert len(older) == len(answer)
    assert cache.get(again, 160.0) is None
    assert len(cache) == 0


def test_another_question_in_any_octet_is_another_one() -> None:
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1")
    cache = cached(records, query("www.example"))
    assert cache.get(query("www.example", use_edns=0), 100.0) is None
    assert cache.get(query("WWW.example"), 100.0) is None
    assert cache.get(query("www.example", "AAAA"), 100.0) is None


def test_absence_is_kept_as_long_as_the_soa_says() -> None:
    cache = cached(Records(), asked := query("nobody.example"))
    assert cache.get(asked, 159.0) is not None
    assert cache.get(asked, 160.0) is None


def test_what_is_not_kept() -> None:
    asked = query("www.example")
    assert cached(Records(failing=True), asked).get(asked, 100.0) is None
    zero = Records()
    zero.add("www.example.", 0, "A", "192.0.2.1")
    assert cached(zero, asked).get(asked, 100.0) is None
    # Nothing there, and nothing that says how long (RFC 2308 §5).
    cache = AnswerCache(4)
    cache.put(asked, asked[:2] + bytes([0x80, 0]) + asked[4:], 100.0)
    assert cache.get(asked, 100.0) is None
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1")
    assert len(cached(records, asked, limit=0)) == 0
    cut = AnswerCache(4)
    cut.put(asked, records.answer(asked)[:-2], 100.0)
    assert cut.get(asked, 100.0) is None


def test_it_is_bounded() -> None:
    records = Records()
    cache = AnswerCache(3)
    for n in range(10):
        asked = query(f"n{n}.example")
        cache.put(asked, records.answer(asked), 100.0)
    assert len(cache) == 3
    assert cache.get(asked, 100.0) is not None
