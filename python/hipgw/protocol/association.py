"""What a host remembers about one peer."""

from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.keymat import EspKeys, HipKeys
from hipgw.identity.rhash import Rhash
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.path_mtu import PathMtuSearch
from hipgw.protocol.retransmission import Retransmission
from hipgw.protocol.states import State
from hipgw.wire.packet import HipPacket

UPDATE_IDS_REMEMBERED = 64
PINGS_OUTSTANDING = 64


@dataclass(slots=True, kw_only=True)
class Session:
    """The keys and choices that one base exchange led to."""

    peer: HostIdentity
    rhash: Rhash
    hip_keys: HipKeys
    esp_keys: EspKeys
    esp_suite: int
    cipher: int
    dh_group: int
    inbound_spi: int
    outbound_spi: int = 0
    """0 until the peer has told it."""
    solution: bytes = b""
    """Names the I2 this came from, at the Responder."""
    r2: bytes = b""
    """The R2 sent, to be sent again when the I2 comes again; empty for the Initiator."""

    # UPDATE (RFC 7401 §6.11, §6.12)
    next_update_id: int = 0
    seen_update_ids: list[int] = field(default_factory=list)
    highest_update_id: int = -1
    probe_octets: int = 0
    """Of a probe without padding; 0 until one was made."""


@dataclass(slots=True, kw_only=True)
class InitiatorExchange:
    """A base exchange that this host began and that is not over."""

    paths: tuple[Path, ...]
    began: float
    retransmission: Retransmission
    dh_groups: tuple[int, ...]
    """Offered in the I1; the R1 must not lead to a worse one."""
    i1: bytes = b""
    r1: HipPacket | None = None
    """The R1 whose puzzle is being solved, or that the I2 answers."""
    r1_counter: int = -1
    puzzle_request: int | None = None
    puzzles_failed: int = 0
    """Puzzles that were not solved within their lifetime."""
    unanswered: int = 0
    """Times that I2 was sent again in vain."""
    next_path: int = 0
    """Which of the paths the next I1 takes."""
    path: Path | None = None
    """Where the R1 came from; I2 goes back there."""
    i2: bytes = b""
    session: Session | None = None
    """What I2 proposes; in force once R2 is there."""
    host_id_tlv: bytes = b""
    """The Responder's HOST_ID as it came in R1: HIP_MAC_2 covers it."""
    notified: str = ""
    """The last error the peer sent, for people."""


@dataclass(slots=True, kw_only=True)
class ClosingExchange:
    """A CLOSE that is not acknowledged yet."""

    packet: bytes
    nonce: bytes
    retransmission: Retransmission


@dataclass(slots=True)
class Ping:
    """An UPDATE with an echo that is not answered yet."""

    request: int
    nonce: bytes
    sent: float
    probe: int | None = None
    """The size that it tries a path with; None for an ordinary one."""


@dataclass(slots=True, kw_only=True, eq=False)
class Association:
    """One pair of HITs. Whoever brings one of its times forward calls `Core.arm`."""

    local: LocalIdentity
    peer_hit: IPv6Address
    state: State = State.UNASSOCIATED
    path: Path | None = None
    """Where packets to the peer go."""
    initiator: bool = False
    session: Session | None = None
    """In force: data flows by it (or, in CLOSING and CLOSED, a CLOSE can be answered by it)."""
    called: list[IPAddress] = field(default_factory=list)
    """Addresses that an opportunistic attempt asks, until one answers."""
    initiating: InitiatorExchange | None = None
    closing: ClosingExchange | None = None
    pings: dict[int, Ping] = field(default_factory=dict)
    """By Update ID."""
    path_mtu: PathMtuSearch | None = None
    """Of the current path; None while nobody asked for it."""
    deadline: float | None = None
    """When R2-SENT is complete, a closed association is forgotten, or E-FAILED ends."""
    last_traffic: float = 0.0
    established_at: float | None = None
    exchange_s: float | None = None

    @property
    def local_hit(self) -> IPv6Address:
        """The own HIT of this association."""
        return self.local.hit

    def next_timer(self, ual_s: float) -> float | None:
        """When something is to be done about it; *ual_s*: lifetime without any traffic."""
        times: list[float] = []
        if self.initiating is not None:
            times.append(self.initiating.retransmission.when)
        if self.closing is not None:
            times.append(self.closing.retransmission.when)
        if self.deadline is not None:
            times.append(self.deadline)
        if self.state is State.ESTABLISHED:
            times.append(self.last_traffic + ual_s)
        if self.path_mtu is not None and self.state in {State.R2_SENT, State.ESTABLISHED}:
            when = self.path_mtu.when
            if when is not None:
                times.append(when)
        return min(times, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationInfo:
    """What others may know of an association."""

    local_hit: IPv6Address
    peer_hit: IPv6Address
    state: State
    path: Path | None
    initiator: bool
    established_at: float | None
    """On the machine's clock."""
    exchange_s: float | None
    """How long the base exchange took."""
    peer_identity: str
    """Kind of the peer's key: "ECDSA P-384", …; empty until known."""
    dh_group: int
    cipher: int
    esp_suite: int
    inbound_spi: int
    outbound_spi: int
    """These five are 0 until agreed."""
    last_traffic: float
    """On the machine's clock; 0 for none."""
