"""How often something may happen for each of many keys, in bounded memory."""

from collections.abc import Hashable


class RateLimit:
    """Counts events a key in each second; forgets everything when the second is over.

    When the table is full, keys that are new in this second are refused: an attacker who can
    forge addresses spends it on forged ones, known ones go on.
    """

    def __init__(self, per_second: int, keys_max: int = 4096) -> None:
        self._per_second = per_second
        self._keys_max = keys_max
        self._second = -1
        self._counts: dict[Hashable, int] = {}

    def allow(self, key: Hashable, now: float) -> bool:
        """Count one event; False if it is one too many."""
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        count = self._counts.get(key, 0)
        if count >= self._per_second or (count == 0 and len(self._counts) >= self._keys_max):
            return False
        self._counts[key] = count + 1
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
