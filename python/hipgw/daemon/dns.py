"""The DNS for the daemon: a source of peers, and names under `.hip` for the machine's programs."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from ipaddress import ip_address

from hipgw.config.names import ResolverIntegration
from hipgw.config.tables.dns import DnsConfig
from hipgw.daemon.naming import NamingPart, NamingServices
from hipgw.errors import NamingError
from hipgw.logs import packet_path_logger
from hipgw.naming.dns.hip_answers import LocalName
from hipgw.naming.dns.interceptor import Interceptor, InterceptorSettings
from hipgw.naming.dns.preload import preload
from hipgw.naming.dns.servers import NameServer, NameServers
from hipgw.naming.dns.source import NAME, DnssecPolicy, DnsSource
from hipgw.naming.peers import CONFIGURED, FLEET, Peer
from hipgw.platform import resolv_conf, resolver

_LOOK_S = 2.0
"""How often /etc/resolv.conf is looked at."""

LOOK_UPS_AT_ONCE, LOOK_UPS_BURST, LOOK_UPS_PER_S = 64, 200, 20.0
"""Names that are no peers' here, for which the sources are asked: several messages each."""

_log = logging.getLogger(__name__)
_limit_log = packet_path_logger(__name__ + ".limit")


def add_dns(services: NamingServices) -> None:
    """Add the DNS as a source, and the interceptor if it is configured."""
    preload()
    config = services.around.config
    table = config.dns or DnsConfig()
    system = SystemServers(table)
    services.resolver.add(
        DnsSource(
            lambda: system.current, suffix=table.suffix, dnssec=DnssecPolicy(table.dnssec.value)
        )
    )
    interceptor = None
    if config.dns is not None and config.dns.intercept and config.host is not None:
        interceptor = InterceptorPart(services, config.dns, config.host.interface, system)
        services.add(interceptor)
    if interceptor is not None or NAME in services.resolver.sources:
        services.add(system)


class SystemServers(NamingPart):
    """The name servers to ask: those of the configuration, else those of /etc/resolv.conf."""

    name = "dns servers"

    def __init__(self, table: DnsConfig) -> None:
        self._table = table
        self._listeners: list[Callable[[NameServers], None]] = []
        self._seen: object = None
        self._timer: asyncio.TimerHandle | None = None
        self.current = NameServers()
        self._look()

    def subscribe(self, listener: Callable[[NameServers], None]) -> None:
        """Tell about the servers, now and whenever they change."""
        self._listeners.append(listener)
        listener(self.current)

    async def start(self) -> None:
        self._again()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        self._look()
        self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._again)

    def _look(self) -> None:
        try:
            state = resolv_conf.PATH.stat()
            now = (state.st_ino, state.st_mtime_ns, state.st_size)
            if now == self._seen:
                return
            self._seen = now
            system = resolv_conf.read(resolv_conf.PATH)
        except OSError as error:
            if self._seen != error.errno:
                _log.warning("%s cannot be read: %s", resolv_conf.PATH, error.strerror)
            self._seen = error.errno
            system = resolv_conf.ResolvConf()
        found = self._servers(system)
        if found != self.current:
            self.current = found
            listed = ", ".join(map(str, found.servers))
            _log.info("name servers", extra={"servers": listed or "none"})
            for listener in self._listeners:
                listener(found)

    def _servers(self, system: resolv_conf.ResolvConf) -> NameServers:
        table = self._table
        servers = [NameServer(place.address, place.port) for place in table.servers]
        if not servers:
            for text in system.servers:
                try:
                    address = ip_address(text)
                except ValueError:
                    continue
                if address != table.listen:
                    servers.append(NameServer(address))
        local = bool(servers) and all(server.address.is_loopback for server in servers)
        return NameServers(
            servers=tuple(servers),
            search=system.search if table.search is None else table.search,
            # What resolv.conf says is about the servers that it names.
            trusted=local or (system.trust_ad and not table.servers),
        )


