"""The gateway stores what is new and signed, and refuses what is forged, stale or replayed."""

import asyncio
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from functools import wraps
from ipaddress import ip_address
from pathlib import Path

import pytest

from hipgw.errors import NamingError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.dht.calls import Get, Put
from hipgw.naming.dht.freshness import Unsequenced
from hipgw.naming.dht.hdrr import Refusal, make_name_record
from hipgw.naming.dht.keys import hit_key, name_key, sha1
from hipgw.naming.dht.limits import ADDRESS_APPLICATION, NAME_APPLICATION, TTL_MAX, ReturnCode
from hipgw.naming.dht.stores.database import Database
from hipgw.naming.dht.xmlrpc import XmlRpcError
from naming.dht.dht_world import HERE, SECRET, SOURCE, THERE, World, record

NEW = LocalIdentity.generate("ecdsa-p256")
OLD = LocalIdentity.generate("rsa2048").in_version(1)
OK, REFUSED = ReturnCode.SUCCESS, ReturnCode.REFUSED


def run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def wrapper(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return wrapper


@run
async def test_what_is_put_can_be_got_until_it_expires() -> None:
    world = World()
    value = record(NEW, 1)
    assert await world.put(value, NEW.hit) == OK
    assert await world.get(NEW.hit) == [value]
    world.now += 599
    assert await world.get(NEW.hit) == [value]
    world.now += 1
    assert await world.get(NEW.hit) == []


@run
async def test_a_newer_record_takes_the_place_of_an_older_one() -> None:
    world = World()
    for sequence, address in enumerate((HERE, THERE, HERE), 5):
        value = record(NEW, sequence, address)
        assert await world.put(value, NEW.hit, secret=secrets.token_bytes(40)) == OK
        assert await world.get(NEW.hit) == [value]


@pytest.mark.parametrize("identity", [NEW, OLD], ids=["v2", "v1"])
@run
async def test_forged_records_are_refused(identity: LocalIdentity) -> None:
    world = World()
    other = LocalIdentity.generate("rsa2048").in_version(identity.version)
    value = record(identity, 1)
    assert await world.put(value, other.hit) == REFUSED
    assert await world.put(value.replace(HERE.packed, THERE.packed), identity.hit) == REFUSED
    assert await world.put(value[:8] + other.hit.packed + value[24:], other.hit) == REFUSED
    assert await world.put(b"where it is", identity.hit) == REFUSED
    assert await world.put(make_name_record(identity.hit), identity.hit) == REFUSED
    assert await world.get(identity.hit) == await world.get(other.hit) == []
    assert world.gateway.statistics.refused == {
        Refusal.WRONG_KEY: 1,
        Refusal.BAD_SIGNATURE: 1,
        Refusal.HIT_MISMATCH: 1,
        Refusal.MALFORMED: 2,
    }


@pytest.mark.parametrize("identity", [NEW, OLD], ids=["v2", "v1"])
@run
async def test_stale_and_replayed_records_are_refused(identity: LocalIdentity) -> None:
    world = World()
    first, second = record(identity, 1), record(identity, 2, THERE)
    assert await world.put(first, identity.hit) == OK
    assert await world.put(first, identity.hit) == REFUSED
    assert await world.put(second, identity.hit) == OK
    assert await world.put(first, identity.hit) == REFUSED
    assert await world.get(identity.hit) == [second]
    world.now += 3600
    # They are gone; what was heard on the network is not to bring them back.
    assert await world.get(identity.hit) == []
    assert await world.put(first, identity.hit) == REFUSED
    assert await world.put(second, identity.hit) == REFUSED
    assert await world.put(record(identity, 3), identity.hit) == OK
    assert world.gateway.statistics.refused == {Refusal.REPLAYED: 2, Refusal.STALE: 2}


@run
async def test_a_removed_record_stays_removed() -> None:
    world = World()
    value = record(NEW, 1)
    await world.put(value, NEW.hit)
    assert await world.remove(value, NEW.hit, b"guess") == OK
    assert await world.get(NEW.hit) == [value]
    assert await world.remove(record(NEW, 1), NEW.hit) == OK  # another signature, another hash
    assert await world.get(NEW.hit) == [value]
    assert await world.remove(value, NEW.hit) == OK
    assert await world.get(NEW.hit) == []
    assert await world.put(value, NEW.hit) == REFUSED


@run
async def test_a_record_without_a_secret_cannot_be_removed() -> None:
    world = World()
    value = record(NEW, 1)
    put = Put(hit_key(NEW.hit), value, b"", 600, ADDRESS_APPLICATION)
    await world.gateway.call(put.METHOD, put.parameters, SOURCE)
    for secret in (b"", SECRET):
        await world.remove(value, NEW.hit, secret)
    assert await world.get(NEW.hit) == [value]


@run
async def test_nobody_can_make_a_record_live_longer_than_its_owner_says() -> None:
    world = World()
    await world.put(record(NEW, 1, ttl_s=100), NEW.hit, ttl_s=TTL_MAX)
    world.now += 100
    assert await world.get(NEW.hit) == []


@run
async def test_openhip_which_does_not_count() -> None:
    world = World()
    here, there = record(OLD, 0, HERE), record(OLD, 0, THERE)
    assert await world.put(here, OLD.hit, ttl_s=TTL_MAX) == OK
    world.now += 7200  # longer than the lifetime in it
    assert await world.put(here, OLD.hit, secret=b"another") == OK  # nothing happens
    await world.remove(here, OLD.hit, b"another")
    assert await world.get(OLD.hit) == [here]
    assert await world.put(there, OLD.hit) == OK
    assert await world.get(OLD.hit) == [there]
    assert await world.put(here, OLD.hit) == REFUSED
    # It ends, removes its record without its hash, and begins again at the same address.
    await world.gateway.call(
        "rm", (hit_key(OLD.hit), bytes(20), "SHA", SECRET, 9, "hip-addr"), HERE
    )
    assert await world.get(OLD.hit) == []
    assert await world.put(there, OLD.hit) == OK
    world.now += TTL_MAX
    assert await world.put(here, OLD.hit) == OK
    # Once it has counted, it is held to it.
    assert await world.put(record(OLD, 1), OLD.hit) == OK
    assert await world.put(there, OLD.hit) == REFUSED


@run
async def test_how_strict_the_gateway_is_with_openhip_can_be_set() -> None:
    here, there = record(OLD, 0, HERE), record(OLD, 0, THERE)
    strict = World(unsequenced=Unsequenced.REFUSE)
    assert [await strict.put(one, OLD.hit) for one in (here, here, there)] == [OK] + [REFUSED] * 2
    lax = World(unsequenced=Unsequenced.ANY)
    assert [await lax.put(one, OLD.hit) for one in (here, there, here)] == [OK] * 3
    new = World(unsequenced=Unsequenced.ANY)
    assert [await new.put(record(NEW, 0), NEW.hit) for _ in range(2)] == [OK, REFUSED]


@run
async def test_a_host_that_moves_on_and_on_without_counting_is_bounded() -> None:
    world = World()
    codes = [
        await world.put(record(OLD, 0, ip_address(f"192.0.2.{i}")), OLD.hit) for i in range(80)
    ]
    assert codes[:65] == [OK] * 65
    assert set(codes[66:]) == {REFUSED}


@run
async def test_names_are_there_as_often_as_somebody_says_so() -> None:
    world = World()
    other = LocalIdentity.generate("ecdsa-p256")
    assert await world.put_name("plant-a", NEW.hit) == OK
    assert await world.put_name("plant-a", other.hit, b"other") == OK
    assert await world.put_name("plant-a", NEW.hit, b"later") == OK
    both = sorted(map(make_name_record, (NEW.hit, other.hit)))
    assert await world.named("plant-a") == both
    rm = (name_key("plant-a"), sha1(make_name_record(NEW.hit)), "SHA", SECRET, 9, "hip-name-hit")
    await world.gateway.call("rm", rm, SOURCE)
    assert await world.named("plant-a") == both  # it was put again since
    assert await world.named("plant-b") == []


@run
async def test_many_values_come_in_pages() -> None:
    world = World()
    for _ in range(16):
        await world.put_name("a", LocalIdentity.generate("ed25519").hit, secrets.token_bytes(8))
    assert await world.put_name("a", NEW.hit, b"one too many") == ReturnCode.OVER_CAPACITY
    seen, mark = [], b""
    while True:
        values, mark = await world.gateway.call(
            "get", Get(name_key("a"), 5, mark, NAME_APPLICATION).parameters, SOURCE
        )
        seen += values
        if not mark:
            break
        assert len(values) == 5
    assert len(set(seen)) == len(seen) == 16


@run
async def test_the_store_is_bounded() -> None:
    world = World(records_max=3)
    hosts = [LocalIdentity.generate("ed25519") for _ in range(4)]
    codes = [await world.put(record(one, 1), one.hit) for one in hosts]
    assert codes == [OK] * 3 + [ReturnCode.OVER_CAPACITY]
    assert await world.put(record(hosts[0], 2), hosts[0].hit) == OK
    world.now += 600
    # Not taken for a replay: it was never stored.
    assert await world.put(record(hosts[3], 1), hosts[3].hit) == OK


@run
async def test_the_memory_of_update_ids_is_bounded() -> None:
    world = World(remembered_max=10, records_max=1000)
    for _ in range(256):
        one = LocalIdentity.generate("ed25519")
        await world.put(record(one, 1), one.hit)
        world.now += 1
    count = await world.database.run(
        lambda db: db.execute("SELECT count(*) FROM newest").fetchone()[0]
    )
    assert count == 10


@run
async def test_puts_are_limited_by_source_and_in_all() -> None:
    world = World(puts_per_source=3, puts_total=5)
    sources = [ip_address("2001:db8::1"), ip_address("2001:db8::2"), HERE]

    async def put(source: int) -> object:
        world.sequence = getattr(world, "sequence", 0) + 1
        return await world.put(record(NEW, world.sequence), NEW.hit, source=sources[source])

    again = ReturnCode.TRY_AGAIN
    assert [await put(one) for one in (0, 1, 0, 1, 2, 2, 2)] == [OK] * 3 + [again] + [OK] * 2 + [
        again
    ]
    assert world.gateway.statistics.limited == 2
    world.now += 60
    assert await put(0) == OK


@run
async def test_other_uses_of_opendht_are_none_of_this_one() -> None:
    world = World()
    put = Put(bytes(20), b"file", b"", 600, "other")
    assert await world.gateway.call(put.METHOD, put.parameters, SOURCE) == REFUSED
    get = Get(bytes(20), 10, b"", "other")
    assert await world.gateway.call(get.METHOD, get.parameters, SOURCE) == [[], b""]
    with pytest.raises(XmlRpcError):
        await world.gateway.call("put", put.parameters, SOURCE)


@run
async def test_the_file_outlives_the_gateway(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    for expected in (OK, REFUSED):
        world = World()
        database = Database(file)
        world.store._database = world.freshness._database = database
        assert await world.put(record(NEW, 1), NEW.hit) == expected
        assert len(await world.get(NEW.hit)) == 1
        database.close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    file.write_bytes(b"something else, and long enough not to be taken for an empty file" * 20)
    with pytest.raises(NamingError, match="cannot be used"):
        Database(file)
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(NamingError, match="format 9"):
        Database(newer)
