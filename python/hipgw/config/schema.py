"""What may stand in hipgw.toml: one frozen model per table, every key with its meaning and bounds.

The models are the only place that knows defaults and ranges; docs/configuration.md is made from
them (`tools/docs.py`). A model that exists has passed every check.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from hipgw.config.consistency import (
    check_config,
    check_endbox,
    check_hip,
    check_lifetimes,
    check_peer,
    check_relay,
)
from hipgw.config.fields import (
    Address,
    FilePath,
    Hit,
    Integer,
    InterfaceName,
    InterfacePattern,
    Lsi,
    Network,
    NoRepeats,
    Number,
    PeerName,
    SocketPath,
    StunServerAddress,
    Switch,
)
from hipgw.config.names import (
    Accept,
    Announce,
    DhGroupName,
    EspBackend,
    EspSuiteName,
    HipCipherName,
    LogFormat,
    LogLevel,
    NatModeName,
    RelayServiceName,
)
from hipgw.protocol.nat.stun_client import SERVERS_MAX
from hipgw.protocol.path import HIP_UDP_PORT, Transport

_SECONDS: JsonDict = {"unit": "seconds"}
_OCTETS: JsonDict = {"unit": "octets"}


class _Table(BaseModel):
    """A table of the file: immutable, and a key that is not listed is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class IdentityConfig(_Table):
    """Who this machine is."""

    key_file: FilePath = Field(
        description="The private key of the Host Identity, in PEM, readable by its owner only. "
        "`hipgw keygen` makes one. A relative path starts from the folder of this file.",
    )


class HipConfig(_Table):
    """The HIP protocol: what is offered to peers, and when to give up (RFC 7401)."""

    port: Integer = Field(
        default=HIP_UDP_PORT,
        ge=1,
        le=65535,
        description="Own UDP port for HIP and ESP (RFC 9028 §4.1).",
    )
    transport: Transport = Field(
        default=Transport.UDP,
        description="How peers are reached that do not say otherwise: HIP and ESP inside UDP, "
        "or `raw`, by IP protocols 139 and 50.",
    )
    opportunistic: Switch = Field(
        default=False,
        description="Begin exchanges with machines whose HIT is not known beforehand "
        "(RFC 7401 §4.1.8). Such a first contact is open to a man in the middle.",
    )
    accept: Accept = Field(
        default=Accept.PEERS,
        description="Whose base exchanges are answered: those of the configured `peers`, "
        "or of `any` machine.",
    )
    dh_groups: Annotated[tuple[DhGroupName, ...], NoRepeats] = Field(
        default=(
            DhGroupName.P_384,
            DhGroupName.P_256,
            DhGroupName.MODP_3072,
            DhGroupName.MODP_1536,
        ),
        min_length=1,
        description="Diffie-Hellman groups, the preferred one first (RFC 7401 §5.2.7).",
    )
    hip_ciphers: Annotated[tuple[HipCipherName, ...], NoRepeats] = Field(
        default=(HipCipherName.AES_256_CBC, HipCipherName.AES_128_CBC),
        min_length=1,
        description="Ciphers for secret parts of HIP packets, the preferred one first "
        "(RFC 7401 §5.2.8). `NULL` is for debugging: it hides nothing.",
    )
    esp_suites: Annotated[tuple[EspSuiteName, ...], NoRepeats] = Field(
        default=(
            EspSuiteName.AES_128_GCM_16,
            EspSuiteName.CHACHA20_POLY1305,
            EspSuiteName.AES_256_CBC_SHA256,
            EspSuiteName.AES_128_CBC_SHA256,
        ),
        min_length=1,
        description="ESP suites, the preferred one first (RFC 7402 §5.1.2). ChaCha20-Poly1305 has "
        "no number there and is only agreed with other hipgw machines. `NULL-SHA256` is for "
        "debugging: it encrypts nothing.",
    )
    puzzle_difficulty: Integer = Field(
        default=10,
        ge=0,
        le=26,
        json_schema_extra={"unit": "bits"},
        description="K of the puzzle that an initiator has to solve while this machine is idle; "
        "each bit doubles its work (RFC 7401 §4.1.2).",
    )
    puzzle_difficulty_max: Integer = Field(
        default=20,
        ge=0,
        le=26,
        json_schema_extra={"unit": "bits"},
        description="K of the puzzle at the highest load.",
    )
    retransmit_s: Number = Field(
        default=0.5,
        ge=0.05,
        le=30.0,
        json_schema_extra=_SECONDS,
        description="Wait for an answer before the first retransmission; it doubles with each one.",
    )
    retries: Integer = Field(
        default=5, ge=1, le=20, description="Retransmissions before an exchange is given up."
    )
    idle_close_s: Number = Field(
        default=900.0,
        ge=10.0,
        le=604800.0,
        json_schema_extra=_SECONDS,
        description="Unused Association Lifetime: an association without traffic for this long is "
        "closed (RFC 7401 §4.4.4). Those between endboxes are kept.",
    )
    keepalive_s: Number = Field(
        default=15.0,
        ge=0.0,
        le=3600.0,
        json_schema_extra=_SECONDS,
        description="Silence on a path after which something is sent to keep it open in the NATs "
        "on the way (RFC 5770 §4.7, RFC 9028 §4.10); 0: never. Else at least 1.",
    )


