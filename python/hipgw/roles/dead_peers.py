"""Finds out that a peer is gone, by traffic that is not answered.

A peer that was restarted without its state drops what is sent to it, and may have no address to
call back at. So whoever sends to a peer and hears nothing asks it, by an authenticated echo.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address

LOOK_S = 2.0
"""How often to look."""
SILENCE_S = 5.0
"""Without a packet from a peer to which packets go for this long, it is asked."""
ASKED_MAX = 3
"""Unanswered questions, one each time that is looked, after which it is given up."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What flowed lately between this host and a peer; seconds, None for never."""

    peer_hit: IPv6Address
    sent_s: float | None
    received_s: float | None


class DeadPeerDetection:
    """Decides whom to ask and whom to give up; keeps one number for each silent peer."""

    def __init__(self) -> None:
        self._asked: dict[IPv6Address, int] = {}

    def look(self, traffic: Iterable[Traffic]) -> tuple[list[IPv6Address], list[IPv6Address]]:
        """Return the peers to ask and those to give up."""
        ask: list[IPv6Address] = []
        dead: list[IPv6Address] = []
        silent: dict[IPv6Address, int] = {}
        for entry in traffic:
            hit = entry.peer_hit
            sending = entry.sent_s is not None and entry.sent_s < SILENCE_S
            hearing = entry.received_s is not None and entry.received_s < SILENCE_S
            if hearing or not (sending or hit in self._asked):
                continue
            asked = self._asked.get(hit, 0)
            if asked >= ASKED_MAX:
                dead.append(hit)
            else:
                ask.append(hit)
                silent[hit] = asked + 1
        self._asked = silent
        return ask, dead

    def answered(self, hit: IPv6Address) -> None:
        """A peer is there, whatever its silence means."""
        self._asked.pop(hit, None)
