"""Records in a ring of OpenDHT nodes (`dhtnode`), by the HTTP proxies that the nodes have.

OpenDHT (the one of today, no relation of the service that RFC 6537 §2 describes but its name) has
keys of 160 bits as well, so a key stays what it is. Its values live for ten minutes, cannot be
removed, and come from anybody who is in the ring. Therefore a value is wrapped: with the time it
expires, and with what its removal has to show, which every reader can check. Gateways put what they
hold again before the ten minutes are over, and take over what others have put that is newer.
"""

import asyncio
import base64
import binascii
import hashlib
import itertools
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from hipgw.errors import NamingError
from hipgw.naming.dht.hdrr import RecordError, peek_sequence, read_address_record
from hipgw.naming.dht.limits import (
    ADDRESS_APPLICATION,
    HASH_LENGTH,
    SECRET_LENGTH_MAX,
    TTL_MAX,
    VALUE_LENGTH,
)
from hipgw.naming.dht.stores.base import Holding, Stored
from hipgw.naming.dht.stores.database import Database
from hipgw.naming.dht.stores.embedded import VALUES_PER_KEY, EmbeddedStore
from hipgw.naming.trouble import reason_of

REFRESH_S = 240.0
"""A value is put again after that, well before OpenDHT lets go of it (ten minutes)."""
TIMEOUT_S = 6.0
"""For one request to one proxy; a ring that has lost nodes takes a second or two."""
CONNECT_S = 1.0
QUIET_S = 0.5
"""After the first values of an answer: how long more are waited for."""
READ_MAX = 512 * 1024
"""Octets of one proxy's answer that are looked at: anybody in the ring can put values there."""
_ENVELOPE_MAX = 4096
_VERIFIED_MAX = 128
"""Signatures that are checked of what lies under one key; what is behind them is not looked at."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removal:
    """Says of a value that it is gone; the secret proves it to everybody who has the value.

    It has the value in it, so that gateways which never saw that know a replay of it.
    """

    application: str
    value: bytes
    secret: bytes
    expires: int


class OpenDhtStore:
    """A ring behind a list of proxies; one that answers is enough."""

    def __init__(
        self,
        proxies: Sequence[str],
        database: Database,
        *,
        records_max: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*proxies*: base addresses such as http://127.0.0.1:8080, without a slash at the end."""
        self._proxies = list(proxies)
        self._database = database
        self._own = EmbeddedStore(database, records_max=records_max, clock=clock)
        self._clock = clock
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    async def put(self, key: bytes, stored: Stored, replaced: Sequence[Stored] = ()) -> None:
        """See `Store`. What is replaced stays in the ring until it expires there."""
        await self._own.put(key, stored, replaced)
        try:
            await self._put(key, _wrap(stored))
        except NamingError:
            await self._own.remove(key, stored, b"")
            raise

    async def get(self, key: bytes, application: str) -> Holding:
        """See `Store`. What this gateway holds itself is there even if no proxy answers."""
        own = list((await self._own.get(key, application)).stored)
        removals = await self._removals(key, application)
        try:
            found, others = await self._get(key, application)
        except NamingError:
            if not own:
                raise
            found, others = [], []
        removals += others
        # The own ones first: at equal age they are the ones that came last.
        every = {(one.value_hash, one.secret_hash): one for one in (*own, *found)}.values()
        left = [one for one in every if not any(_removes(gone, one) for gone in removals)]
        removed = sorted((one.value for one in removals), key=peek_sequence, reverse=True)
        if application == ADDRESS_APPLICATION:
            left = _newest(key, left, removed)
        return Holding(left[:VALUES_PER_KEY], removed[:VALUES_PER_KEY])

    async def remove(self, key: bytes, stored: Stored, secret: bytes) -> None:
        """See `Store`."""
        removal = Removal(stored.application, stored.value, secret, stored.expires)
        await self._own.remove(key, stored, secret)
        await self._database.run(
            lambda db: db.execute(
                "INSERT OR REPLACE INTO removed VALUES (?, ?, ?, ?, ?)",
                (key, removal.application, removal.value, removal.secret, removal.expires),
            )
        )
        await self._put(key, _wrap_removal(removal))

    async def close(self) -> None:
        """See `Store`."""
        self._refreshing.cancel()
        await self._session.close()

    # -- keeping it there ---------------------------------------------------------------------

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
            except NamingError as error:
                _log.warning("records in the DHT are not refreshed: %s", error)

    async def refresh(self) -> None:
        """Put again what this gateway holds, and take over what is newer."""
        now = int(self._clock())
        for key, stored in await self._own.live():
            newest = stored
            if stored.application == ADDRESS_APPLICATION:
                newest = next(iter((await self.get(key, stored.application)).stored), stored)
            if newest.value != stored.value:
                await self._own.put(key, newest, [stored])
            await self._put(key, _wrap(newest))
        for key, removal in await self._database.run(lambda db: _live_removals(db, now)):
            await self._put(key, _wrap_removal(removal))

    # -- the ring -------------------------------------------------------------------------------

    async def _put(self, key: bytes, envelope: bytes) -> None:
        # The same value gets the same number, whoever puts it, so that the ring has it once.
        number = int.from_bytes(hashlib.sha256(envelope).digest()[:8], "big")
        body = {"data": base64.b64encode(envelope).decode(), "id": str(number), "type": 0}

        async def post(proxy: str) -> None:
            async with self._session.post(f"{proxy}/{key.hex()}", json=body) as answer:
                if answer.status != 200:
                    raise NamingError(f"a proxy of OpenDHT answers {answer.status}")
                await answer.content.read(READ_MAX)

        await self._by_some_proxy(post)

    async def _get(self, key: bytes, application: str) -> tuple[list[Stored], list[Removal]]:
        lines: list[bytes] = []

        async def fetch(proxy: str) -> None:
            lines.clear()
            async with self._session.get(f"{proxy}/{key.hex()}") as answer:
                if answer.status != 200:
                    raise NamingError(f"a proxy of OpenDHT answers {answer.status}")
                lines[:] = await _read_lines(answer.content)

        await self._by_some_proxy(fetch)
        found, removed = [], []
        for line in lines:
            match _unwrap(line, application, int(self._clock())):
                case Stored() as stored:
                    found.append(stored)
                case Removal() as removal:
                    removed.append(removal)
        return found, removed

    async def _by_some_proxy(self, work: Callable[[str], Any]) -> None:
        """Ask one proxy after the other, the one first that has answered last."""
        reasons = []
        for proxy in list(self._proxies):
            try:
                await work(proxy)
            except (aiohttp.ClientError, OSError, NamingError, ValueError) as error:
                reasons.append(f"{proxy}: {reason_of(error)}")
                self._proxies.remove(proxy)
                self._proxies.append(proxy)
                continue
            return
        raise NamingError(f"no node of the DHT answers ({'; '.join(reasons)})")

    async def _removals(self, key: bytes, application: str) -> list[Removal]:
        return await self._database.run(
            lambda db: [
                Removal(application, *row)
                for row in db.execute(
                    "SELECT value, secret, expires FROM removed WHERE key = ? AND application = ?",
                    (key, application),
                )
            ]
        )


