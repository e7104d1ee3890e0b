"""Registration with a service: what both sides of it share (RFC 8003)."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from hipgw.protocol.path import IPAddress, Path
from hipgw.wire.parameters import RegInfo

if TYPE_CHECKING:
    from hipgw.protocol.nat.ports import RelayedPort

LEAST_MAX_LIFETIME_S = 10.0
"""What both sides have to support at least (RFC 8003 §5)."""

_OFFSET = 64
_STEPS = 8
_CODES = 255


class ServiceType(IntEnum):
    """Registration types."""

    RENDEZVOUS = 1
    """RFC 8004 §4.1."""
    RELAY_UDP_HIP = 2
    """Control relay (RFC 5770 §5.9)."""
    RELAY_UDP_ESP = 3
    """Data relay (RFC 9028 §5.9)."""
    MOBILE_ROUTER = 201
    """Of hipgw's own, from the range for private use (RFC 8003 §7); OpenHIP has another number."""
    MOBILE_NETWORK = 202
    """A mobile router's packets of its own clients as well, by a mobile router that it is inside
    of; of hipgw's own, too."""
    CANDIDATE_DISCOVERY = 4
    """Only asks where a packet was seen to come from (RFC 9028 §4.2)."""


class FailureType(IntEnum):
    """Why a registration is refused (RFC 8003 §4.5)."""

    CREDENTIALS_REQUIRED = 0
    UNAVAILABLE = 1
    INSUFFICIENT_RESOURCES = 2
    INVALID_CERTIFICATE = 3
    BAD_CERTIFICATE = 4
    UNSUPPORTED_CERTIFICATE = 5
    CERTIFICATE_EXPIRED = 6
    CERTIFICATE_OTHER = 7
    UNKNOWN_CA = 8
    SIMULTANEOUS_REGISTRATION = 9
    """Rendezvous and control relay exclude each other (RFC 9028 §7.8)."""


def service_name(reg_type: int) -> str:
    """The name of a registration type, or its number where it has none."""
    try:
        return ServiceType(reg_type).name
    except ValueError:
        return str(reg_type)


def failure_name(failure_type: int) -> str:
    """The name of a failure type, or its number where it has none."""
    try:
        return FailureType(failure_type).name
    except ValueError:
        return str(failure_type)


def lifetime_s(code: int) -> float:
    """Seconds of a lifetime on the wire: 2^((code - 64) / 8), and 0 for 0 (RFC 8003 §4.1)."""
    return 2.0 ** ((code - _OFFSET) / _STEPS) if code else 0.0


def lifetime_code(seconds: float) -> int:
    """The longest lifetime on the wire that is no longer than this; 0 for 0 (RFC 8003 §4.1)."""
    if seconds <= 0:
        return 0
    code = math.floor(_STEPS * math.log2(seconds)) + _OFFSET
    return min(max(code, 1), _CODES)


@dataclass(slots=True)
class Grant:
    """A registration that is in force."""

    reg_type: int
    lifetime_s: float
    expires: float


@dataclass(slots=True)
class Flow:
    """Somebody who speaks to a client by the relay: where to send the client's answers."""

    path: Path
    expires: float
    confirmed: bool = False
    """Whether the client has taken part in more than a first answer."""


@dataclass(slots=True, kw_only=True)
class Granted:
    """What this host has granted to a peer, as registrar."""

    grants: dict[int, Grant] = field(default_factory=dict)
    """By registration type."""
    exclusive: int | None = None
    """The one of rendezvous and control relay that was registered first (RFC 9028 §7.8)."""
    flows: OrderedDict[tuple[IPAddress, int, int], Flow] = field(default_factory=OrderedDict)
    """By address and port of who speaks to the client, and the own port that it came to; the one
    heard last at the end."""
    ports: list["RelayedPort"] = field(default_factory=list)
    """Kept for the client by the data relay."""

    def times(self) -> Iterator[float]:
        """When something expires."""
        for grant in self.grants.values():
            yield grant.expires
        for port in self.ports:
            for permission in port.permissions.values():
                yield permission.expires


@dataclass(slots=True, kw_only=True)
class Held:
    """What a peer has granted to this host, as requester."""

    offer: RegInfo | None = None
    """The peer's latest REG_INFO."""
    grants: dict[int, Grant] = field(default_factory=dict)
    """By registration type."""
    asked: frozenset[int] = frozenset()
    """Types in a request that is not answered yet."""
    asked_again: bool = False
    """A request was acknowledged, but not answered, and was made once more since."""
    mapped: tuple[IPAddress, int] | None = None
    """Where the registrar sees this host (REG_FROM)."""
    relayed: list[tuple[IPAddress, int]] = field(default_factory=list)
    """Addresses that the data relay keeps for this host (RELAYED_ADDRESS)."""
    renew_at: float | None = None
    check_at: float | None = None
    """When to ask a mobile router whether it is there."""
    discover_at: float | None = None
    """When to ask a relay how it sees another own address (CANDIDATE_DISCOVERY)."""
    undiscovered: list[IPAddress] = field(default_factory=list)
    """Own addresses that are still to be asked from this time."""
    resting: dict[IPAddress, tuple[float, float]] = field(default_factory=dict)
    """Those from where no answer comes: when they are tried again, and how long that is."""
    cut_off: bool = False
    """Whether the mobile router has said that it has no network outside."""
    unanswered: bool = False
    """The registrar did not answer a request: the association is worth nothing any more."""

    def times(self) -> Iterator[float]:
        """When something is to be done."""
        if self.renew_at is not None:
            yield self.renew_at
        if self.check_at is not None:
            yield self.check_at
        if self.discover_at is not None:
            yield self.discover_at
        for grant in self.grants.values():
            yield grant.expires


@dataclass(slots=True, kw_only=True)
class Registrations:
    """Registrations between this host and one peer, in both roles."""

    granted: Granted = field(default_factory=Granted)
    held: Held = field(default_factory=Held)

    def times(self) -> Iterator[float]:
        """When something is to be done."""
        yield from self.granted.times()
        yield from self.held.times()

    @property
    def needed_until(self) -> float:
        """The association is kept until then, also without traffic."""
        grants = [*self.granted.grants.values(), *self.held.grants.values()]
        return max((grant.expires for grant in grants), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What this host wants of a registrar."""

    reg_types: tuple[int, ...]
    """The preferred one first."""
    lifetime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationInfo:
    """What others may know of a registration."""

    peer_hit: IPv6Address
    registrar: bool
    """Whether this host is the registrar."""
    reg_type: int
    lifetime_s: float
    expires: float
    """On the machine's clock."""
    mapped: tuple[IPAddress, int] | None
    """Where the registrar sees its client."""
    relayed: tuple[tuple[IPAddress, int], ...]
    """Addresses that a data relay keeps for its client."""
