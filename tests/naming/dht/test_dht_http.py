"""Publisher, source, client, server, gateway and store together, over HTTP on this machine."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from hipgw.errors import NamingError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.dht import server as server_module
from hipgw.naming.dht.calls import Put
from hipgw.naming.dht.client import DhtClient, Server, ask_all
from hipgw.naming.dht.hdrr import locator_for, make_address_record, make_name_record
from hipgw.naming.dht.keys import hit_key, name_key, sha1
from hipgw.naming.dht.limits import (
    ADDRESS_APPLICATION,
    BODY_LENGTH,
    NAME_APPLICATION,
    ReturnCode,
)
from hipgw.naming.dht.publisher import Publisher, PublisherSettings
from hipgw.naming.dht.server import GatewayServer
from hipgw.naming.dht.source import DhtSource
from hipgw.naming.dht.stores.base import Stored
from hipgw.naming.dht.xmlrpc import XmlRpcError
from hipgw.naming.sources import Provenance, Rendezvous
from naming.dht.dht_world import HERE, THERE, World, record

LOOPBACK = ip_address("127.0.0.1")
NEW = LocalIdentity.generate("ecdsa-p256")
RSA = LocalIdentity.generate("rsa2048")


def run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def wrapper(*args: object, **kwargs: object) -> None:
        async def timed() -> None:
            async with asyncio.timeout(30):
                await test(*args, **kwargs)

        asyncio.run(timed())

    return wrapper


@contextlib.asynccontextmanager
async def serving(world: World, **kwargs: object) -> AsyncIterator[Server]:
    """The world's gateway on a free port."""
    server = GatewayServer(world.gateway, [(LOOPBACK, 0)], **kwargs)
    await server.start()
    try:
        yield Server(LOOPBACK, *server.ports)
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def client_of(*servers: Server) -> AsyncIterator[DhtClient]:
    client = DhtClient(servers)
    try:
        yield client
    finally:
        await client.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        await asyncio.sleep(0.02)


@run
async def test_a_host_is_published_found_moved_and_removed(tmp_path: Path) -> None:
    world, other = World(), World()
    world.now = other.now = 0.0
    file = tmp_path / "published.json"
    identities = [RSA, RSA.in_version(1)]
    async with serving(world) as one, serving(other) as two, client_of(one, two) as client:
        source = DhtSource(client)
        settings = PublisherSettings(name="Plant-A", ttl_s=600)
        publisher = Publisher(client, source, identities, settings, file)
        publisher.start()
        publisher.changed([ip_address("10.0.0.1"), IPv4Address("8.8.8.8")])

        async def found_at(address: str) -> bool:
            found = await source.by_hit(RSA.hit)
            return bool(found) and found[0].addresses == (ip_address(address),)

        await until(lambda: found_at("8.8.8.8"))
        await until(lambda: settled(source, "plant-a"))
        for identity in identities:
            (found,) = await source.by_hit(identity.hit)
            assert found.provenance is Provenance.SELF_SIGNED
            assert found.hit == identity.hit
        found = await source.by_name("plant-a")
        assert {one.hit for one in found} == {identity.hit for identity in identities}
        assert all(one.provenance is Provenance.UNSIGNED for one in found)
        assert await source.by_name("Plant-A")
        for store in (world, other):
            assert len(await store.get(RSA.hit)) == 1
        publisher.changed([IPv4Address("9.9.9.9")])
        await until(lambda: found_at("9.9.9.9"))
        assert file.stat().st_mode & 0o777 == 0o600
        await publisher.stop()
        for store in (world, other):
            assert await store.get(RSA.hit) == await store.named("plant-a") == []
        said = json.loads(file.read_text())
        assert said["published"] == []
        before = said["sequences"][str(RSA.hit)]
        # The next life counts on, even if its clock were wrong.
        again = Publisher(client, source, identities, settings, file)
        assert await again._next_sequence(RSA.hit) > before


async def settled(source: DhtSource, name: str) -> bool:
    return len(await source.by_name(name)) == 2


