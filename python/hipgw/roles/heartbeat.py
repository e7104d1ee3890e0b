"""Touches heartbeat files while the daemon and its data path live."""

import logging
from typing import Protocol

from hipgw.dataplane.lan import LanDataPlane

PARTS = ("main", "output", "input")
"""The control plane; from the LAN to peers; from peers to the LAN."""

_log = logging.getLogger(__name__)


class Touching(Protocol):
    """Where a sign of life is left."""

    def touch(self, part: str) -> None:
        """This part is alive now."""


class Heartbeat:
    """Leaves a sign of life for every part that has shown one since the last time."""

    def __init__(self, dataplane: LanDataPlane, files: Touching) -> None:
        self._dataplane = dataplane
        self._files = files
        self._stuck: frozenset[str] = frozenset()

    def tick(self) -> None:
        """To be called every `heartbeat_s`."""
        pulse = self._dataplane.pulse()
        alive = {"main": True, "output": pulse.output, "input": pulse.input}
        for part in PARTS:
            if alive[part]:
                self._files.touch(part)
        stuck = frozenset(part for part in PARTS if not alive[part])
        if stuck - self._stuck:
            _log.error("the data path stands still", extra={"parts": ",".join(sorted(stuck))})
        self._stuck = stuck
