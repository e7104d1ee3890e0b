"""Sources are asked in order, within bounded time, and what they say is remembered."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.naming.resolver import ERROR_TTL_S, Resolver, ResolverSettings
from naming_sources import HIT, Clock, Said


def resolver(*sources: Said, clock: Clock | None = None, **settings: float) -> Resolver:
    made = Resolver(
        [source.name for source in sources],
        ResolverSettings(**settings),  # type: ignore[arg-type]
        clock or Clock(),
    )
    for source in sources:
        made.add(source)
    return made


async def test_the_first_that_knows_is_the_last_to_be_asked() -> None:
    dns, dht, last = Said("dns"), Said("dht"), Said("last-known")
    dht.names["b"] = [dht.found()]
    resolution = await resolver(dns, dht, last).resolve("b")
    assert [answer.source for answer in resolution.answers] == ["dns", "dht"]
    assert resolution.found == tuple(dht.names["b"])
    assert not last.asked


async def test_more_are_asked_until_it_is_enough() -> None:
    dns, dht = Said("dns"), Said("dht")
    dns.hits[HIT] = [dns.found()]
    dht.hits[HIT] = [dht.found(HIT, "192.0.2.1")]

    def enough(found: object) -> bool:
        assert isinstance(found, list)
        return any(one.addresses for one in found)

    resolution = await resolver(dns, dht).resolve(HIT, enough=enough)
    assert [found.source for found in resolution.found] == ["dns", "dht"]


async def test_only_sources_that_are_there_and_in_the_order_are_asked() -> None:
    dns, dht = Said("dns"), Said("dht")
    made = Resolver(["fleet", "dns"])
    made.add(dns)
    made.add(dht)
    assert made.sources == ("dns",)
    await made.resolve("b")
    assert not dht.asked


@pytest.mark.parametrize("error", ["no server", "bug"])
async def test_a_source_that_fails_does_not_keep_the_others_from_answering(error: str) -> None:
    dns, dht = Said("dns"), Said("dht")
    dns.error = error
    dht.names["b"] = [dht.found()]
    resolution = await resolver(dns, dht).resolve("b")
    assert resolution.failed
    assert resolution.answers[0].error
    assert resolution.found


async def test_a_silent_source_costs_its_time_and_no_more() -> None:
    dns, dht = Said("dns"), Said("dht")
    dns.wait_s = 100.0
    dht.names["b"] = [dht.found()]
    resolution = await resolver(dns, dht, timeout_s=0.02).resolve("b")
    assert resolution.answers[0].error == "no answer within 0.02 s"
    assert resolution.found


async def test_answers_are_remembered_for_their_time_within_bounds() -> None:
    clock, dns = Clock(), Said("dns")
    dns.names["b"] = [dns.found(ttl_s=60), dns.found(ttl_s=30)]
    made = resolver(dns, clock=clock)
    await made.resolve("b")
    clock.now += 29
    again = await made.resolve("B.")
    assert again.answers[0].age_s == 29
    assert [found.ttl_s for found in again.found] == [31, 1]
    clock.now += 2
    await made.resolve("b")
    assert len(dns.asked) == 2
    dns.names["b"] = [dns.found(ttl_s=10**9)]
    made.forget("b")
    await made.resolve("b")
    clock.now += 3601
    await made.resolve("b")
    assert len(dns.asked) == 4


async def test_nothing_and_failure_are_remembered_for_a_shorter_time() -> None:
    clock, dns = Clock(), Said("dns")
    made = resolver(dns, clock=clock)
    for error, wait_s in (("", 30.0), ("no server", ERROR_TTL_S)):
        dns.error = error
        made.clear()
        dns.asked.clear()
        await made.resolve("b")
        clock.now += wait_s - 0.5
        await made.resolve("b")
        assert len(dns.asked) == 1
        clock.now += 1
        await made.resolve("b")
        assert len(dns.asked) == 2


async def test_what_is_on_this_machine_is_not_remembered() -> None:
    fleet = Said("fleet")
    made = Resolver(["fleet"])
    made.add(fleet, cached=False)
    await made.resolve("b")
    await made.resolve("b")
    assert len(fleet.asked) == 2


async def test_equal_questions_are_asked_once_and_outlive_who_gave_up() -> None:
    dns = Said("dns")
    dns.wait_s = 0.02
    dns.names["b"] = [dns.found()]
    made = resolver(dns)
    first = asyncio.create_task(made.resolve("b"))
    others = [asyncio.create_task(made.resolve("b")) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    for other in others:
        assert (await other).found
    assert len(dns.asked) == 1


async def test_all_can_be_asked_whatever_is_remembered() -> None:
    dns, dht = Said("dns"), Said("dht")
    dns.names["b"] = [dns.found()]
    made = resolver(dns, dht)
    await made.resolve("b")
    resolution = await made.ask_all("b")
    assert [answer.age_s for answer in resolution.answers] == [None, None]
    assert (len(dns.asked), len(dht.asked)) == (2, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 500), max_size=300))
def test_memory_is_bounded(numbers: list[int]) -> None:
    async def ask() -> None:
        dns = Said("dns")
        made = resolver(dns, cache_max=20)
        for number in numbers:
            await made.resolve(f"n{number}")
        assert len(made._cache) <= 20

    asyncio.run(ask())


async def test_questions_under_way_are_bounded() -> None:
    dns = Said("dns")
    dns.wait_s = 0.02
    made = resolver(dns, waiting_max=3, concurrent_max=2)
    names = [f"n{number}" for number in range(5)]
    answers = await asyncio.gather(*(made.resolve(name) for name in names))
    assert [answer.failed for answer in answers] == [False] * 3 + [True] * 2
    assert len(dns.asked) == 3
    assert not (await made.resolve("n4")).failed, "a refusal is not remembered"
