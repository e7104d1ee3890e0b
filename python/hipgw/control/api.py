"""What the daemon offers at its control socket: the methods, and the shape of every answer.

HITs, LSIs and other addresses are text in their usual spelling; peers are named by name, HIT or
LSI. Keys of security associations never appear. Names that end in `_s` are seconds. `null` means
not known or not there.
"""

from collections.abc import AsyncGenerator
from typing import Literal, NotRequired, Protocol, TypedDict


class PathAnswer(TypedDict):
    """Where packets of a peer go."""

    local: str | None
    remote: str
    transport: Literal["udp", "raw"]
    local_port: int
    """Has no meaning with transport raw."""
    remote_port: int
    relay_to: NotRequired[str]
    """Where the peer is, as `192.0.2.1:10500`, if `remote` is a relay of this machine."""


class HealthWarning(TypedDict):
    """Something that keeps the daemon from working as it should."""

    code: str
    """For scripts, such as `peer_down`, `no_address` or `not_registered`."""
    severity: Literal["notice", "warning", "error"]
    message: str
    hint: str
    """What to do about it, or empty."""


class LocalHitAnswer(TypedDict):
    """A Host Identity of this machine."""

    hit: str
    version: int
    """Of HIP: each key has another HIT in each."""
    algorithm: str
    """Such as `ECDSA P-256`."""
    lsi: str | None
    """Without the host role null."""


class StatusCounts(TypedDict):
    """How many of each there are."""

    peers: int
    """Configured ones, and those of the fleet's directory."""
    found: int
    """Peers that were looked up."""
    established: int
    """Associations that carry data."""
    associations: int
    security_associations: int
    macs: int
    """Learned MAC addresses of the endbox."""


class StatusAnswer(TypedDict):
    """The daemon at a glance."""

    version: str
    pid: int
    uptime_s: float
    config_file: str
    roles: list[str]
    identities: list[LocalHitAnswer]
    transport: Literal["udp", "raw"]
    port: int
    counts: StatusCounts
    profiles: dict[str, int]
    """How many configured peers have which profile of deviations (`openhip`, …); of none, none."""
    mobile_router: "MobileRouterAnswer | None"
    """Null without the role."""
    health: list[HealthWarning]
    """Empty when all is well."""


class PeerAnswer(TypedDict):
    """A peer that is configured or was looked up, or a stranger while it is associated."""

    name: str | None
    """Null for a stranger."""
    hit: str
    lsi: str | None
    version: int
    """Of HIP: the one spoken, or preferred while none is."""
    compat: str
    """The profile of its deviations from the RFCs: `none`, `openhip`, …"""
    addresses: list[str]
    relays: list[str]
    """Names of the relays that it is called by, besides its addresses."""
    rendezvous: list[str]
    """Rendezvous servers that it is called by, before its addresses."""
    source: str | None
    """Who said that there is such a peer: `configured`, or a source of `naming.order`."""
    transport: Literal["udp", "raw"]
    roles: list[str]
    """The roles that it takes part in."""
    state: str
    """A state of RFC 7401 §4.4.2, such as `ESTABLISHED`."""
    path: PathAnswer | None
    """The one in use."""
    established_s: float | None
    """How long it has been established."""
    rtt_s: float | None
    """The latest measurement."""
    attempts: int
    """Exchanges begun since it was last established."""
    next_attempt_s: float | None
    """Until the next exchange is begun; null when none is planned."""
    last_failure: str | None
    """Why it failed or was closed the last time."""


