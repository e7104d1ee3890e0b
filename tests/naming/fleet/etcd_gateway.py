"""As much of etcd's JSON gateway as can go wrong: keys, pages, watches that end, and nonsense."""

import asyncio
import base64
import json
from typing import Any

from aiohttp import web


def _text(value: str) -> str:
    return base64.b64decode(value).decode()


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Gateway:
    """One member. `async with` starts and stops it; `url` is where it is then."""

    def __init__(self) -> None:
        self.revision = 1
        self.keys: dict[str, tuple[bytes, int]] = {}
        self.cluster = "7"
        self.page = 1000
        self.compacted = 0
        self.raw: bytes | None = None
        """Answer this to everything."""
        self.status = 200
        self.token = ""
        """Wanted in requests; given to `user` with `secret`."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._changed = asyncio.Event()
        self._log: list[tuple[int, str, bytes | None]] = []
        self._end = asyncio.Event()

    async def __aenter__(self) -> "Gateway":
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._end.set()
        await self._runner.cleanup()

    def put(self, key: str, value: bytes) -> None:
        self.revision += 1
        self.keys[key] = (value, self.revision)
        self._note(key, value)

    def delete(self, key: str) -> None:
        self.revision += 1
        del self.keys[key]
        self._note(key, None)

    def end_watches(self) -> None:
        self._end.set()
        self._end = asyncio.Event()

    def _note(self, key: str, value: bytes | None) -> None:
        self._log.append((self.revision, key, value))
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def _header(self) -> dict[str, str]:
        return {"cluster_id": self.cluster, "revision": str(self.revision)}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        self.asked.append((request.path, body))
        if self.raw is not None:
            return web.Response(body=self.raw, status=self.status)
        if request.path == "/v3/auth/authenticate":
            good = body == {"name": "user", "password": "secret"}
            return web.json_response({"token": self.token}) if good else web.Response(status=400)
        if self.token and request.headers.get("Authorization") != self.token:
            return web.json_response({"error": "etcdserver: invalid auth token"}, status=401)
        match request.path:
            case "/v3/kv/range":
                return web.json_response(self._range(body))
            case "/v3/kv/txn":
                return web.json_response(self._txn(body))
            case "/v3/watch":
                return await self._watch(request, body["create_request"])
        return web.Response(status=404)

    def _range(self, body: dict[str, Any]) -> dict[str, Any]:
        start, end = _text(body["key"]), _text(body["range_end"])
        least = int(body.get("min_mod_revision", 0))
        found = sorted(
            (key, *value)
            for key, value in self.keys.items()
            if start <= key < end and value[1] >= least
        )
        limit = min(self.page, int(body["limit"]))
        kvs = [
            {"key": _encode(key.encode()), "mod_revision": str(revision), "value": _encode(value)}
            for key, value, revision in found[:limit]
        ]
        more = {"more": True} if len(found) > limit else {}
        return {"header": self._header, **({"kvs": kvs} if kvs else {}), **more}

    def _txn(self, body: dict[str, Any]) -> dict[str, Any]:
        (compare,), (success,) = body["compare"], body["success"]
        key = _text(compare["key"])
        known = self.keys.get(key, (b"", 0))[1]
        if str(known) != compare["mod_revision"]:
            return {"header": self._header}
        self.put(key, base64.b64decode(success["request_put"]["value"]))
        return {"header": self._header, "succeeded": True}

    async def _watch(self, request: web.Request, create: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)

        async def say(result: dict[str, Any]) -> None:
            text = json.dumps({"result": {"header": self._header, **result}})
            await response.write(text.encode() + b"\n")

        following = int(create["start_revision"])
        if following <= self.compacted:
            await say({"canceled": True, "compact_revision": str(self.compacted)})
            return response
        await say({"created": True})
        end = self._end
        while not end.is_set():
            changed = self._changed
            for revision, key, value in self._log:
                if revision >= following:
                    following = revision + 1
                    kv = {"key": _encode(key.encode()), "mod_revision": str(revision)}
                    if value is None:
                        await say({"events": [{"type": "DELETE", "kv": kv}]})
                    else:
                        await say({"events": [{"kv": {**kv, "value": _encode(value)}}]})
            waits = [asyncio.ensure_future(one.wait()) for one in (changed, end)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
        return response
