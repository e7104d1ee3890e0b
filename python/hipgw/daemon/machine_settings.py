"""The HIP machine and its registrar as this machine's configuration wants them."""

import time
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address

from hipgw.config.names import Accept, Announce, EspSuiteName
from hipgw.config.schema import Config, PeerConfig
from hipgw.identity.hit import hit_version, is_hit
from hipgw.naming.peers import PeerDirectory
from hipgw.platform import sockets
from hipgw.protocol.compat import PROFILES, RFC, Compat
from hipgw.protocol.config import MachineConfig, V1Config
from hipgw.protocol.nat.config import NatConfig, RegistrarConfig
from hipgw.protocol.path import IPAddress
from hipgw.roles.versions import VersionPolicy

ANY_V4, ANY_V6 = IPv4Address(0), IPv6Address(0)


def machine_config(
    config: Config,
    directory: PeerDirectory,
    versions: VersionPolicy,
    esp_suites: Sequence[EspSuiteName],
    allowed: Collection[PeerConfig],
) -> MachineConfig:
    """What the HIP machine is told.

    *esp_suites* are those that the data plane has; *allowed* are the peers that may exchange frames
    with this machine.
    """
    hip, esp = config.hip, config.esp
    spoken = {version.wire_id for version in hip.versions}
    # Who may exchange no frames is answered only for what else this machine is to it.
    denied = {peer.name for peer in config.endbox_peers}
    denied -= {peer.name for peer in allowed}
    if {"host", "relay"} & set(config.roles):
        denied = set()

    def accept(hit: IPv6Address) -> bool:
        peer = directory.by_hit(hit)
        if peer is not None:
            return peer.name not in denied and versions.allows(hit)
        return hip.accept is Accept.ANY and is_hit(hit) and hit_version(hit) in spoken

    def compat(hit: IPv6Address) -> Compat:
        peer = directory.by_hit(hit)
        if peer is not None:
            return PROFILES[peer.compat(hit)]
        old = is_hit(hit) and hit_version(hit) == 1
        return PROFILES[hip.v1.compat.value] if old else RFC

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
        rekey_s=esp.rekey_s,
        rekey_octets=esp.rekey_bytes,
        rekey_packets=esp.rekey_packets,
        rekey_dh=esp.rekey_dh,
        nat=NatConfig(
            modes=tuple(name.wire_id for name in config.nat.modes),
            pacing_s=config.nat.pacing_s,
        ),
        registrar=registrar_config(config, directory),
        announce_all=config.mobility.announce is Announce.ALL,
        # Greater than in any run before, whatever was kept of those (RFC 7401 §4.1.4).
        r1_counter_start=int(time.time()),
    )


def registrar_config(config: Config, directory: PeerDirectory) -> RegistrarConfig | None:
    """What this machine offers to registered clients; None without such a role."""
    relay = config.relay
    if relay is None:
        return None
    names = relay.clients

    def allow(hit: IPv6Address) -> bool:
        peer = directory.by_hit(hit)
        return names is None or (peer is not None and peer.name in names)

    # Without an address of its own, each client is told the one that it has reached.
    told: dict[int, IPAddress] = {4: ANY_V4, 6: ANY_V6}
    told.update({address.version: address for address in relay.addresses})
    versions = (4, 6) if sockets.ipv6_there() else (4,)
    return RegistrarConfig(
        services=tuple(name.wire_id for name in relay.services),
        allow=allow,
        min_lifetime_s=relay.min_lifetime_s,
        max_lifetime_s=relay.max_lifetime_s,
        clients_max=relay.clients_max,
        packets_per_source=relay.packets_per_source,
        packets_per_client=relay.packets_per_client,
        relayed=tuple((told[v], port) for v in versions for port in relay.port_range),
        ports_per_client=relay.ports_per_client,
        permissions_per_client=relay.permissions_per_client,
        octets_per_s=relay.bytes_per_s,
    )
