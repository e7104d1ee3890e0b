"""etcd by the JSON gateway of its API version 3: range, compare and put, watch, over HTTP.

https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/ and api_reference_v3. Keys and values are in
base64 there, 64-bit numbers in text, and zeros are left out.
"""

import base64
import binascii
import encodings.idna  # noqa: F401 - asked for by every look-up, when its file may be out of reach
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from hipgw.errors import NamingError
from hipgw.naming.fleet.directory import WIRE_MAX
from hipgw.naming.trouble import reason_of

TIMEOUT_S = 5.0
"""For one request; etcd itself gives up after some seconds without a quorum."""
PAGE = 1000
"""Keys of one answer."""
KEYS_MAX = 65536
_VALUE_MAX = 32768
_ANSWER_MAX = 64 * 1024 * 1024
_EVENT_MAX = 16 * 1024 * 1024
"""Octets of one message of a watch."""


class CompactedError(NamingError):
    """What was to be watched from is compacted away: everything has to be read anew."""


class ChangedMeanwhileError(NamingError):
    """A key was changed by somebody else in between."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key."""

    key: str
    value: bytes
    """Empty once it is deleted."""
    mod_revision: int
    """Of the cluster, when it was changed last."""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a range, or one message of a watch, has."""

    cluster: str
    revision: int
    """Of the cluster, by when the keys were like this."""
    keys: Sequence[KeyValue]


class EtcdClient:
    """A cluster, by any one of its members. Every method raises NamingError."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: ssl.SSLContext | None = None,
        user: str = "",
        password: str = "",
    ) -> None:
        """*endpoints*: URLs of members, such as `http://192.0.2.1:2379`."""
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._tls = tls
        self._user = user
        self._password = password
        self._token = ""
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._token = ""

    async def range(self, prefix: str, *, changed_since: int = 0) -> Answer:
        """All keys with this prefix, or those changed by that revision or later."""
        start, end = prefix.encode(), _range_end(prefix.encode())
        keys: list[KeyValue] = []
        cluster, revision, size = "", 0, 0
        while True:
            request: dict[str, Any] = {
                "key": _encode(start),
                "range_end": _encode(end),
                "limit": str(PAGE),
            }
            if changed_since:
                request["min_mod_revision"] = str(changed_since)
            if revision:
                # All pages of the same moment.
                request["revision"] = str(revision)
            answer = await self._post("/v3/kv/range", request)
            if not revision:
                cluster, revision = _header(answer)
            page = [_key_value(entry) for entry in _list(answer, "kvs")]
            if keys and page and page[0].key <= keys[-1].key:
                raise NamingError("etcd answers with the same keys again")
            keys += page
            size += sum(len(entry.value) for entry in page)
            if len(keys) > KEYS_MAX or size > WIRE_MAX:
                raise NamingError(
                    f"etcd has more than {KEYS_MAX} keys or {WIRE_MAX >> 20} MB there"
                )
            if not answer.get("more") or not page:
                return Answer(cluster, revision, keys)
            start = page[-1].key.encode() + b"\0"

    async def put(self, key: str, value: bytes, *, unchanged_since: int) -> None:
        """Set a key, unless it was changed after that revision (0: unless it is there).

        Raises ChangedMeanwhileError.
        """
        encoded = _encode(key.encode())
        compare = {
            "key": encoded,
            "target": "MOD",
            "result": "EQUAL",
            "mod_revision": str(unchanged_since),
        }
        put = {"request_put": {"key": encoded, "value": _encode(value)}}
        answer = await self._post("/v3/kv/txn", {"compare": [compare], "success": [put]})
        if not answer.get("succeeded"):
            raise ChangedMeanwhileError(f"{key} was changed by somebody else meanwhile")

    async def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[Answer, None]:
        """What changes with this prefix from a revision on, as it happens.

        Raises CompactedError if that is too long ago.
        """
        key = prefix.encode()
        create = {
            "key": _encode(key),
            "range_end": _encode(_range_end(key)),
            "start_revision": str(start_revision),
        }
        async with self._request("/v3/watch", {"create_request": create}, total_s=None) as response:
            async for message in _messages(response):
                if "error" in message:
                    raise NamingError(f"etcd ends the watch: {_text(message['error'])}")
                result = message.get("result")
                if not isinstance(result, dict):
                    raise NamingError("etcd sends what is no message of a watch")
                if result.get("compact_revision"):
                    raise CompactedError("etcd has compacted what was to be watched")
                if result.get("canceled"):
                    raise NamingError(f"etcd ends the watch: {_text(result.get('cancel_reason'))}")
                events = [
                    _key_value(event.get("kv"), deleted=event.get("type") == "DELETE")
                    for event in _list(result, "events")
                ]
                yield Answer(*_header(result), events)

    # -- inside ------------------------------------------------------------------------------

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._request(path, body, total_s=TIMEOUT_S) as response:
            data = await _read(response, _ANSWER_MAX)
        return _object(data)

    def _request(self, path: str, body: dict[str, Any], *, total_s: float | None) -> "_Request":
        return _Request(self, path, body, total_s)

    async def open(
        self, path: str, body: dict[str, Any], total_s: float | None
    ) -> aiohttp.ClientResponse:
        """An answer of the first member that gives one."""
        if self._session is None:
            # Proxies of the environment are not asked: this is the machine's own directory.
            self._session = aiohttp.ClientSession(
                headers={"Accept-Encoding": "identity"}, auto_decompress=False
            )
        troubles = []
        for _ in range(len(self._endpoints)):
            endpoint = self._endpoints[0]
            try:
                if self._user and not self._token and path != "/v3/auth/authenticate":
                    await self._authenticate()
                return await self._open_at(endpoint + path, body, total_s)
            except (aiohttp.ClientError, TimeoutError, OSError, NamingError) as error:
                troubles.append(f"{endpoint}: {reason_of(error)}")
                # The next one first from now on.
                self._endpoints.append(self._endpoints.pop(0))
                self._token = ""
        raise NamingError("; ".join(troubles))

    async def _open_at(
        self, url: str, body: dict[str, Any], total_s: float | None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None
        response = await self._session.post(
            url,
            json=body,
            headers={"Authorization": self._token} if self._token else {},
            timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=TIMEOUT_S),
            allow_redirects=False,
            ssl=True if self._tls is None else self._tls,
        )
        if response.status != 200:
            try:
                text = _text(_object(await _read(response, 4096)).get("error"))
            except NamingError:
                text = ""
            finally:
                response.close()
            raise NamingError(f"HTTP status {response.status}" + (f": {text}" if text else ""))
        return response

    async def _authenticate(self) -> None:
        body = {"name": self._user, "password": self._password}
        response = await self._open_at(
            self._endpoints[0] + "/v3/auth/authenticate", body, TIMEOUT_S
        )
        try:
            token = _object(await _read(response, 65536)).get("token")
        finally:
            response.close()
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise NamingError("etcd gives no token for this user")
        self._token = token


