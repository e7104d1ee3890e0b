"""What a mobile router knows of a client and one of its correspondents."""

from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.identity.rhash import Rhash
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import IPAddress, Transport
from hipgw.protocol.retransmission import Retransmission
from hipgw.wire.parameters import AuthTicket


@dataclass(slots=True)
class Ticket:
    """A client's ticket for one correspondent."""

    shown: AuthTicket
    key: bytes = field(repr=False)
    rhash: Rhash
    numbered: bool
    """Whether it is of hipgw's kind."""
    next_number: int = 0
    """Of UPDATEs by it."""


@dataclass(slots=True)
class Proxy:
    """An UPDATE in a client's name that is not answered yet."""

    number: int
    """Of hipgw's kind: what an ACK has to name."""
    source: Place
    shown: IPAddress
    """Where the client is said to be."""
    places: tuple[Place, ...]
    """Where the correspondent may be, taken in turn."""
    retransmission: Retransmission
    sent: float
    """When, for the first time."""
    packet: bytes = b""
    transmissions: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """What an UPDATE of a correspondent says; it is true once the client acknowledges it."""

    source: Place
    """Where it came from."""
    nonces: tuple[bytes, ...] = ()
    """Of its echo requests."""
    spi: int = 0
    """By which it takes data from now on; 0 for the same as before."""
    listed: tuple[Place, ...] = ()
    """Where it can be reached."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an UPDATE or I2 of a client changes, once the correspondent has answered it.

    Who is inside as well can forge one.
    """

    client: Place
    shown: Place
    to: Place
    """Where it went."""
    spi: int = 0
    """By which the client takes data from then on; 0 for the same as before."""


@dataclass(slots=True)
class Unanswered:
    """A correspondent's questions since the client has sent anything."""

    since: float
    """When the first of them came."""
    last: float = 0.0
    questions: int = 0
    told: float = 0.0
    """When the correspondent was told last that the client is silent."""


@dataclass(slots=True, kw_only=True)
class Lent:
    """An SPI of a client, and what it is outside."""

    private: int
    public: int
    until: float | None = None
    """When it goes; None for the one in use."""
    proven: bool = False
    """Whether the correspondent, or the client by its association, has shown that it is genuine."""


@dataclass(slots=True, kw_only=True, eq=False)
class Flow:
    """A client and a correspondent."""

    holder: IPv6Address
    """The registered client that it counts for: this one, or the router that this one is behind."""
    client_hit: IPv6Address
    peer_hit: IPv6Address
    version: int
    client: Place
    """Where the client's packets come from."""
    shown: Place
    """Where the client writes to."""
    carried: Transport
    """What carries its packets inside, as the client began."""
    fixed: bool = False
    """Whether nothing else can: the client is OpenHIP, which expects that."""
    transport: Transport = Transport.UDP
    """What carries them outside."""
    settled: bool = True
    """Whether that is known to get there from where the router is."""
    peer: dict[int, Place] = field(default_factory=dict)
    """Where the correspondent is, by IP version, as the client or the correspondent has proven."""
    claimed: dict[int, Place] = field(default_factory=dict)
    """Where else it says that it is."""
    resumed: bool = False
    """Whether its base exchange was elsewhere: the client has brought it, or the router forgot."""
    servers: dict[int, Place] = field(default_factory=dict)
    """A rendezvous server of the correspondent, by IP version, as its R1 names it."""
    done: bool = False
    """Whether its base exchange is over."""
    touched: float = 0.0
    lent: list[Lent] = field(default_factory=list)
    """The one in use last."""
    proven_spis: list[int] = field(default_factory=list)
    """The correspondent's, as the client takes them for genuine, the newest last."""
    seen_spis: list[int] = field(default_factory=list)
    """What may be further ones: anybody could have said so."""
    answers_wanted: int = 0
    """R2 that may yet tell an SPI, as the client has sent an I2."""
    offers: OrderedDict[int, list[Offer]] = field(default_factory=OrderedDict)
    """What its UPDATEs say that the client has not acknowledged yet, by Update ID; several if
    somebody else has forged one."""
    changes: OrderedDict[int, list[Change]] = field(default_factory=OrderedDict)
    """By Update ID, -1 for an I2: what no correspondent has answered yet."""
    i2: bytes = b""
    """Names the I2 that was seen last."""
    copies: int = 0
    """Of it."""
    knows: bool = False
    """Whether the correspondent has probably seen what SPI it is lent."""
    asked: OrderedDict[bytes, Place] = field(default_factory=OrderedDict)
    """Echoes on their way to where nobody has proven the correspondent to be."""
    astray: bool = False
    """Whether the client was seen to be elsewhere."""
    closing: bool = False
    """Whether the client has said CLOSE."""
    outside: Place | None = None
    """Where its packets leave from."""
    told: Place | None = None
    """Where the client is, as a router that this one is inside of has it; None for `outside`."""
    timed: tuple[int, float | None] | None = None
    """Number of a packet of the client that is to be answered, -1 for an I2, and when it left, None
    if it has left again since."""
    rtt: float | None = None
    """Estimate of how long the correspondent takes to answer, in seconds; None before it has."""
    reminded: float = 0.0
    """When the correspondent was told last where the client is."""
    unanswered: Unanswered | None = None
    ticket: Ticket | None = None
    proxy: Proxy | None = None

    @property
    def current(self) -> Lent:
        """The SPI in use, of those in `lent`."""
        return next((one for one in reversed(self.lent) if one.proven), self.lent[-1])

    @property
    def hits(self) -> tuple[IPv6Address, IPv6Address]:
        """Of both."""
        return self.client_hit, self.peer_hit

    @property
    def peer_spis(self) -> tuple[int, ...]:
        """What the client's packets may bear."""
        return tuple(dict.fromkeys((*self.proven_spis, *self.seen_spis)))
