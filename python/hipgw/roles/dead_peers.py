"""Finds out that a peer is gone, by traffic that is not answered.

A peer that was restarted without its state drops what is sent to it, and may have no address to
call back at. So whoever sends to a peer and hears nothing asks it, by an authenticated echo. If
that is not answered either, it may be the path that is dead: another one is looked for meanwhile.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import NamedTuple

LOOK_S = 0.5
"""How often to look; with thousands of peers less often, see `look_interval`."""
SILENCE_S = 1.5
"""Without a packet from a peer to which packets go for this long, it is asked."""
ASK_S = 1.0
"""Between questions."""
SEARCH_S = 1.0
"""After the first unanswered question, until other paths are tried."""
SEARCH_AGAIN_S = 3.0
"""Until they are tried once more."""
DEAD_S = 12.0
"""After the first unanswered question, until a peer is given up. It takes a restarted peer's
neighbours as long to notice; a search for another path needs a few seconds of it."""
AWAY_S = 120.0
"""The same for a peer that has a mobile router at either end, which may be without a network."""
ASKED_AT_ONCE = 200
"""Peers asked each time: each question costs a signature."""


def look_interval(associations: int) -> float:
    """Seconds until the next look, so that looking takes a few percent of one core at most."""
    return min(5.0, max(LOOK_S, associations / 2000))


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


@dataclass(slots=True)
class _Silent:
    """A peer that has been asked and has not answered."""

    since: float
    asked: float
    searched: float | None = None


class DeadPeerDetection:
    """Decides whom to ask and whom to give up; remembers peers that are silent."""

    def __init__(self) -> None:
        self._silent: dict[IPv6Address, _Silent] = {}
        self._answered: dict[IPv6Address, float] = {}
        """When those that only answer questions did so last."""

    def look(
        self,
        traffic: Iterable[Traffic],
        now: float,
        may_be_away: Callable[[IPv6Address], bool] = lambda _hit: False,
    ) -> Findings:
        """To be called every `look_interval` with what flowed; *now* in seconds of any clock.

        *may_be_away*: whether there is a mobile router between this host and a peer.
        """
        found = Findings([], [], [])
        before, self._silent = self._silent, {}
        self._answered = {
            hit: when for hit, when in self._answered.items() if now < when + SILENCE_S
        }
        for entry in traffic:
            hit = entry.peer_hit
            sending = entry.sent_s is not None and entry.sent_s < SILENCE_S
            hearing = entry.received_s is not None and entry.received_s < SILENCE_S
            silent = before.get(hit)
            if hearing or hit in self._answered or not (sending or silent):
                continue
            if silent is None:
                if len(found.ask) < ASKED_AT_ONCE:
                    found.ask.append(hit)
                    self._silent[hit] = _Silent(now, now)
                continue
            if now >= silent.since + (AWAY_S if may_be_away(hit) else DEAD_S):
                found.dead.append(hit)
                continue
            self._silent[hit] = silent
            if now >= silent.asked + ASK_S and len(found.ask) < ASKED_AT_ONCE:
                found.ask.append(hit)
                silent.asked = now
            last = silent.searched
            if now >= (silent.since + SEARCH_S if last is None else last + SEARCH_AGAIN_S):
                found.search.append(hit)
                silent.searched = now
        return found

    def answered(self, hit: IPv6Address, now: float) -> None:
        """A peer is there, whatever its silence means."""
        self._silent.pop(hit, None)
        self._answered[hit] = now