@run
async def test_records_of_a_life_that_was_cut_short_are_removed(tmp_path: Path) -> None:
    world = World()
    world.now = 0.0
    async with serving(world) as one, client_of(one) as client:
        source = DhtSource(client)
        for address in ("8.8.8.8", "9.9.9.9"):
            publisher = Publisher(
                client, source, [NEW], PublisherSettings(name="n"), tmp_path / "p.json"
            )
            publisher.start()
            publisher.changed([ip_address(address)])

            async def found(address: str = address) -> bool:
                answers = await source.by_name("n")
                return any(one.addresses == (ip_address(address),) for one in answers)

            async def alone() -> bool:
                """A record of the name and one of the HIT, and nothing of the life before."""
                return (
                    await world.database.run(
                        lambda db: db.execute("SELECT count(*) FROM records").fetchone()[0]
                    )
                    == 2
                )

            await until(found)
            await until(alone)
            publisher._task.cancel()  # and its end tells nobody
        assert len(await world.get(NEW.hit)) == 1


@run
async def test_a_name_that_another_has_is_left_alone() -> None:
    world = World()
    world.now = 0.0
    other = LocalIdentity.generate("ed25519")
    await world.put_name("n", other.hit)
    async with serving(world) as one, client_of(one) as client:
        source = DhtSource(client)
        publisher = Publisher(client, source, [NEW], PublisherSettings(name="n"), None)
        publisher.start()
        publisher.changed([IPv4Address("8.8.8.8")])
        await until(lambda: anything(source))
        await asyncio.sleep(0.1)
        assert await world.named("n") == [make_name_record(other.hit)]
        await publisher.stop()


async def anything(source: DhtSource) -> bool:
    return bool(await source.by_hit(NEW.hit))


@run
async def test_behind_a_nat_the_rendezvous_server_is_published() -> None:
    world = World()
    world.now = 0.0
    async with serving(world) as one, client_of(one) as client:
        source = DhtSource(client)
        servers: list[IPv4Address] = []
        publisher = Publisher(
            client, source, [NEW], PublisherSettings(), None, rendezvous=lambda: servers
        )
        publisher.start()
        publisher.changed([ip_address("10.1.2.3")])
        await asyncio.sleep(0.05)
        assert await world.get(NEW.hit) == []
        servers.append(IPv4Address("8.8.4.4"))
        publisher.changed([ip_address("10.1.2.3")])
        await until(lambda: anything(source))
        (found,) = await source.by_hit(NEW.hit)
        assert found.addresses == ()
        assert found.rendezvous == (Rendezvous((IPv4Address("8.8.4.4"),)),)
        await publisher.stop()


@run
async def test_a_source_believes_no_server() -> None:
    """A server that verifies nothing, as Bamboo did: whatever is there, the owner's word counts."""
    world = World()
    async with serving(world) as one, client_of(one) as client:
        source = DhtSource(client)
        other = LocalIdentity.generate("ecdsa-p256")
        junk = [
            b"",
            b"junk",
            record(other, 2**32 - 1),
            record(NEW, 2**32 - 1)[:-20] + bytes(20),
            record(NEW, 9, THERE).replace(THERE.packed, HERE.packed),
        ]
        for value in [*junk, record(NEW, 3, HERE), record(NEW, 4, THERE), record(NEW, 2, HERE)]:
            stored = Stored(ADDRESS_APPLICATION, value, int(world.now) + 600, b"")
            await world.store.put(hit_key(NEW.hit), stored)
        (found,) = await source.by_hit(NEW.hit)
        assert found.addresses == (THERE,)
        # Later, when a server brings an older one, it is known for that.
        world2 = World()
        async with serving(world2) as two, client_of(two) as second:
            source._client = second
            await world2.put(record(NEW, 3, HERE), NEW.hit)
            assert await source.by_hit(NEW.hit) == ()


@run
async def test_one_server_that_answers_is_enough() -> None:
    world = World()
    await world.put(record(NEW, 1), NEW.hit)
    nobody = Server(LOOPBACK, 1)
    async with serving(world) as one, client_of(nobody, one) as client:
        assert await ask_all(client, hit_key(NEW.hit), ADDRESS_APPLICATION)
    async with client_of(nobody, Server(ip_address("::1"), 1)) as client:
        with pytest.raises(NamingError, match="cannot be asked"):
            await DhtSource(client).by_hit(NEW.hit)
        with pytest.raises(NamingError):
            await DhtSource(client).by_name("n")


