"""What a mobile router keeps of its clients, and what it tells of them."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.protocol.association import Association
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.mobile_router.transit import Place

Hits = tuple[IPv6Address, IPv6Address]
"""Of the client, or of one of its guests, and of the correspondent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """What others may know of a client."""

    hit: IPv6Address
    place: Place | None
    """Where it is inside; None once it is registered no more."""
    correspondents: int
    tickets: int
    """Of these, for how many the router may speak."""
    begun: int
    """Base exchanges under way."""
    guests: int
    """Clients of it, as it is a mobile router itself."""
    packets_in: int
    packets_out: int
    """HIP packets that were passed on."""


@dataclass(slots=True)
class Client:
    """What is kept of a registered client; where it is, its association tells."""

    begun: OrderedDict[Hits, Flow] = field(default_factory=OrderedDict)
    """Base exchanges that are not over, the oldest first."""
    done: dict[Hits, Flow] = field(default_factory=dict)
    called: OrderedDict[Hits, tuple[int, ...]] = field(default_factory=OrderedDict)
    """SPIs in I2 of strangers, whom the client may take; the oldest first."""
    callers: OrderedDict[Hits, Place] = field(default_factory=OrderedDict)
    """Where strangers are who have no address of the client's IP version; the oldest first."""
    guests: Counter[IPv6Address] = field(default_factory=Counter)
    """Flows of those that this client, itself a router, has as clients."""
    packets: Counter[str] = field(default_factory=Counter)
    """HIP packets passed on, "in" and "out"."""


def describe(hit: IPv6Address, client: Client, association: Association | None) -> ClientInfo:
    """A client as others may see it; *association*: while it is registered."""
    path = association.path if association is not None else None
    return ClientInfo(
        hit=hit,
        place=Place(path.remote, path.transport, path.remote_port) if path else None,
        correspondents=len(client.done),
        guests=len(client.guests),
        tickets=sum(flow.ticket is not None for flow in client.done.values()),
        begun=len(client.begun),
        packets_in=client.packets["in"],
        packets_out=client.packets["out"],
    )
