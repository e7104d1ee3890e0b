"""What may stand in hipgw.toml: one frozen model per table, every key with its meaning and bounds.

The models are the only place that knows defaults and ranges; docs/configuration.md is made from
them (`tools/docs.py`). A model that exists has passed every check.
"""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from hipgw.config.consistency import (
    check_config,
    check_endbox,
    check_hip,
    check_hip_v1,
    check_lifetimes,
    check_peer,
    check_relay,
)
from hipgw.config.fields import (
    Address,
    FilePath,
    Hit,
    HitV1,
    Integer,
    InterfaceName,
    InterfacePattern,
    LegacyNode,
    Lsi,
    MachinePair,
    MulticastGroup,
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
    CompatName,
    DhGroupName,
    ElectionExtent,
    EndboxMode,
    EspBackend,
    EspSuiteName,
    HipCipherName,
    HipVersionName,
    LogFormat,
    LogLevel,
    NatModeName,
    RelayServiceName,
    V1DhGroupName,
    V1SuiteName,
)
from hipgw.identity.hit import hit_version
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
    key_file_v1: FilePath | None = Field(
        default=None,
        description="The private key, RSA or DSA, that this machine has towards peers that speak "
        "HIP version 1; default: `key_file`, if that is RSA or DSA. One key has another HIT in "
        "each version.",
    )


