"""Everything by which peers are found, and this machine can be found, as the daemon runs it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path as FilePath

from hipgw.config.names import HipVersionName, SourceName
from hipgw.config.schema import Config
from hipgw.config.tables.dns import DnsConfig
from hipgw.control.api import FleetAnswer
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.membership import Membership
from hipgw.errors import HipgwError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.configured import ConfiguredSource
from hipgw.naming.finder import PeerDefaults, PeerFinder
from hipgw.naming.last_known import LastKnown
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.naming.resolver import Resolver, ResolverSettings, plain_name
from hipgw.platform.journal import Journal
from hipgw.protocol.effects import Effect, Established, PathChanged
from hipgw.protocol.path import Path, Transport
from hipgw.roles.role import Role

IPAddress = IPv4Address | IPv6Address

STOP_PATIENCE_S = 2.0
"""How long a part may take to stop, and to begin."""
EXPIRE_S = 30.0

_log = logging.getLogger(__name__)


class NamingPart:
    """Something that runs as long as the daemon does: an interceptor, a publisher, a gateway, …

    What it does not need it leaves as it is here.
    """

    name = "part"

    async def prepare(self) -> None:
        """Do what needs root: sockets of low ports, files and links of the system.

        Raises HipgwError if the daemon cannot start without it.
        """

    async def start(self) -> None:
        """Begin; privileges are dropped, the HIP machine and the data plane run."""

    async def stop(self) -> None:
        """End, and take back what was changed; called also if `start` never was."""

    def addresses_changed(self, addresses: Sequence[IPAddress]) -> None:
        """All usable own addresses are these now, the best first."""

    def handle_event(self, event: Effect) -> None:
        """Something happened to an association or a registration."""

    def counters(self) -> dict[str, int]:
        """What is counted, by names that begin with that of the subject."""
        return {}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the parts are built of."""

    config: Config
    config_file: FilePath
    identities: Sequence[LocalIdentity]
    """One for each version of HIP that is spoken, the preferred one first."""
    directory: PeerDirectory
    own_lsi: IPv4Address
    journal: Journal
    """Changes of the system are written there before they are made."""
    roles: Sequence[Role]
    """Those that run; empty until all parts are prepared."""
    membership: Membership
    """Who may associate, and exchange frames."""
    addresses: Callable[[], Sequence[IPAddress]]
    """All usable own addresses now, the best first."""

    @property
    def own_hits(self) -> tuple[IPv6Address, ...]:
        """The HITs of this machine, the preferred one first."""
        return tuple(identity.hit for identity in self.identities)


