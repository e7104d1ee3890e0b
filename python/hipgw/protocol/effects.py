"""What the HIP machine asks its driver to do, in order; the machine performs none of it."""

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv6Address

from hipgw.identity.esp_format import DEFAULT_ESP_FORMAT, EspFormat
from hipgw.identity.puzzle import PuzzleBits
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.path_mtu import MtuSource
from hipgw.protocol.states import State


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send one HIP packet (without any UDP marker) along a path."""

    data: bytes
    path: Path
    dont_fragment: bool = False
    """Whether it is a probe of the path's MTU: to be lost rather than cut."""


@dataclass(frozen=True, slots=True)
class SendStun:
    """Send one STUN message along a path, which is one over UDP."""

    data: bytes
    path: Path


class Direction(Enum):
    """Which way the packets of a security association travel."""

    INBOUND = "in"
    OUTBOUND = "out"


@dataclass(frozen=True, slots=True)
class InstallSA:
    """Install one unidirectional ESP security association in the data plane (RFC 7402 §3.3.1)."""

    direction: Direction
    local_hit: IPv6Address
    peer_hit: IPv6Address
    spi: int
    suite: int
    """ESP suite id (RFC 7402 §5.1.2) or a private one."""
    encryption_key: bytes = field(repr=False)
    """For AEAD suites the key followed by its salt (RFC 4106 §8.1)."""
    authentication_key: bytes = field(repr=False)
    """Empty for AEAD suites."""
    path: Path = field()
    verified: bool = True
    """As in `MoveSA`."""
    format: EspFormat = DEFAULT_ESP_FORMAT
    wire_spi: int = 0
    """Outbound: what stands in the packets instead of `spi`, which the ICV is made with; 0 for the
    same."""


@dataclass(frozen=True, slots=True)
class MoveSA:
    """Send the packets of an outbound security association along another path from now on.

    Or along the same, if only what is known of the peer has changed.
    """

    local_hit: IPv6Address
    peer_hit: IPv6Address
    spi: int
    path: Path
    verified: bool = True
    """If not, only as much may go there as came from the peer: its credit (RFC 8046 §5.6)."""
    wire_spi: int = 0
    """As in `InstallSA`."""


@dataclass(frozen=True, slots=True)
class RemoveSA:
    """Remove one security association and wipe its keys."""

    direction: Direction
    local_hit: IPv6Address
    peer_hit: IPv6Address
    spi: int


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """Data flows by new keys and SPIs from now on (RFC 7402 §6.10)."""

    local_hit: IPv6Address
    peer_hit: IPv6Address
    inbound_spi: int
    outbound_spi: int
    dh: bool
    """Whether a new Diffie-Hellman exchange was part of it."""


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Packets to a peer take another path from now on (RFC 8046)."""

    local_hit: IPv6Address
    peer_hit: IPv6Address
    old: Path
    new: Path
    reason: str
    """For people: "the own address is gone", "the peer has moved", …"""


@dataclass(frozen=True, slots=True)
class PathMtuChanged:
    """Packets to a peer may be this large from now on (RFC 8899)."""

    local_hit: IPv6Address
    peer_hit: IPv6Address
    path: Path
    mtu: int
    """Octets of a whole IP packet."""
    source: MtuSource


@dataclass(frozen=True, slots=True)
class SolvePuzzle:
    """Find J off the machine's thread, then call `HipMachine.puzzle_solved` (RFC 7401 §6.3)."""

    request: int
    """Names this search in `puzzle_solved` and `CancelPuzzle`."""
    hash_name: str
    """RHASH by its name in hashlib, or "cshake128"."""
    prefix: bytes
    """I | HIT-I | HIT-R; J is appended."""
    length: int
    """Octets of J."""
    difficulty: int
    """K: how many low bits of the hash have to be zero."""
    deadline: float
    """When the puzzle's lifetime ends, on the machine's clock."""
    bits: PuzzleBits = PuzzleBits.LOWEST
    """Which bits of the hash those are."""


@dataclass(frozen=True, slots=True)
class CancelPuzzle:
    """Stop a search whose answer is not wanted any more."""

    request: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """Find addresses of a HIT, then call `HipMachine.connect` again with them."""

    peer_hit: IPv6Address


@dataclass(frozen=True, slots=True)
class StateChanged:
    """An association moved from one state to another (RFC 7401 §4.4)."""

    local_hit: IPv6Address
    peer_hit: IPv6Address
    old: State
    new: State
    reason: str
    """What made it move, for people: "R1 received", "no answer to I1", …"""


@dataclass(frozen=True, slots=True)
class Established:
    """Data can flow both ways from now on (again, after a peer's restart)."""

    local_hit: IPv6Address
    peer_hit: IPv6Address
    path: Path
    initiator: bool
    duration: float
    """Seconds from the first I1 sent (initiator) or I2 received (responder)."""


