"""When to send again, and when to give up: one policy for every exchange."""

from collections.abc import Callable

JITTER = 0.1
"""Share of each interval that chance may add, so that peers do not keep step."""


class Retransmission:
    """Exponential back-off with jitter (RFC 7401 §4.4.4 leaves the policy to the host)."""

    __slots__ = ("_interval_s", "_left", "_limit_s", "_random", "when")

    def __init__(
        self,
        now: float,
        *,
        first_s: float,
        limit_s: float,
        retries: int,
        random: Callable[[int], bytes],
    ) -> None:
        """The first transmission has just been made."""
        self._interval_s = first_s
        self._limit_s = limit_s
        self._left = retries
        self._random = random
        self.when = now + self._jittered()
        """When to send again, or to give up."""

    def again(self, now: float) -> bool:
        """Take note that the time has come; False if it was the last."""
        if self._left == 0:
            return False
        self._left -= 1
        self._interval_s = min(self._interval_s * 2, self._limit_s)
        self.when = now + self._jittered()
        return True

    def _jittered(self) -> float:
        return self._interval_s * (1 + JITTER * int.from_bytes(self._random(2), "big") / 65536)
