"""The same by TCP: a connection of a client is one to a name server, but for names of our own.

Messages have their length in two octets in front (RFC 1035 §4.2.2).
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable

from hipgw.naming.dns.octets import asks_below, is_query, server_failure
from hipgw.naming.dns.servers import NameServer

_CONNECTIONS_MAX = 64
_IDLE_S = 30.0
_CONNECT_S = 3.0

Answer = Callable[[bytes], Awaitable[bytes | None]]


class TcpServer:
    """Serves a listening socket."""

    def __init__(
        self,
        suffix: bytes,
        answer: Answer,
        servers: Callable[[], Iterable[NameServer]],
        allowed: Callable[[str], bool],
    ) -> None:
        """*suffix*: of the names that *answer* answers; *allowed*: whether a client may ask."""
        self._suffix = suffix
        self._answer = answer
        self._servers = servers
        self._allowed = allowed
        self._clients: dict[asyncio.Task[None], None] = {}
        """Who has asked nothing for longest comes first."""
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Begin to take connections."""
        self._server = await asyncio.start_server(self._serve, sock=sock)

    async def stop(self) -> None:
        """Take none any more, and end those that there are."""
        if self._server is not None:
            self._server.close()
        clients = list(self._clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        peer = writer.get_extra_info("peername")
        if task is None or not peer or not self._allowed(peer[0]):
            writer.close()
            return
        if len(self._clients) >= _CONNECTIONS_MAX:
            # RFC 7766 §6.2.3: else who holds connections, and asks nothing, keeps all others out.
            idle = next(iter(self._clients))
            del self._clients[idle]
            idle.cancel()
        self._clients[task] = None
        try:
            async with contextlib.AsyncExitStack() as stack:
                stack.callback(writer.close)
                await _Conversation(self, reader, writer, stack).run()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client has gone, or is silent; or the daemon stops.
            pass
        finally:
            self._clients.pop(task, None)

    def has_asked(self, task: asyncio.Task[None] | None) -> None:
        """This client is the last one to be sent away from now on."""
        if task is not None and task in self._clients:
            del self._clients[task]
            self._clients[task] = None


class _Conversation:
    """One connection of a client, and the one to a name server that is opened for it."""

    def __init__(
        self,
        server: TcpServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self._of = server
        self._reader = reader
        self._writer = writer
        self._stack = stack
        self._upstream: asyncio.StreamWriter | None = None
        self._writing = asyncio.Lock()
        """Answers come from us and from the name server; one at a time may wait for room."""

    async def run(self) -> None:
        """Until the client closes it, or says nothing for a time."""
        while True:
            message = await asyncio.wait_for(_read(self._reader), _IDLE_S)
            if not is_query(message):
                return
            self._of.has_asked(asyncio.current_task())
            if asks_below(message, self._of._suffix):
                answer = await self._of._answer(message)
                if answer is None:
                    return
                await self._reply(answer)
            elif not await self._pass_on(message):
                await self._reply(server_failure(message))

    async def _reply(self, answer: bytes) -> None:
        async with self._writing:
            await _write(self._writer, answer)

    async def _pass_on(self, message: bytes) -> bool:
        if self._upstream is None or self._upstream.is_closing():
            self._upstream = await self._connect()
        if self._upstream is None:
            return False
        await _write(self._upstream, message)
        return True

    async def _connect(self) -> asyncio.StreamWriter | None:
        for server in self._of._servers():
            connecting = asyncio.open_connection(str(server.address), server.port)
            try:
                reader, writer = await asyncio.wait_for(connecting, _CONNECT_S)
            except (OSError, TimeoutError):
                continue
            self._stack.callback(writer.close)
            pump = asyncio.ensure_future(self._pump(reader, writer))
            self._stack.callback(pump.cancel)
            return writer
        return None

    async def _pump(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        """Answers of the name server to the client, as they come."""
        try:
            while True:
                await self._reply(await _read(reader))
        except (OSError, asyncio.IncompleteReadError):
            upstream.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(2), "big")
    return await reader.readexactly(length)


async def _write(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(len(message).to_bytes(2, "big") + message)
    await writer.drain()