class HipV1Config(_Table):
    """HIP version 1 (RFC 5201, RFC 5202), for the peers that speak nothing newer.

    Its algorithms are old: SHA-1 throughout. What is not on by default is weaker still.
    """

    hip_suites: Annotated[tuple[V1SuiteName, ...], NoRepeats] = Field(
        default=(V1SuiteName.AES_128_CBC_SHA1,),
        min_length=1,
        description="Suites for HIP's own packets, the preferred one first (RFC 5201 §5.2.7).",
    )
    esp_suites: Annotated[tuple[V1SuiteName, ...], NoRepeats] = Field(
        default=(V1SuiteName.AES_128_CBC_SHA1,),
        min_length=1,
        description="Suites for the traffic, the preferred one first (RFC 5202 §5.1.2). Those with "
        "`NULL` encrypt nothing.",
    )
    dh_groups: Annotated[tuple[V1DhGroupName, ...], NoRepeats] = Field(
        default=(V1DhGroupName.MODP_1536, V1DhGroupName.MODP_3072),
        min_length=1,
        description="Diffie-Hellman groups, the preferred one first (RFC 5201 §5.2.6). `MODP-384` "
        "and `MODP-768` (OAKLEY well-known group 1) can be broken.",
    )
    compat: CompatName = Field(
        default=CompatName.OPENHIP,
        description="What is expected of version 1 peers that do not say otherwise: OpenHIP with "
        'its deviations, or what the RFCs say (`"none"`).',
    )
    weak_keys: Switch = Field(
        default=False,
        description="Accept RSA and DSA keys below 1024 bits, of peers and of this machine.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_hip_v1(self)
        return self


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
    versions: Annotated[tuple[HipVersionName, ...], NoRepeats] = Field(
        default=(HipVersionName.V2,),
        min_length=1,
        description="Versions of HIP, the preferred one first, for peers that do not say "
        'otherwise: `["v2", "v1"]` tries version 1 where version 2 is not answered. Whoever can '
        "suppress packets can then bring both sides down to version 1.",
    )
    v1: HipV1Config = Field(
        default_factory=HipV1Config, description="Version 1: the table `[hip.v1]`."
    )
    opportunistic: Switch = Field(
        default=False,
        description="Begin exchanges with machines whose HIT is not known beforehand "
        "(RFC 7401 §4.1.8). Such a first contact is open to a man in the middle.",
    )
    accept: Accept = Field(
        default=Accept.PEERS,
        description="Whose base exchanges are answered: those of the configured `peers`, "
        "or of `any` machine, in one of `versions`.",
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
        title="HIT",
        description="Its Host Identity Tag, as `hipgw id` shows it there. The HIT tells the "
        "version of HIP: those of version 2 begin with 2001:2, those of version 1 with 2001:1.",
    )
    hit_v1: HitV1 | None = Field(
        default=None,
        title="HIT",
        description="The HIT that the same peer has in version 1, if it speaks both.",
    )
    versions: Annotated[tuple[HipVersionName, ...], NoRepeats] | None = Field(
        default=None,
        min_length=1,
        description="Versions of HIP that it is talked to in, the preferred one first; default: "
        "those of `hip.versions` that it has a HIT for, or that of its only HIT.",
    )
    compat: CompatName | None = Field(
        default=None,
        description="The implementation that it runs, if that deviates from the RFCs so far that "
        'nothing else works; default: `hip.v1.compat` in version 1 and `"none"` in version 2. Only '
        "for a peer known to need it: deviations are weaknesses.",
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
    legacy_nodes: Annotated[tuple[LegacyNode, ...], NoRepeats] = Field(
        default=(),
        max_length=4096,
        title="IPv4 address",
        description="IPv4 addresses of the hosts on the LAN behind this endbox: what is for them "
        "goes to it, and nothing else that is for one host; see docs/endbox.md. `0.0.0.0` is the "
        "same as `default_endbox`. Without any, its hosts are learned, if it is no OpenHIP.",
    )
    default_endbox: Switch = Field(
        default=False,
        description="What is for IPv4 addresses that no endbox lists goes to this one, as if a "
        "router were behind it.",
    )

    @property
    def nodes(self) -> tuple[IPv4Address, ...]:
        """The hosts behind it that are listed."""
        return tuple(node for node in self.legacy_nodes if int(node))

    @property
    def is_default_endbox(self) -> bool:
        """Whether it takes what is for addresses that no endbox lists."""
        return self.default_endbox or len(self.nodes) < len(self.legacy_nodes)

    @property
    def hits(self) -> dict[HipVersionName, IPv6Address]:
        """Its HIT in each version that it has one for."""
        first = HipVersionName.V1 if hit_version(self.hit) == 1 else HipVersionName.V2
        hits = {first: self.hit}
        if self.hit_v1 is not None:
            hits[HipVersionName.V1] = self.hit_v1
        return hits

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
    mode: EndboxMode = Field(
        default=EndboxMode.LEARNING,
        description="How it is known behind which endbox a host is: `learning` looks at the MAC "
        "addresses of frames, as a switch does, except for peers with `legacy_nodes` or of "
        "OpenHIP; `static` believes only the `legacy_nodes` of all, as OpenHIP does, and carries "
        "IPv4 and ARP alone.",
    )
    legacy_nodes: Annotated[tuple[LegacyNode, ...], NoRepeats] = Field(
        default=(),
        max_length=4096,
        title="IPv4 address",
        description="IPv4 addresses of the hosts on the LAN here: nobody else may send to peers "
        "with `legacy_nodes`. `0.0.0.0` is the same as `default_endbox`. Without any, every host "
        "may that has no address of a peer's; in `static` mode nobody may.",
    )
    default_endbox: Switch = Field(
        default=False,
        description="Peers send here what is for IPv4 addresses that no endbox lists; hosts here "
        "may have any such address.",
    )
    source_filter: Switch = Field(
        default=True,
        description="Drop what comes from a peer with a source address that is listed for another "
        "endbox, or, if the peer has `legacy_nodes`, that is not listed for it. Off: believe "
        "everybody, as OpenHIP does.",
    )
    allowed_pairs: Annotated[tuple[MachinePair, ...], NoRepeats] | None = Field(
        default=None,
        max_length=65536,
        title="list of two machines",
        description="Which machines may exchange frames: pairs of HITs, names of peers, or "
        '`"self"`, in either order. Pairs of others are passed over, so that all may have the '
        "same list. Who is in no pair with this machine is not called and not answered, unless "
        "for the host role. Default: all endboxes.",
    )
    hello_s: Integer = Field(
        default=0,
        ge=0,
        le=300,
        json_schema_extra=_SECONDS,
        description="With several endboxes on one LAN: how often this one says on it that it is "
        "there, as OpenHIP does; who has the smallest HIT is elected to deliver. 0: no election.",
    )
    election: ElectionExtent | None = Field(
        default=None,
        description="What is left to the elected endbox: delivering `multicast` and broadcast, as "
        "OpenHIP has it, or `everything` from and to peers whose hosts are learned. Default: "
        "`everything`, or `multicast` if `mode` is `static`. All endboxes of a LAN need the same.",
    )
    heartbeat_s: Number = Field(
        default=0.0,
        ge=0.0,
        le=3600.0,
        json_schema_extra=_SECONDS,
        description="How often the heartbeat files are touched while all is well, for a watchdog "
        "to look at; 0: never. Else at least 0.1.",
    )
    heartbeat_dir: FilePath | None = Field(
        default=None,
        description="Folder of the heartbeat files `heartbeat.main`, `.output` and `.input`; "
        "default: `daemon.state_dir`.",
    )
    multicast_group: MulticastGroup | None = Field(
        default=None,
        title="IPv4 multicast group",
        description="Send IPv4 multicast of the LAN once, to this group of the underlay, in place "
        "of once to each peer with `legacy_nodes`. All members have one key for ever, 3DES, and "
        "no protection against replay: only for OpenHIP, and where that is no harm.",
    )
    multicast_spi: Integer | None = Field(
        default=None,
        ge=256,
        le=0xFFFFFFFF,
        description="The SPI of what is sent to `multicast_group`, the same for all.",
    )
    multicast_spi_swapped: Switch = Field(
        default=False,
        description="Reverse the octets of `multicast_spi`, as OpenHIP does on little-endian "
        "machines: so the same number can be written here as in its hip.conf.",
    )
    multicast_key: FilePath | None = Field(
        default=None,
        description="File with the key of `multicast_group`, 24 octets in hexadecimal, readable "
        "by its owner only.",
    )

    @property
    def nodes(self) -> tuple[IPv4Address, ...]:
        """The hosts here that are listed."""
        return tuple(node for node in self.legacy_nodes if int(node))

    @property
    def is_default_endbox(self) -> bool:
        """Whether it takes what is for addresses that no endbox lists."""
        return self.default_endbox or len(self.nodes) < len(self.legacy_nodes)

    @property
    def election_extent(self) -> ElectionExtent:
        """What is left to the elected endbox."""
        if self.election is not None:
            return self.election
        static = self.mode is EndboxMode.STATIC
        return ElectionExtent.MULTICAST if static else ElectionExtent.EVERYTHING

    @property
    def wire_multicast_spi(self) -> int | None:
        """The SPI of the group as it is sent."""
        spi = self.multicast_spi
        if spi is None or not self.multicast_spi_swapped:
            return spi
        return int.from_bytes(spi.to_bytes(4, "little"))

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


class OpenHipHostConfig(_Table):
    """What OpenHIP's files say about one host, and nothing else here does."""

    hit: HitV1 = Field(title="HIT", description="Whose: the HIT of a peer, or of this machine.")
    name: str | None = Field(
        default=None,
        max_length=255,
        description="Its name there, if that is not the name of the peer.",
    )
    key_file: FilePath | None = Field(
        default=None, description="The private key, for an identity of this machine."
    )
    listed: Switch = Field(
        default=True,
        description="Whether it is among the known hosts; identities of this machine need not be.",
    )
    algorithm: Integer = Field(
        default=5, ge=0, le=255, description="`alg_id`: 3 for DSA, 5 for RSA."
    )
    length: Integer = Field(
        default=128, ge=0, le=65535, json_schema_extra=_OCTETS, description="Of its key."
    )
    anonymous: Switch = Field(default=False, description="`anon`.")
    incoming: Switch = Field(default=True, description="`incoming`, which OpenHIP never looks at.")
    check_address: Switch = Field(
        default=True, description="`addrcheck`; hipgw verifies new addresses in any case."
    )
    r1_count: Integer = Field(default=0, ge=0, le=2**64 - 1, description="`r1count`.")
    lsi: IPv4Address | None = Field(
        default=None, description="Its LSI, if that is none that hipgw can use."
    )
    addresses: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(),
        max_length=256,
        description="Those of this machine, or those of a peer that hipgw cannot use.",
    )
    rendezvous: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(),
        max_length=256,
        description="`RVS`: addresses of rendezvous servers, which are among the peer's addresses.",
    )


class OpenHipConfig(_Table):
    """What OpenHIP's files say and hipgw has no use for: `hipgw export openhip` writes it again.

    `hipgw import openhip` makes this table. It changes nothing that hipgw does.
    """

    conf: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description="The tags of hip.conf with their values, those that keys of this file have "
        "taken over included; where such a key was changed since, that counts.",
    )
    multicast_key: FilePath | None = Field(
        default=None,
        description="File with `multicast_key` of hip.conf, if that is not `endbox.multicast_key`.",
    )
    host: tuple[OpenHipHostConfig, ...] = Field(
        default=(), max_length=65536, description="A table for each host."
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