class EspConfig(_Table):
    """The data path (RFC 7402)."""

    backend: EspBackend = Field(
        default=EspBackend.ENGINE,
        description="Who carries the packets: hipgw's own `engine`, or the ESP of the Linux "
        "`kernel` (host role only, without LSIs; see docs/kernel-esp.md).",
    )
    replay_window: Integer = Field(
        default=8192,
        ge=64,
        le=1048576,
        multiple_of=64,
        json_schema_extra={"unit": "packets"},
        description="How far a packet may come late and still be accepted (RFC 6479). The kernel's "
        "ESP has at most 4096.",
    )
    path_mtu: Integer = Field(
        default=0,
        ge=0,
        le=65535,
        json_schema_extra=_OCTETS,
        description="Largest IP packet on the way to the peers; 0 takes it from the route, and "
        "from `path_mtu_discovery`. Otherwise at least 576.",
    )
    busy_poll_us: Integer = Field(
        default=0,
        ge=0,
        le=1000000,
        json_schema_extra={"unit": "microseconds"},
        description="How long a data thread looks for more packets before it sleeps. Waking up is "
        "most of a tunnel's latency; this takes it away, for a CPU kept busy. For machines with "
        "more cores than the daemon needs.",
    )
    realtime: Switch = Field(
        default=True,
        description="Let the data threads run before ordinary programs (SCHED_RR, priority 1), as "
        "the kernel does with packets, if the system allows it: otherwise packets queue while "
        "others have their turns. They take turns nevertheless where nobody waits for a CPU, where "
        "both together would use more of the CPUs than their share among all who want them, when "
        "busy all the time, and with many small packets. Without effect if `busy_poll_us` is set.",
    )
    path_mtu_discovery: Switch = Field(
        default=True,
        description="Find out by probes, and by what routers say, how large packets to each peer "
        "may be (RFC 8899). Data packets are then never fragmented on the way. Off, they may be, "
        "and the route is believed. Without effect if `path_mtu` is set.",
    )
    copy_dscp: Switch = Field(
        default=True,
        description="Give outer headers the DSCP of the packets inside, so that the network on the "
        "way can treat them alike; it also shows there (RFC 2983). Off: 0, and packets of the host "
        "role arrive with 0, as their own header does not travel.",
    )
    ecn: Switch = Field(
        default=True,
        description="Give outer headers the ECN field of the packets inside, so that routers on "
        "the way can mark congestion instead of dropping (RFC 6040 normal mode). Off: Not-ECT "
        "(compatibility mode). Marks that come in are handed on in any case.",
    )
    rekey_s: Number = Field(
        default=3600.0,
        ge=0.0,
        le=2592000.0,
        json_schema_extra=_SECONDS,
        description="Age at which security associations are replaced by new ones with new keys "
        "(RFC 7402 §6.8); 0: never. Else at least 1. The side that reaches it first does it.",
    )
    rekey_bytes: Integer = Field(
        default=1 << 40,
        ge=0,
        le=1 << 60,
        json_schema_extra=_OCTETS,
        description="Octets that one security association carries until it is replaced; 0: any "
        "number. Else at least 65536.",
    )
    rekey_packets: Integer = Field(
        default=1 << 32,
        ge=0,
        le=1 << 60,
        json_schema_extra={"unit": "packets"},
        description="Packets that one security association carries until it is replaced; 0: any "
        "number. Else at least 1000.",
    )
    rekey_dh: Switch = Field(
        default=True,
        description="Make a new Diffie-Hellman exchange for each rekeying, so that who learns one "
        "key learns no other. Off, new keys are drawn from the old KEYMAT while it lasts "
        "(RFC 7402 §6.9).",
    )

    @property
    def discovers_path_mtu(self) -> bool:
        """Whether the MTU of each path is looked for."""
        return self.path_mtu_discovery and not self.path_mtu