class AssociationAnswer(TypedDict):
    """One HIP association."""

    peer: str | None
    local_hit: str
    peer_hit: str
    state: str
    path: PathAnswer | None
    initiator: bool
    age_s: float | None
    """Since it was established."""
    exchange_s: float | None
    """How long the base exchange took."""
    version: int
    """Of HIP."""
    compat: str
    """The profile of the peer's deviations that are gone along with; `none` without any."""
    peer_identity: str | None
    """Kind of the peer's key, such as `ECDSA P-256`."""
    dh_group: str | None
    hip_cipher: str | None
    esp_suite: str | None
    inbound_spi: int | None
    outbound_spi: int | None
    path_mtu: int | None
    """Octets of the largest IP packet to the peer that is sent; null while no data can flow."""
    path_mtu_source: str | None
    """How that is known: `config`, `route`, `icmp` (a router said so) or `probe` (tried)."""


class SaAnswer(TypedDict):
    """One ESP security association of the data plane, without its keys."""

    spi: int
    direction: Literal["in", "out"]
    suite: str
    peer: str | None
    local_hit: str
    peer_hit: str
    path: PathAnswer
    packets: int
    bytes: int
    """Octets of plain text."""
    sequence: int
    """Last sent or highest received sequence number (64 bits)."""
    replayed: int
    auth_failed: int
    lost: int
    """Sequence numbers that left the replay window without having been received; inbound only."""
    last_used_s: float | None
    """Since the last packet."""


class MacAnswer(TypedDict):
    """A MAC address learned from a peer."""

    mac: str
    vlan: int
    """0 for untagged."""
    segment: int
    peer: str | None
    peer_hit: str
    age_s: float


class CountersAnswer(TypedDict):
    """Everything that is counted since the start."""

    control: dict[str, int]
    """HIP packets in and out, by type; those relayed to clients of the rendezvous server are among
    both. `rendezvous_clients` is how many clients there are, `rendezvous_resting` how many of these
    are silent: what is relayed to those over UDP the data plane counts, as `rendezvous_packets`."""
    control_drops: dict[str, int]
    """HIP packets not acted on, by reason."""
    dataplane: dict[str, int]
    dataplane_drops: dict[str, int]
    """Data packets not delivered, by reason."""
    names: dict[str, int]
    """By which this machine's programs find peers, and peers this machine: DNS queries that were
    answered here (`dns_local`), passed on (`dns_forwarded`) or known already (`dns_cached`), …"""


class PingReplyAnswer(TypedDict):
    """One authenticated echo over HIP, answered or not."""

    sequence: int
    """From 1."""
    rtt_s: float | None
    """Null when no answer came in time."""
    path: PathAnswer | None


class PingSummary(TypedDict):
    """The end of a `ping`."""

    peer: str
    peer_hit: str
    sent: int
    received: int
    rtt_min_s: float | None
    rtt_avg_s: float | None
    rtt_max_s: float | None


class ConnectAnswer(TypedDict):
    """How an attempt to associate went."""

    peer: str
    """Its name or HIT; the address that was called, if nobody has answered there."""
    peer_hit: str
    """`::` if an address was called, and nobody has answered."""
    state: str
    established: bool
    duration_s: float | None
    """Of the base exchange; null if it was established before, or is not."""
    reason: str | None
    """Why not."""


class CloseAnswer(TypedDict):
    """How an association ended."""

    peer: str
    peer_hit: str
    state: str
    closed: bool
    """Whether there was one to close."""


class RekeyAnswer(TypedDict):
    """How an attempt to replace the keys of an association went."""

    peer: str
    peer_hit: str
    rekeyed: bool
    inbound_spi: int | None
    outbound_spi: int | None
    """The new ones, once they are in force."""
    reason: str | None
    """Why not."""


class OwnAddressAnswer(TypedDict):
    """An own address that peers can be reached from."""

    address: str
    interface: str | None
    """Name of the interface that it is on."""
    pinned: bool
    """Whether its packets leave by that interface whatever the routing table prefers; else they go
    where the routes lead."""
    reflexive: list[str]
    """As STUN servers see it (`nat.stun_servers`), or relays beside the address that they know:
    such as `198.51.100.7:10500`."""