class NamingServices:
    """The resolver with its sources, and the parts that run beside it.

    `PARTS` of `hipgw.daemon.naming_parts` are functions that are called with this object, and add
    sources to `resolver` and parts by `add`.
    """

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        config, naming = around.config, around.config.naming
        self.resolver = Resolver(
            [source.value for source in naming.order],
            ResolverSettings(
                timeout_s=naming.timeout_s,
                ttl_min_s=naming.ttl_min_s,
                ttl_max_s=naming.ttl_max_s,
                negative_ttl_s=naming.negative_ttl_s,
                cache_max=naming.cache_max,
            ),
        )
        self.resolver.add(
            ConfiguredSource(around.directory, lambda peer: self.finder.base(peer)), cached=False
        )
        self._last_known: LastKnown | None = None
        if SourceName.LAST_KNOWN in naming.order:
            self._last_known = LastKnown(config.daemon.state_dir / "last-known.json")
            self.resolver.add(self._last_known, cached=False)
        self.finder = PeerFinder(
            self.resolver,
            around.directory,
            PeerDefaults(
                udp=config.hip.transport is Transport.UDP,
                versions=tuple(version.wire_id for version in config.hip.versions),
                compats=((HipVersionName.V1.wire_id, config.hip.v1.compat.value),),
            ),
            own_hits=around.own_hits,
            found_max=naming.found_max,
            keep_s=naming.keep_s,
        )
        self.driver: HipDriver | None = None
        """The HIP machine; there from `start` on."""
        self.fleet_answer: Callable[[], FleetAnswer] | None = None
        """Tells of the fleet's directory, if there is one."""
        self._parts: list[NamingPart] = []
        self._started = False
        self._expiry: asyncio.TimerHandle | None = None

    def add(self, part: NamingPart) -> None:
        """Have a part prepared, started and stopped with the daemon."""
        self._parts.append(part)

    async def prepare(self) -> None:
        """Prepare all parts, as root still. Raises HipgwError."""
        for part in self._parts:
            await part.prepare()

    async def start(self, driver: HipDriver) -> None:
        """Start all parts. One that cannot is logged, and the others go on."""
        self.driver = driver
        self.finder.in_use = lambda hit: bool(driver.machine.associations(hit))
        self._started = True
        for part in self._parts:
            try:
                async with asyncio.timeout(STOP_PATIENCE_S):
                    await part.start()
            except Exception as error:
                _log.error("%s does not start: %s", part.name, error or type(error).__name__)
        self._expire()

    async def stop(self) -> None:
        """Stop all parts, whatever goes wrong with one."""
        if self._expiry is not None:
            self._expiry.cancel()
        await asyncio.gather(*(self._stop_part(part) for part in reversed(self._parts)))
        await self.finder.stop()
        await self.resolver.stop()
        if self._last_known is not None:
            self._last_known.save()

    async def _stop_part(self, part: NamingPart) -> None:
        try:
            async with asyncio.timeout(STOP_PATIENCE_S):
                await part.stop()
        except Exception as error:
            _log.error("%s does not stop: %s", part.name, error or type(error).__name__)

    # -- questions ---------------------------------------------------------------------------

    @property
    def suffix(self) -> str:
        """What the names of peers end in where programs ask for them."""
        dns = self.around.config.dns or DnsConfig()
        return f".{dns.suffix}"

    async def look_up(self, text: str) -> Peer | None:
        """The peer that a person means by a name or a HIT, looked up if need be."""
        try:
            return await self.finder.by_hit(IPv6Address(text))
        except ValueError:
            return await self.finder.by_name(plain_name(text, self.suffix))

    # -- news --------------------------------------------------------------------------------

    def addresses_changed(self, addresses: Sequence[IPAddress]) -> None:
        """All usable own addresses are these now, the best first."""
        self.resolver.clear()  # what could not be reached may be now, and by other answers
        self._tell(lambda part: part.addresses_changed(addresses))

    def handle_event(self, event: Effect) -> None:
        """Something happened to an association or a registration."""
        if isinstance(event, Established):
            self.finder.reached(event.peer_hit)
            self._note_place(event.peer_hit, event.path)
        if isinstance(event, PathChanged):
            self._note_place(event.peer_hit, event.new)
        self._tell(lambda part: part.handle_event(event))

    def _tell(self, news: Callable[[NamingPart], None]) -> None:
        for part in self._parts if self._started else ():
            try:
                news(part)
            except Exception:
                # What else has to hear of it is not to go without.
                _log.exception("%s", part.name)

    def _note_place(self, hit: IPv6Address, path: Path) -> None:
        peer = self.around.directory.by_hit(hit)
        if self._last_known is None or peer is None:
            return
        # A port that a NAT or a relay has lent is another's tomorrow.
        lasting = path.relay_to is None and path.remote_port == peer.port
        if not lasting and path.transport is not Transport.RAW:
            return
        if not peer.was_found and path.remote in self.finder.base(peer).addresses:
            # Nothing that the configuration does not say.
            self._last_known.forget(peer.hit)
        else:
            self._last_known.note(peer, path.remote)

    def counters(self) -> dict[str, int]:
        """What the parts count."""
        return {name: count for part in self._parts for name, count in part.counters().items()}

    def _expire(self) -> None:
        try:
            self.finder.expire()
        except HipgwError as error:
            _log.warning("peers that were looked up: %s", error)
        if self._last_known is not None:
            self._last_known.save()
        self._expiry = asyncio.get_running_loop().call_later(EXPIRE_S, self._expire)
