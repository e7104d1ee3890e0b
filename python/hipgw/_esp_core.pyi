"""The Rust data plane. Every call returns within microseconds unless it says otherwise."""

from typing import Literal, TypedDict, final

ENGINE_EVENTS: int
"""Most events kept until they are drained; later ones are counted and lost."""

DROP_REASONS: tuple[str, ...]
"""Names of the engine's drop counters, in the order of `Engine.statistics()["drops"]`."""

ESP_SUITES: dict[int, tuple[str, int, int]]
"""Suite id -> (name, octets of encryption key with salt, octets of authentication key)."""

def capabilities() -> dict[str, bool]:
    """What this kernel and CPU offer.

    "udp_gso", "udp_gro", "tun_vnet_hdr"; "aes", "vaes", "pclmulqdq",
    "vpclmulqdq", "avx512", "sha". Nothing of it is needed.
    """

@final
class PuzzleSolver:
    """A cancellable search for J (RFC 7401 §6.3); `bits`: "lowest" or "openhip"."""
    def __new__(
        cls,
        hash_name: str,
        prefix: bytes,
        length: int,
        difficulty: int,
        start: bytes,
        bits: str = "lowest",
    ) -> PuzzleSolver: ...
    def run(self, timeout_s: float) -> bytes | None:
        """Search with the GIL released; None when cancelled or out of time."""
    def cancel(self) -> None: ...

class ControlEvent(TypedDict):
    kind: Literal["control"]
    """A HIP packet came in over UDP (the zero marker is removed)."""
    data: bytes
    local: bytes
    """4 or 16 octets."""
    remote: bytes
    local_port: int
    remote_port: int

class StunEvent(TypedDict):
    kind: Literal["stun"]
    """A STUN message came in over UDP (RFC 8489 §5)."""
    data: bytes
    local: bytes
    """4 or 16 octets."""
    remote: bytes
    local_port: int
    remote_port: int

class AcquireEvent(TypedDict):
    kind: Literal["acquire"]
    """A packet for a HIT (16 octets) or LSI (4 octets) without a security association is held."""
    destination: bytes

class FirstDataEvent(TypedDict):
    kind: Literal["first_data"]
    """The first authentic packet on an inbound security association came in."""
    spi: int

class UnknownSpiEvent(TypedDict):
    kind: Literal["unknown_spi"]
    """ESP for an SPI that is not installed (rate-limited, one a second a source)."""
    spi: int
    remote: bytes
    remote_port: int

class SourceChangedEvent(TypedDict):
    kind: Literal["source_changed"]
    """The newest authentic packet of an inbound security association came from elsewhere.

    At most four times a second for each.
    """
    spi: int
    local: bytes
    """The own address it came to."""
    local_port: int
    """0 without UDP."""
    remote: bytes
    remote_port: int
    udp: bool

class FatalEvent(TypedDict):
    kind: Literal["fatal"]
    """A data thread ended by itself; the engine is stopped."""
    message: str

Event = (
    ControlEvent
    | StunEvent
    | AcquireEvent
    | FirstDataEvent
    | UnknownSpiEvent
    | SourceChangedEvent
    | FatalEvent
)

class SaStatistics(TypedDict):
    spi: int
    direction: Literal["in", "out"]
    suite: int
    local_hit: bytes
    peer_hit: bytes
    local: bytes
    """Empty if the system chooses it."""
    remote: bytes
    local_port: int
    remote_port: int
    udp: bool
    verified: bool
    """Outbound: whether what is sent needs no credit."""
    packets: int
    bytes: int
    """Octets of plain text."""
    sequence: int
    """Last sent or highest received 64-bit sequence number."""
    replayed: int
    auth_failed: int
    lost: int
    """Inbound: sequence numbers that left the replay window without having come."""
    last_used_s: float | None
    """Seconds since the last packet, None if there was none."""

class MacEntry(TypedDict):
    mac: bytes
    vlan: int
    """0 for untagged."""
    peer_hit: bytes
    age_s: float

class EngineStatistics(TypedDict):
    drops: list[int]
    counters: dict[str, int]
    """"tun_rx_packets", "tun_tx_packets", "net_rx_packets", "net_tx_packets", … and syscalls."""

class Election(TypedDict):
    passive: bool
    winner: bytes | None
    heard: int

