"""The store in a ring: what gateways make of values that live ten minutes and come from anybody.

The ring is a stand-in for a dhtnode's proxy, as that was seen to answer; the real ones are in the
system tests.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps

import pytest
from aiohttp import web

from hipgw.errors import NamingError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.dht.calls import Get, Put, Remove
from hipgw.naming.dht.freshness import Freshness, Unsequenced
from hipgw.naming.dht.gateway import DhtGateway
from hipgw.naming.dht.keys import hit_key, sha1
from hipgw.naming.dht.limits import ADDRESS_APPLICATION, ReturnCode
from hipgw.naming.dht.stores import opendht
from hipgw.naming.dht.stores.database import Database
from hipgw.naming.dht.stores.opendht import OpenDhtStore
from naming.dht.dht_world import HERE, SECRET, SOURCE, START, THERE, record

NEW = LocalIdentity.generate("ecdsa-p256")
OLD = LocalIdentity.generate("rsa2048").in_version(1)
OK, REFUSED = ReturnCode.SUCCESS, ReturnCode.REFUSED
TEN_MINUTES = 600


def run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def wrapper(*args: object, **kwargs: object) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return wrapper


class Ring:
    """Values by key for ten minutes, with a number each, as the proxies of dhtnodes answer."""

    def __init__(self) -> None:
        self.now = float(START)
        self.values: dict[str, dict[tuple[str, str], float]] = {}
        self.down = False
        self.stalls = False
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503, text='{"err":"Incorrect DhtRunner"}')
        there = self.values.setdefault(request.path, {})
        if request.method == "POST":
            said = await request.json()
            there[said["data"], str(said.get("id", "0"))] = self.now + TEN_MINUTES
            return web.json_response(said)
        answer = web.StreamResponse()
        await answer.prepare(request)
        for (data, number), until in there.items():
            if until > self.now:
                line = json.dumps({"data": data, "id": number, "type": 0})
                await answer.write(line.encode() + b"\n")
        if self.stalls:
            await asyncio.sleep(20)
        return answer

    async def junk(self, hit: object, data: bytes) -> None:
        said = base64.b64encode(data).decode()
        self.values.setdefault(f"/{hit_key(hit).hex()}", {})[said, "7"] = self.now + TEN_MINUTES


class Gateway:
    """One of several gateways to a ring."""

    def __init__(self, ring: Ring, *proxies: str) -> None:
        self.ring = ring
        clock = lambda: ring.now  # noqa: E731
        self.database = Database(None)
        self.store = OpenDhtStore([*proxies, ring.url], self.database, records_max=100, clock=clock)
        self.gateway = DhtGateway(
            self.store,
            Freshness(self.database, Unsequenced.NEW, clock=clock),
            puts_per_source=1000,
            puts_total=1000,
            clock=clock,
        )

    async def put(
        self,
        value: bytes,
        hit: object = NEW.hit,
        secret: bytes = SECRET,
        ttl_s: int = 3600,
    ) -> object:
        put = Put(hit_key(hit), value, sha1(secret), ttl_s, ADDRESS_APPLICATION)
        return await self.gateway.call(put.METHOD, put.parameters, SOURCE)

    async def get(self, hit: object = NEW.hit) -> list[bytes]:
        get = Get(hit_key(hit), 10, b"", ADDRESS_APPLICATION)
        values, _ = await self.gateway.call(get.METHOD, get.parameters, SOURCE)
        return values

    async def remove(self, value: bytes, hit: object = NEW.hit, secret: bytes = SECRET) -> None:
        remove = Remove(hit_key(hit), sha1(value), secret, 3600, ADDRESS_APPLICATION)
        await self.gateway.call(remove.METHOD, remove.parameters, SOURCE)


@contextlib.asynccontextmanager
async def ring_of(*proxies: str) -> AsyncIterator[tuple[Ring, Gateway, Gateway]]:
    """A ring with two gateways."""
    ring = Ring()
    server = web.Server(ring.handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    ring.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    gateways = [Gateway(ring, *proxies) for _ in range(2)]
    try:
        yield ring, *gateways
    finally:
        for one in gateways:
            await one.store.close()
            one.database.close()
        listening.close()
        await server.shutdown(0.1)


def hour(identity: LocalIdentity, sequence: int, address: object = HERE) -> bytes:
    return record(identity, sequence, address, ttl_s=3600)


@run
async def test_what_one_gateway_takes_all_have() -> None:
    async with ring_of() as (_, one, two):
        value = hour(NEW, 5)
        assert await one.put(value) == OK
        assert await one.get() == await two.get() == [value]
        later = hour(NEW, 6, THERE)
        assert await two.put(later) == OK
        assert await one.get() == await two.get() == [later]


@run
async def test_a_gateway_that_heard_nothing_knows_a_replay_by_the_ring() -> None:
    async with ring_of() as (_, one, two):
        older, value = hour(NEW, 4), hour(NEW, 5)
        await one.put(value)
        assert await two.put(value, secret=b"mine") == REFUSED
        assert await two.put(older) == REFUSED
        await one.remove(value)
        assert await one.get() == await two.get() == []
        assert await two.put(value, secret=b"mine") == REFUSED
        assert await two.put(older) == REFUSED
        assert await two.put(hour(NEW, 6)) == OK


@run
async def test_values_are_put_again_before_the_ring_forgets_them() -> None:
    async with ring_of() as (ring, one, two):
        value = hour(NEW, 5)
        await one.put(value)
        for _ in range(8):
            ring.now += opendht.REFRESH_S
            await one.store.refresh()
            assert await two.get() == [value]
        await one.remove(value)
        for _ in range(4):
            ring.now += opendht.REFRESH_S
            await one.store.refresh()
            await two.store.refresh()
            assert await two.get() == []
            assert await two.put(value) == REFUSED
        ring.now += 3600
        await one.store.refresh()
        assert await one.get() == []


@run
async def test_an_old_gateway_takes_over_what_a_new_one_has_taken() -> None:
    async with ring_of() as (ring, one, two):
        await one.put(hour(NEW, 5))
        later = hour(NEW, 6, THERE)
        await two.put(later)
        await one.store.refresh()
        # The second gateway is gone; the first goes on with what it knows by now.
        ring.now += TEN_MINUTES
        await one.store.refresh()
        assert await one.get() == [later]


@run
async def test_nobody_in_the_ring_is_believed() -> None:
    async with ring_of() as (ring, one, two):
        value = hour(NEW, 5)
        await one.put(value)
        forged = hour(NEW, 9).replace(HERE.packed, THERE.packed)
        wrapped = {
            "hipgw": 1,
            "application": ADDRESS_APPLICATION,
            "value": base64.b64encode(forged).decode(),
            "expires": int(ring.now) + 60,
            "secret_hash": "",
        }
        stale = {**wrapped, "value": base64.b64encode(hour(NEW, 4)).decode()}
        gone = {
            "hipgw": 1,
            "application": ADDRESS_APPLICATION,
            "removed": base64.b64encode(value).decode(),
            "secret": base64.b64encode(b"guess").decode(),
            "expires": int(ring.now) + 60,
        }
        later = {**gone, "removed": base64.b64encode(forged).decode()}
        odd = [
            {},
            [],
            {**wrapped, "expires": "soon"},
            {**wrapped, "expires": 2**70},
            {**wrapped, "expires": True},
            {**wrapped, "value": 5},
            {**wrapped, "value": "%"},
            {**wrapped, "secret_hash": "AA=="},
            {**wrapped, "value": "A" * 2000},
            {**wrapped, "hipgw": 2},
            {**gone, "secret": "A" * 400},
        ]
        for said in (wrapped, stale, gone, later, *odd):
            await ring.junk(NEW.hit, json.dumps(said).encode())
        for data in (b"", b"\xff", b"[" * 3000, b"x" * 5000, json.dumps(stale).encode("utf-32")):
            await ring.junk(NEW.hit, data)
        for gateway in (one, two):
            assert await gateway.get() == [value]
        assert await two.put(hour(NEW, 6)) == OK


@run
async def test_a_flood_of_junk_is_bounded() -> None:
    async with ring_of() as (ring, one, _):
        await one.put(hour(NEW, 5))
        for number in range(40):
            await ring.junk(NEW.hit, bytes([number]) * 40000)
        assert len(await one.get()) == 1


@run
async def test_proxies_are_asked_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opendht, "QUIET_S", 0.05)
    async with ring_of("http://127.0.0.1:1") as (ring, one, two):
        value = hour(NEW, 5)
        assert await one.put(value) == OK
        ring.stalls = True  # it waits for nodes that are gone
        assert await two.get() == [value]
        ring.stalls, ring.down = False, True
        assert await one.get() == [value]  # its own
        with pytest.raises(NamingError, match="503"):
            await two.get()
        assert await two.put(hour(NEW, 6)) == ReturnCode.TRY_AGAIN
        ring.down = False
        assert await two.put(hour(NEW, 6)) == OK


@run
async def test_openhip_behind_a_ring() -> None:
    async with ring_of() as (ring, one, two):
        here, there = record(OLD, 0, HERE), record(OLD, 0, THERE)
        assert await one.put(here, OLD.hit) == OK
        assert await one.put(here, OLD.hit) == OK
        assert await one.put(there, OLD.hit) == OK
        assert await one.get(OLD.hit) == [there]
        ring.now += 1
        assert await one.put(record(OLD, 0, SOURCE), OLD.hit) == OK
        assert await two.get(OLD.hit) == [record(OLD, 0, SOURCE)]
        there = record(OLD, 0, SOURCE)
        await one.remove(there, OLD.hit)
        assert await one.put(there, OLD.hit, b"of its next life") == OK
        assert await two.get(OLD.hit) == [there]
