"""What can be set about relays and NAT traversal."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address

from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.path import IPAddress
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.rendezvous.config import RendezvousConfig


class NatMode(IntEnum):
    """NAT traversal modes (RFC 9028 §5.4)."""

    UDP_ENCAPSULATION = 1
    """The Responder can be reached as it is: no checks."""
    ICE_STUN_UDP = 2
    """Connectivity checks by STUN messages find a path (RFC 5770)."""
    ICE_HIP_UDP = 3
    """Connectivity checks by HIP packets do."""


CHECKED = frozenset({NatMode.ICE_STUN_UDP, NatMode.ICE_HIP_UDP})
"""Modes with connectivity checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatConfig:
    """Settings of NAT traversal; all times in seconds."""

    modes: tuple[int, ...] = (
        NatMode.UDP_ENCAPSULATION,
        NatMode.ICE_HIP_UDP,
        NatMode.ICE_STUN_UDP,
    )
    """Offered and accepted, the preferred one first (RFC 9028 §4.3); empty: no negotiation."""
    pacing_s: float = 0.05
    """Least time between two connectivity checks (Ta, RFC 9028 §4.4); at least 0.005, and 0.02
    for those by STUN (RFC 5770 §4.4)."""
    pairs_max: int = 100
    """Candidate pairs that are checked for one peer (RFC 9028 §4.6.2)."""


def _nobody(_hit: IPv6Address) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a service is granted that has others than the registrar's; times in seconds."""

    allow: Callable[[IPv6Address], bool] = _nobody
    min_lifetime_s: float = 10.0
    max_lifetime_s: float = 600.0
    clients_max: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarConfig:
    """Services that this host offers, and to whom; all times in seconds."""

    services: tuple[int, ...] = (ServiceType.RELAY_UDP_HIP,)
    """Offered in R1 (RFC 8003 §4.2)."""
    allow: Callable[[IPv6Address], bool] = _nobody
    """Who may register."""
    min_lifetime_s: float = 10.0
    max_lifetime_s: float = 600.0
    clients_max: int = 1024

    packets_per_source: int = 50
    """HIP packets a second that are relayed for one address."""
    packets_per_client: int = 500
    """HIP packets a second that are relayed to or for one client."""
    flows_per_client: int = 256
    """Addresses that can speak to one client at the same time."""

    rendezvous: RendezvousConfig | None = None
    """Of the rendezvous server, if this host is one: its own terms."""

    mobile_router: MobileRouterConfig | None = None
    """Of the mobile router, if this host is one."""
    mobile_router_terms: Terms | None = None
    """Its own, if they are not those of the registrar."""

    relayed: tuple[tuple[IPAddress, int], ...] = ()
    """Addresses and ports of the data relay: one at a time is lent to a client."""
    ports_per_client: int = 4
    permissions_per_client: int = 64
    octets_per_s: int = 0
    """Data that is relayed for one client in each direction; 0 for no limit."""
