"""One client of the control socket: reads its requests, answers them, each in a task of its own."""

import asyncio
import logging
from collections.abc import Collection
from contextlib import aclosing
from typing import Any

from hipgw.control.api import ControlApi, PingSummary
from hipgw.control.errors import ErrorCode, RequestError
from hipgw.control.lines import decode, encode
from hipgw.control.methods import METHODS
from hipgw.errors import HipgwError

_log = logging.getLogger(__name__)

UNSENT_LIMIT_BYTES = 1024 * 1024
"""Events that a subscriber has not read yet; then it is cut off."""

REQUESTS_LIMIT = 16
"""Requests of one client that are worked on at the same time; it is not read meanwhile."""

READ_TIMEOUT_S = 30.0
"""Longest wait for the client to read an answer."""

IDLE_TIMEOUT_S = 300.0
"""A client that asks nothing and waits for nothing is closed, to make room for others."""

ID_LIMIT = 64
"""Characters of a request's id."""


class _ClientGoneError(Exception):
    """The client ended, or does not read its answers."""


class Connection:
    """One client, from its first request to its end."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, api: ControlApi
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._api = api
        self._requests: set[asyncio.Task[None]] = set()
        self.kinds: Collection[str] = ()
        """The kinds of events that the client subscribed to."""

    async def serve(self) -> None:
        """Answer requests until the client ends or breaks a rule that cannot be answered."""
        try:
            while line := await self._next_line():
                if len(self._requests) >= REQUESTS_LIMIT:
                    await asyncio.wait(self._requests, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(self._answer(line))
                self._requests.add(task)
                task.add_done_callback(self._requests.discard)
            # A client may send its request, shut down its sending side, and still read.
            self.kinds = ()
            if self._requests:
                await asyncio.wait(self._requests)
        finally:
            self.kinds = ()
            for task in self._requests:
                task.cancel()

    async def _next_line(self) -> bytes:
        """The next line that is not blank; empty at the end."""
        while True:
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    line = await self._reader.readline()
            except TimeoutError:
                if self.kinds or self._requests:
                    continue
                return b""
            except ValueError:
                self.send_error(None, ErrorCode.TOO_LONG, "the request is too long")
                return b""
            except ConnectionError:
                return b""
            if not line or line.strip():
                return line

    async def _answer(self, line: bytes) -> None:
        request_id: Any = None
        try:
            request = _parse(line)
            request_id = request["id"]
            await self._dispatch(request_id, request["method"], request["params"])
            await self._drain()
        except RequestError as error:
            if error.code == ErrorCode.BAD_REQUEST:
                request_id = _id_of(line)
            self.send_error(request_id, error.code, str(error), error.hint)
        except HipgwError as error:
            self.send_error(request_id, ErrorCode.REFUSED, str(error), error.hint)
        except _ClientGoneError:
            self._writer.transport.abort()
        except Exception:
            _log.exception("control request failed")
            self.send_error(
                request_id, ErrorCode.INTERNAL, "the daemon failed", "its log has the details"
            )

    async def _dispatch(self, request_id: Any, name: str, given: dict[str, Any]) -> None:
        method = METHODS.get(name)
        if method is None:
            raise RequestError(
                ErrorCode.UNKNOWN_METHOD,
                f"there is no method {name[:40]!r}",
                hint=f"there are: {', '.join(METHODS)}",
            )
        params = method.check(given)
        result: Any = None
        match name:
            case "status":
                result = self._api.status()
            case "peers":
                result = self._api.peers()
            case "associations":
                result = self._api.associations()
            case "sa":
                result = self._api.security_associations()
            case "mac_table":
                result = self._api.mac_table()
            case "counters":
                result = self._api.counters()
            case "addresses":
                result = self._api.addresses()
            case "mobile_router":
                result = self._api.mobile_router()
            case "mobile_router_clients":
                result = self._api.mobile_router_clients()
            case "registrations":
                result = self._api.registrations()
            case "endbox":
                result = self._api.endbox()
            case "ping":
                result = await self._ping(request_id, **params)
            case "fleet":
                result = self._api.fleet()
            case "resolve":
                result = await self._api.resolve(**params)
            case "connect":
                result = await self._api.connect(**params)
            case "close":
                result = await self._api.close(**params)
            case "rekey":
                result = await self._api.rekey(**params)
            case "subscribe":
                result = params["kinds"]
            case "stop":
                self._api.stop()
        self._send({"id": request_id, "result": result})
        if name == "subscribe":
            # After the answer, so that no event stands before it.
            self.kinds = frozenset(params["kinds"])

    async def _ping(self, request_id: Any, *, peer: str, **params: Any) -> PingSummary:
        name, hit = self._api.identify(peer)
        sent = 0
        times_s: list[float] = []
        async with aclosing(self._api.ping(peer, **params)) as replies:
            async for reply in replies:
                sent += 1
                if reply["rtt_s"] is not None:
                    times_s.append(reply["rtt_s"])
                self._send({"id": request_id, "reply": reply})
                await self._drain()
        return {
            "peer": name,
            "peer_hit": hit,
            "sent": sent,
            "received": len(times_s),
            "rtt_min_s": min(times_s, default=None),
            "rtt_avg_s": sum(times_s) / len(times_s) if times_s else None,
            "rtt_max_s": max(times_s, default=None),
        }

    def send_event(self, line: bytes) -> bool:
        """Send an event, or cut the connection off and return False if too much is unread."""
        transport = self._writer.transport
        if transport.is_closing():
            return True
        if transport.get_write_buffer_size() + len(line) > UNSENT_LIMIT_BYTES:
            self.kinds = ()
            transport.abort()
            return False
        self._writer.write(line)
        return True

    def send_error(self, request_id: Any, code: str, message: str, hint: str = "") -> None:
        """Send an error answer."""
        error = {"code": str(code), "message": message, "hint": hint}
        self._send({"id": request_id, "error": error})

    def flush_and_close(self) -> None:
        """Close once what was written has left; a client that does not read cannot delay it."""
        transport = self._writer.transport
        if transport.get_write_buffer_size() > 0:
            asyncio.get_running_loop().call_later(1.0, transport.abort)
        transport.close()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                await self._writer.drain()
        except (ConnectionError, TimeoutError) as error:
            raise _ClientGoneError from error

    def _send(self, message: dict[str, Any]) -> None:
        line = encode(message)
        if not self._writer.transport.is_closing():
            self._writer.write(line)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = decode(line)
    except ValueError as error:
        raise RequestError(
            ErrorCode.BAD_REQUEST,
            f"not a request: {str(error)[:80]}",
            hint='one JSON object a line: {"id": 1, "method": "status", "params": {}}',
        ) from None
    request.setdefault("params", {})
    request.setdefault("id", None)
    for name, kind, text in (("method", str, "text"), ("params", dict, "an object")):
        if not isinstance(request.get(name), kind):
            raise RequestError(ErrorCode.BAD_REQUEST, f"{name!r} has to be {text}")
    if not _is_id(request["id"]):
        raise RequestError(ErrorCode.BAD_REQUEST, "'id' has to be a short text or a whole number")
    if extra := set(request) - {"id", "method", "params"}:
        raise RequestError(ErrorCode.BAD_REQUEST, f"{min(extra)[:40]!r} is not part of a request")
    return request


def _is_id(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, str):
        return len(value) <= ID_LIMIT
    return type(value) is int and abs(value) < 2**63


def _id_of(line: bytes) -> Any:
    """The id of a request that cannot be answered otherwise, as far as it has one."""
    try:
        value = decode(line).get("id")
    except ValueError:
        return None
    return value if _is_id(value) else None
