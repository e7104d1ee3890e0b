"""Associations as others may see them."""

from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from hipgw.protocol.association import Association
from hipgw.protocol.core import Core
from hipgw.protocol.locators import PeerLocator
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.states import State


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
    version: int
    """Of HIP."""
    compat: str
    """Name of the profile of the peer's deviations."""
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
    rekeyed: int
    """How often the keys were renewed."""
    rtt: float | None
    """Seconds; None while it was not measured."""
    path_verified: bool
    locators: tuple[PeerLocator, ...]
    """Where the peer can be reached."""
    mapped: tuple[IPAddress, int] | None
    """Own address and port as the peer sees them; None if it has not told."""


def describe(core: Core, association: Association) -> AssociationInfo:
    """An association as it is now."""
    session = association.session
    # What will be used is of interest most while there is no session yet.
    compat = session.compat if session else core.config.compat(association.peer_hit)
    return AssociationInfo(
        local_hit=association.local_hit,
        peer_hit=association.peer_hit,
        state=association.state,
        path=association.path,
        initiator=association.initiator,
        established_at=association.established_at,
        exchange_s=association.exchange_s,
        version=association.local.version,
        compat=compat.name,
        peer_identity=session.peer.describe() if session else "",
        dh_group=session.dh_group if session else 0,
        cipher=session.choice.cipher if session else 0,
        esp_suite=session.esp_suite if session else 0,
        inbound_spi=session.inbound_spi if session else 0,
        outbound_spi=session.outbound_spi if session else 0,
        last_traffic=association.last_traffic,
        rekeyed=session.rekeyed if session else 0,
        rtt=association.rtt,
        path_verified=association.mobility.verified,
        locators=tuple(replace(one) for one in association.mobility.locators),
        mapped=association.mobility.mapped,
    )
