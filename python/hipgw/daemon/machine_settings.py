"""The HIP machine and its registrar as this machine's configuration wants them."""

import time
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv6Address

from hipgw.config.names import Accept, Announce, CarrierOutside, EspSuiteName
from hipgw.config.schema import Config
from hipgw.config.schema import MobileRouterConfig as RouterTable
from hipgw.daemon.membership import Membership
from hipgw.identity.hit import hit_version, is_hit
from hipgw.naming.peers import CONFIGURED, FLEET, PeerDirectory
from hipgw.platform import sockets
from hipgw.protocol.compat import PROFILES, RFC, Compat
from hipgw.protocol.config import MachineConfig, V1Config
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.nat.config import NatConfig, RegistrarConfig, Terms
from hipgw.protocol.path import IPAddress, Transport
from hipgw.protocol.registration import ServiceType, Wanted
from hipgw.protocol.rendezvous.config import RendezvousConfig
from hipgw.roles.versions import VersionPolicy

_CARRIERS = {
    CarrierOutside.SAME: None,
    CarrierOutside.UDP: Transport.UDP,
    CarrierOutside.PLAIN: Transport.RAW,
}
ANY_V4, ANY_V6 = IPv4Address(0), IPv6Address(0)


def machine_config(
    config: Config,
    directory: PeerDirectory,
    versions: VersionPolicy,
    esp_suites: Sequence[EspSuiteName],
    membership: Membership,
) -> MachineConfig:
    """What the HIP machine is told.

    *esp_suites* are those that the data plane has; *membership* is asked at every I1.
    """
    hip, esp = config.hip, config.esp
    spoken = {version.wire_id for version in hip.versions}

    def accept(hit: IPv6Address) -> bool:
        if membership.is_barred(hit):
            return False
        peer = directory.by_hit(hit)
        if peer is not None:
            # Clients of a mobile router are known by all their HITs, and no data is at stake.
            either = config.mobile_router is not None and not config.carries_data
            return membership.may_associate(peer.name) and (either or versions.allows(hit))
        return hip.accept is Accept.ANY and is_hit(hit) and hit_version(hit) in spoken

    def compat(hit: IPv6Address) -> Compat:
        peer = directory.by_hit(hit)
        if peer is not None:
            return PROFILES[peer.compat(hit)]
        old = is_hit(hit) and hit_version(hit) == 1
        return PROFILES[hip.v1.compat.value] if old else RFC

    def rendezvous_of(hit: IPv6Address) -> list[tuple[IPAddress, int]]:
        peer = directory.by_hit(hit)
        servers = peer.rendezvous if peer is not None else ()
        return [(address, server.port) for server in servers for address in server.addresses]

    def automatic(hit: IPv6Address) -> Wanted | None:
        # Whom a name has led to need not know where this machine goes from now on.
        peer = directory.by_hit(hit)
        if peer is None or peer.source not in (CONFIGURED, FLEET):
            return None
        services = [
            (kind, table.lifetime_s)
            for kind, table in (
                (ServiceType.RENDEZVOUS, config.rendezvous),
                (ServiceType.MOBILE_ROUTER, config.mobile_node),
            )
            if table.automatic
        ]
        if not services:
            return None
        return Wanted(
            reg_types=tuple(kind for kind, _ in services),
            # One registration has one lifetime; these end with their association anyway.
            lifetime_s=max(lifetime_s for _, lifetime_s in services),
        )

    return MachineConfig(
        dh_groups=tuple(name.wire_id for name in hip.dh_groups),
        hip_ciphers=tuple(name.wire_id for name in hip.hip_ciphers),
        esp_suites=tuple(name.wire_id for name in esp_suites),
        accept=accept,
        compat=compat,
        v1=V1Config(
            dh_groups=tuple(name.wire_id for name in hip.v1.dh_groups),
            hip_suites=tuple(name.wire_id for name in hip.v1.hip_suites),
            esp_suites=tuple(name.wire_id for name in hip.v1.esp_suites),
            weak_keys=hip.v1.weak_keys,
        ),
        opportunistic=hip.opportunistic,
        puzzle_difficulty=hip.puzzle_difficulty,
        puzzle_difficulty_max=hip.puzzle_difficulty_max,
        retransmit_s=hip.retransmit_s,
        retries=hip.retries,
        ual_s=hip.idle_close_s,
        keepalive_s=hip.keepalive_s,
        # Keys that nothing is sent with need no renewal by this host.
        rekey_s=esp.rekey_s if config.carries_data else 0.0,
        rekey_octets=esp.rekey_bytes,
        rekey_packets=esp.rekey_packets,
        rekey_dh=esp.rekey_dh,
        nat=NatConfig(
            modes=tuple(name.wire_id for name in config.nat_modes),
            pacing_s=config.nat.pacing_s,
        ),
        registrar=registrar_config(config, directory),
        rendezvous_of=rendezvous_of,
        automatic=automatic,
        router_check_s=config.mobile_node.check_s,
        announce_all=config.mobility.announce is Announce.ALL,
        # Greater than in any run before, whatever was kept of those (RFC 7401 §4.1.4).
        r1_counter_start=int(time.time()),
    )


