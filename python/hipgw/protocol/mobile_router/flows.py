"""What a mobile router knows of a client and one of its correspondents."""

from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.identity.rhash import Rhash
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import Transport
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
    places: tuple[Place, ...]
    """Where the correspondent may be, taken in turn."""
    retransmission: Retransmission
    packet: bytes = b""
    transmissions: int = 0


@dataclass(slots=True, kw_only=True)
class Lent:
    """An SPI of a client, and what it is outside."""

    private: int
    public: int
    until: float | None = None
    """When it goes; None for the one in use."""


@dataclass(slots=True, kw_only=True, eq=False)
class Flow:
    """A client and a correspondent."""

    client_hit: IPv6Address
    peer_hit: IPv6Address
    version: int
    client: Place
    """Where the client's packets come from."""
    shown: Place
    """Where the client writes to."""
    transport: Transport
    """What carries its packets outside."""
    peer: dict[int, Place] = field(default_factory=dict)
    """Where the correspondent is, by IP version, as the client or the correspondent has proven."""
    claimed: dict[int, Place] = field(default_factory=dict)
    """Where else it may be: nobody has proven that."""
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
    offered_spis: OrderedDict[int, int] = field(default_factory=OrderedDict)
    """Those in its UPDATEs that the client has not acknowledged yet, by Update ID."""
    i2: bytes = b""
    """Names the I2 that was seen last."""
    copies: int = 0
    """Of it."""
    knows: bool = False
    """Whether the correspondent has probably seen what SPI it is lent."""
    outside: Place | None = None
    """Where the correspondent was told, or has seen, that the client is."""
    ticket: Ticket | None = None
    proxy: Proxy | None = None

    @property
    def peer_spis(self) -> tuple[int, ...]:
        """What the client's packets may bear."""
        return tuple(dict.fromkeys((*self.proven_spis, *self.offered_spis.values())))
