"""What a host remembers about one peer."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from hipgw.identity.dh import DhKeyPair
from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.keymat import AnyKeymat, EspKeys, HipKeys
from hipgw.identity.rhash import Rhash
from hipgw.protocol.compat import Compat
from hipgw.protocol.locators import PeerLocators
from hipgw.protocol.nat.checks import Checks, Offer
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.path_mtu import PathMtuSearch
from hipgw.protocol.registration import Registrations
from hipgw.protocol.retransmission import Retransmission
from hipgw.protocol.states import State
from hipgw.protocol.update_tasks import UPDATE_IDS, UpdateTask
from hipgw.protocol.versions.base import Choice, Version
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import EspInfo

if TYPE_CHECKING:
    from hipgw.protocol.mobile_router.tickets import LentKey

UPDATE_IDS_REMEMBERED = 256
"""More than connectivity checks can have under way (RFC 9028 §4.6.2)."""
ANSWERS_REMEMBERED = 8
PINGS_OUTSTANDING = 64


@dataclass(slots=True, kw_only=True)
class Rekey:
    """A pair of security associations in the making (RFC 7402 §6.8 to §6.10)."""

    new_spi: int
    """Own new inbound SPI."""
    index: int
    """KEYMAT index proposed; 0 with a new Diffie-Hellman key."""
    own_dh: DhKeyPair | None
    old_spi: int
    """Own inbound SPI that it replaces; 0 for one more pair (RFC 8046 §5.3)."""
    replaces: "SparePair | None" = None
    """Whose keys are renewed, if that is not the pair in use."""
    deadline: float | None = None
    """When the peer, which has acknowledged, should have done its part."""
    restarts: int = 0
    task: UpdateTask | None = None
    """The own UPDATE."""
    acknowledged: bool = False
    peer: EspInfo | None = None
    peer_dh: bytes | None = None
    """The peer's part; None until it came, and for a key that it does not renew."""
    keymat: AnyKeymat | None = field(default=None, repr=False)
    wire_spi: int = 0
    """Of the peer's part."""
    keys: EspKeys | None = field(default=None, repr=False)
    """Once both parts are known: from then on the new inbound one is installed."""


@dataclass(frozen=True, slots=True, eq=False)
class SparePair:
    """A pair of security associations beside the one in use, as the peer has asked for it.

    The inbound one is installed; the outbound one is not, and never was.
    """

    inbound_spi: int
    outbound_spi: int
    wire_spi: int
    """As in `Session`."""
    keys: EspKeys = field(repr=False)


@dataclass(slots=True)
class Retired:
    """An inbound security association that was replaced and takes stragglers."""

    spi: int
    until: float