@final
class Engine:
    """Threads, queues and tables of the data plane. Thread-safe.

    What it refuses raises `hipgw.errors.DataPlaneError`. File descriptors handed over are
    duplicated; the caller keeps and closes its own. The engine sets their open files non-blocking
    (TUN, TAP), and their options to what it needs (sockets).
    """

    def __new__(cls) -> Engine: ...
    def fileno(self) -> int:
        """An eventfd that is readable while events wait."""
    def drain_events(self) -> list[Event]: ...
    def add_udp_socket(self, fd: int, *, gso: bool = True, gro: bool = True) -> None:
        """A UDP socket bound to a port of any address, IPv4 or IPv6; before `start`.

        The engine receives on it, so nobody else may; anybody may send. Without `gso` or `gro` it
        does without UDP_SEGMENT or UDP_GRO, even if the kernel has them.
        """
    def set_lan(
        self,
        segment: int,
        *,
        local: list[bytes],
        local_default: bool,
        peers: list[tuple[list[bytes], list[bytes], bool]],
        all_static: bool,
        source_filter: bool,
        group: bytes | None = None,
        hello_hit: bytes | None = None,
        hello_s: int = 0,
        mac: bytes | None = None,
        standby: bool = False,
    ) -> None:
        """Whom the IPv4 addresses of a segment belong to, and its election; before `start`.

        `peers`: HITs, addresses, and whether it takes what nobody owns. `group`: the HIT that
        stands for the static multicast group. An election needs `hello_hit`, `hello_s` and the
        TAP's `mac`.
        """
    def say_hello(self, segment: int) -> None: ...
    def announce_macs(self, segment: int) -> int:
        """Have the LAN's switches find here what was learned from peers; returns how many."""
    def election(self, segment: int) -> Election: ...
    def pulse(self) -> tuple[bool, bool]:
        """Whether the sending and the receiving direction took a turn since the last call."""
    def set_rendezvous(self, *, per_source: int, per_client: int) -> None:
        """Be a rendezvous server that passes so many packets a second on."""
    def add_rendezvous_client(
        self,
        *,
        hit: bytes,
        local: bytes,
        local_port: int,
        remote: bytes,
        remote_port: int,
        mac: str,
        key: bytes,
        tells_ports: bool,
        remaining_ms: int,
    ) -> None: ...
    def remove_rendezvous_client(self, hit: bytes) -> None: ...
    def add_relay_socket(self, fd: int) -> None:
        """Have a UDP socket whose port may be lent to a client of the data relay."""
    def open_relay_port(self, *, v6: bool, port: int, octets_per_s: int = 0) -> None: ...
    def close_relay_port(self, *, v6: bool, port: int) -> None: ...
    def permit_peer(
        self,
        *,
        port: int,
        local: bytes,
        client: bytes,
        client_port: int,
        peer: bytes,
        peer_port: int,
        outbound_spi: int,
        inbound_spi: int,
    ) -> None:
        """Pass ESP on between the client of a port and a peer."""
    def revoke_peer(
        self,
        *,
        port: int,
        local: bytes,
        client: bytes,
        client_port: int,
        peer: bytes,
        peer_port: int,
        outbound_spi: int,
        inbound_spi: int,
    ) -> None: ...
    def add_esp_socket(self, fd: int) -> None:
        """A raw socket of protocol 50, IPv4 or IPv6; before `start`."""
    def set_tun(
        self,
        fd: int,
        *,
        mtu: int,
        local_hit: bytes,
        local_lsi: bytes,
        vnet_hdr: bool,
        copy_dscp: bool = True,
        ecn: bool = True,
        second_hit: bytes | None = None,
    ) -> None:
        """The host role's TUN (IFF_NO_PI), at most one; before `start`.

        `second_hit` is this host's HIT of the other version of HIP.
        """
    def add_tap(
        self,
        fd: int,
        *,
        segment: int,
        mtu: int,
        mss_clamp: bool,
        vnet_hdr: bool,
        mac_limit: int = 65536,
        mac_age_s: float = 300.0,
        copy_dscp: bool = True,
        ecn: bool = True,
    ) -> None:
        """The TAP of an endbox segment (IFF_NO_PI), numbered from 1; before `start`."""
    def start(self, *, busy_poll_us: int = 0, realtime: bool = False) -> None: ...
    def stop(self) -> None:
        """Join all threads (up to a second, GIL released) and wipe all keys."""
    def add_sa(
        self,
        *,
        direction: Literal["in", "out"],
        spi: int,
        suite: int,
        encryption_key: bytes,
        authentication_key: bytes,
        local_hit: bytes,
        peer_hit: bytes,
        local: bytes | None,
        remote: bytes,
        udp: bool,
        local_port: int,
        remote_port: int,
        segment: int = 0,
        path_mtu: int = 1500,
        replay_window: int = 8192,
        interface: int = 0,
        verified: bool = True,
        wire_spi: int = 0,
        esn: bool = True,
        icv_length: int | None = None,
        null_iv: bool = False,
        alignment: int | None = None,
        frames: str = "etherip-fragments",
        replay: bool = True,
        begins_by_lsi: bool = False,
    ) -> None:
        """Install or replace a security association; packets held for the peer leave at once.

        A new outbound one takes over its peer's traffic; older ones stay until removed.
        `segment` 0 carries no Ethernet; BEET (host) traffic is carried when a TUN is set.
        Installing one that is there, with the same keys, only gives it the new path: its sequence
        numbers and window go on. Keys that another one has or had are refused.

        `path_mtu` (576 to 65535) counts from the outer IP header and is for outbound ones, as is
        `interface`, the index of the one to send by, 0 for where the routing table leads. If the
        peer is not `verified` to be there, it gets no more than its credit (RFC 8046 §5.6).
        `wire_spi` stands in the place of the SPI in packets sent, whose ICV is over the SPI, as for
        peers behind a mobile router; 0 is none.
        `replay_window` (packets) is for inbound ones.
        """
    def move_sa(
        self,
        *,
        spi: int,
        peer_hit: bytes,
        local: bytes | None,
        remote: bytes,
        udp: bool,
        local_port: int,
        remote_port: int,
        path_mtu: int = 1500,
        interface: int = 0,
        verified: bool = True,
        wire_spi: int = 0,
    ) -> None:
        """Send the packets of an outbound security association along another path; see `add_sa`."""
    def remove_sa(self, *, direction: Literal["in", "out"], spi: int, peer_hit: bytes) -> None:
        """Remove a security association and wipe its keys, if it is there."""
    def set_lsi(self, lsi: bytes, peer_hit: bytes) -> None:
        """Name a peer's HIT by a 4-octet LSI (replaces what either had)."""
    def remove_lsi(self, lsi: bytes) -> None: ...
    def drop_held(self, destination: bytes) -> int:
        """Discard the packets held for a HIT or LSI; returns how many."""
    def security_associations(self) -> list[SaStatistics]: ...
    def mac_table(self, segment: int) -> list[MacEntry]: ...
    def flush_macs(self, segment: int, peer_hit: bytes | None = None) -> int: ...
    def statistics(self) -> EngineStatistics: ...

