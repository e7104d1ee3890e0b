"""What a source of names answers: the DNS, a DHT, a fleet's directory, what was known last."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

IPAddress = IPv4Address | IPv6Address


class Provenance(Enum):
    """How far an answer can be trusted to be about the one who is meant, the best first.

    The base exchange proves that a peer has the key of a HIT, whatever told the HIT; that the HIT
    belongs to a name is only as certain as the source.
    """

    CONFIGURED = "configured"
    """It stands in this machine's own configuration."""
    OPERATOR_SIGNED = "operator-signed"
    """The operator of the fleet has signed it."""
    SELF_SIGNED = "self-signed"
    """The owner of the HIT has signed it (RFC 6537 §3): good for addresses, not for names."""
    DNSSEC = "dnssec"
    """The resolver has validated it (the AD bit of a trusted resolver, RFC 4035 §3.2.3)."""
    UNSIGNED = "unsigned"
    """Anybody on the way can have made it up."""


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """A rendezvous server that a peer can be called by (RFC 8004)."""

    addresses: tuple[IPAddress, ...]
    """In order of preference."""
    name: str = ""
    """Its domain name, if that is how it was found; the peer's name if it is configured."""
    port: int = 10500
    """Its UDP port; that of HIP (RFC 9028 §4.1) unless the configuration says otherwise."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one source knows of one peer. Nothing in it is proven but what `provenance` says."""

    hit: IPv6Address
    source: str
    """The source's name, as in `naming.order`."""
    provenance: Provenance
    ttl_s: float
    """How long it may be used without asking again."""
    name: str = ""
    """Without the `.hip` suffix; empty if the source was asked by HIT and knows none."""
    addresses: tuple[IPAddress, ...] = ()
    """Where to send the first packet, in order of preference."""
    rendezvous: tuple[Rendezvous, ...] = ()
    """In order of preference (RFC 8005 §4); to be tried before `addresses`."""
    udp: bool | None = None
    """Whether it is reached inside UDP; None if the source does not tell."""
    port: int | None = None
    """Its UDP port; None if the source does not tell."""
    other_hits: tuple[IPv6Address, ...] = ()
    """HITs of the same key in other versions of HIP."""


class Source(Protocol):
    """One place to look peers up in.

    An answer of nobody is an empty sequence. A source that cannot be asked just now (no network,
    no server) raises NamingError, so that silence is not taken for absence. Callers bound the time
    by cancelling. Sources keep no cache of their own: the resolver does.
    """

    name: str

    async def by_name(self, name: str) -> Sequence[Found]:
        """Look up a name, given without the `.hip` suffix and without a final dot."""

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        """Look up where a HIT can be reached."""