class _Request:
    """One request as a context; whatever goes wrong in it comes out as NamingError."""

    def __init__(
        self, client: EtcdClient, path: str, body: dict[str, Any], total_s: float | None
    ) -> None:
        self._client = client
        self._arguments = (path, body, total_s)
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._response = await self._client.open(*self._arguments)
        return self._response

    async def __aexit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        if self._response is not None:
            # Not released: a watch has no end that could be waited for.
            self._response.close()
        if isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
            raise NamingError(f"etcd: {reason_of(error)}") from None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    async for part in response.content.iter_any():
        data += part
        if len(data) > limit:
            raise NamingError(f"etcd answers with more than {limit} octets")
    return bytes(data)


async def _messages(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The lines of a stream, each a JSON object."""
    rest = bytearray()
    async for part in response.content.iter_any():
        rest += part
        while (end := rest.find(b"\n")) >= 0:
            line = bytes(rest[:end])
            del rest[: end + 1]
            if line.strip():
                yield _object(line)
        if len(rest) > _EVENT_MAX:
            raise NamingError(f"etcd sends a message of more than {_EVENT_MAX} octets")
    raise NamingError("etcd has ended the watch")


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise NamingError("etcd answers with what is no JSON") from None
    if not isinstance(value, dict):
        raise NamingError("etcd answers with what is no JSON object")
    return value


def _list(answer: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = answer.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise NamingError(f"etcd answers with {key} that are none")
    return value


def _header(answer: dict[str, Any]) -> tuple[str, int]:
    header = answer.get("header")
    if not isinstance(header, dict):
        raise NamingError("etcd answers without a header")
    return str(header.get("cluster_id", "")), _number(header.get("revision", 0))


def _key_value(entry: object, *, deleted: bool = False) -> KeyValue:
    if not isinstance(entry, dict):
        raise NamingError("etcd answers with a key that is none")
    value = _decode(entry.get("value", ""))
    if len(value) > _VALUE_MAX:
        # Larger than any entry: kept short, and refused as what it is.
        value = value[:_VALUE_MAX]
    key = _decode(entry.get("key", "")).decode(errors="replace")
    return KeyValue(key, value, _number(entry.get("mod_revision", 0)), deleted)


def _number(value: object) -> int:
    if isinstance(value, str) and len(value) < 20 and value.isdecimal():
        return int(value)
    if type(value) is int and value >= 0:
        return value
    raise NamingError("etcd answers with a number that is none")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError):
        raise NamingError("etcd answers with what is no base64") from None


def _range_end(prefix: bytes) -> bytes:
    """The first key behind all those with a prefix (api_reference_v3, RangeRequest)."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b"\0"


def _text(value: object) -> str:
    """What etcd says of an error, fit for a log."""
    if isinstance(value, dict):
        value = value.get("message", value.get("error", ""))
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else "?" for c in text[:200])


__all__ = ["Answer", "ChangedMeanwhileError", "CompactedError", "EtcdClient", "KeyValue"]
