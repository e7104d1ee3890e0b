"""A peer's locators and their states (RFC 8046 §5.1), without any packet."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from hipgw.identity.hit import is_hit
from hipgw.identity.lsi import is_lsi
from hipgw.protocol.path import IPAddress

LOCATORS_MAX = 8
"""Remembered of one peer (RFC 8046 §6.2.2)."""
CANDIDATES_MAX = 2
"""Of these, addresses that the peer has not listed but seems to send from; unverified ones."""
_BROADCAST = IPv4Address("255.255.255.255")


class LocatorState(Enum):
    """State of a peer's locator (RFC 8046 §5.1)."""

    UNVERIFIED = "UNVERIFIED"
    """Nothing has shown yet that the peer is there: only data within its credit may go there."""
    ACTIVE = "ACTIVE"
    DEPRECATED = "DEPRECATED"
    """Not listed any more, or its lifetime is over."""


@dataclass(slots=True, kw_only=True)
class PeerLocator:
    """An address of a peer."""

    address: IPAddress
    port: int
    """UDP port; 0 for plain IP."""
    state: LocatorState = LocatorState.UNVERIFIED
    listed: bool = True
    """False for one that the peer was only seen to send from: the outside of a NAT, say."""
    preferred: bool = False
    spi: int = 0
    """The peer's inbound SPI that it belongs to; 0 if it has not told."""
    expires: float = math.inf

    @property
    def key(self) -> tuple[IPAddress, int]:
        """What names it among the peer's locators."""
        return self.address, self.port


class PeerLocators:
    """The locators of one peer, a bounded number."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[IPAddress, int], PeerLocator] = {}

    def __iter__(self) -> Iterator[PeerLocator]:
        return iter(list(self._known.values()))

    def __len__(self) -> int:
        return len(self._known)

    def get(self, address: IPAddress, port: int) -> PeerLocator | None:
        """One of them."""
        return self._known.get((address, port))

    def at(self, address: IPAddress) -> PeerLocator | None:
        """The first one with an address, whatever its port."""
        return next((one for one in self._known.values() if one.address == address), None)

    def begin(self, address: IPAddress, port: int) -> None:
        """Forget all but the address that a base exchange has proven."""
        proven = PeerLocator(address=address, port=port, state=LocatorState.ACTIVE, listed=False)
        self._known = {proven.key: proven}

    def usable(self) -> list[PeerLocator]:
        """Those that data may go to, in some way: the best first."""
        found = [one for one in self if one.state is not LocatorState.DEPRECATED]
        return sorted(found, key=_rank)

    def announce(self, listed: "list[PeerLocator]", now: float) -> None:
        """Take a LOCATOR_SET (§5.3): it replaces all that was listed before.

        Those on top of `LOCATORS_MAX` are left out.
        """
        for one in self:
            if one.key not in {other.key for other in listed} and one.listed:
                one.state = LocatorState.DEPRECATED
                one.preferred = False
        for new in listed[:LOCATORS_MAX]:
            known = self._known.get(new.key)
            if known is None:
                self._make_room()
                self._known[new.key] = new
                continue
            known.listed, known.preferred, known.spi = True, new.preferred, new.spi
            known.expires = new.expires
            if known.state is LocatorState.DEPRECATED:
                known.state = LocatorState.UNVERIFIED
        self.expire(now)

    def candidate(self, address: IPAddress, port: int) -> PeerLocator:
        """A locator that the peer was seen to send from, remembered now if it was not."""
        known = self._known.get((address, port))
        if known is None:
            # Never one that is verified: strangers who send copies must not push it out.
            others = [
                one for one in self if not one.listed and one.state is not LocatorState.ACTIVE
            ]
            others.sort(key=lambda one: one.state is not LocatorState.DEPRECATED)
            for old in others[: max(0, len(others) - CANDIDATES_MAX + 1)]:
                del self._known[old.key]
            self._make_room()
            known = PeerLocator(address=address, port=port, listed=False)
            self._known[known.key] = known
        elif known.state is LocatorState.DEPRECATED:
            known.state = LocatorState.UNVERIFIED
        return known

    def expire(self, now: float) -> None:
        """Those whose lifetime is over are deprecated."""
        for one in self._known.values():
            if one.expires <= now:
                one.state = LocatorState.DEPRECATED
                one.expires = math.inf

    def next_expiry(self) -> float | None:
        """When the next lifetime ends; None for never."""
        first = min((one.expires for one in self._known.values()), default=math.inf)
        return None if math.isinf(first) else first

    def _make_room(self) -> None:
        if len(self._known) < LOCATORS_MAX:
            return
        rest = [one for one in self if one.state is LocatorState.DEPRECATED]
        rest += [one for one in self if one.state is LocatorState.UNVERIFIED and not one.listed]
        rest += sorted(self, key=_rank, reverse=True)
        del self._known[rest[0].key]


def is_unicast(address: IPAddress) -> bool:
    """Whether it can be the address of one other host in the underlay (§5.2, §5.3)."""
    return not (
        address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or address == _BROADCAST
        or is_hit(address)
        or is_lsi(address)
    )


def _rank(one: PeerLocator) -> tuple[bool, bool, bool, bool]:
    return (
        one.state is LocatorState.DEPRECATED,
        one.state is not LocatorState.ACTIVE,
        not one.preferred,
        not one.listed,
    )
