"""A blocking client of the control socket, for commands, the lab and tests."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from hipgw.control.api import (
    AddressesAnswer,
    AssociationAnswer,
    CloseAnswer,
    ConnectAnswer,
    CountersAnswer,
    EndboxAnswer,
    EventAnswer,
    FleetAnswer,
    MacAnswer,
    MobileClientAnswer,
    MobileRouterAnswer,
    PeerAnswer,
    PingReplyAnswer,
    PingSummary,
    RegistrationAnswer,
    RekeyAnswer,
    ResolveAnswer,
    SaAnswer,
    StatusAnswer,
)
from hipgw.control.errors import NotReachableError, RequestError
from hipgw.control.lines import decode, encode
from hipgw.errors import ControlError

DEFAULT_SOCKET = Path("/run/hipgw/control.sock")
SOCKET_VARIABLE = "HIPGW_SOCKET"
"""The environment variable that names another socket."""

TIMEOUT_S = 10.0

LOOK_UP_LIMIT_S = 130.0
"""Longest that a look-up may take: two questions, each within the longest `naming.timeout_s`."""

ANSWER_LIMIT_BYTES = 1024 * 1024 * 1024
"""Longest answer that is read: the security associations of a million peers fit."""


def default_socket() -> Path:
    """The socket to talk to when the user names none."""
    return Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)


class ControlClient:
    """One connection to a daemon; not for several threads at a time.

    Every method raises NotReachableError when the daemon is not there or stops answering, and
    RequestError when it refuses; both are ControlErrors.
    """

    def __init__(self, path: Path | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """Connect. `timeout_s` is the longest silence that is borne."""
        self.path = path or default_socket()
        self._timeout_s = timeout_s
        self._buffer = bytearray()
        self._searched = 0
        self._next_id = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(self.path))
        except OSError as error:
            self._socket.close()
            raise _not_reachable(self.path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; another thread that waits for an answer gets NotReachableError."""
        with contextlib.suppress(OSError):
            # Wakes the thread that reads, which closing alone does not.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def request(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """Send any request and return the result."""
        params = params or {}
        silence_s = self._timeout_s
        if isinstance(params.get("timeout_s"), int | float):
            silence_s += params["timeout_s"]
        return self._answer(self._send(method, params), silence_s=silence_s).get("result")

    def status(self) -> StatusAnswer:
        """The daemon at a glance."""
        return cast(StatusAnswer, self.request("status"))

    def peers(self) -> list[PeerAnswer]:
        """The peers and how they are reached."""
        return cast(list[PeerAnswer], self.request("peers"))

    def associations(self) -> list[AssociationAnswer]:
        """The HIP associations."""
        return cast(list[AssociationAnswer], self.request("associations"))

    def security_associations(self) -> list[SaAnswer]:
        """The ESP security associations."""
        return cast(list[SaAnswer], self.request("sa"))

    def mac_table(self) -> list[MacAnswer]:
        """The MAC addresses learned from peers."""
        return cast(list[MacAnswer], self.request("mac_table"))

    def counters(self) -> CountersAnswer:
        """Everything that is counted."""
        return cast(CountersAnswer, self.request("counters"))

    def addresses(self) -> AddressesAnswer:
        """Own addresses, and those of all associated peers."""
        return cast(AddressesAnswer, self.request("addresses"))

    def registrations(self) -> list[RegistrationAnswer]:
        """Services that this machine uses or offers, as they are in force."""
        return cast(list[RegistrationAnswer], self.request("registrations"))

    def endbox(self) -> EndboxAnswer | None:
        """The LAN that an endbox shares with its peers; None without the role."""
        return cast(EndboxAnswer | None, self.request("endbox"))

    def mobile_router(self) -> MobileRouterAnswer | None:
        """Where a mobile router is, and how packets pass it; None without the role."""
        return cast(MobileRouterAnswer | None, self.request("mobile_router"))

    def mobile_router_clients(self) -> list[MobileClientAnswer] | None:
        """The clients of a mobile router; None without the role."""
        return cast(list[MobileClientAnswer] | None, self.request("mobile_router_clients"))

    def fleet(self) -> FleetAnswer | None:
        """The fleet and its directory; None without one."""
        return cast(FleetAnswer | None, self.request("fleet"))

    def resolve(self, query: str) -> ResolveAnswer:
        """What each source of names says about a name, HIT or LSI."""
        request_id = self._send("resolve", {"query": query})
        answer = self._answer(request_id, silence_s=self._timeout_s + LOOK_UP_LIMIT_S)
        return cast(ResolveAnswer, answer.get("result"))

    def connect(self, peer: str, *, timeout_s: float = 15.0) -> ConnectAnswer:
        """Make an association and wait for it."""
        return cast(ConnectAnswer, self.request("connect", {"peer": peer, "timeout_s": timeout_s}))

    def close_association(self, peer: str, *, timeout_s: float = 5.0) -> CloseAnswer:
        """Close the association with a peer."""
        return cast(CloseAnswer, self.request("close", {"peer": peer, "timeout_s": timeout_s}))

    def rekey(self, peer: str, *, timeout_s: float = 5.0) -> RekeyAnswer:
        """Replace the ESP keys of the association with a peer."""
        return cast(RekeyAnswer, self.request("rekey", {"peer": peer, "timeout_s": timeout_s}))

    def stop(self) -> None:
        """Ask the daemon to stop; it is still at it when this returns."""
        self.request("stop")

    def wait_for_end(self, timeout_s: float) -> bool:
        """Whether the daemon closes the connection within `timeout_s`, as it does on its end."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                self._message(deadline)
            except NotReachableError:
                return time.monotonic() < deadline
        return False

    def ping(
        self, peer: str, *, count: int = 4, interval_s: float = 1.0, timeout_s: float = 2.0
    ) -> Iterator[PingReplyAnswer | PingSummary]:
        """Yield each reply as it comes, and the summary (it has a key `sent`) at last."""
        request_id = self._send(
            "ping",
            {"peer": peer, "count": count, "interval_s": interval_s, "timeout_s": timeout_s},
        )
        while True:
            answer = self._answer(request_id, silence_s=interval_s + timeout_s + self._timeout_s)
            if "reply" not in answer:
                yield cast(PingSummary, answer.get("result"))
                return
            yield cast(PingReplyAnswer, answer["reply"])

    def subscribe(self, *kinds: str, timeout_s: float | None = None) -> Iterator[EventAnswer]:
        """Subscribe, and yield events until the daemon stops, or for `timeout_s` at most.

        Without kinds, all of them. The subscription holds from the moment this is called. Use a
        client of its own for it: events that come in during other calls are passed over.
        """
        self.request("subscribe", {"kinds": list(kinds)} if kinds else {})
        return self._events(None if timeout_s is None else time.monotonic() + timeout_s)

    def _events(self, deadline: float | None) -> Iterator[EventAnswer]:
        while True:
            try:
                message = self._message(deadline)
            except NotReachableError:
                if deadline is not None and time.monotonic() >= deadline:
                    return
                raise
            if "event" in message:
                event = cast(EventAnswer, message["event"])
                yield event
                if event["kind"] == "stopping":
                    return

    def _send(self, method: str, params: dict[str, Any]) -> int:
        self._next_id += 1
        line = encode({"id": self._next_id, "method": method, "params": params})
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            # The daemon may have said why before it closed: the answer is read next.
            pass
        except OSError as error:
            raise _not_reachable(self.path, error) from None
        return self._next_id

    def _answer(self, request_id: int, *, silence_s: float) -> dict[str, Any]:
        """The next answer to a request. A refusal without an id is about this one as well."""
        deadline = time.monotonic() + silence_s
        while True:
            message = self._message(deadline)
            if message.get("id", 0) not in (request_id, None):
                continue
            error = message.get("error")
            if isinstance(error, dict):
                raise RequestError(
                    str(error.get("code")),
                    str(error.get("message")),
                    hint=str(error.get("hint") or ""),
                )
            return message

    def _message(self, deadline: float | None) -> dict[str, Any]:
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > ANSWER_LIMIT_BYTES:
                raise ControlError(f"the answer from {self.path} is too long")
            self._receive(deadline)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        try:
            return decode(line)
        except ValueError:
            raise ControlError(
                f"what listens at {self.path} is not hipgw",
                hint="check the path that --socket names",
            ) from None

    def _receive(self, deadline: float | None) -> None:
        try:
            wait_s = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            self._socket.settimeout(wait_s)
            data = self._socket.recv(1024 * 1024)
        except OSError as error:
            raise _not_reachable(self.path, error) from None
        if not data:
            raise NotReachableError(
                f"the daemon at {self.path} closed the connection",
                hint="it stopped, or cut this client off because it did not read",
            )
        self._buffer += data


def _not_reachable(path: Path, error: OSError) -> NotReachableError:
    match error:
        case FileNotFoundError() | ConnectionRefusedError():
            return NotReachableError(
                f"no daemon listens at {path}",
                hint="start it with `hipgw run --config FILE`, "
                f"or name its socket with --socket or {SOCKET_VARIABLE}",
            )
        case PermissionError():
            return NotReachableError(
                f"this user may not talk to the daemon at {path}",
                hint="run as root, or join the group that daemon.control_group names",
            )
        case TimeoutError():
            return NotReachableError(
                f"the daemon at {path} does not answer", hint="its log may say why"
            )
        case BlockingIOError():
            return NotReachableError(f"the daemon at {path} is too busy", hint="try again")
        case ConnectionError():
            return NotReachableError(f"the daemon at {path} closed the connection")
        case _:
            return NotReachableError(f"cannot talk to the daemon at {path}: {error}")
