"""A directory in etcd, by its JSON gateway, as it should be and otherwise."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest

from hipgw.errors import NamingError
from hipgw.naming.fleet.directory import Batch
from hipgw.naming.fleet.etcd_client import ChangedMeanwhileError, EtcdClient
from hipgw.naming.fleet.etcd_directory import EtcdDirectory
from naming.fleet.etcd_gateway import Gateway
from naming.fleet.signing import signed

PREFIX = "/f/"


def run(work: Callable[[Gateway], Awaitable[None]]) -> None:
    async def with_gateway() -> None:
        async with asyncio.timeout(20), Gateway() as gateway:
            await work(gateway)

    asyncio.run(with_gateway())


def put(gateway: Gateway, name: str, revision: int = 1) -> None:
    gateway.put(PREFIX + name, json.dumps(signed(name, revision)).encode())


async def names_of(batches: AsyncGenerator[Batch, None], *, whole: bool = False) -> set[str]:
    batch = await anext(batches)
    assert batch.whole is whole
    return {str(one.table["name"]) for one in batch.entries if one.table is not None}


def test_everything_and_then_what_changes() -> None:
    async def work(gateway: Gateway) -> None:
        gateway.page = 2
        for name in "abcde":
            put(gateway, name)
        gateway.put("/g", b"another's")
        directory = EtcdDirectory(EtcdClient([gateway.url]), PREFIX)
        async with aclosing(directory.batches()) as batches:
            assert await names_of(batches, whole=True) == set("abcde")
            revisions = {body.get("revision") for _, body in gateway.asked[1:]}
            assert revisions == {str(gateway.revision)}, "all pages are of one moment"
            put(gateway, "f")
            gateway.put("/g", b"another's again")
            assert await names_of(batches) == {"f"}
            gateway.delete(PREFIX + "a")
            batch = await anext(batches)
            while not batch.gone:
                batch = await anext(batches)
            assert (batch.gone, batch.entries) == (["a"], [])
            gateway.put(PREFIX + "x", b"\xff no JSON")
            batch = await anext(batches)
            assert [(one.where, one.table) for one in batch.entries] == [("/f/x", None)]

    run(work)


def test_a_silent_watch_is_begun_anew_with_what_has_changed() -> None:
    async def work(gateway: Gateway) -> None:
        put(gateway, "a")
        directory = EtcdDirectory(EtcdClient([gateway.url]), PREFIX, resync_s=0.1)
        async with aclosing(directory.batches()) as batches:
            assert await names_of(batches, whole=True) == {"a"}
            assert await names_of(batches) == set()
            path, body = gateway.asked[-1]
            assert path == "/v3/kv/range"
            assert body["min_mod_revision"] == str(gateway.revision + 1)
            # Another cluster stands there, made anew from older data.
            gateway.cluster, gateway.revision = "8", 1
            put(gateway, "b")
            while (batch := await anext(batches)).whole is False:
                pass
            assert len(batch.entries) == 2

    run(work)


def test_the_end_of_a_watch_and_what_is_compacted_are_trouble() -> None:
    async def work(gateway: Gateway) -> None:
        put(gateway, "a")
        directory = EtcdDirectory(EtcdClient([gateway.url]), PREFIX)
        async with aclosing(directory.batches()) as batches:
            assert await names_of(batches, whole=True) == {"a"}
            following = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0.1)
            gateway.end_watches()
            with pytest.raises(NamingError, match="ended the watch"):
                await following
        gateway.compacted = 100
        async with aclosing(directory.batches()) as batches:
            assert await names_of(batches, whole=True) == {"a"}
            with pytest.raises(NamingError, match="compacted"):
                await anext(batches)
        async with aclosing(directory.batches()) as batches:
            assert await names_of(batches, whole=True) == {"a"}

    run(work)


def test_of_several_members_the_next_one_is_asked() -> None:
    async def work(gateway: Gateway) -> None:
        put(gateway, "a")
        async with Gateway() as broken:
            broken.raw, broken.status = b'{"error": "etcdserver: no leader"}', 503
            client = EtcdClient(["http://127.0.0.1:1", broken.url, gateway.url])
            directory = EtcdDirectory(client, PREFIX)
            assert len(await directory.read()) == 1
            assert len(broken.asked) == 1
            assert len(await directory.read()) == 1
            assert len(broken.asked) == 1, "the one that answers is asked first from then on"
            await directory.close()
            client = EtcdClient([broken.url, "http://127.0.0.1:1"])
            with pytest.raises(
                NamingError, match=r"503: etcdserver: no leader; http://127.0.0.1:1"
            ):
                await client.range(PREFIX)
            await client.close()

    run(work)


def test_writing_takes_nothing_from_anybody() -> None:
    async def work(gateway: Gateway) -> None:
        directory = EtcdDirectory(EtcdClient([gateway.url]), PREFIX)
        await directory.write(signed("a"), ())
        read = await directory.read()
        with pytest.raises(ChangedMeanwhileError):
            await directory.write(signed("a", 2), ())
        put(gateway, "a", 3)
        with pytest.raises(ChangedMeanwhileError):
            await directory.write(signed("a", 2), read)
        await directory.write(signed("a", 4), await directory.read())
        assert json.loads(gateway.keys["/f/a"][0]) == signed("a", 4)
        await directory.close()

    run(work)


def test_a_user_gets_a_token() -> None:
    async def work(gateway: Gateway) -> None:
        gateway.token = "abc.7"
        put(gateway, "a")
        client = EtcdClient([gateway.url], user="user", password="secret")
        assert len((await client.range(PREFIX)).keys) == 1
        # It does not last for ever.
        gateway.token = "def.8"
        with pytest.raises(NamingError, match="401"):
            await client.range(PREFIX)
        assert len((await client.range(PREFIX)).keys) == 1
        await client.close()
        stranger = EtcdClient([gateway.url], user="user", password="guess")
        with pytest.raises(NamingError, match="400"):
            await stranger.range(PREFIX)
        await stranger.close()

    run(work)


HEADER = b'"header": {"cluster_id": "1", "revision": "5"}'
LARGE = base64.b64encode(b"x" * 40000)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b'{"header": 1}',
        b'{"header": {"revision": "-1"}}',
        b'{"header": {"revision": "' + b"9" * 30 + b'"}}',
        b"{" + HEADER + b', "kvs": 1}',
        b"{" + HEADER + b', "kvs": [1]}',
        b"{" + HEADER + b', "kvs": [{"key": "?"}]}',
        b"{" + HEADER + b', "kvs": [{"key": "YQ==", "mod_revision": "x"}]}',
        b"[" * 100000,
    ],
)
def test_nonsense_is_trouble_and_nothing_else(raw: bytes) -> None:
    async def work(gateway: Gateway) -> None:
        gateway.raw = raw
        client = EtcdClient([gateway.url])
        with pytest.raises(NamingError):
            await client.range(PREFIX)
        with pytest.raises(NamingError):
            async for _ in client.watch(PREFIX, 1):
                pass
        await client.close()

    run(work)


def test_what_is_too_large_is_cut_or_refused() -> None:
    async def work(gateway: Gateway) -> None:
        kv = b'{"key": "L2YvYQ==", "mod_revision": "5", "value": "' + LARGE + b'"}'
        gateway.raw = b"{" + HEADER + b', "kvs": [' + kv + b"]}"
        client = EtcdClient([gateway.url])
        (key,) = (await client.range(PREFIX)).keys
        assert len(key.value) < 40000
        # Pages without end, always the same.
        gateway.raw = gateway.raw[:-1] + b', "more": true}'
        with pytest.raises(NamingError, match="the same keys again"):
            await client.range(PREFIX)
        await client.close()

    run(work)