@dataclass(slots=True, kw_only=True)
class Session:
    """The keys and choices that one base exchange, and rekeying since, led to."""

    version: Version
    compat: Compat
    peer: HostIdentity
    choice: Choice
    puzzle_hash: Rhash
    """What every KEYMAT of the association is made with."""
    rhash: Rhash
    """What MACs are made with."""
    hip_keys: HipKeys
    esp_keys: EspKeys
    dh_group: int
    inbound_spi: int
    outbound_spi: int = 0
    """0 until the peer has told it."""
    solution: bytes = b""
    """Names the I2 this came from, at the Responder."""
    keymat: AnyKeymat = field(repr=False)
    """In force, drawn from up to its index."""
    wire_spi: int = 0
    """What is put on the wire instead of `outbound_spi`: what the peer's mobile router is lent."""
    wire_spi_before: int = 0
    """The same of the security association that this one has replaced; 0 if none."""
    stun_password: bytes = field(default=b"", repr=False)
    """Of connectivity checks by STUN, for both ends; empty if there are none (RFC 5770 §5.2)."""
    lent_key: "LentKey | None" = None
    """For a mobile router of OpenHIP's kind, if there is one at either end."""
    tickets: int = 0
    """Made for own mobile routers, in all."""
    ticket_ends: float = 0.0
    ticket_renew_at: float | None = None
    """None while none is in force."""
    behind_router: bool = False
    """Whether a mobile router has been on the peer's side of the path, as it looks."""
    has_left: bool = False
    """Whether the peer has been behind a router, and told itself since that it is elsewhere."""
    silent_at: float | None = None
    """When the peer's router has said last that it has a network and the peer does not answer."""
    proxied: tuple[int, int] = (0, -1)
    """Greatest ticket of the peer that was used, and the greatest number of its UPDATEs."""
    salt: tuple[bytes, bytes]
    """I and J of the puzzle: they go into every KEYMAT of the association (RFC 7402 §6.10)."""
    own_dh: DhKeyPair
    peer_dh: bytes
    """The Diffie-Hellman keys in force: rekeying may renew either alone."""
    rekey: Rekey | None = None
    rekey_at: float | None = None
    """When the keys' lifetime is over; None for never."""
    rekeyed: int = 0
    """How often."""
    retired: list[Retired] = field(default_factory=list)
    spares: list[SparePair] = field(default_factory=list)
    """That the peer may send by as well, the newest last."""
    r2: bytes = b""
    """The R2 sent, to be sent again when the I2 comes again; empty for the Initiator."""

    # UPDATE (RFC 7401 §6.11, §6.12)
    next_update_id: int = 0
    seen_update_ids: list[int] = field(default_factory=list)
    highest_update_id: int = -1
    answers: OrderedDict[int, tuple[bytes, Path]] = field(default_factory=OrderedDict)
    """By the peer's Update ID: what was answered, for when it comes again."""
    probe_octets: int = 0
    """Of a probe without padding; 0 until one was made."""
    keepalive: bytes = b""
    """The NOTIFY that keeps NATs in mind; empty until one was made."""

    @property
    def esp_suite(self) -> int:
        """The ESP suite."""
        return self.choice.esp_suite

    @property
    def label(self) -> int:
        """`wire_spi` if that is another than the SPI, else 0."""
        return self.wire_spi if self.wire_spi != self.outbound_spi else 0

    @property
    def by_router(self) -> bool:
        """Whether a mobile router at either end has left anything to be remembered."""
        return (
            self.label > 0 or self.lent_key is not None or self.tickets > 0 or self.proxied[0] > 0
        )

    def times(self) -> Iterator[float]:
        """When something is to be done about its keys."""
        if self.rekey is not None:
            if self.rekey.deadline is not None:
                yield self.rekey.deadline
        elif self.rekey_at is not None:
            yield self.rekey_at
        for old in self.retired:
            yield old.until
        if self.ticket_renew_at is not None:
            yield self.ticket_renew_at

    def other_inbound_spis(self) -> list[int]:
        """Those of inbound security associations that are installed, but not in force."""
        spis = [old.spi for old in self.retired]
        spis += [spare.inbound_spi for spare in self.spares]
        if self.rekey is not None and self.rekey.keys is not None:
            spis.append(self.rekey.new_spi)
        return spis

    def spare_of(self, outbound_spi: int) -> SparePair | None:
        """The pair that is not in use and has this SPI at the peer."""
        return next((one for one in self.spares if one.outbound_spi == outbound_spi), None)

    def take_update_id(self) -> int:
        """The next one."""
        taken = self.next_update_id
        self.next_update_id = (taken + 1) % UPDATE_IDS
        return taken

    def remember_answer(self, update_id: int, answer: bytes, path: Path) -> None:
        """Keep an answer for as long as its request is likely to come again."""
        self.answers[update_id] = answer, path
        while len(self.answers) > ANSWERS_REMEMBERED:
            self.answers.popitem(last=False)


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
    recalls: bool = False
    """Whether the peer is a client of this host, which has lost its memory of it."""
    offer: Offer | None = None
    """What I2 says of this host's transport addresses, if there are to be checks."""
    notified: str = ""
    """The last error the peer sent, for people."""
    refused: str = ""
    """Why the last R1 was of no use, for people; it need not have come from the peer."""


