"""How often something may happen for each of many keys, in fixed memory."""

from collections.abc import Hashable
from ipaddress import IPv4Address, IPv6Address

BUCKETS = 8192


def source_key(address: IPv4Address | IPv6Address) -> Hashable:
    """What counts as one source: an IPv4 address, or an IPv6 network of 64 bits."""
    return address.packed[:8] if isinstance(address, IPv6Address) else address.packed


class RateLimit:
    """Counts events by key in each second; forgets everything when the second is over.

    Keys share buckets by a hash that outsiders do not know. Somebody who forges addresses spreads
    over all buckets, and needs `per_second` packets for each of them to shut others out.
    """

    def __init__(self, per_second: int, secret: bytes) -> None:
        self._per_second = per_second
        self._secret = secret
        self._second = -1
        self._counts: dict[int, int] = {}

    def allow(self, key: Hashable, now: float) -> bool:
        """Count one event; False if it is one too many."""
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        bucket = hash((self._secret, key)) % BUCKETS
        count = self._counts.get(bucket, 0)
        if count >= self._per_second:
            return False
        self._counts[bucket] = count + 1
        return True


class Meter:
    """Events a second, as of the last second that is over or the current one, if greater."""

    def __init__(self) -> None:
        self._second = -1
        self._current = 0
        self._last = 0

    def count(self, now: float) -> None:
        """Note one event."""
        self._roll(now)
        self._current += 1

    def rate(self, now: float) -> int:
        """Events a second."""
        self._roll(now)
        return max(self._current, self._last)

    def _roll(self, now: float) -> None:
        second = int(now)
        if second != self._second:
            self._last = self._current if second == self._second + 1 else 0
            self._current = 0
            self._second = second
