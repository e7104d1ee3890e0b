"""Calls of a gateway, or of any server of OpenDHT's interface, as OpenHIP makes them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from hipgw.errors import NamingError
from hipgw.naming.dht.calls import Get, Put, Remove
from hipgw.naming.dht.limits import BODY_LENGTH, VALUE_LENGTH, VALUES_MAX, ReturnCode
from hipgw.naming.dht.xmlrpc import CONTENT_TYPE, Value, XmlRpcError, emit_call, parse_answer
from hipgw.naming.sources import IPAddress
from hipgw.naming.trouble import reason_of

CALL_TIMEOUT_S = 2.5
"""For one call of one server; below what a resolver waits."""
_CONNECT_S = 1.5
_PAGES_MAX = 4
"""Answers that are put together of a server that has many values for one key."""
_HEADERS_MAX = 8190


@dataclass(frozen=True, slots=True)
class Server:
    """Where the interface is served."""

    address: IPAddress
    port: int

    @property
    def url(self) -> str:
        """Of its calls."""
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"http://{host}:{self.port}/RPC2"

    def __str__(self) -> str:
        return self.url.removeprefix("http://").removesuffix("/RPC2")


class DhtClient:
    """Speaks with one server after another call; one connection for each call, as HTTP/1.0 has it.

    To be made and closed on a running event loop.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = tuple(servers)
        self._session = aiohttp.ClientSession(
            version=aiohttp.HttpVersion10,
            headers={
                "User-Agent": "hipgw",
                "Content-Type": CONTENT_TYPE,
                "Accept-Encoding": "identity",
            },
            # Little can become much by that before anybody counts it.
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S, sock_connect=_CONNECT_S),
            connector=aiohttp.TCPConnector(force_close=True, limit=32),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=_HEADERS_MAX,
            max_field_size=_HEADERS_MAX,
            trust_env=False,
        )

    async def put(self, server: Server, put: Put) -> ReturnCode:
        """Store a value at one server; NamingError if it cannot be asked."""
        return _code(await self._call(server, Put.METHOD, put.parameters))

    async def remove(self, server: Server, remove: Remove) -> ReturnCode:
        """Remove a value at one server; NamingError if it cannot be asked."""
        return _code(await self._call(server, Remove.METHOD, remove.parameters))

    async def get(self, server: Server, key: bytes, application: str) -> list[bytes]:
        """The values under a key at one server; NamingError if it cannot be asked."""
        values: list[bytes] = []
        placemark = b""
        for _ in range(_PAGES_MAX):
            asked = Get(key, VALUES_MAX, placemark, application)
            more, placemark = _values(await self._call(server, Get.METHOD, asked.parameters))
            values += more
            if not placemark:
                break
        return values

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def _call(self, server: Server, method: str, parameters: Sequence[Value]) -> object:
        body = emit_call(method, parameters)
        if self._session.closed:
            raise NamingError("the DHT is not asked any more: this daemon ends")
        try:
            async with self._session.post(server.url, data=body, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise NamingError(f"{server} answers with HTTP status {answer.status}")
                return parse_answer(await _read(answer.content))
        except TimeoutError:
            raise NamingError(f"{server} does not answer") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NamingError(f"{server} cannot be asked: {reason_of(error)}") from None


async def _read(content: aiohttp.StreamReader) -> bytes:
    data = bytearray()
    async for chunk in content.iter_any():
        data += chunk
        if len(data) > BODY_LENGTH:
            raise XmlRpcError("the answer is too long")
    return bytes(data)


def _code(answer: object) -> ReturnCode:
    if not isinstance(answer, int) or answer not in tuple(ReturnCode):
        raise XmlRpcError(f"{answer!r:.40} is no return code")
    return ReturnCode(answer)


def _values(answer: object) -> tuple[list[bytes], bytes]:
    match answer:
        case [list(values), bytes(placemark)]:
            good = [value for value in values if isinstance(value, bytes)]
            return [value for value in good if len(value) <= VALUE_LENGTH], placemark
    raise XmlRpcError("this is no answer to a get")


async def ask_all(
    client: DhtClient, key: bytes, application: str, *, patience_s: float = 0.3
) -> list[bytes]:
    """What all servers have under a key.

    Once one has an answer with values, the others get *patience_s* more. Raises NamingError if no
    server could be asked.
    """
    tasks = {
        asyncio.ensure_future(client.get(server, key, application)) for server in client.servers
    }
    values: dict[bytes, None] = {}
    problems: list[str] = []
    pending = tasks
    try:
        while pending:
            timeout = patience_s if values else None
            done, pending = await asyncio.wait(
                pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                try:
                    values.update(dict.fromkeys(task.result()))
                except NamingError as error:
                    problems.append(str(error))
    finally:
        for task in tasks:
            task.cancel()
    if len(problems) == len(tasks):
        raise NamingError("; ".join(problems) or "there is no DHT server")
    return list(values)