class LookUpLimit:
    """How many names that are nobody's here are looked up: at once, and in the long run."""

    def __init__(
        self,
        at_once: int = LOOK_UPS_AT_ONCE,
        burst: int = LOOK_UPS_BURST,
        rate: float = LOOK_UPS_PER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refused = 0
        self._left = at_once
        self._tokens = self._burst = float(burst)
        self._rate = rate
        self._clock = clock
        self._since = clock()

    @contextlib.contextmanager
    def one(self, name: str) -> Iterator[None]:
        """While one is looked up; raises NamingError if that are too many."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
        self._since = now
        if self._left <= 0 or self._tokens < 1:
            self.refused += 1
            _limit_log.warning("too many names are looked up at a time: some are not")
            raise NamingError(f"too many names are looked up to look for {name}")
        self._tokens -= 1
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


class InterceptorPart(NamingPart):
    """Answers the queries of this machine, and has the machine ask."""

    name = "dns interceptor"

    def __init__(
        self, services: NamingServices, table: DnsConfig, interface: str, system: SystemServers
    ) -> None:
        self._services = services
        self._table = table
        self._interface = interface
        self._system = system
        self._interceptor: Interceptor | None = None
        self._way: resolver.ResolvedLink | resolver.ResolvConfLine | None = None
        self._limit = LookUpLimit()
        self._capitals: dict[str, str] = {}
        directory = services.around.directory
        for peer in directory:
            self._renamed(None, peer)
        directory.subscribe(self._renamed)

    async def prepare(self) -> None:
        table = self._table
        self._interceptor = Interceptor(
            InterceptorSettings(
                address=table.listen,
                port=table.port,
                suffix=table.suffix,
                ttl_s=table.ttl_s,
                cache_max=table.cache_max,
            ),
            self.look_up,
        )
        # The port is ours: from here on somebody may ask.
        address = str(table.listen)
        way = table.resolver
        if way is ResolverIntegration.AUTO:
            there = resolver.resolved_is_asked()
            way = ResolverIntegration.RESOLVED if there else ResolverIntegration.RESOLV_CONF
        if way is ResolverIntegration.RESOLVED:
            self._way = resolver.ResolvedLink(self._interface, address, table.suffix)
        elif way is ResolverIntegration.RESOLV_CONF:
            self._way = resolver.ResolvConfLine(address, self._services.around.journal)

    async def start(self) -> None:
        if self._interceptor is None:
            return
        self._system.subscribe(self._use)
        await self._interceptor.start()
        _log.info(
            "names are answered",
            extra={"suffix": self._table.suffix, "address": str(self._table.listen)},
        )

    async def stop(self) -> None:
        if self._way is not None:
            self._way.close()
        if self._interceptor is not None:
            await self._interceptor.stop()

    def counters(self) -> dict[str, int]:
        if self._interceptor is None:
            return {}
        counts = asdict(self._interceptor.statistics) | {"limited": self._limit.refused}
        return {f"dns_{name}": count for name, count in counts.items()}

    def _use(self, servers: NameServers) -> None:
        if self._interceptor is not None:
            self._interceptor.use(servers.servers)

    async def look_up(self, name: str) -> LocalName | None:
        """The peer of a name under the suffix; NamingError if it cannot be told just now."""
        peer = self._by_any_case(name)
        if peer is None and self._services.around.directory.by_name(name) is not None:
            peer = await self._services.finder.by_name(name)
        if peer is None:
            # What anybody on this machine can make up is not to keep the daemon from its work, nor
            # the names above from being answered.
            with self._limit.one(name):
                return await self._look_up_elsewhere(name)
        return self._answer(peer)

    async def _look_up_elsewhere(self, name: str) -> LocalName | None:
        peer = await self._services.finder.by_name(name)
        if peer is None:
            resolution = await self._services.resolver.resolve(name)
            around = self._services.around
            for one in resolution.found:
                if one.hit in around.own_hits:
                    ttl_s = self._table.ttl_s
                    return LocalName(lsi=around.own_lsi, hit=one.hit, ttl_s=ttl_s)
            if resolution.failed:
                raise NamingError(f"not every source of names could be asked for {name}")
            return None
        return self._answer(peer)

    def _answer(self, peer: Peer) -> LocalName:
        self._services.finder.keep(peer.hit, self._table.ttl_s)
        return LocalName(lsi=peer.lsi, hit=peer.hit, ttl_s=self._table.ttl_s)

    def _by_any_case(self, name: str) -> Peer | None:
        """A peer whose name has capitals: names of the DNS are the same without."""
        capital = self._capitals.get(name)
        exact = self._services.around.directory.by_name(name)
        if exact is not None and exact.source in (CONFIGURED, FLEET):
            return exact
        return None if capital is None else self._services.around.directory.by_name(capital)

    def _renamed(self, old: Peer | None, new: Peer | None) -> None:
        if old is not None:
            self._capitals.pop(old.name.lower(), None)
        if new is not None and new.name != new.name.lower():
            self._capitals[new.name.lower()] = new.name
