"""Own addresses as servers outside of the NATs see them, for candidates (RFC 9028 §4.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from hipgw.protocol.path import IPAddress

Endpoint = tuple[IPAddress, int]

ADDRESSES_MAX = 16
"""Further ones push the oldest out."""


@dataclass(frozen=True, slots=True)
class Reflexive:
    """How one server sees an own transport address."""

    local: Endpoint
    server: Endpoint
    mapped: Endpoint


class ReflexiveAddresses:
    """What was told lately: by each server one for each own address, each for a time."""

    def __init__(self) -> None:
        self._known: dict[tuple[Endpoint, Endpoint], tuple[Reflexive, float]] = {}
        """With its end, by own address and server; what was told last stands last."""

    def learn(self, seen: Reflexive, expires: float) -> None:
        """A server tells; what it told before is void."""
        key = (seen.local, seen.server)
        self._known.pop(key, None)
        self._known[key] = (seen, expires)
        if len(self._known) > ADDRESSES_MAX:
            del self._known[next(iter(self._known))]

    def keep_only(self, addresses: Iterable[IPAddress]) -> None:
        """Forget what was seen of other own addresses than these."""
        kept = set(addresses)
        self._known = {key: one for key, one in self._known.items() if key[0][0] in kept}

    def current(self, now: float) -> list[Reflexive]:
        """All that still count, what was told last first."""
        self._known = {key: one for key, one in self._known.items() if one[1] > now}
        return [seen for seen, _ in reversed(self._known.values())]