@run
async def test_many_values_are_put_together() -> None:
    world = World()
    for i in range(16):
        await world.put_name("a", LocalIdentity.generate("ed25519").hit, bytes([i]))
    async with serving(world) as one, client_of(one) as client:
        assert len(await client.get(one, name_key("a"), NAME_APPLICATION)) == 16


async def say(server: Server, data: bytes, *, wait_s: float = 30.0) -> bytes:
    reader, writer = await asyncio.open_connection(str(server.address), server.port)
    try:
        writer.write(data)
        async with asyncio.timeout(wait_s):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@run
async def test_what_is_no_call_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT_S", 0.5)
    world = World()
    async with serving(world) as one:
        head = b"POST /RPC2 HTTP/1.0\r\nContent-Length: %d\r\n\r\n"
        assert b" 405 " in await say(one, b"GET /RPC2 HTTP/1.0\r\n\r\n")
        assert b" 404 " in await say(one, b"POST /other HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        assert b" 413 " in await say(one, head % (BODY_LENGTH + 1) + bytes(BODY_LENGTH + 1))
        assert b"<fault>" in await say(one, head % 4 + b"junk")
        assert b" 400 " in await say(one, b"\0\1\2\r\n\r\n")
        assert b" 411 " in await say(one, b"POST / HTTP/1.1\r\n\r\n")
        for length in (b"x", b"-1", b"1\r\nContent-Length: 2", b"9" * 10):
            text = b"POST / HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\n"
            assert b" 411 " in await say(one, text)
        chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b" 411 " in await say(one, chunked)
        assert b" 431 " in await say(one, b"POST / HTTP/1.0\r\nA: " + b"a" * 20000)
        # One who says nothing, or not all, does not keep a place for ever.
        assert await say(one, b"POST /RPC2") == b""
        assert b"<fault>" not in await say(one, head % 100 + b"half")
        answer = await say(one, head % 4 + b"junk")
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")


@run
async def test_who_may_call_can_be_limited() -> None:
    outside = [ip_network("192.0.2.0/24")]
    async with serving(World(), clients=outside) as one, client_of(one) as client:
        with pytest.raises(NamingError, match="403"):
            await client.get(one, bytes(20), ADDRESS_APPLICATION)


@run
async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX", 3)
    async with serving(World()) as one, contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", one.port)
            stack.callback(writer.close)
        await asyncio.sleep(0.05)
        assert await say(one, b"GET / HTTP/1.0\r\n\r\n") == b""


@run
async def test_one_source_cannot_have_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_PER_SOURCE", 2)
    async with serving(World()) as one, contextlib.AsyncExitStack() as stack:
        for n in range(3):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", one.port, local_addr=("127.0.0.2", 0)
            )
            stack.callback(writer.close)
            if n == 2:
                assert await reader.read() == b""  # sent away
        assert b" 405 " in await say(one, b"GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not XML",
        b"<methodResponse><params><param><value><int>9</int></value></param></params>"
        b"</methodResponse>",
        b"x" * (BODY_LENGTH + 1),
        gzip.compress(b" " * 10_000_000),
    ],
)
@run
async def test_servers_that_answer_nonsense(body: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        encoding = b"Content-Encoding: gzip\r\n" if body[:2] == b"\x1f\x8b" else b""
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n" + encoding + b"\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        server = Server(LOOPBACK, listening.sockets[0].getsockname()[1])
        async with client_of(server) as client:
            put = Put(bytes(20), b"v", sha1(b""), 1, ADDRESS_APPLICATION)
            with pytest.raises(XmlRpcError):
                await client.put(server, put)
            with pytest.raises(NamingError):
                await client.get(server, bytes(20), ADDRESS_APPLICATION)


@run
async def test_a_gateway_that_cannot_listen_says_where() -> None:
    world = World()
    async with serving(world) as one:
        second = GatewayServer(world.gateway, [(LOOPBACK, one.port)])
        with pytest.raises(NamingError, match=str(one.port)):
            await second.start()


@run
async def test_a_put_through_http_is_judged_too() -> None:
    world = World()
    async with serving(world) as one, client_of(one) as client:
        locators = [locator_for(HERE, 600)]
        value = make_address_record(NEW, locators, 1)
        put = Put(hit_key(NEW.hit), value, b"", 600, ADDRESS_APPLICATION)
        assert await client.put(one, put) is ReturnCode.SUCCESS
        assert await client.put(one, put) is ReturnCode.REFUSED