class LocatorAnswer(TypedDict):
    """An address of a peer (RFC 8046 §5.1)."""

    address: str
    port: int
    """UDP port; 0 for transport raw."""
    state: str
    """`ACTIVE` is verified, `UNVERIFIED` is not yet, `DEPRECATED` is not used any more."""
    listed: bool
    """False for one that the peer did not tell, but was seen to send from."""
    preferred: bool
    in_use: bool


class PeerLocatorsAnswer(TypedDict):
    """Where an associated peer is."""

    peer: str | None
    peer_hit: str
    path: PathAnswer | None
    verified: bool
    """Whether the peer is known to be at the far end of the path."""
    mapped: str | None
    """Own address as the peer sees it, as `192.0.2.1:10500`; null if it has not told."""
    locators: list[LocatorAnswer]


class AddressesAnswer(TypedDict):
    """Own addresses, and those of all associated peers."""

    own: list[OwnAddressAnswer]
    """The best first; empty also if they are not watched (`mobility.enabled`)."""
    peers: list[PeerLocatorsAnswer]


REGISTRATIONS_MAX = 1000
"""In one answer: a rendezvous server may have a hundred times as many."""


class RegistrationAnswer(TypedDict):
    """A registration in force (RFC 8003); of very many, the first thousand are answered."""

    peer: str | None
    peer_hit: str
    version: int
    """Of HIP: a client may be registered by both."""
    role: Literal["registrar", "client"]
    """What this machine is: `registrar` has granted it, `client` has been granted it."""
    service: str
    """`RELAY_UDP_HIP`, `RELAY_UDP_ESP`, … or a number."""
    lifetime_s: float
    remaining_s: float
    mapped: str | None
    """Where the registrar sees its client, as `192.0.2.1:10500`."""
    relayed: list[str]
    """Addresses that a data relay keeps for its client."""


class FoundAnswer(TypedDict):
    """What one source of names knows of one peer."""

    hit: str
    other_hits: list[str]
    """HITs of the same peer in other versions of HIP."""
    name: str | None
    addresses: list[str]
    rendezvous: list[str]
    """Rendezvous servers, in order: their names with addresses in brackets, or addresses alone."""
    transport: Literal["udp", "raw"] | None
    """Null if the source does not tell, as is `port`."""
    port: int | None
    provenance: str
    """How far it can be trusted: `configured`, `operator-signed`, `self-signed`, `dnssec` or
    `unsigned`."""
    ttl_s: float


class SourceAnswer(TypedDict):
    """What one source of names said, and how long it took."""

    source: str
    """As in `naming.order`."""
    asked: str
    """The name or HIT that it was asked for."""
    duration_s: float
    error: str | None
    """Why it could not be asked."""
    found: list[FoundAnswer]


class ResolveAnswer(TypedDict):
    """Who a name, HIT or LSI stands for, and what each source of names says."""

    query: str
    name: str | None
    """The peer that packets go to now, as far as one is known: null for one that is only found."""
    hit: str | None
    lsi: str | None
    sources: list[SourceAnswer]
    """In the order in which they are believed; asked for the name first, then for its HIT."""


class FleetDirectoryAnswer(TypedDict):
    """A place where the entries of the fleet are."""

    directory: str
    reached: bool
    """Whether it can be read and watched now."""
    silent_s: float | None
    """Since it told something last; null if it never did."""
    trouble: str | None
    """Why it cannot be reached."""


class FleetRefusalAnswer(TypedDict):
    """An entry that was refused."""

    age_s: float
    name: str
    """As it says itself, which anybody can have written; `?` if it says nothing."""
    where: str
    reason: str


class FleetAnswer(TypedDict):
    """The fleet as this machine knows it."""

    fleet: str
    lan: str | None
    """The LAN of this machine."""
    entries: int
    """In force."""
    directories: list[FleetDirectoryAnswer]
    missing: list[str]
    """Names in force that no directory has any more: they were taken out without a signature."""
    refused: list[FleetRefusalAnswer]
    """The latest ones."""


