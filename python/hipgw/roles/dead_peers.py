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
PATIENT_DEAD_S = 180.0
"""The same of a peer behind a mobile router, which may be in a tunnel: longer than these are.

If that is not so, the router says so before `DEAD_S` is over."""
PATIENT_ASK_S, PATIENT_SEARCH_S = 5.0, 30.0
"""Between questions and between searches once others would have been given up."""
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
        is_patient: Callable[[IPv6Address], bool] = lambda _hit: False,
    ) -> Findings:
        """To be called every `look_interval` with what flowed; *now* in seconds of any clock.

        *is_patient* tells of a silent peer whether it may be without a network for a while.
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
            ask_s, search_s = ASK_S, SEARCH_AGAIN_S
            if now >= silent.since + DEAD_S:
                if now >= silent.since + PATIENT_DEAD_S or not is_patient(hit):
                    found.dead.append(hit)
                    continue
                ask_s, search_s = PATIENT_ASK_S, PATIENT_SEARCH_S
            self._silent[hit] = silent
            if now >= silent.asked + ask_s and len(found.ask) < ASKED_AT_ONCE:
                found.ask.append(hit)
                silent.asked = now
            last = silent.searched
            if now >= (silent.since + SEARCH_S if last is None else last + search_s):
                found.search.append(hit)
                silent.searched = now
        return found

    def forget(self) -> None:
        """Nobody could be heard up to now, whoever is there."""
        self._silent.clear()

    def answered(self, hit: IPv6Address, now: float) -> None:
        """A peer is there, whatever its silence means."""
        self._silent.pop(hit, None)
        self._answered[hit] = now