class MobilityConfig(_Table):
    """Own addresses: which are used and told to peers, and what happens when they change.

    Associations survive a change of addresses, of interfaces and of the IP version (RFC 8046), and
    use another address when one stops working (RFC 8047). Interfaces are named by patterns as in a
    shell, such as `wwan*`. The interfaces of `[host]` and `[endbox]` never count.
    """

    enabled: Switch = Field(
        default=True,
        description="Watch the own addresses and move associations when they change. Off: "
        "associations stay where they are made, and no address is told to peers.",
    )
    announce: Announce = Field(
        default=Announce.ALL,
        description="Which addresses peers are told: `all` usable ones, so that they know where "
        "to go when the one in use fails, or the `current` one alone, so that they know no more "
        "than they see.",
    )
    interfaces: Annotated[tuple[InterfacePattern, ...], NoRepeats] = Field(
        default=("*",),
        min_length=1,
        max_length=64,
        description="Interfaces whose addresses may be used.",
    )
    ignored_interfaces: Annotated[tuple[InterfacePattern, ...], NoRepeats] = Field(
        default=(
            *("docker*", "podman*", "lxcbr*", "lxdbr*", "virbr*", "vmnet*", "vboxnet*"),
            *("veth*", "vnet*", "cni*", "cali*", "flannel*", "kube*"),
        ),
        max_length=64,
        description="Interfaces whose addresses are not used after all. The default passes over "
        "those of containers and virtual machines.",
    )
    preferred_interfaces: Annotated[tuple[InterfacePattern, ...], NoRepeats] = Field(
        default=(),
        max_length=64,
        description='Interfaces to prefer, the best first: `["eth*", "wlan*", "wwan*"]`. All '
        "others come after them. Otherwise the metrics of the default routes decide, then IPv6 "
        "before IPv4.",
    )
    ignored_addresses: Annotated[tuple[Network, ...], NoRepeats] = Field(
        default=(),
        max_length=64,
        title="network",
        description="Networks of which no own address is used or told, such as `10.0.0.0/8`.",
    )
    source_routes: Switch = Field(
        default=True,
        description="With several uplinks, have hipgw's own packets leave by the interface that "
        "has their source address, by rules and routing tables of its own. Off: only what Linux "
        "does by itself, which is not enough for IPv6 with several default routes.",
    )
    route_table: Integer = Field(
        default=10500,
        ge=256,
        le=32000,
        description="First of the 64 routing tables that `source_routes` may use; the rules have "
        "the same numbers as priorities. Tables that others use are passed over.",
    )