@final
class SpinatBatch:
    """IP packets that are rewritten together; for tests and measurements."""
    def __new__(cls, packets: list[bytes]) -> SpinatBatch: ...
    def reset(self) -> None:
        """Make the packets what they were at first."""
    def packets(self) -> list[bytes]: ...
    def verdicts(self) -> list[str]:
        """Of each: "rewritten", "control", "unknown", "fragment", "malformed" or "no_room"."""

@final
class Spinat:
    """The ways of the ESP that a mobile router rewrites; at most `capacity` of them.

    A way is one SPI in one direction. Addresses have 4 or 16 octets; ports are 0 without UDP.
    """
    def __new__(cls, capacity: int) -> Spinat: ...
    def __len__(self) -> int: ...
    def memory(self) -> int:
        """Octets set aside; does not change."""
    def insert(
        self,
        *,
        spi: int,
        correspondent: bytes | None = None,
        client: bytes | None = None,
        source: bytes,
        destination: bytes,
        source_port: int = 0,
        destination_port: int = 0,
        new_spi: int,
        now_s: int,
    ) -> int:
        """Enter a way; returns its name. Raises DataPlaneError if it is refused.

        From a client: `client` and `correspondent` are the addresses of its packets. From a
        correspondent that uses the public SPI neither is given, from others `correspondent`.
        """
    def aim(
        self,
        way: int,
        *,
        source: bytes,
        destination: bytes,
        source_port: int = 0,
        destination_port: int = 0,
        new_spi: int,
    ) -> bool:
        """Change what packets become; False if there is no such way."""
    def remove(self, way: int) -> tuple[int, int, int] | None:
        """Forget a way; returns its `counts`."""
    def counts(self, way: int) -> tuple[int, int, int] | None:
        """Packets, octets of ESP, and `now_s` of the last packet."""
    def idle(self, *, now_s: int, idle_s: int) -> list[int]:
        """The ways that nothing has passed for so long."""
    def rewrite(self, batch: SpinatBatch, *, inward: bool, now_s: int) -> int:
        """Rewrite packets for the other side, with the GIL released; returns how many are to go."""

