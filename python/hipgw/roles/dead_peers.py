"""Finds out that a peer is gone, by traffic that is not answered.

A peer that was restarted without its state drops what is sent to it, and may have no address to
call back at. So whoever sends to a peer and hears nothing asks it, by an authenticated echo. If
that is not answered either, it may be the path that is dead: another one is looked for meanwhile.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import NamedTuple

LOOK_S = 2.0
"""How often to look."""
SILENCE_S = 5.0
"""Without a packet from a peer to which packets go for this long, it is asked."""
SEARCH_AFTER = 1
"""Unanswered questions after which other paths are tried."""
ASKED_MAX = 5
"""Unanswered questions, one each time that is looked, after which it is given up. The search for
another path needs a few seconds of that."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What flowed lately between this host and a peer; seconds, None for never."""

    peer_hit: IPv6Address
    sent_s: float | None
    received_s: float | None


class Findings(NamedTuple):
    """What is to be done about silent peers."""

    ask: list[IPv6Address]
    """An echo is to be sent to these."""
    search: list[IPv6Address]
    """Other paths to these are to be tried."""
    dead: list[IPv6Address]
    """These are to be given up."""


class DeadPeerDetection:
    """Decides whom to ask and whom to give up; keeps one number for each silent peer."""

    def __init__(self) -> None:
        self._asked: dict[IPv6Address, int] = {}

    def look(self, traffic: Iterable[Traffic]) -> Findings:
        """To be called every `LOOK_S` with what flowed."""
        found = Findings([], [], [])
        silent: dict[IPv6Address, int] = {}
        for entry in traffic:
            hit = entry.peer_hit
            sending = entry.sent_s is not None and entry.sent_s < SILENCE_S
            hearing = entry.received_s is not None and entry.received_s < SILENCE_S
            if hearing or not (sending or hit in self._asked):
                continue
            asked = self._asked.get(hit, 0)
            if asked >= ASKED_MAX:
                found.dead.append(hit)
                continue
            if asked >= SEARCH_AFTER:
                found.search.append(hit)
            found.ask.append(hit)
            silent[hit] = asked + 1
        self._asked = silent
        return found

    def answered(self, hit: IPv6Address) -> None:
        """A peer is there, whatever its silence means."""
        self._asked.pop(hit, None)
