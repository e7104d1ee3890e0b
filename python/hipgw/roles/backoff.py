"""How long to wait before trying a peer again."""

from collections.abc import Callable

FIRST_S = 1.0
LONGEST_S = 60.0
JITTER = 0.25
"""Share of the delay that chance takes off, so that the sites of a fleet do not try in step."""


class BackOff:
    """Delays that double from a second to a minute, each shortened by up to a quarter."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._next_s = FIRST_S

    def failed(self) -> float:
        """Seconds to wait before the next try."""
        delay = self._next_s
        self._next_s = min(self._next_s * 2, LONGEST_S)
        chance = int.from_bytes(self._random(2)) / 65536
        return delay * (1 - JITTER * chance)

    def succeeded(self) -> None:
        """Begin anew with the shortest delay."""
        self._next_s = FIRST_S
