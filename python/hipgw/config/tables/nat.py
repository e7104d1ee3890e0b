"""`[nat]` and `[relay]`: reaching machines behind NATs."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hipgw.config.consistency import check_relay
from hipgw.config.fields import Address, Integer, NoRepeats, Number, PeerName, StunServerAddress
from hipgw.config.names import NatModeName, RelayServiceName
from hipgw.config.tables.base import SECONDS, Table
from hipgw.config.tables.registrar import RegistrarTable
from hipgw.config.tables.registration import AskedLifetime
from hipgw.protocol.nat.stun_client import SERVERS_MAX


class NatConfig(Table):
    """Reaching peers behind NATs, and being reached behind one (RFC 9028)."""

    modes: Annotated[tuple[NatModeName, ...], NoRepeats] = Field(
        default=(
            NatModeName.UDP_ENCAPSULATION,
            NatModeName.ICE_HIP_UDP,
            NatModeName.ICE_STUN_UDP,
        ),
        description="NAT traversal modes, the preferred one first (RFC 9028 §4.3). Without one of "
        "`ICE-HIP-UDP` and `ICE-STUN-UDP` there are no connectivity checks, and nobody gets "
        "through by a relay. `ICE-STUN-UDP` (RFC 5770) is for peers that have no other: own "
        "addresses are not encrypted then, and no relay carries data. It is left out with "
        '`esp.backend = "kernel"`.',
    )
    relays: Annotated[tuple[PeerName, ...], NoRepeats] = Field(
        default=(),
        max_length=4,
        description="Names of peers that are relays: this machine registers there, and can be "
        "called by them.",
    )
    services: Annotated[tuple[RelayServiceName, ...], NoRepeats] = Field(
        default=(RelayServiceName.CONTROL, RelayServiceName.DATA),
        min_length=1,
        description="What to register for: `control` makes this machine reachable, `data` carries "
        "its traffic where no direct path is found.",
    )
    lifetime_s: AskedLifetime = 120.0
    pacing_s: Number = Field(
        default=0.05,
        ge=0.005,
        le=2.0,
        json_schema_extra=SECONDS,
        description="Least time between two connectivity checks (Ta, RFC 9028 §4.4); for those by "
        "STUN it is at least 0.02.",
    )
    stun_servers: Annotated[tuple[StunServerAddress, ...], NoRepeats] = Field(
        default=(),
        max_length=SERVERS_MAX,
        title="IPv4 address or IPv6 address, with a UDP port or without (3478)",
        description='STUN servers (RFC 8489), such as `"192.0.2.9"` or `"[2001:db8::1]:3478"`: '
        "they tell how this machine looks from outside of its NAT, from UDP port `hip.port`, which "
        "peers learn as one more place to try. Needs `mobility.enabled`.",
    )


class RelayConfig(RegistrarTable):
    """The relay role: other machines, behind NATs, are called by this one (RFC 9028).

    The table's presence turns the role on; `[relay]` alone is enough. This machine has to be
    reachable by everybody, at UDP port `hip.port`.
    """

    services: Annotated[tuple[RelayServiceName, ...], NoRepeats] = Field(
        default=(RelayServiceName.CONTROL, RelayServiceName.DATA),
        min_length=1,
        description="What is offered: `control` carries HIP packets to and from clients, `data` "
        "also their traffic where they find no direct path.",
    )
    clients_max: Integer = Field(
        default=1024, ge=1, le=65536, description="Most clients registered at once."
    )
    addresses: Annotated[tuple[Address, ...], NoRepeats] = Field(
        default=(),
        max_length=2,
        description="Address of this machine as its clients' peers know it, one of each family; "
        "default: the one that each client has reached.",
    )
    first_port: Integer = Field(
        default=30000,
        ge=1024,
        le=65535,
        description="First UDP port that is lent to clients for their traffic.",
    )
    ports: Integer = Field(
        default=64, ge=1, le=1024, description="How many ports, from `first_port` on, are lent."
    )
    ports_per_client: Integer = Field(
        default=2, ge=1, le=64, description="Most ports that one client gets."
    )
    permissions_per_client: Integer = Field(
        default=64,
        ge=1,
        le=4096,
        description="Most addresses of peers that one client may exchange traffic with by this "
        "machine (RFC 9028 §4.12.1).",
    )
    bytes_per_s: Integer = Field(
        default=0,
        ge=0,
        le=10**12,
        json_schema_extra={"unit": "octets per second"},
        description="Traffic of one client in each direction; 0 for no limit.",
    )
    packets_per_source: Integer = Field(
        default=50,
        ge=1,
        le=100000,
        json_schema_extra={"unit": "packets per second"},
        description="HIP packets that are relayed for one address.",
    )
    packets_per_client: Integer = Field(
        default=500,
        ge=1,
        le=1000000,
        json_schema_extra={"unit": "packets per second"},
        description="HIP packets that are relayed to or for one client.",
    )

    @property
    def port_range(self) -> range:
        """The ports that are lent; none without the service."""
        offered = RelayServiceName.DATA in self.services
        return range(self.first_port, self.first_port + (self.ports if offered else 0))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_relay(self)
        return self
