"""What `[dht]` turns on, as parts of the daemon."""

import asyncio

# uvloop encodes every host by it, addresses too: to be loaded before privileges are dropped, when
# Python may not be readable any more.
import encodings.idna  # noqa: F401
import logging
from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path

from hipgw.config.names import DhtStoreName
from hipgw.config.tables.dht import DhtConfig
from hipgw.daemon.naming import IPAddress, NamingPart, NamingServices
from hipgw.errors import NamingError
from hipgw.naming.dht.client import DhtClient, Server
from hipgw.naming.dht.freshness import Freshness, Unsequenced
from hipgw.naming.dht.gateway import DhtGateway
from hipgw.naming.dht.publisher import Publisher, PublisherSettings
from hipgw.naming.dht.server import GatewayServer
from hipgw.naming.dht.source import DhtSource
from hipgw.naming.dht.stores.base import Store
from hipgw.naming.dht.stores.database import Database
from hipgw.naming.dht.stores.embedded import EmbeddedStore
from hipgw.naming.dht.stores.opendht import OpenDhtStore
from hipgw.protocol.effects import Effect, RegistrationChanged
from hipgw.protocol.registration import ServiceType

RETRY_S = 10.0
"""Between two tries to listen for a gateway that cannot."""

_log = logging.getLogger(__name__)


def add_parts(services: NamingServices, dht: DhtConfig) -> None:
    """Add the source, and gateway and publisher if they are wanted; the gateway starts first."""
    config = services.around.config
    client = DhtClient([Server(one.address, one.port) for one in dht.asked])
    source = DhtSource(client, weak_keys=config.hip.v1.weak_keys)
    services.resolver.add(source)
    services.add(DhtPart(services, dht, client, source))


class DhtPart(NamingPart):
    """Client, gateway and publisher, which cannot begin and end in any order."""

    name = "dht"

    def __init__(
        self, services: NamingServices, dht: DhtConfig, client: DhtClient, source: DhtSource
    ) -> None:
        self._around = services.around
        self._client = client
        self._gateway = _Gateway(services, dht) if dht.gateway else None
        self._rendezvous = OwnRendezvousServers(services, private=dht.private_addresses)
        self._retrying: asyncio.Task[None] | None = None
        self._publisher: Publisher | None = None
        if dht.publish:
            self._publisher = _publisher(services, dht, client, source, self._rendezvous)

    async def start(self) -> None:
        """Publish, and serve; a gateway that cannot be is no reason not to be published."""
        if self._gateway is not None and not await self._serve(self._gateway):
            self._retrying = asyncio.create_task(self._serve_later(self._gateway))
        if self._publisher is not None:
            self._publisher.start()
            self._publisher.changed(self._around.addresses())

    async def _serve(self, gateway: "_Gateway", level: int = logging.ERROR) -> bool:
        try:
            await gateway.start()
        except NamingError as error:
            await gateway.stop()
            _log.log(level, "there is no DHT gateway: %s", error)
            return False
        return True

    async def _serve_later(self, gateway: "_Gateway") -> None:
        """Its address may come later than this daemon, or who has the port may go."""
        while True:
            await asyncio.sleep(RETRY_S)
            if await self._serve(gateway, logging.DEBUG):
                _log.info("the DHT gateway is there now")
                return

    async def stop(self) -> None:
        """Remove what was published, then end all connections."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)
        try:
            if self._publisher is not None:
                await self._publisher.stop()
        finally:
            await self._client.close()
            if self._gateway is not None:
                await self._gateway.stop()

    def addresses_changed(self, addresses: Sequence[IPAddress]) -> None:
        """Publish the new ones."""
        if self._publisher is not None:
            self._publisher.changed(addresses)

    def handle_event(self, event: Effect) -> None:
        """Publish by which rendezvous servers this machine can be called."""
        if isinstance(event, RegistrationChanged):
            self._rendezvous.changed(event)
            if self._publisher is not None:
                self._publisher.changed(self._around.addresses())


class OwnRendezvousServers:
    """Where the servers are with which this machine is registered (RFC 8004, RFC 6537 §5)."""

    def __init__(self, services: NamingServices, *, private: bool) -> None:
        """*private*: also addresses that are not routed everywhere."""
        self._services = services
        self._private = private
        self._hits: dict[IPv6Address, None] = {}

    def changed(self, event: RegistrationChanged) -> None:
        """Take note of a registration of this machine with a server."""
        if event.registrar or event.reg_type != ServiceType.RENDEZVOUS:
            return
        if event.lifetime_s > 0:
            self._hits[event.peer_hit] = None
        else:
            self._hits.pop(event.peer_hit, None)

    def addresses(self) -> tuple[IPAddress, ...]:
        """Those that others can use, as the configuration or the association has them."""
        found: dict[IPAddress, None] = {}
        driver = self._services.driver
        for hit in self._hits:
            peer = self._services.around.directory.by_hit(hit)
            if peer is not None and peer.addresses:
                found.update(dict.fromkeys(peer.addresses))
            elif driver is not None:
                infos = driver.machine.associations(hit)
                found.update((info.path.remote, None) for info in infos if info.path is not None)
        return tuple(one for one in found if self._private or one.is_global)


class _Gateway:
    """The gateway with its store."""

    def __init__(self, services: NamingServices, dht: DhtConfig) -> None:
        self._dht = dht
        self._weak_keys = services.around.config.hip.v1.weak_keys
        self._file: Path = services.around.config.daemon.state_dir / "dht-records.sqlite"
        self._database: Database | None = None
        self._store: Store | None = None
        self._server: GatewayServer | None = None

    async def start(self) -> None:
        """Open the file, as the user that the daemon has become, and listen."""
        dht = self._dht
        self._database = database = Database(self._file)
        self._store = store = self._make_store(database)
        gateway = DhtGateway(
            store,
            Freshness(database, Unsequenced(dht.unsequenced.value)),
            puts_per_source=dht.puts_per_source,
            puts_total=dht.puts_total,
            weak_keys=self._weak_keys,
        )
        listen = [(one.address, one.port) for one in dht.gateway]
        self._server = GatewayServer(gateway, listen, dht.clients)
        await self._server.start()

    async def stop(self) -> None:
        """Listen no more, and close the file."""
        if self._server is not None:
            await self._server.stop()
        if self._store is not None:
            await self._store.close()
        if self._database is not None:
            self._database.close()
        self._server = self._store = self._database = None

    def _make_store(self, database: Database) -> Store:
        if self._dht.store is DhtStoreName.EMBEDDED:
            return EmbeddedStore(database, records_max=self._dht.records_max)
        proxies = [f"http://{proxy}" for proxy in self._dht.proxies]
        return OpenDhtStore(proxies, database, records_max=self._dht.records_max)


def _publisher(
    services: NamingServices,
    dht: DhtConfig,
    client: DhtClient,
    source: DhtSource,
    rendezvous: OwnRendezvousServers,
) -> Publisher:
    config = services.around.config
    return Publisher(
        client,
        source,
        services.around.identities,
        PublisherSettings(
            name=dht.name,
            ttl_s=dht.ttl_s,
            private=dht.private_addresses,
            udp_port=config.hip.port,
        ),
        config.daemon.state_dir / "dht-published.json",
        rendezvous.addresses,
    )
