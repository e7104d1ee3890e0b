"""What may stand in hipgw.toml: one frozen model per table, every key with its meaning and bounds.

The models are the only place that knows defaults and ranges; docs/configuration.md is made from
them (`tools/docs.py`). A model that exists has passed every check.
"""

from typing import Self

from pydantic import Field, model_validator

from hipgw.config.consistency import check_config, check_hip, check_lifetimes
from hipgw.config.names import CompatName, EspBackend, HipVersionName, NatModeName
from hipgw.config.tables.base import Table
from hipgw.config.tables.daemon import DaemonConfig
from hipgw.config.tables.dht import DhtConfig
from hipgw.config.tables.dns import DnsConfig
from hipgw.config.tables.endbox import EndboxConfig
from hipgw.config.tables.esp import EspConfig
from hipgw.config.tables.fleet import FleetConfig
from hipgw.config.tables.hip import HipConfig, HipV1Config, IdentityConfig
from hipgw.config.tables.host import HostConfig
from hipgw.config.tables.mobile_router import MobileNodeConfig, MobileRouterConfig
from hipgw.config.tables.mobility import MobilityConfig
from hipgw.config.tables.naming import NamingConfig
from hipgw.config.tables.nat import NatConfig, RelayConfig
from hipgw.config.tables.openhip import OpenHipConfig, OpenHipHostConfig
from hipgw.config.tables.peer import PeerConfig
from hipgw.config.tables.rendezvous import RendezvousConfig
from hipgw.config.tables.rvs import RvsConfig
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Transport

__all__ = [
    "Config",
    "DaemonConfig",
    "DhtConfig",
    "DnsConfig",
    "EndboxConfig",
    "EspConfig",
    "FleetConfig",
    "HipConfig",
    "HipV1Config",
    "HostConfig",
    "IdentityConfig",
    "MobileNodeConfig",
    "MobileRouterConfig",
    "MobilityConfig",
    "NamingConfig",
    "NatConfig",
    "OpenHipConfig",
    "OpenHipHostConfig",
    "PeerConfig",
    "RelayConfig",
    "RendezvousConfig",
    "RvsConfig",
]


class Config(Table):
    """The whole of hipgw.toml."""

    identity: IdentityConfig
    hip: HipConfig = Field(default_factory=HipConfig)
    esp: EspConfig = Field(default_factory=EspConfig)
    mobility: MobilityConfig = Field(default_factory=MobilityConfig)
    peers: tuple[PeerConfig, ...] = Field(default=(), alias="peer", max_length=65536)
    naming: NamingConfig = Field(default_factory=NamingConfig)
    nat: NatConfig = Field(default_factory=NatConfig)
    dht: DhtConfig | None = None
    rendezvous: RendezvousConfig = Field(default_factory=RendezvousConfig)
    host: HostConfig | None = None
    endbox: EndboxConfig | None = None
    relay: RelayConfig | None = None
    fleet: FleetConfig | None = None
    rvs: RvsConfig | None = None
    mobile_router: MobileRouterConfig | None = None
    mobile_node: MobileNodeConfig = Field(default_factory=MobileNodeConfig)
    dns: DnsConfig | None = None
    daemon: DaemonConfig = Field(default_factory=DaemonConfig)
    openhip: OpenHipConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_hip(self.hip, self.esp)
        check_lifetimes(self.hip, self.esp)
        check_config(self)
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are turned on, by name."""
        names = ("host", "endbox", "relay", "rvs", "mobile_router")
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def carries_data(self) -> bool:
        """Whether traffic of this machine's own is exchanged with peers."""
        return self.host is not None or self.endbox is not None

    @property
    def nat_modes(self) -> tuple[NatModeName, ...]:
        """NAT traversal modes, the preferred one first; the kernel's ESP takes STUN for its own."""
        kernel = self.esp.backend is EspBackend.KERNEL
        return tuple(
            mode for mode in self.nat.modes if not (kernel and mode is NatModeName.ICE_STUN_UDP)
        )

    @property
    def endbox_peers(self) -> tuple[PeerConfig, ...]:
        """The peers that share the endbox's LAN; empty without the role."""
        if self.endbox is None:
            return ()
        if self.endbox.peers is None:
            # A relay carries what others have encrypted; it is not to get their frames. Nor is a
            # rendezvous server or a mobile router, which may be anybody's.
            helpers = {*self.nat.relays, *(name for peer in self.peers for name in peer.relays)}
            helpers |= {*self.rendezvous.servers, *self._named_servers, *self.mobile_node.routers}
            return tuple(peer for peer in self.peers if peer.name not in helpers)
        names = set(self.endbox.peers)
        return tuple(peer for peer in self.peers if peer.name in names)

    def relays_of(self, peer: PeerConfig) -> tuple[PeerConfig, ...]:
        """The relays that a peer is called by."""
        if not peer.relays:
            return ()
        return tuple(other for other in self.peers if other.name in peer.relays)

    def rendezvous_of(self, peer: PeerConfig) -> tuple[tuple[tuple[IPAddress, ...], int, str], ...]:
        """Addresses, UDP port and name of each rendezvous server of a peer, in order."""
        if not peer.rvs:
            return ()
        by_name = {other.name: other for other in self.peers}
        # Of a name that is nobody's (a fleet may forget one) nothing is known.
        return tuple(
            (by_name[one].addresses, by_name[one].port, one)
            if isinstance(one, str)
            else ((one,), HIP_UDP_PORT, "")
            for one in peer.rvs
            if not isinstance(one, str) or one in by_name
        )

    @property
    def _named_servers(self) -> set[str]:
        return {one for peer in self.peers for one in peer.rvs if isinstance(one, str)}

    def versions_of(self, peer: PeerConfig) -> tuple[HipVersionName, ...]:
        """The versions of HIP that a peer is talked to in, the preferred one first."""
        if peer.versions is not None:
            return peer.versions
        if len(peer.hits) == 1:
            return tuple(peer.hits)
        return tuple(version for version in self.hip.versions if version in peer.hits)

    def compat_of(self, peer: PeerConfig, version: HipVersionName) -> CompatName:
        """The implementation whose deviations are expected of a peer in one version."""
        wanted = peer.compat
        if wanted is not None and wanted.version in (None, version):
            return wanted
        return self.hip.v1.compat if version is HipVersionName.V1 else CompatName.NONE

    @property
    def speaks_v1(self) -> bool:
        """Whether version 1 is spoken to anybody, so that a HIT of that version is needed."""
        return HipVersionName.V1 in self.hip.versions or any(
            HipVersionName.V1 in self.versions_of(peer) for peer in self.peers
        )

    @property
    def spoken(self) -> tuple[HipVersionName, ...]:
        """The versions of HIP that are spoken to anybody, the preferred one first."""
        wanted = list(self.hip.versions)
        for peer in self.peers:
            wanted += self.versions_of(peer)
        only_by_default = "versions" not in self.hip.model_fields_set and not any(
            HipVersionName.V2 in self.versions_of(peer) for peer in self.peers
        )
        if only_by_default and HipVersionName.V1 in wanted:
            # Peers of version 1 alone, and a key that may be good for nothing else.
            wanted = [HipVersionName.V1]
        return tuple(dict.fromkeys(wanted))

    def transport_of(self, peer: PeerConfig) -> Transport:
        """How a peer is reached."""
        return peer.transport or self.hip.transport