class OutsideAnswer(TypedDict):
    """An own address of a mobile router outside."""

    address: str
    interface: str | None


class MobileRouterAnswer(TypedDict):
    """A mobile router: where it is, and how packets pass it."""

    outside: list[OutsideAnswer]
    """The best first; empty while there is no network."""
    interfaces: list[str]
    """Those that lead outside."""
    path: Literal["ebpf", "nfqueue"]
    """Who rewrites data: the kernel what it can, or the daemon everything."""
    path_reason: str | None
    """Why the kernel does not."""
    rules: str
    """Where the rules are that divert packets to the daemon, for people."""
    clients: int
    correspondents: int
    """Of all clients together."""
    flows: int
    """Pairs of a client and a correspondent that data can pass for."""
    refused: int
    """How often data could not be let pass since the start: somebody else has that SPI, or there
    was no room."""
    counters: dict[str, int]
    """Packets by what became of them, since the start."""


class MobileClientAnswer(TypedDict):
    """A client of a mobile router. `in` is what came for it from outside, `out` what it sent."""

    peer: str | None
    hit: str
    inside: str | None
    """Where it is, as `10.1.0.2`, or `10.1.0.2:10500` with UDP; null once that is not known."""
    correspondents: int
    guests: int
    """Machines behind it: it is a mobile router as well."""
    guest: bool
    """Whether it is behind one that is a client; it is not registered here itself."""
    begun: int
    """Base exchanges under way."""
    tickets: int
    """Of how many correspondents the router may tell by itself that it has moved."""
    packets_in: int
    packets_out: int
    octets_in: int
    octets_out: int
    """Of ESP."""
    hip_packets_in: int
    hip_packets_out: int


class EndboxPeerAnswer(TypedDict):
    """A peer that shares the endbox's LAN, or may not."""

    peer: str
    peer_hit: str
    allowed: bool
    """False for one that is in no pair with this machine (`endbox.allowed_pairs`)."""
    mode: Literal["learning", "static"]
    """How frames find to it: by learned MAC addresses, or by configured IPv4 addresses."""
    frames: str
    """How frames lie in ESP: `etherip-fragments`, `etherip` or `ethernet`."""
    legacy_nodes: list[str]
    """IPv4 addresses of the hosts behind it, as configured."""
    default_endbox: bool
    established: bool
    macs: int
    """MAC addresses learned from it."""


class ElectionAnswer(TypedDict):
    """The election among several endboxes of one LAN."""

    hello_s: int
    extent: Literal["multicast", "everything"]
    """What the loser leaves to the winner."""
    delivers: bool
    """Whether this endbox is the one that was elected."""
    winner: str | None
    """Name or HIT of the endbox that has won over this one, if one does now."""
    hellos_heard: int


class MulticastAnswer(TypedDict):
    """The static multicast group."""

    group: str
    spi: int
    local: str | None
    """Own address that is sent from; null while there is none."""


class EndboxAnswer(TypedDict):
    """The LAN that this endbox shares with its peers."""

    mode: Literal["learning", "static"]
    legacy_nodes: list[str]
    """IPv4 addresses of the hosts here, as configured."""
    default_endbox: bool
    source_filter: bool
    election: ElectionAnswer | None
    """Null without `endbox.hello_s`."""
    multicast: MulticastAnswer | None
    """Null without `endbox.multicast_group`."""
    peers: list[EndboxPeerAnswer]