def _newest(key: bytes, found: Sequence[Stored], removed: Sequence[bytes]) -> list[Stored]:
    """The newest record of a HIT that is its owner's, among what anybody may have put there.

    One that is older than a *removed* one is none: its owner has said something else since.
    """
    # Of a host that does not count, the one that lives longest was put last: OpenHIP asks for the
    # same time with each.
    ordered = sorted(found, key=lambda one: (peek_sequence(one.value), one.expires), reverse=True)
    for one in ordered[:_VERIFIED_MAX]:
        if _is_good(key, one.value):
            later = (value for value in removed if peek_sequence(value) > peek_sequence(one.value))
            gone = any(_is_good(key, value) for value in itertools.islice(later, _VERIFIED_MAX))
            return [] if gone else [one]
    return []


def _is_good(key: bytes, value: bytes) -> bool:
    try:
        read_address_record(value, key, weak_keys=True)
    except RecordError:
        return False
    return True


def _live_removals(db: sqlite3.Connection, now: int) -> list[tuple[bytes, Removal]]:
    db.execute("DELETE FROM removed WHERE expires <= ?", (now,))
    rows = db.execute("SELECT key, application, value, secret, expires FROM removed")
    return [(key, Removal(*row)) for key, *row in rows]


def _removes(removal: Removal, stored: Stored) -> bool:
    return removal.value == stored.value and stored.opened_by(removal.secret)


async def _read_lines(content: aiohttp.StreamReader) -> list[bytes]:
    """One line for each value; what is longer or more than it can be is left out.

    Once there is something, the answer ends when nothing more comes for a while: the proxy goes on
    waiting for nodes that are gone, and those that are there answer at once.
    """
    data = bytearray()
    while len(data) < READ_MAX:
        try:
            async with asyncio.timeout(QUIET_S if data else None):
                chunk = await content.readany()
        except TimeoutError:
            if not data:
                raise
            break
        if not chunk:
            break
        data += chunk
    return [line for line in bytes(data).splitlines() if line]


def _wrap(stored: Stored) -> bytes:
    return _emit(
        application=stored.application,
        value=_text(stored.value),
        expires=stored.expires,
        secret_hash=_text(stored.secret_hash),
    )


def _wrap_removal(removal: Removal) -> bytes:
    return _emit(
        application=removal.application,
        removed=_text(removal.value),
        secret=_text(removal.secret),
        expires=removal.expires,
    )


def _unwrap(line: bytes, application: str, now: int) -> Stored | Removal | None:
    """What one line of a proxy's answer says; None for what is nothing of ours, or over."""
    try:
        data = base64.b64decode(json.loads(line.decode())["data"], validate=True)
        if len(data) > _ENVELOPE_MAX:
            return None
        said = json.loads(data.decode())
        expires = said["expires"]
        if said["hipgw"] != 1 or type(expires) is not int or not now < expires <= now + TTL_MAX:
            return None
        if said["application"] != application:
            return None
        if "removed" in said:
            removal = Removal(
                application, _octets(said["removed"]), _octets(said["secret"]), expires
            )
            fits = len(removal.value) <= VALUE_LENGTH and len(removal.secret) <= SECRET_LENGTH_MAX
            return removal if fits else None
        stored = Stored(application, _octets(said["value"]), expires, _octets(said["secret_hash"]))
    except (ValueError, TypeError, KeyError, binascii.Error, RecursionError):
        return None
    if len(stored.value) > VALUE_LENGTH or len(stored.secret_hash) not in (0, HASH_LENGTH):
        return None
    return stored


def _emit(**said: object) -> bytes:
    return json.dumps({"hipgw": 1, **said}, sort_keys=True, separators=(",", ":")).encode()


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _octets(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
