"""Has hipgw's packets leave by the interface that has their source address; see `source_routes`."""

import contextlib
import logging

from hipgw.errors import PlatformError
from hipgw.platform import policy_rules
from hipgw.platform.journal import Journal
from hipgw.platform.rtnetlink import Rule, Snapshot, take_snapshot
from hipgw.platform.source_routes import Entry, SourceRouteSettings, changes, plan, present
from hipgw.platform.underlay import Underlay

BURST = 10
CHANGES_PER_S = 2
"""How often changes are made: so many at once, then so many a second. Routers that announce another
route each millisecond shall not keep the daemon busy."""

_log = logging.getLogger(__name__)


class Steering:
    """Keeps the routes and rules as they should be. What fails costs no more than they do.

    Each time it is compared with what the kernel has: that removes routes of an interface by
    itself, and others may have removed some. In the end they go with the journal's changes.
    """

    def __init__(self, settings: SourceRouteSettings, journal: Journal) -> None:
        """Nothing is changed before `prepare` finds that something has to be."""
        self._settings = settings
        self._journal = journal
        self._off = False
        self._recorded = False
        self._proven = False
        self._lacking: set[int] = set()
        self._surplus: tuple[Entry, ...] = ()
        self._tokens, self._counted_at = float(BURST), 0.0

    @property
    def tables(self) -> range:
        """What `take_snapshot` has to look at; none once this kernel has shown that it cannot."""
        return range(0) if self._off else self._settings.tables

    def prepare(self, snapshot: Snapshot, underlay: Underlay, now: float) -> bool:
        """Make what is missing. To be called before anything is sent from a new address.

        False if that has to wait, as there were too many changes: call it again with a later
        snapshot. *now* is in seconds of a monotonic clock.
        """
        if self._off:
            return True
        self._tell_what_is_lacking(snapshot, underlay)
        there = present(snapshot, self._settings.tables)
        todo = changes(plan(snapshot, underlay, self._settings), there)
        if not todo.make and not todo.remove:
            return True
        if not self._may_change(now):
            return False
        self._surplus = todo.remove
        try:
            if not self._recorded:
                self._journal.record_source_routes(self._settings.tables)
                self._recorded = True
            failed = policy_rules.make(todo.make)
            if not self._proven:
                self._prove(todo.make, failed)
        except (PlatformError, OSError) as error:
            self._give_up(str(error))
        return True

    def clear(self) -> None:
        """Remove what is not needed any more; it may wait until the peers have been told."""
        surplus, self._surplus = self._surplus, ()
        try:
            policy_rules.remove(surplus)
        except (PlatformError, OSError) as error:
            self._give_up(str(error))

    def _may_change(self, now: float) -> bool:
        since = now - self._counted_at
        self._tokens, self._counted_at = min(self._tokens + since * CHANGES_PER_S, BURST), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _prove(self, made: tuple[Entry, ...], failed: list[Entry]) -> None:
        """Look whether the kernel has made what it was told to.

        Before Linux 4.17 it passes over what tells hipgw's packets from others: such a rule must
        not stay.
        """
        rules = {entry for entry in made if isinstance(entry, Rule)} - set(failed)
        if not rules <= present(take_snapshot(self.tables), self.tables).rules:
            policy_rules.remove(reversed(made))
            self._give_up("rules for single protocols need Linux 4.17 or later.")
        self._proven = True

    def _tell_what_is_lacking(self, snapshot: Snapshot, underlay: Underlay) -> None:
        for version in {address.version for address, _ in underlay.places}:
            if version not in snapshot.rules and version not in self._lacking:
                self._lacking.add(version)
                _log.info("this kernel has no policy routing", extra={"family": f"IPv{version}"})

    def _give_up(self, why: str) -> None:
        self._off = True
        self._surplus = ()
        if self._recorded:
            # A part of them may lead elsewhere than all would.
            with contextlib.suppress(PlatformError, OSError):
                policy_rules.flush(self._settings.tables)
        _log.warning(
            "packets leave by the interface that the routing table prefers: %s",
            why,
            extra={"setting": "mobility.source_routes"},
        )
