"""Tells the DHT where this host is: at the start, when it moves, and before it is forgotten."""

import asyncio
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from hipgw.errors import NamingError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.dht.calls import Put, Remove
from hipgw.naming.dht.client import DhtClient, Server, ask_all
from hipgw.naming.dht.hdrr import (
    RecordError,
    locator_for,
    make_address_record,
    make_name_record,
    read_name_record,
    transport_locator_for,
)
from hipgw.naming.dht.keys import hit_key, name_key, sha1
from hipgw.naming.dht.limits import (
    ADDRESS_APPLICATION,
    NAME_APPLICATION,
    SECRET_LENGTH,
    TTL_MAX,
    ReturnCode,
)
from hipgw.naming.dht.source import DhtSource
from hipgw.naming.sources import IPAddress

SETTLE_S = 0.2
"""Addresses often change several at a time."""
STOP_PATIENCE_S = 1.0
"""How long a stop waits for what is under way."""
RETRY_MIN_S, RETRY_MAX_S = 2.0, 120.0
ADDRESSES_MAX = 6
"""Of each record, so that it stays within the length of a value."""
HIP_UDP_PORT = 10500
_REFRESH_AT = 0.5
"""Of the time to live: two more attempts fit in before a record is gone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """What is published."""

    name: str = ""
    """Under which this host is to be found; empty for none."""
    ttl_s: int = 3600
    private: bool = False
    """Also addresses that are not routed everywhere (RFC 6537 §5 says they should not be)."""
    udp_port: int = HIP_UDP_PORT


@dataclass(frozen=True, slots=True)
class _Published:
    """What it takes to remove a record again."""

    server: str
    application: str
    key: bytes
    value_hash: bytes
    secret: bytes
    expires: int


class Publisher:
    """Keeps this host's records at every configured server, one of each HIT.

    Every put has an Update ID and a secret of its own. The newest Update IDs, and what removes the
    records, are kept in a file, since the host may not live to remove them.
    """

    def __init__(
        self,
        client: DhtClient,
        source: DhtSource,
        identities: Sequence[LocalIdentity],
        settings: PublisherSettings,
        file: Path | None,
        rendezvous: Callable[[], Sequence[IPAddress]] = tuple,
    ) -> None:
        """*rendezvous*: addresses of the servers by which this host can be called, if any."""
        self._client = client
        self._source = source
        self._identities = identities
        self._settings = settings
        self._file = file
        self._rendezvous = rendezvous
        self._addresses: tuple[IPAddress, ...] = ()
        self._said: tuple[tuple[IPAddress, ...], tuple[IPAddress, ...]] = ((), ())
        """What was published last: own addresses, and those of rendezvous servers."""
        self._sequences: dict[str, int] = {}
        self._published: list[_Published] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._load()

    def start(self) -> None:
        """Begin; nothing is published before there is an address."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def changed(self, addresses: Sequence[IPAddress]) -> None:
        """These are the own addresses now, the best first; rendezvous servers are asked for."""
        self._addresses = tuple(addresses)
        if self._wanted() != self._said:
            self._changed.set()

    async def stop(self) -> None:
        """Remove everything that was published, as far as servers answer."""
        self._stopping = True
        self._changed.set()
        if self._task is not None:
            # A put that is under way could come in behind its own removal.
            await asyncio.wait([self._task], timeout=STOP_PATIENCE_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._remove(list(self._published))
        self._save()

    # -- the cycle -------------------------------------------------------------------------------

    async def _run(self) -> None:
        retry_s = RETRY_MIN_S
        while not self._stopping:
            wait_s = None
            if any(wanted := self._wanted()):
                self._changed.clear()
                if await self._publish(*wanted):
                    wait_s, retry_s = self._settings.ttl_s * _REFRESH_AT, RETRY_MIN_S
                else:
                    wait_s, retry_s = retry_s, min(2 * retry_s, RETRY_MAX_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue
            self._changed.clear()
            retry_s = RETRY_MIN_S
            if not self._stopping:
                await asyncio.sleep(SETTLE_S)

    def _wanted(self) -> tuple[tuple[IPAddress, ...], tuple[IPAddress, ...]]:
        own = [one for one in self._addresses if self._settings.private or one.is_global]
        return tuple(own[:ADDRESSES_MAX]), tuple(self._rendezvous())[:ADDRESSES_MAX]

    async def _publish(
        self, addresses: tuple[IPAddress, ...], rendezvous: tuple[IPAddress, ...]
    ) -> bool:
        """Put records of all HITs to all servers; whether at least one server has each."""
        old = list(self._published)
        self._said = (addresses, rendezvous)
        good = True
        for identity in self._identities:
            good &= await self._publish_one(identity, addresses, rendezvous)
        if self._settings.name:
            good &= await self._publish_names()
        if good:
            # Behind the new ones, so that there is no moment with none (RFC 6537 §6 has it the
            # other way round; clients take the newest).
            await self._remove(old)
        self._save()
        return good

    async def _publish_one(
        self,
        identity: LocalIdentity,
        addresses: tuple[IPAddress, ...],
        rendezvous: tuple[IPAddress, ...],
    ) -> bool:
        ttl_s = self._settings.ttl_s
        locators = [
            *(locator_for(one, ttl_s, preferred=not i) for i, one in enumerate(addresses)),
            *(locator_for(one, ttl_s, signalling_only=True) for one in rendezvous),
        ]
        port = self._settings.udp_port
        if identity.version > 1 and port != HIP_UDP_PORT:
            locators += [transport_locator_for(one, port, ttl_s) for one in addresses]
        sequence = await self._next_sequence(identity.hit)
        stored = 0
        for server in self._client.servers:
            # Each server gets a record of its own: they may be gateways to one store, where the
            # same record a second time would be a replay.
            self._sequences[str(identity.hit)] = sequence
            try:
                value = make_address_record(identity, locators, sequence)
            except NamingError as error:
                _log.error("this host cannot be published: %s", error)
                return True  # trying again would not help
            sequence += 1
            stored += await self._put(server, ADDRESS_APPLICATION, hit_key(identity.hit), value)
        if stored:
            _log.info(
                "published where this host is",
                extra={
                    "hit": str(identity.hit),
                    "addresses": ",".join(map(str, (*addresses, *rendezvous))),
                    "servers": stored,
                },
            )
        return stored > 0

    async def _next_sequence(self, hit: IPv6Address) -> int:
        """Greater than all before: this host may have lost its memory, or its clock be wrong.

        RFC 6537 §3 lets a host count from zero, remember, or look itself up; seconds since 1970
        are a count that survives a new disk.
        """
        found = -1
        try:
            record = await self._source.newest(hit)
            found = record.sequence if record is not None else -1
        except NamingError:
            pass
        known = self._sequences.get(str(hit), -1)
        return min(max(known + 1, found + 1, int(time.time())), 0xFFFFFFFF)

    async def _publish_names(self) -> bool:
        """Put the name of this host, as it is written and in small letters, as resolvers ask.

        False if that is worth another attempt.
        """
        own = {identity.hit for identity in self._identities}
        good = True
        for name in dict.fromkeys((self._settings.name, self._settings.name.lower())):
            key = name_key(name)
            try:
                others = await self._named(key) - own
            except NamingError as error:
                _log.warning("the name of this host is not published: %s", error)
                good = False
                continue
            if others:
                _log.warning(
                    "the name of this host has another owner in the DHT",
                    extra={"name": name, "hit": str(min(others))},
                )
                continue
            for identity in self._identities:
                value = make_name_record(identity.hit)
                stored = [
                    await self._put(server, NAME_APPLICATION, key, value)
                    for server in self._client.servers
                ]
                good &= any(stored)
        return good

    async def _named(self, key: bytes) -> set[IPv6Address]:
        found = set()
        for value in await ask_all(self._client, key, NAME_APPLICATION):
            try:
                found.add(read_name_record(value).hit)
            except RecordError:
                continue
        return found

    async def _put(self, server: Server, application: str, key: bytes, value: bytes) -> bool:
        secret = secrets.token_bytes(SECRET_LENGTH)
        ttl_s = min(self._settings.ttl_s, TTL_MAX)
        if self._stopping:
            return False
        published = _Published(
            *(str(server), application, key, sha1(value), secret), int(time.time()) + ttl_s
        )
        # First of all: an answer that is lost does not mean that nothing was stored.
        self._published.append(published)
        try:
            code = await self._client.put(server, Put(key, value, sha1(secret), ttl_s, application))
        except NamingError as error:
            _log.warning("not published: %s", error)
            return False
        if code is not ReturnCode.SUCCESS:
            _log.warning(
                "not published: the server refuses",
                extra={"server": str(server), "reason": code.name.lower()},
            )
            self._published.remove(published)
            return False
        return True

    async def _remove(self, published: Sequence[_Published]) -> None:
        """Remove records as far as their servers answer; those that do not will forget them."""
        servers = {str(server): server for server in self._client.servers}
        now = int(time.time())

        async def remove(one: _Published) -> None:
            left_s = min(one.expires - now, TTL_MAX)
            if left_s > 0 and (server := servers.get(one.server)):
                try:
                    await self._client.remove(
                        server,
                        Remove(one.key, one.value_hash, one.secret, left_s, one.application),
                    )
                except NamingError as error:
                    _log.info("an old record stays in the DHT: %s", error)

        await asyncio.gather(*(remove(one) for one in published))
        gone = set(published)
        self._published = [one for one in self._published if one not in gone]

    # -- the file --------------------------------------------------------------------------------

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            said = json.loads(self._file.read_text())
            self._sequences = {str(hit): int(number) for hit, number in said["sequences"].items()}
            self._published = [
                _Published(
                    *(str(one["server"]), str(one["application"]), bytes.fromhex(one["key"])),
                    *(bytes.fromhex(one["value_hash"]), bytes.fromhex(one["secret"])),
                    int(one["expires"]),
                )
                for one in said["published"]
            ]
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning(
                "what was published before is forgotten",
                extra={"file": str(self._file), "reason": type(error).__name__},
            )

    def _save(self) -> None:
        if self._file is None:
            return
        said = {
            "sequences": self._sequences,
            "published": [
                {
                    "server": one.server,
                    "application": one.application,
                    "key": one.key.hex(),
                    "value_hash": one.value_hash.hex(),
                    "secret": one.secret.hex(),
                    "expires": one.expires,
                }
                for one in self._published
            ],
        }
        temporary = self._file.with_suffix(".new")
        try:
            # The secrets in it let anybody remove the records.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(said, file)
            temporary.replace(self._file)
        except OSError as error:
            _log.warning("cannot keep what is published", extra={"reason": error.strerror or ""})