@dataclass(frozen=True, slots=True)
class Met:
    """An opportunistic attempt has got to know whom it talks to: it goes on with this HIT.

    `Established` or `Failed` follows.
    """

    local_hit: IPv6Address
    peer_hit: IPv6Address
    path: Path
    """By which it has answered."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The association is over, by either side's wish or by idleness."""

    local_hit: IPv6Address
    peer_hit: IPv6Address
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No association could be made (E-FAILED); the reason is fit to show to a user."""

    local_hit: IPv6Address
    peer_hit: IPv6Address | None
    """None for an opportunistic attempt that nobody answered."""
    reason: str


@dataclass(frozen=True, slots=True)
class PingReply:
    """The peer answered an authenticated HIP echo."""

    peer_hit: IPv6Address
    request: int
    rtt: float
    """Seconds."""
    path: Path


@dataclass(frozen=True, slots=True)
class PacketTrace:
    """A packet was sent, accepted or dropped; for live views and logs, never needed to act on."""

    direction: Direction
    packet: str
    """"I1", "R1", …, "STUN" or "?"."""
    peer_hit: IPv6Address | None
    path: Path
    size: int
    """Octets of the packet, without IP and UDP."""
    dropped: str = ""
    """The drop reason's name, or empty."""


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """A registration was made, renewed, refused, cancelled, or has expired (RFC 8003)."""

    local_hit: IPv6Address
    peer_hit: IPv6Address
    registrar: bool
    """Whether this host is the registrar."""
    reg_type: int
    lifetime_s: float
    """Granted; 0 if it is not in force."""
    reason: str
    """For people: "granted", "expired", …"""
    failure_type: int | None = None
    """Of a refusal (RFC 8003 §4.5)."""


@dataclass(frozen=True, slots=True)
class ClientRests:
    """A client of the rendezvous server has nothing under way: who can, relays to it by itself.

    Until `ClientWakes` nothing of this changes.
    """

    hit: IPv6Address
    path: Path
    mac: str
    """Hash of the HMAC."""
    key: bytes = field(repr=False)
    tells_ports: bool
    """Whether it knows RELAY_FROM, not FROM alone."""
    expires: float
    """When its registration ends, on the machine's clock."""


@dataclass(frozen=True, slots=True)
class ClientWakes:
    """From now on the machine relays to a client, or nobody does."""

    hit: IPv6Address


@dataclass(frozen=True, slots=True)
class OpenRelayedPort:
    """A port of the data relay is lent to a client: take in what comes to it."""

    address: IPAddress
    port: int
    client_hit: IPv6Address
    octets_per_s: int
    """Data that may pass for this client in each direction; 0 for no limit."""


@dataclass(frozen=True, slots=True)
class CloseRelayedPort:
    """A port of the data relay is lent to nobody any more; its permissions are void."""

    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class PermitPeer:
    """Forward ESP between the client of a relayed port and one peer (RFC 9028 §4.12.1).

    From the client, only the SPI tells where a packet goes: the last permission with it counts.
    Asking for one again that is there makes it the last.
    """

    address: IPAddress
    port: int
    """The relayed port."""
    client: Path
    """Where the client is: packets from there with `outbound_spi` go to the peer."""
    peer: IPAddress
    peer_port: int
    outbound_spi: int
    inbound_spi: int
    """Packets that come to the relayed port from the peer with this SPI go to the client."""


@dataclass(frozen=True, slots=True)
class RevokePeer:
    """Forward nothing for a permission any more."""

    address: IPAddress
    port: int
    client: Path
    peer: IPAddress
    peer_port: int
    outbound_spi: int
    inbound_spi: int


@dataclass(frozen=True, slots=True)
class ForwardHip:
    """Mobile router: send a HIP packet (without any UDP marker) from one place to another.

    Neither need be an address of this host; the checksum is right.
    """

    data: bytes
    transit: Transit


@dataclass(frozen=True, slots=True)
class LendSpi:
    """Mobile router: ESP of a client and a correspondent may pass, by these SPIs and places.

    What is known of a public SPI is replaced. Inbound packets with it go to the client with the
    private one; if another client has the same private SPI, also those that bear it and come from
    one of the correspondent's places.
    """

    client_hit: IPv6Address
    peer_hit: IPv6Address
    public_spi: int
    private_spi: int
    peer_spis: tuple[int, ...]
    """What the client's packets may bear: while keys are renewed, more than one; empty while that
    is not known."""
    client: Place
    peer: tuple[Place, ...]
    """Where the correspondent is, at most one of each IP version."""
    shown: Place
    """Where the client writes to; packets of the other IP version come to it from there."""


@dataclass(frozen=True, slots=True)
class ReturnSpi:
    """Mobile router: packets with a public SPI go nowhere any more."""

    client_hit: IPv6Address
    peer_hit: IPv6Address
    public_spi: int


Effect = (
    SendDatagram
    | SendStun
    | InstallSA
    | MoveSA
    | RemoveSA
    | Rekeyed
    | PathChanged
    | PathMtuChanged
    | SolvePuzzle
    | CancelPuzzle
    | Lookup
    | StateChanged
    | Established
    | Met
    | Closed
    | Failed
    | PingReply
    | RegistrationChanged
    | ClientRests
    | ClientWakes
    | OpenRelayedPort
    | CloseRelayedPort
    | PermitPeer
    | RevokePeer
    | ForwardHip
    | LendSpi
    | ReturnSpi
    | PacketTrace
)