class PeerConfig(_Table):
    """A machine to associate with; one `[[peer]]` table each."""

    name: PeerName = Field(description="What logs, tables and commands call it.")
    hit: Hit = Field(
        title="HIT", description="Its Host Identity Tag, as `hipgw id` shows it there."
    )
    addresses: Annotated[tuple[Address, ...], NoRepeats] = Field(
        default=(),
        max_length=16,
        description="Where it is found, the preferred address first. Without any, this machine "
        "waits to be called.",
    )
    transport: Transport | None = Field(
        default=None, description="How it is reached; default: `hip.transport`."
    )
    port: Integer = Field(
        default=HIP_UDP_PORT, ge=1, le=65535, description='Its UDP port (`transport = "udp"` only).'
    )
    relays: Annotated[tuple[PeerName, ...], NoRepeats] = Field(
        default=(),
        max_length=4,
        description="Names of peers that are relays where it is registered: it is called by them "
        "as well as by its own addresses (RFC 9028 §4.5).",
    )
    lsi: Lsi | None = Field(
        default=None,
        title="LSI",
        description="Its Local Scope Identifier, an alias in 1.0.0.0/8 for IPv4 programs on this "
        "machine; default: derived from its HIT.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_peer(self)
        return self


class NatConfig(_Table):
    """Reaching peers behind NATs, and being reached behind one (RFC 9028)."""

    modes: Annotated[tuple[NatModeName, ...], NoRepeats] = Field(
        default=(NatModeName.UDP_ENCAPSULATION, NatModeName.ICE_HIP_UDP),
        description="NAT traversal modes, the preferred one first (RFC 9028 §4.3). Without "
        "`ICE-HIP-UDP`, there are no connectivity checks, and nobody gets through by a relay.",
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
    lifetime_s: Number = Field(
        default=120.0,
        ge=10.0,
        le=86400.0,
        json_schema_extra=_SECONDS,
        description="Lifetime of a registration to ask for; it is renewed in time (RFC 8003 §5).",
    )
    pacing_s: Number = Field(
        default=0.05,
        ge=0.005,
        le=2.0,
        json_schema_extra=_SECONDS,
        description="Least time between two connectivity checks (Ta, RFC 9028 §4.4).",
    )
    stun_servers: Annotated[tuple[StunServerAddress, ...], NoRepeats] = Field(
        default=(),
        max_length=SERVERS_MAX,
        title="IPv4 address or IPv6 address, with a UDP port or without (3478)",
        description='STUN servers (RFC 8489), such as `"192.0.2.9"` or `"[2001:db8::1]:3478"`: '
        "they tell how this machine looks from outside of its NAT, from UDP port `hip.port`, which "
        "peers learn as one more place to try. Needs `mobility.enabled`.",
    )


class RelayConfig(_Table):
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
    clients: Annotated[tuple[PeerName, ...], NoRepeats] | None = Field(
        default=None,
        description="Names of the peers that may register; default: every machine whose base "
        "exchanges are answered (`hip.accept`).",
    )
    min_lifetime_s: Number = Field(
        default=10.0,
        ge=1.0,
        le=86400.0,
        json_schema_extra=_SECONDS,
        description="Shortest lifetime of a registration (RFC 8003 §4.2).",
    )
    max_lifetime_s: Number = Field(
        default=600.0,
        ge=10.0,
        le=86400.0,
        json_schema_extra=_SECONDS,
        description="Longest lifetime of a registration.",
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


class HostConfig(_Table):
    """The host role: this machine is reachable by its HIT and LSI, and reaches peers by theirs.

    The table's presence turns the role on; `[host]` alone is enough.
    """

    interface: InterfaceName = Field(
        default="hip0", description="The TUN interface that carries HITs and LSIs."
    )
    lsi: Lsi | None = Field(
        default=None,
        title="LSI",
        description="Own Local Scope Identifier; default: derived from the own HIT.",
    )
    mtu: Integer | None = Field(
        default=None,
        ge=1280,
        le=65535,
        json_schema_extra=_OCTETS,
        description="MTU of the interface; default: what fits the path without fragments.",
    )


class EndboxConfig(_Table):
    """The endbox role: the LAN behind this machine and those behind its peers become one.

    The table's presence turns the role on.
    """

    interface: InterfaceName = Field(
        default="hipgw0", description="The TAP interface that carries Ethernet to the peers."
    )
    bridge: InterfaceName = Field(
        default="br-hipgw",
        description="The bridge that joins the TAP interface with the ports; made if it is not "
        "there, and then removed again on stop.",
    )
    ports: Annotated[tuple[InterfaceName, ...], NoRepeats] = Field(
        default=(),
        max_length=64,
        description="LAN interfaces to put into the bridge. They must not carry the route to the "
        "peers.",
    )
    peers: Annotated[tuple[PeerName, ...], NoRepeats] | None = Field(
        default=None,
        description="Names of the peers that share the LAN; default: every configured peer "
        "that is not named as a relay.",
    )
    mss_clamp: Switch = Field(
        default=True,
        description="Lower the MSS of TCP connections, so that their packets need no fragments.",
    )
    mtu: Integer = Field(
        default=1500,
        ge=576,
        le=9216,
        json_schema_extra=_OCTETS,
        description="MTU of the LAN; the same at every site. Frames that are too large for the "
        "path are carried in fragments.",
    )
    mac_limit: Integer = Field(
        default=65536,
        ge=16,
        le=1048576,
        json_schema_extra={"unit": "addresses"},
        description="Most MAC addresses learned; further ones are flooded.",
    )
    mac_age_s: Number = Field(
        default=300.0,
        ge=1.0,
        le=86400.0,
        json_schema_extra=_SECONDS,
        description="A MAC address that was silent for this long is forgotten.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_endbox(self)
        return self


class DaemonConfig(_Table):
    """How the daemon runs on this machine."""

    user: str = Field(
        default="nobody",
        min_length=1,
        max_length=32,
        description="The user to become once interfaces and sockets are open; CAP_NET_ADMIN and "
        "CAP_NET_RAW are kept, and CAP_SYS_NICE for `esp.realtime` where RLIMIT_RTPRIO may not be "
        "raised instead. `root` changes nothing.",
    )
    state_dir: FilePath = Field(
        default=Path("/run/hipgw"),
        description="Folder of the record of what was changed on the system, by which the next "
        "start cleans up after a crash.",
    )
    control_socket: SocketPath = Field(
        default=Path("/run/hipgw/control.sock"),
        description="The Unix socket that `hipgw status` and the other commands talk to.",
    )
    control_group: str | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="The group whose members may use the control socket; default: the daemon's.",
    )
    log_format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="`human` is for reading, in colour on a terminal; `text` is `key=value` pairs, "
        "`json` an object, one line each; `auto` is `human` on a terminal and else `text`.",
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, description="The least severe records to write."
    )


class Config(_Table):
    """The whole of hipgw.toml."""

    identity: IdentityConfig
    hip: HipConfig = Field(default_factory=HipConfig)
    esp: EspConfig = Field(default_factory=EspConfig)
    mobility: MobilityConfig = Field(default_factory=MobilityConfig)
    peers: tuple[PeerConfig, ...] = Field(default=(), alias="peer", max_length=65536)
    nat: NatConfig = Field(default_factory=NatConfig)
    host: HostConfig | None = None
    endbox: EndboxConfig | None = None
    relay: RelayConfig | None = None
    daemon: DaemonConfig = Field(default_factory=DaemonConfig)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_hip(self.hip, self.esp)
        check_lifetimes(self.hip, self.esp)
        check_config(self)
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are turned on, by name."""
        return tuple(
            name for name in ("host", "endbox", "relay") if getattr(self, name) is not None
        )

    @property
    def endbox_peers(self) -> tuple[PeerConfig, ...]:
        """The peers that share the endbox's LAN; empty without the role."""
        if self.endbox is None:
            return ()
        if self.endbox.peers is None:
            # A relay carries what others have encrypted; it is not to get their frames.
            relays = {*self.nat.relays, *(name for peer in self.peers for name in peer.relays)}
            return tuple(peer for peer in self.peers if peer.name not in relays)
        return tuple(peer for peer in self.peers if peer.name in self.endbox.peers)

    def relays_of(self, peer: PeerConfig) -> tuple[PeerConfig, ...]:
        """The relays that a peer is called by."""
        return tuple(other for other in self.peers if other.name in peer.relays)

    def transport_of(self, peer: PeerConfig) -> Transport:
        """How a peer is reached."""
        return peer.transport or self.hip.transport