def registrar_config(config: Config, directory: PeerDirectory) -> RegistrarConfig | None:
    """What this machine offers to registered clients; None without such a role."""
    relay = config.relay
    rendezvous = rendezvous_config(config, directory)
    services = [name.wire_id for name in relay.services] if relay is not None else []
    if rendezvous is not None:
        services.append(ServiceType.RENDEZVOUS)
    if config.mobile_router is not None:
        services.append(ServiceType.MOBILE_ROUTER)
    if not services:
        return None
    router = mobile_router_config(config.mobile_router)
    terms = _terms(config.mobile_router, directory)
    if relay is None:
        return RegistrarConfig(
            services=tuple(services),
            rendezvous=rendezvous,
            mobile_router=router,
            mobile_router_terms=terms,
        )
    # Without an address of its own, each client is told the one that it has reached.
    told: dict[int, IPAddress] = {4: ANY_V4, 6: ANY_V6}
    told.update({address.version: address for address in relay.addresses})
    versions = (4, 6) if sockets.ipv6_there() else (4,)
    return RegistrarConfig(
        services=tuple(services),
        allow=_listed(relay.clients, directory),
        min_lifetime_s=relay.min_lifetime_s,
        max_lifetime_s=relay.max_lifetime_s,
        clients_max=relay.clients_max,
        packets_per_source=relay.packets_per_source,
        packets_per_client=relay.packets_per_client,
        relayed=tuple((told[v], port) for v in versions for port in relay.port_range),
        ports_per_client=relay.ports_per_client,
        permissions_per_client=relay.permissions_per_client,
        octets_per_s=relay.bytes_per_s,
        rendezvous=rendezvous,
        mobile_router=router,
        mobile_router_terms=terms,
    )


def mobile_router_config(router: RouterTable | None) -> MobileRouterConfig | None:
    """How this machine is a mobile router; None if it is none."""
    if router is None:
        return None
    return MobileRouterConfig(
        flows_max=router.flows_max,
        flows_per_client=router.correspondents_per_client,
        outside=_CARRIERS[router.carrier_outside],
        tickets=router.tickets,
    )


def _terms(router: RouterTable | None, directory: PeerDirectory) -> Terms | None:
    """On what terms clients of the mobile router register."""
    if router is None:
        return None
    return Terms(
        allow=_listed(router.clients, directory),
        min_lifetime_s=router.min_lifetime_s,
        max_lifetime_s=router.max_lifetime_s,
        clients_max=router.clients_max,
    )


def rendezvous_config(config: Config, directory: PeerDirectory) -> RendezvousConfig | None:
    """On what terms this machine is a rendezvous server; None if it is none."""
    rvs = config.rvs
    if rvs is None:
        return None
    return RendezvousConfig(
        allow=_listed(rvs.clients, directory),
        min_lifetime_s=rvs.min_lifetime_s,
        max_lifetime_s=rvs.max_lifetime_s,
        clients_max=rvs.clients_max,
        packets_per_source=rvs.packets_per_source,
        packets_per_client=rvs.packets_per_client,
        # Whoever carries data has security associations to look after.
        compact=not config.carries_data,
    )


def _listed(
    names: Collection[str] | None, directory: PeerDirectory
) -> Callable[[IPv6Address], bool]:
    """Whether a HIT is that of a peer with one of these names; of anybody's without any."""

    def allow(hit: IPv6Address) -> bool:
        peer = directory.by_hit(hit)
        if names is None or peer is None:
            return names is None
        # Of those that were found elsewhere the names are anybody's.
        return peer.source in (CONFIGURED, FLEET) and peer.name in names

    return allow
