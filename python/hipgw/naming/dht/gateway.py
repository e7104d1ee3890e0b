"""What a server of RFC 6537's interface does with a call: look at each record before it is stored.

Old clients need nothing but this; new ones verify what they get all the same (RFC 6537 §3).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hmac import compare_digest

from hipgw.errors import NamingError
from hipgw.logs import packet_path_logger
from hipgw.naming.dht.calls import Get, Put, Remove
from hipgw.naming.dht.freshness import Freshness, News
from hipgw.naming.dht.hdrr import (
    AddressRecord,
    RecordError,
    Refusal,
    peek_sequence,
    read_address_record,
    read_name_record,
)
from hipgw.naming.dht.limits import (
    ADDRESS_APPLICATION,
    APPLICATIONS,
    HASH_LENGTH,
    VALUES_MAX,
    ReturnCode,
)
from hipgw.naming.dht.rate import SourceRate
from hipgw.naming.dht.stores.base import Store, Stored, StoreFullError
from hipgw.naming.dht.xmlrpc import Value, XmlRpcError
from hipgw.naming.sources import IPAddress

_LOCKS = 64
_NO_HASH = bytes(HASH_LENGTH)

_call_log = packet_path_logger(__name__ + ".calls")


@dataclass(slots=True)
class GatewayStatistics:
    """Calls since the start."""

    stored: int = 0
    lookups: int = 0
    removed: int = 0
    limited: int = 0
    """Puts and rms beyond what one source, or all together, may do."""
    refused: dict[Refusal, int] = field(default_factory=dict)


class DhtGateway:
    """The calls of OpenDHT on a store, with verification (RFC 6537 §3)."""

    def __init__(
        self,
        store: Store,
        freshness: Freshness,
        *,
        puts_per_source: int,
        puts_total: int,
        weak_keys: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*puts_per_source*, *puts_total*: puts and rms in a minute, of one source and of all."""
        self.statistics = GatewayStatistics()
        self._store = store
        self._freshness = freshness
        self._weak_keys = weak_keys
        self._clock = clock
        self._rate = SourceRate(puts_per_source, puts_total)
        # A record is judged by what is there; between that and storing it, no other one may come.
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]

    async def call(self, method: str, parameters: tuple[object, ...], source: IPAddress) -> Value:
        """Answer one call; raises XmlRpcError for one that OpenDHT does not have."""
        match method:
            case Put.METHOD:
                put = Put.parse(parameters)
                return await self._change(source, put, lambda: self._put(put))
            case Remove.METHOD:
                remove = Remove.parse(parameters)
                return await self._change(source, remove, lambda: self._remove(remove))
            case Get.METHOD:
                return await self._get(Get.parse(parameters))
        raise XmlRpcError("there is no such method")

    async def _change(
        self, source: IPAddress, call: Put | Remove, work: Callable[[], Awaitable[ReturnCode]]
    ) -> ReturnCode:
        if not self._rate.allow(source, self._clock()):
            self.statistics.limited += 1
            return ReturnCode.TRY_AGAIN
        if call.application not in APPLICATIONS:
            return ReturnCode.REFUSED
        try:
            async with self._locks[call.key[0] % _LOCKS]:
                return await work()
        except RecordError as error:
            refused = self.statistics.refused
            refused[error.refusal] = refused.get(error.refusal, 0) + 1
            _call_log.warning(
                "a record for the DHT is refused",
                extra={"remote": str(source), "key": call.key.hex(), "reason": str(error)},
            )
            return ReturnCode.REFUSED
        except StoreFullError:
            return ReturnCode.OVER_CAPACITY
        except NamingError as error:
            _call_log.warning("the DHT's store: %s", error)
            return ReturnCode.TRY_AGAIN

    async def _put(self, put: Put) -> ReturnCode:
        now = int(self._clock())
        if put.ttl_s == 0:
            return ReturnCode.SUCCESS
        if put.application == ADDRESS_APPLICATION:
            return await self._put_address(put, now)
        return await self._put_name(put, now)

    async def _put_address(self, put: Put, now: int) -> ReturnCode:
        record = read_address_record(put.value, put.key, weak_keys=self._weak_keys)
        if not record.locators:
            raise RecordError(Refusal.MALFORMED, "no address in it can be used")
        news = await self._freshness.check(put.key, record)
        holding = await self._store.get(put.key, put.application)
        there = holding.stored
        # Another gateway of the same ring may know what this one has not heard of.
        for value in (*(one.value for one in there), *holding.removed):
            self._refuse_outdated(record, value, put.key)
        if news is News.REPEATED and there:
            return ReturnCode.SUCCESS
        lifetime_s = put.ttl_s
        if record.sequence > 0:
            # No longer than its owner has signed for, whoever brings it. OpenHIP, which does not
            # count, signs for half an hour, puts for a week, and does not come back before.
            lifetime_s = min(lifetime_s, record.lifetime_s)
        await self._store.put(put.key, _stored(put, now + lifetime_s), there)
        await self._freshness.note(put.key, record)
        self.statistics.stored += 1
        _call_log.info("stored where a host is", extra={"peer_hit": str(record.hit)})
        return ReturnCode.SUCCESS

    def _refuse_outdated(self, record: AddressRecord, value: bytes, key: bytes) -> None:
        """Raise RecordError if *value*, which is or was stored, is as new as the record."""
        sequence = peek_sequence(value)
        if sequence < record.sequence or sequence == 0 == record.version - 1:
            return
        try:
            read_address_record(value, key, weak_keys=self._weak_keys)
        except RecordError:
            return
        refusal = Refusal.REPLAYED if sequence == record.sequence else Refusal.STALE
        raise RecordError(refusal, f"Update ID {record.sequence}, {sequence} is in the store")

    async def _put_name(self, put: Put, now: int) -> ReturnCode:
        hit = read_name_record(put.value).hit
        await self._store.put(put.key, _stored(put, now + put.ttl_s))
        self.statistics.stored += 1
        _call_log.info("stored whose name that is", extra={"peer_hit": str(hit)})
        return ReturnCode.SUCCESS

    async def _get(self, get: Get) -> Value:
        self.statistics.lookups += 1
        if get.application not in APPLICATIONS:
            return [[], b""]
        try:
            found = (await self._store.get(get.key, get.application)).stored
        except NamingError as error:
            raise XmlRpcError(f"try again: {error}") from None
        start = int.from_bytes(get.placemark, "big")
        end = start + min(get.values_max, VALUES_MAX)
        values = sorted({one.value for one in found})
        return [values[start:end], end.to_bytes(4, "big") if end < len(values) else b""]

    async def _remove(self, remove: Remove) -> ReturnCode:
        # OpenHIP sends no hash but zeros; its secret belongs to one value anyhow.
        for one in (await self._store.get(remove.key, remove.application)).stored:
            named = remove.value_hash == _NO_HASH or compare_digest(
                remove.value_hash, one.value_hash
            )
            if named and one.opened_by(remove.secret):
                await self._store.remove(remove.key, one, remove.secret)
                if remove.application == ADDRESS_APPLICATION:
                    await self._freshness.removed(remove.key)
                self.statistics.removed += 1
        # As OpenDHT does it: a removal may come before the value that it removes, and no answer
        # tells whether a secret was right.
        return ReturnCode.SUCCESS


def _stored(put: Put, expires: int) -> Stored:
    return Stored(put.application, put.value, expires, put.secret_hash)
