"""What is known while two hosts look for a path between them (RFC 9028 §4.6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hipgw.protocol.nat.candidates import LocalCandidate, RemoteCandidate
from hipgw.protocol.nat.checklist import Checklist, Pair
from hipgw.protocol.path import IPAddress, Path

if TYPE_CHECKING:
    from hipgw.protocol.association import Association, Session
    from hipgw.protocol.core import Core
    from hipgw.protocol.update_tasks import UpdateTask


class CheckWay(Protocol):
    """How checks with one peer are sent and answered: all that the modes differ in.

    It tells `checking` what comes of them.
    """

    def send(
        self,
        core: "Core",
        association: "Association",
        session: "Session",
        pair: Pair,
        now: float,
        *,
        nominate: bool,
        spread_s: float,
    ) -> None:
        """Check a pair, or nominate it; `checking.checked` or `checking.agreed` hears of it.

        *spread_s*: how long one round of all checks takes, before which nothing is sent again.
        """

    def cancel(self, association: "Association", pair: Pair, /) -> None:
        """Forget the check of a pair, if there is one under way."""

    def cancel_all(self, association: "Association") -> None:
        """Forget all checks that are under way."""

    def next_timer(self) -> float | None:
        """When something is to be done about them."""

    def timer_expired(
        self, core: "Core", association: "Association", checks: "Checks", now: float
    ) -> None:
        """Send again what is due, or give it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What this host has told a peer in I2, or will in R2."""

    candidates: Sequence[LocalCandidate]
    pacing_s: float
    """Ta as both ends will use it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Checks:
    """Connectivity checks with one peer, and what they led to."""

    controlling: bool
    """The Initiator of the base exchange nominates."""
    pacing_s: float
    checklist: Checklist
    way: CheckWay
    peer_relays: Sequence[tuple[IPAddress, int]]
    """The peer's control relays, for when it cannot be reached otherwise (RFC 9028 §4.8)."""
    remote: Sequence[RemoteCandidate] = ()
    """What the peer has told."""
    began: float
    """When the base exchange did."""
    deadline: float
    """When it is given up, whatever is under way."""
    step_at: float | None
    """When to go on; None while that depends on answers alone."""
    sent_at: float = 0.0
    """When the last check was sent."""
    works_since: float | None = None
    """When the first pair was found to work."""
    nominating: Pair | None = None
    """The controlling host has asked for it; the controlled one was asked for it."""
    nominated: Pair | None = None
    """Both ends have agreed on it: data goes by it."""
    again: bool = False
    """One of the ends has moved: data had a path before."""
    restart_at: float | None = None
    """When to tell the peer of a move."""
    restart_by: float = 0.0
    """When that is not put off any more."""
    restarting: "UpdateTask | None" = None
    """The UPDATE that tells of it."""
    permitted: set[tuple[IPAddress, int]] = field(default_factory=set)
    """Where the peer was permitted to send from during the checks, so that it is done once."""
    permit_at: float | None = None
    """When to renew the permission at the own data relay, if the data goes by it."""

    @property
    def undecided(self) -> bool:
        """Whether there is no path for data yet, nor was there one before."""
        return self.nominated is None and not self.again

    def is_relay(self, source: Path) -> bool:
        """Whether what came from there was passed on by a control relay of the peer."""
        return source.relay_to is None and (source.remote, source.remote_port) in self.peer_relays

    def times(self) -> Iterator[float]:
        """When something is to be done."""
        if self.nominated is None:
            yield self.deadline
            if self.step_at is not None:
                yield self.step_at
            if (when := self.way.next_timer()) is not None:
                yield when
        if self.permit_at is not None:
            yield self.permit_at
        if self.restart_at is not None:
            yield self.restart_at
