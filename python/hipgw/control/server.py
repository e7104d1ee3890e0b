"""Listens at the control socket, and sends events to those who subscribed."""

import asyncio
import logging
from pathlib import Path

from hipgw.control.api import ControlApi, EventAnswer
from hipgw.control.connection import Connection
from hipgw.control.errors import ErrorCode
from hipgw.control.lines import REQUEST_LIMIT_BYTES, encode
from hipgw.control.listening import ListeningSocket

_log = logging.getLogger(__name__)

CLIENTS_LIMIT = 32


class ControlServer:
    """The daemon's control socket. One thread: that of the event loop it is started on."""

    def __init__(
        self,
        path: Path,
        api: ControlApi,
        *,
        group: str | None = None,
        clients_limit: int = CLIENTS_LIMIT,
    ) -> None:
        self._path = path
        self._api = api
        self._group = group
        self._clients_limit = clients_limit
        self._listening: ListeningSocket | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self.dropped_subscribers = 0
        """Connections cut because their client did not read."""

    async def start(self) -> None:
        """Listen. Raises ControlError, also when another daemon has the socket."""
        self._listening = ListeningSocket(self._path, group=self._group)
        self._server = await asyncio.start_unix_server(
            self._accept, sock=self._listening.socket, limit=REQUEST_LIMIT_BYTES
        )

    async def stop(self) -> None:
        """Close every connection and take the socket away; may be called twice."""
        server, self._server = self._server, None
        listening, self._listening = self._listening, None
        if server is None or listening is None:
            return
        listening.remove()
        server.close()
        tasks = list(self._connections.values())
        for connection, task in list(self._connections.items()):
            connection.flush_and_close()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    @property
    def has_subscribers(self) -> bool:
        """Whether it is worth the work to make events."""
        return any(connection.kinds for connection in self._connections)

    def publish(self, event: EventAnswer) -> None:
        """Send an event to everybody who subscribed to its kind; never waits.

        A subscriber who does not keep up is cut off, so that memory stays bounded.
        """
        line = b""
        for connection in list(self._connections):
            if event["kind"] not in connection.kinds:
                continue
            line = line or encode({"event": event})
            if not connection.send_event(line):
                self.dropped_subscribers += 1
                _log.warning("control subscriber cut off", extra={"reason": "does not read"})

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._server is None:
            writer.close()
            return
        connection = Connection(reader, writer, self._api)
        if len(self._connections) >= self._clients_limit:
            connection.send_error(
                None,
                ErrorCode.BUSY,
                f"{self._clients_limit} clients are connected already",
                "end one of them",
            )
            connection.flush_and_close()
            return
        self._connections[connection] = task
        try:
            await connection.serve()
        except asyncio.CancelledError:
            # stop() closes connections; there is nobody else to tell.
            pass
        finally:
            del self._connections[connection]
            connection.flush_and_close()
