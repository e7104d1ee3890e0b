"""Who is to be looked at next, and when."""

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)

SLACK = 64
"""Entries out of date that are always allowed: tidying up a small heap is not worth it."""


class Timers(Generic[Owner]):
    """One time for each owner, when it is to be looked at at the latest.

    Only a time that comes nearer has to be told. One that moves away (data flowed, say) does not:
    the owner is looked at too early, and armed anew. So what happens often costs nothing here.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Owner]] = []
        """Those in `_armed`, and others that are out of date, at most as many (and SLACK)."""
        self._armed: dict[Owner, tuple[float, int, Owner]] = {}
        self._serial = 0
        """Tells entries of the same time apart, so that owners are never compared."""

    def __len__(self) -> int:
        """Entries that are held, those out of date as well."""
        return len(self._heap)

    def arm(self, owner: Owner, when: float) -> None:
        """Have an owner looked at at that time or before."""
        armed = self._armed.get(owner)
        if armed is not None and armed[0] <= when:
            return
        self._serial += 1
        entry = self._armed[owner] = (when, self._serial, owner)
        heapq.heappush(self._heap, entry)
        self._tidy()

    def disarm(self, owner: Owner) -> None:
        """Do not look at an owner any more; it need not be armed."""
        if self._armed.pop(owner, None) is not None:
            self._tidy()

    def next(self) -> float | None:
        """The earliest time, None if there is none."""
        heap = self._heap
        while heap and self._armed.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def expired(self, now: float) -> list[Owner]:
        """Disarm and return those whose time has come, the earliest first."""
        owners: list[Owner] = []
        while (when := self.next()) is not None and when <= now:
            _, _, owner = heapq.heappop(self._heap)
            del self._armed[owner]
            owners.append(owner)
        return owners

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._armed) + SLACK:
            self._heap = list(self._armed.values())
            heapq.heapify(self._heap)
