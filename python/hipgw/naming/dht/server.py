"""The gateway's HTTP side: POST /RPC2, as Bamboo and OpenDHT had it on port 5851.

One call a connection, as HTTP/1.0 has it, and read here: OpenHIP sends one octet more than its
Content-length says (the NUL that ends its text), which HTTP servers of today refuse.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from hipgw.errors import NamingError
from hipgw.naming.dht.gateway import DhtGateway
from hipgw.naming.dht.limits import BODY_LENGTH
from hipgw.naming.dht.rate import network_of
from hipgw.naming.dht.xmlrpc import (
    CONTENT_TYPE,
    XmlRpcError,
    emit_answer,
    emit_fault,
    parse_call,
)
from hipgw.naming.sources import IPAddress

CONNECTIONS_MAX = 256
"""At once; who comes when there are as many is sent away."""
CONNECTIONS_PER_SOURCE = 32
"""Of these, those of one address: nobody alone can keep all others away by being slow."""
REQUEST_TIMEOUT_S = 5.0
"""For a whole request to come in, and again for the answer to be taken."""
CALL_TIMEOUT_S = 10.0
"""For what a store does."""
_HEAD_MAX = 8192
_PATHS = (b"/RPC2", b"/")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refused(Exception):  # noqa: N818 - it is an answer
    """A request that is no call."""

    status: bytes


class GatewayServer:
    """Listens for calls, and hands them to the gateway."""

    def __init__(
        self,
        gateway: DhtGateway,
        listen: Sequence[tuple[IPAddress, int]],
        clients: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """*clients*: networks that may call; none: everybody."""
        self._gateway = gateway
        self._listen = listen
        self._clients = clients
        self._servers: list[asyncio.Server] = []
        self._calls: dict[asyncio.Task[None], bytes] = {}
        """Those under way, and where they come from, as far as sources are told apart."""

    @property
    def ports(self) -> list[int]:
        """Where it listens, in the order of the addresses."""
        return [server.sockets[0].getsockname()[1] for server in self._servers]

    async def start(self) -> None:
        """Listen. Raises NamingError if an address cannot be listened at."""
        for address, port in self._listen:
            try:
                self._servers.append(
                    await asyncio.start_server(
                        self._connected, str(address), port, limit=_HEAD_MAX, backlog=64
                    )
                )
            except OSError as error:
                await self.stop()
                raise NamingError(
                    f"the DHT gateway cannot listen at {address}, port {port}: {error.strerror}",
                    hint="`dht.gateway` says where",
                ) from None

    async def stop(self) -> None:
        """Listen no more, and end what is under way."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    # -- one connection -------------------------------------------------------------------------

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = _source_of(writer)
        network = network_of(source)
        theirs = sum(one == network for one in self._calls.values())
        if len(self._calls) >= CONNECTIONS_MAX or theirs >= CONNECTIONS_PER_SOURCE:
            writer.close()
            return
        call = asyncio.get_running_loop().create_task(self._guarded(reader, writer, source))
        self._calls[call] = network
        call.add_done_callback(self._calls.pop)

    async def _guarded(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: IPAddress
    ) -> None:
        try:
            await self._serve(reader, writer, source)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except Exception:
            # A fault of ours in one call is no reason to answer no others.
            _log.exception("call of the DHT gateway")
            writer.transport.abort()
        finally:
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: IPAddress
    ) -> None:
        try:
            if self._clients and not any(source in network for network in self._clients):
                raise _Refused(b"403 Forbidden")
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                body = await _read_request(reader)
            async with asyncio.timeout(CALL_TIMEOUT_S):
                answer = await self._answer(body, source)
            head = b"200 OK\r\nContent-Type: " + CONTENT_TYPE.encode()
        except _Refused as refused:
            head, answer = refused.status, b""
        length = str(len(answer)).encode()
        writer.write(b"HTTP/1.0 " + head + b"\r\nContent-Length: " + length + b"\r\n\r\n" + answer)
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            # With what is left unread, the kernel would reset the connection, and the answer with
            # it; a client that goes on and on has its time.
            await writer.drain()
            writer.write_eof()
            with contextlib.suppress(OSError):
                while await reader.read(_HEAD_MAX):
                    pass

    async def _answer(self, body: bytes, source: IPAddress) -> bytes:
        try:
            return emit_answer(await self._gateway.call(*parse_call(body), source))
        except NamingError as error:
            return emit_fault(1 if isinstance(error, XmlRpcError) else 2, str(error))


def _source_of(writer: asyncio.StreamWriter) -> IPAddress:
    source = ip_address(str(writer.get_extra_info("peername")[0]).partition("%")[0])
    mapped = source.ipv4_mapped if source.version == 6 else None
    return mapped or source


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """The body of a POST to /RPC2. Raises _Refused for what else there is."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused(b"431 Request Header Fields Too Large") from None
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise _Refused(b"400 Bad Request")
    if words[0] != b"POST":
        raise _Refused(b"405 Method Not Allowed\r\nAllow: POST")
    if words[1] not in _PATHS:
        raise _Refused(b"404 Not Found")
    lengths = []
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            lengths.append(value.strip())
        elif name.lower() == b"transfer-encoding":
            raise _Refused(b"411 Length Required")
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 9:
        raise _Refused(b"411 Length Required")
    length = int(lengths[0])
    if length > BODY_LENGTH:
        raise _Refused(b"413 Content Too Large")
    return await reader.readexactly(length)