class EventAnswer(TypedDict):
    """Something that happened; the keys that its kind has no use for are left out."""

    kind: Literal[
        "state",
        "established",
        "closed",
        "failed",
        "path",
        "rekeyed",
        "registration",
        "packet",
        "rtt",
        "outside",
        "stopping",
    ]
    time: float
    """Seconds since 1970."""
    peer: NotRequired[str | None]
    peer_hit: NotRequired[str | None]
    local_hit: NotRequired[str]
    path: NotRequired[PathAnswer]
    """Of `path`: the new one."""
    old_path: NotRequired[PathAnswer]
    old: NotRequired[str]
    """`state`: the one that was left."""
    new: NotRequired[str]
    reason: NotRequired[str]
    """`state`, `closed`, `failed`, `path`: for people."""
    initiator: NotRequired[bool]
    duration_s: NotRequired[float]
    """`established`: of the base exchange."""
    direction: NotRequired[Literal["in", "out"]]
    packet: NotRequired[str]
    """`packet`: `I1`, `R1`, … or `?`."""
    size: NotRequired[int]
    """`packet`: octets."""
    dropped: NotRequired[str]
    """`packet`: the drop reason, or empty."""
    rtt_s: NotRequired[float]
    inbound_spi: NotRequired[int]
    outbound_spi: NotRequired[int]
    """`rekeyed`: the new ones."""
    service: NotRequired[str]
    role: NotRequired[Literal["registrar", "client"]]
    lifetime_s: NotRequired[float]
    """`registration`: 0 if it is not in force."""
    addresses: NotRequired[list[str]]
    """`outside`: those of the mobile router by now, the best first."""


EVENT_KINDS: tuple[str, ...] = (
    "state",
    "established",
    "closed",
    "failed",
    "path",
    "rekeyed",
    "registration",
    "packet",
    "rtt",
    "outside",
    "stopping",
)


class ControlApi(Protocol):
    """The daemon's side of the control socket.

    Called on the event loop's thread. A method may raise any HipgwError: its text and hint
    reach the client (`UnknownPeerError` when a peer is not known). Long-running methods are
    cancelled when the client goes away.
    """

    def status(self) -> StatusAnswer: ...
    def peers(self) -> list[PeerAnswer]: ...
    def associations(self) -> list[AssociationAnswer]: ...
    def security_associations(self) -> list[SaAnswer]: ...
    def mac_table(self) -> list[MacAnswer]: ...
    def counters(self) -> CountersAnswer: ...
    def addresses(self) -> AddressesAnswer: ...
    def registrations(self) -> list[RegistrationAnswer]: ...
    def endbox(self) -> EndboxAnswer | None: ...
    def mobile_router(self) -> MobileRouterAnswer | None: ...
    def mobile_router_clients(self) -> list[MobileClientAnswer] | None: ...

    def ping(
        self, peer: str, *, count: int, interval_s: float, timeout_s: float
    ) -> AsyncGenerator[PingReplyAnswer, None]:
        """Send `count` authenticated echoes and yield each answer, or its absence."""
        ...

    def identify(self, peer: str) -> tuple[str, str]:
        """Name and HIT of a peer given by name, HIT or LSI. Raises UnknownPeerError."""
        ...

    def fleet(self) -> FleetAnswer | None:
        """The fleet and its directory; None without one."""
        ...

    async def resolve(self, query: str) -> ResolveAnswer:
        """Ask all sources of names for a name, HIT or LSI, whatever is remembered."""
        ...

    async def connect(self, peer: str, *, timeout_s: float) -> ConnectAnswer:
        """Begin a base exchange and wait for its end, `timeout_s` at most (0: do not wait).

        *peer* may be an address of the underlay: whoever is there is called, if configured so.
        Raises LocalProtocolError if not.
        """
        ...

    async def close(self, peer: str, *, timeout_s: float) -> CloseAnswer:
        """Close an association and wait for CLOSE_ACK, `timeout_s` at most (0: do not wait)."""
        ...

    async def rekey(self, peer: str, *, timeout_s: float) -> RekeyAnswer:
        """Replace the ESP keys of an association and wait until the new ones are in force.

        `timeout_s` at most (0: do not wait). Raises LocalProtocolError without an association.
        """
        ...

    def stop(self) -> None:
        """Ask the daemon to stop; returns at once."""
        ...
