"""What a bad link does to frames: a part of them is lost, late, doubled or out of order."""

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from hipgw.errors import LabError


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """Rates are shares from 0 to 1 of the frames of each direction, drawn for each one alone."""

    loss: float = 0.0
    duplicate: float = 0.0
    """Delivered twice."""
    reorder: float = 0.0
    """Held back by `reorder_s`, so that later ones overtake them."""
    reorder_s: float = 0.002
    delay_s: float = 0.0
    """Of every frame, in addition to the time the relay itself takes (some 0.1 ms)."""
    cut: bool = False
    """Whether everything is lost, while both ends still see a carrier."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            limit = 60.0 if name.endswith("_s") else 1.0
            if not 0 <= value <= limit:
                raise LabError(f"{name} of a link has to lie between 0 and {limit:g}.")


class Direction:
    """The frames of one direction, without any I/O; decides by a seed."""

    def __init__(self, impairment: Impairment, seed: str) -> None:
        self.impairment = impairment
        self.counts = {"frames": 0, "lost": 0, "duplicated": 0, "reordered": 0}
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable is its purpose
        self._waiting: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()

    def take(self, frame: bytes, now: float) -> None:
        """A frame enters the link."""
        state, draw = self.impairment, self._random.random
        # Always as many draws for a frame, so that one rate does not change what others hit.
        lost, doubled, late = draw() < state.loss, draw() < state.duplicate, draw() < state.reorder
        self.counts["frames"] += 1
        if lost or state.cut:
            self.counts["lost"] += 1
            return
        when = now + state.delay_s
        if late:
            self.counts["reordered"] += 1
            when += state.reorder_s
        if doubled:
            self.counts["duplicated"] += 1
            heapq.heappush(self._waiting, (when, next(self._order), frame))
        heapq.heappush(self._waiting, (when, next(self._order), frame))

    def due(self, now: float) -> Iterator[bytes]:
        """The frames that leave the link by now, in order."""
        while self._waiting and self._waiting[0][0] <= now:
            yield heapq.heappop(self._waiting)[2]

    def next_time(self) -> float | None:
        """When the next frame leaves; None if none is under way."""
        return self._waiting[0][0] if self._waiting else None