@final
class SpinatPath:
    """What takes a mobile router's packets from the kernel, and sends them on rewritten.

    The packets come by the netfilter queue `queue` of this network namespace, into which rules of
    others' making divert them in PREROUTING; everything that is not to be passed on is handed back
    or dropped. They are taken and sent `batch` at a time. Ways and addresses are those of `Spinat`.

    Needs CAP_NET_ADMIN and CAP_NET_RAW, when it is made and as long as it runs. Raises
    DataPlaneError, as where another program has the queue.
    """
    def __new__(
        cls,
        *,
        queue: int,
        capacity: int,
        batch: int = 64,
        ebpf: bool = True,
        udp_port: int = 10500,
    ) -> SpinatPath:
        """`udp_port`: this host's own, for HIP and ESP in UDP; others' is let be."""
    @property
    def ebpf(self) -> str | None:
        """Why the kernel does not rewrite by itself what it could; None if it does."""
    def start(self) -> None: ...
    def stop(self) -> None:
        """End for good: the kernel lets packets pass that are diverted with a bypass."""
    def fileno(self) -> int:
        """Readable while events wait."""
    def events(
        self,
    ) -> list[tuple[Literal["hip"], bytes, bytes, int, bytes, int, bool, int]]:
        """Take what came in, oldest first.

        ("hip", packet, source, source port, destination, destination port, inside, interface): a
        HIP packet for another host than this one. It is whole by its length and its checksum is
        right, or that of the UDP header is; the marker of UDP (RFC 9028 §5.1) is off. Ports are 0
        without UDP. `inside` is whether it came from there, `interface` the index of by which.
        Raises DataPlaneError if the thread has ended by itself.
        """
    def own(self, hits: list[bytes], addresses: list[bytes]) -> None:
        """This host's HITs and addresses from now on: packets for them are handed back."""
    def outside(self, ifindexes: list[int]) -> None:
        """The interfaces that lead outside from now on; all others lead to clients."""
    def __len__(self) -> int:
        """The ways there are."""
    def insert(
        self,
        *,
        spi: int,
        correspondent: bytes | None = None,
        client: bytes | None = None,
        source: bytes,
        destination: bytes,
        source_port: int = 0,
        destination_port: int = 0,
        new_spi: int,
        ifindex: int = 0,
        mtu: int = 0,
    ) -> int:
        """Enter a way; see `Spinat.insert`. Raises DataPlaneError if it is refused.

        `ifindex`: by which interface its packets leave, for the kernel's own rewriting; 0 leaves
        them to this path. `mtu`: octets of the largest IP packet there, 0 as the interface has it.
        """
    def aim(
        self,
        way: int,
        *,
        source: bytes,
        destination: bytes,
        source_port: int = 0,
        destination_port: int = 0,
        new_spi: int,
        ifindex: int = 0,
        mtu: int = 0,
    ) -> bool:
        """Change what packets become; False if there is no such way."""
    def remove(self, way: int) -> tuple[int, int, float] | None:
        """Forget a way; returns its `counts`."""
    def counts(self, way: int) -> tuple[int, int, float] | None:
        """Packets, octets of ESP, and seconds since the last packet (or since it was entered)."""
    def used(self, since_s: float) -> list[int]:
        """The ways that packets have passed within so many seconds. Takes milliseconds if many."""
    def send_hip(
        self,
        data: bytes,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
    ) -> None:
        """Send a HIP packet from any address, in UDP behind a marker unless ports are 0.

        It is cut into IP fragments where it is too long for the link. Raises DataPlaneError if
        there is no way to the destination.
        """
    def statistics(self) -> dict[str, int]:
        """Counters ("received", "rewritten", "accepted", ...); see docs/mobile-router.md."""
