"""Pairs of candidates, in the order in which they are checked (RFC 8445 §6.1.2)."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from hipgw.protocol.nat.candidates import LocalCandidate, RemoteCandidate
from hipgw.protocol.path import Path
from hipgw.wire.parameters import CandidateKind


class PairState(Enum):
    """What is known of a pair (RFC 8445 §6.1.2.6; nothing is ever frozen here)."""

    WAITING = "waiting"
    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def pair_priority(controlling: int, controlled: int) -> int:
    """64 bits: the same at both ends (RFC 8445 §6.1.2.3)."""
    low, high = sorted((controlling, controlled))
    return (low << 32) + 2 * high + (controlling > controlled)


@dataclass(slots=True, eq=False)
class Pair:
    """An own candidate and one of the peer's."""

    local: LocalCandidate
    remote: RemoteCandidate
    priority: int
    path: Path
    state: PairState = PairState.WAITING

    @property
    def relayed(self) -> bool:
        """Whether data would go by a relay, of either side."""
        return CandidateKind.RELAYED in (self.local.kind, self.remote.kind)


class Checklist:
    """The pairs of one association; a bounded number."""

    def __init__(
        self,
        local: Iterable[LocalCandidate],
        remote: Iterable[RemoteCandidate],
        *,
        controlling: bool,
        limit: int,
    ) -> None:
        """Every own candidate that can send with every one of the peer's that it can reach.

        A reflexive candidate of this host sends from the same base as a host candidate, so that
        both would check the same path (RFC 8445 §6.1.2.4). A peer behind another NAT may have the
        same private address as this host; what is sent there ends here, so that is left out.
        """
        self._controlling = controlling
        self._limit = limit
        self._pairs: dict[Path, Pair] = {}
        self._triggered: deque[Pair] = deque()
        self.local = [
            one for one in local if one.kind in (CandidateKind.HOST, CandidateKind.RELAYED)
        ]
        here = {(one.base.local, one.base.local_port) for one in self.local}
        made = [
            self._pair(mine, theirs)
            for mine in self.local
            for theirs in remote
            if mine.base.version == theirs.address.version
            and (mine.base.relay is not None or (theirs.address, theirs.port) not in here)
        ]
        for pair in sorted(made, key=lambda pair: pair.priority, reverse=True):
            if len(self._pairs) < limit:
                self._pairs.setdefault(pair.path, pair)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def count(self, *states: PairState) -> int:
        """How many pairs are in one of these states."""
        return sum(pair.state in states for pair in self)

    def next(self) -> Pair | None:
        """The pair to check now: triggered ones first, then by priority; None if none waits."""
        while self._triggered:
            pair = self._triggered.popleft()
            if pair.state is PairState.WAITING:
                return pair
        waiting = [pair for pair in self if pair.state is PairState.WAITING]
        return max(waiting, key=lambda pair: pair.priority, default=None)

    def at(self, path: Path) -> Pair | None:
        """The pair of a path."""
        return self._pairs.get(path)

    def seen(self, path: Path, priority: int) -> Pair | None:
        """The pair of the path that a check of the peer came by (RFC 8445 §7.3.1.3).

        One that was not known is remembered: the peer's NAT shows it as a peer-reflexive
        candidate, whose *priority* the check tells. None if there is no room for it.
        """
        known = self._pairs.get(path)
        if known is not None:
            return known
        mine = next((one for one in self.local if _same_base(one, path)), None)
        if mine is None or len(self._pairs) >= self._limit:
            return None
        where = path.relay_to or (path.remote, path.remote_port)
        theirs = RemoteCandidate(*where, CandidateKind.PEER_REFLEXIVE, priority)
        pair = self._pair(mine, theirs)
        self._pairs[pair.path] = pair
        return pair

    def trigger(self, pair: Pair) -> None:
        """Check a pair as soon as may be (RFC 8445 §7.3.1.4)."""
        pair.state = PairState.WAITING
        if pair not in self._triggered:
            self._triggered.append(pair)

    def best(self, *, relayed: bool = True) -> Pair | None:
        """The pair of highest priority that works; *relayed* off: without those by relays."""
        working = [
            pair
            for pair in self
            if pair.state is PairState.SUCCEEDED and (relayed or not pair.relayed)
        ]
        return max(working, key=lambda pair: pair.priority, default=None)

    def may_be_beaten(self, pair: Pair) -> bool:
        """Whether a better pair may still turn out to work."""
        unknown = (PairState.WAITING, PairState.IN_PROGRESS)
        return any(one.state in unknown and one.priority > pair.priority for one in self)

    def _pair(self, mine: LocalCandidate, theirs: RemoteCandidate) -> Pair:
        controlling, controlled = mine.priority, theirs.priority
        if not self._controlling:
            controlling, controlled = controlled, controlling
        path = mine.base.path_to(theirs.address, theirs.port)
        return Pair(mine, theirs, pair_priority(controlling, controlled), path)


def _same_base(candidate: LocalCandidate, path: Path) -> bool:
    where = path.relay_to or (path.remote, path.remote_port)
    return candidate.base.path_to(*where) == path