@dataclass(slots=True, kw_only=True)
class ClosingExchange:
    """A CLOSE that is not acknowledged yet."""

    packet: bytes
    nonce: bytes
    retransmission: Retransmission


@dataclass(slots=True, kw_only=True)
class Mobility:
    """Where both ends of an association are (RFC 8046 §5)."""

    locators: PeerLocators = field(default_factory=PeerLocators)
    """The peer's."""
    home: tuple[Path, ...] = ()
    """Where the peer was called first: tried when all else fails."""
    rendezvous: tuple[Path, ...] = ()
    """Where it was called that it is not: rendezvous servers, which pass UPDATEs on as well."""
    verified: bool = True
    """Whether the current path's remote address is; else data is bound by credit (§5.6)."""
    preferred: IPAddress | None = None
    """The own address that this host wants to be written to at."""
    announced: tuple[IPAddress, ...] = ()
    """Own addresses that the peer was told last, the preferred one first."""
    announcement: UpdateTask | None = None
    changed: bool = False
    """Own addresses have changed since they were looked at for this peer."""
    family: int | None = None
    """IP version of the base exchange, which goes first."""
    moved: bool = False
    """The own address that the peer knew is gone, and the peer has not acknowledged the new one."""
    heard_at: float = 0.0
    """When the last new UPDATE of the peer came, or data while data went there."""
    moving_to: Path | None = None
    """The path that the data goes by once the announcement is acknowledged along it."""
    challenges: dict[tuple[IPAddress, int], UpdateTask] = field(default_factory=dict)
    """Echo requests under way, by the locator that they verify."""
    search: list[UpdateTask] = field(default_factory=list)
    """Echo requests along all pairs of addresses, as the current one is silent."""
    applied_update_id: int = -1
    """Of the newest LOCATOR_SET that was taken."""
    reconsider_at: float | None = None
    """When to look whether there is anything to announce, or a better path."""
    better_at: float | None = None
    """When to try a path that would be preferred to the one in use."""
    returning: int = 0
    """Answers in a row along the best path, while another one is in use."""
    check_from: float = 0.0
    """When the current path may be checked again, if there is a reason."""
    keepalive_at: float | None = None
    mapped: tuple[IPAddress, int] | None = None
    """Own address and port as the peer sees them; None until it has told."""

    def times(self) -> Iterator[float]:
        """When something is to be done about it."""
        if self.reconsider_at is not None:
            yield self.reconsider_at
        if self.better_at is not None:
            yield self.better_at
        if self.keepalive_at is not None:
            yield self.keepalive_at
        if (expiry := self.locators.next_expiry()) is not None:
            yield expiry


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
    updates: dict[int, UpdateTask] = field(default_factory=dict)
    """Own UPDATEs that wait for their acknowledgement, by Update ID."""
    rtt: float | None = None
    """Estimate of the round-trip time in seconds; None before the first UPDATE was answered."""
    mobility: Mobility = field(default_factory=lambda: Mobility())
    checks: Checks | None = None
    """For a path between two hosts behind NATs; None if they did not need any."""
    registrations: Registrations = field(default_factory=Registrations)
    path_mtu: PathMtuSearch | None = None
    """Of the current path; None while nobody asked for it."""
    rest_at: float | None = None
    """When this client of a rendezvous server may be put into compact form; None for never."""
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
        if self.rest_at is not None:
            times.append(self.rest_at)
        if self.state is State.ESTABLISHED:
            times.append(max(self.last_traffic + ual_s, self.registrations.needed_until))
        if self.state in {State.R2_SENT, State.ESTABLISHED}:
            if self.path_mtu is not None and (when := self.path_mtu.when) is not None:
                times.append(when)
            times += [task.retransmission.when for task in self.updates.values()]
            times += self.mobility.times()
            times += self.registrations.times()
            if self.checks is not None:
                times += self.checks.times()
            if self.session is not None:
                times += self.session.times()
        return min(times, default=None)
