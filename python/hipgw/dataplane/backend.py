"""What the rest of hipgw asks of a data plane, and the values that pass between them."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from hipgw.identity.esp_format import DEFAULT_ESP_FORMAT, EspFormat

IPAddress = IPv4Address | IPv6Address

DEFAULT_MAC_LIMIT = 65536
"""MAC addresses remembered in one segment."""
DEFAULT_MAC_AGE_S = 300.0
"""Seconds after which a MAC address that was not heard again is forgotten (IEEE 802.1Q)."""
DEFAULT_REPLAY_WINDOW = 8192
"""Packets (RFC 6479)."""


@dataclass(frozen=True, slots=True)
class ControlReceived:
    """A HIP packet came in over UDP; the zero marker is removed (RFC 9028 §5.1)."""

    data: bytes
    local: IPAddress
    """The address it was sent to."""
    remote: IPAddress
    local_port: int
    remote_port: int


@dataclass(frozen=True, slots=True)
class StunReceived:
    """A STUN message came in over UDP (RFC 8489 §5); from anybody."""

    data: bytes
    local: IPAddress
    """The address it was sent to."""
    remote: IPAddress
    local_port: int
    remote_port: int


@dataclass(frozen=True, slots=True)
class Acquire:
    """A packet for a HIT or LSI is held, as there is no security association for it.

    Repeated once a second for each destination while packets for it come.
    """

    destination: IPAddress


@dataclass(frozen=True, slots=True)
class FirstData:
    """The first authentic packet on an inbound security association came in."""

    spi: int


@dataclass(frozen=True, slots=True)
class UnknownSpi:
    """ESP for an SPI that is not installed; at most once a second for each source."""

    spi: int
    remote: IPAddress
    remote_port: int
    """0 for ESP without UDP."""


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """The newest authentic packet of an inbound security association came from elsewhere.

    Elsewhere than the one before, or than was expected of the first; or to another own address.
    At most four times a second for each.
    """

    spi: int
    local: IPAddress
    """The own address it came to."""
    local_port: int
    """0 without UDP."""
    remote: IPAddress
    remote_port: int
    """0 without UDP."""
    udp: bool


@dataclass(frozen=True, slots=True)
class Fatal:
    """A data thread ended by itself; no more packets flow."""

    message: str


DataPlaneEvent = (
    ControlReceived | StunReceived | Acquire | FirstData | UnknownSpi | SourceChanged | Fatal
)


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """One installed security association and what it has carried so far."""

    spi: int
    direction: str
    """"in" or "out"."""
    suite: int
    """ESP suite id (RFC 7402 §5.1.2) or a private one."""
    local_hit: IPv6Address
    peer_hit: IPv6Address
    local: IPAddress | None
    """Own address; None when the system chooses it."""
    remote: IPAddress
    local_port: int
    remote_port: int
    udp: bool
    packets: int
    bytes: int
    """Octets of plain text."""
    sequence: int
    """Last sent or highest received 64-bit sequence number."""
    replayed: int
    auth_failed: int
    last_used_s: float | None
    """Seconds since the last packet, None if there was none."""
    lost: int = 0
    """Inbound: sequence numbers that left the replay window without having come."""
    verified: bool = True
    """Outbound: whether the peer is known to be at `remote`, so that no credit is needed."""


@dataclass(frozen=True, slots=True)
class LearnedMac:
    """Where a MAC address of a segment was last heard."""

    mac: str
    """Six hexadecimal octets, separated by colons."""
    vlan: int
    """0 for untagged."""
    peer_hit: IPv6Address
    age_s: float


@dataclass(frozen=True, slots=True)
class DataPlaneStatistics:
    """Sums since the start."""

    drops: dict[str, int]
    """Dropped packets by reason; every reason is named, also those never met."""
    counters: dict[str, int]


class DataPlane(Protocol):
    """Carries packets between interfaces and security associations on threads of its own.

    Every call returns within microseconds and never waits for a packet, except `stop`. What a
    data plane refuses raises DataPlaneError. File descriptors handed over are duplicated; the
    caller keeps and closes its own.
    """

    def fileno(self) -> int:
        """A file descriptor that is readable while events wait."""

    def drain_events(self) -> list[DataPlaneEvent]:
        """Take all events that wait, oldest first."""

    def add_udp_socket(self, fd: int, *, gso: bool = True, gro: bool = True) -> None:
        """Receive HIP and ESP on a UDP socket bound to a port of any address; before `start`.

        Without *gso* or *gro* datagrams leave or come in one by one, also where the kernel could
        carry trains of them.
        """

    def add_esp_socket(self, fd: int) -> None:
        """Receive ESP on a raw socket of protocol 50; before `start`."""

    def set_tun(
        self,
        fd: int,
        *,
        mtu: int,
        local_hit: IPv6Address,
        local_lsi: IPv4Address,
        vnet_hdr: bool,
        copy_dscp: bool = True,
        ecn: bool = True,
        second_hit: IPv6Address | None = None,
    ) -> None:
        """Carry the host role's TUN (IFF_NO_PI); before `start`.

        `copy_dscp` and `ecn`: whether outer headers get these fields of inner ones (RFC 6040).
        `second_hit` is this host's HIT of the other version of HIP, if it speaks both; packets
        from it go to peers that know it by that.
        """

    def add_tap(
        self,
        fd: int,
        *,
        segment: int,
        mtu: int,
        mss_clamp: bool,
        vnet_hdr: bool,
        mac_limit: int = DEFAULT_MAC_LIMIT,
        mac_age_s: float = DEFAULT_MAC_AGE_S,
        copy_dscp: bool = True,
        ecn: bool = True,
    ) -> None:
        """Carry the TAP (IFF_NO_PI) of an Ethernet segment, numbered from 1; before `start`.

        `copy_dscp` and `ecn` are about the IP packets in frames; see `set_tun`.
        """

    def start(self, *, busy_poll_us: int = 0, realtime: bool = False) -> None:
        """Begin to carry packets; look for more during *busy_poll_us* before each sleep.

        *realtime*: before ordinary threads if the system allows it, and not with *busy_poll_us*.
        """

    def stop(self) -> None:
        """End all threads and wipe all keys; takes up to a second."""

    def add_sa(
        self,
        *,
        direction: str,
        spi: int,
        suite: int,
        encryption_key: bytes,
        authentication_key: bytes,
        local_hit: IPv6Address,
        peer_hit: IPv6Address,
        local: IPAddress | None,
        remote: IPAddress,
        udp: bool,
        local_port: int,
        remote_port: int,
        segment: int = 0,
        path_mtu: int = 1500,
        replay_window: int = DEFAULT_REPLAY_WINDOW,
        interface: int = 0,
        verified: bool = True,
        format: EspFormat = DEFAULT_ESP_FORMAT,
        wire_spi: int = 0,
    ) -> None:
        """Install or replace a security association; packets held for the peer leave at once.

        `direction` is "in" or "out". A new outbound one takes over its peer's traffic; older
        ones stay until removed. Segment 0 carries no Ethernet.

        `path_mtu`, from the outer IP header on, `interface` and `verified` are for outbound ones.
        `interface` is the index of the one to send by, 0 for where the routing table leads; with
        IPv6 and a `local` address, Linux minds it only among routes of the same metric. Where the
        peer was not `verified` to be, it gets no more than its credit, which is what came from it
        lately (RFC 8046 §5.6).

        `format` is how the packets look, the same in both directions. Without `format.replay` the
        remote address may be a multicast group; DataPlaneError if the backend cannot do it.

        `wire_spi`, for outbound ones: what packets bear instead of `spi`, as a mobile router on the
        way wants it; 0 for `spi` itself. The ICV covers `spi`.

        The same again, with the same keys, goes on with its sequence numbers and takes the path.
        Keys that were in use before otherwise are refused.
        """

    def move_sa(
        self,
        *,
        spi: int,
        peer_hit: IPv6Address,
        local: IPAddress | None,
        remote: IPAddress,
        udp: bool,
        local_port: int,
        remote_port: int,
        path_mtu: int = 1500,
        interface: int = 0,
        verified: bool = True,
        wire_spi: int = 0,
    ) -> None:
        """Send the packets of an outbound security association along another path; see `add_sa`."""

    def remove_sa(self, *, direction: str, spi: int, peer_hit: IPv6Address) -> None:
        """Remove one and wipe its keys; nothing happens if it is not there."""

    def set_lsi(self, lsi: IPv4Address, peer_hit: IPv6Address) -> None:
        """Name a peer by an LSI; replaces what either had."""

    def remove_lsi(self, lsi: IPv4Address) -> None:
        """Forget an LSI."""

    def drop_held(self, destination: IPAddress) -> int:
        """Discard the packets held for a HIT or LSI; returns how many."""

    def security_associations(self) -> list[SecurityAssociation]:
        """All that are installed, with their counters."""

    def mac_table(self, segment: int) -> list[LearnedMac]:
        """What a segment has learned from its tunnels."""

    def flush_macs(self, segment: int, peer_hit: IPv6Address | None = None) -> int:
        """Forget what was learned (from one peer); returns how many."""

    def statistics(self) -> DataPlaneStatistics:
        """Counters and drops of all threads."""
