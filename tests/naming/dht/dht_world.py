"""A gateway with its store in memory, and a clock that stands still until told."""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.dht.calls import Get, Put, Remove
from hipgw.naming.dht.freshness import Freshness, Unsequenced
from hipgw.naming.dht.gateway import DhtGateway
from hipgw.naming.dht.hdrr import locator_for, make_address_record, make_name_record
from hipgw.naming.dht.keys import hit_key, name_key, sha1
from hipgw.naming.dht.limits import ADDRESS_APPLICATION, NAME_APPLICATION
from hipgw.naming.dht.stores.database import Database
from hipgw.naming.dht.stores.embedded import EmbeddedStore
from hipgw.naming.sources import IPAddress

START = 1_800_000_000
SOURCE = ip_address("192.0.2.77")
HERE = ip_address("192.0.2.1")
THERE = ip_address("198.51.100.1")
SECRET = b"s" * 40


class World:
    """What the tests do with a gateway."""

    def __init__(
        self,
        *,
        unsequenced: Unsequenced = Unsequenced.NEW,
        records_max: int = 100,
        puts_per_source: int = 1000,
        puts_total: int = 1000,
        remembered_max: int = 1000,
    ) -> None:
        self.now = float(START)
        self.database = Database(None)
        self.store = EmbeddedStore(self.database, records_max=records_max, clock=lambda: self.now)
        self.freshness = Freshness(
            self.database,
            unsequenced,
            remembered_max=remembered_max,
            clock=lambda: self.now,
        )
        self.gateway = DhtGateway(
            self.store,
            self.freshness,
            puts_per_source=puts_per_source,
            puts_total=puts_total,
            clock=lambda: self.now,
        )

    async def put(
        self,
        value: bytes,
        hit: IPv6Address,
        *,
        secret: bytes = SECRET,
        ttl_s: int = 600,
        source: IPAddress = SOURCE,
    ) -> object:
        put = Put(hit_key(hit), value, sha1(secret), ttl_s, ADDRESS_APPLICATION)
        return await self.gateway.call(put.METHOD, put.parameters, source)

    async def put_name(self, name: str, hit: IPv6Address, secret: bytes = SECRET) -> object:
        value = make_name_record(hit)
        put = Put(name_key(name), value, sha1(secret), 600, NAME_APPLICATION)
        return await self.gateway.call(put.METHOD, put.parameters, SOURCE)

    async def get(self, hit: IPv6Address) -> Sequence[bytes]:
        return await self.values(Get(hit_key(hit), 10, b"", ADDRESS_APPLICATION))

    async def named(self, name: str) -> Sequence[bytes]:
        return await self.values(Get(name_key(name), 10, b"", NAME_APPLICATION))

    async def values(self, get: Get) -> Sequence[bytes]:
        values, _ = await self.gateway.call(get.METHOD, get.parameters, SOURCE)
        return values

    async def remove(self, value: bytes, hit: IPv6Address, secret: bytes = SECRET) -> object:
        remove = Remove(hit_key(hit), sha1(value), secret, 600, ADDRESS_APPLICATION)
        return await self.gateway.call(remove.METHOD, remove.parameters, SOURCE)


def record(
    identity: LocalIdentity, sequence: int, address: IPAddress = HERE, ttl_s: int = 600
) -> bytes:
    """Where a host says that it is."""
    return make_address_record(identity, [locator_for(address, ttl_s, preferred=True)], sequence)
