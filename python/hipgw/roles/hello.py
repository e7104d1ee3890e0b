"""The election among several endboxes of one LAN, as far as it needs a clock.

The data plane hears the hellos of others and obeys them by itself; here the own ones are said, and
what has changed is told.
"""

import logging
import time
from collections.abc import Callable
from ipaddress import IPv6Address

from hipgw.dataplane.lan import ElectionState, LanDataPlane
from hipgw.errors import DataPlaneError

_log = logging.getLogger(__name__)


class Election:
    """Says hello whenever it is called, and remembers how the election stood."""

    def __init__(
        self,
        dataplane: LanDataPlane,
        segment: int,
        name_of: Callable[[IPv6Address | None], str],
        *,
        announces: bool = True,
        quiet_until: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*announces*: who takes over delivers everything, and is to be found by switches.

        Before *quiet_until* no hello is said: whoever delivers stands down at a hello of the winner
        to come, and would leave the LAN to nobody for as long as that one listens.
        """
        self._quiet_until = quiet_until
        self._clock = clock
        self._dataplane = dataplane
        self._segment = segment
        self._name_of = name_of
        self._announces = announces
        self._passive: bool | None = None

    def state(self) -> ElectionState:
        """How the election stands. Raises DataPlaneError."""
        return self._dataplane.election(self._segment)

    def tick(self) -> None:
        """To be called every `hello_s`."""
        if self._clock() >= self._quiet_until:
            try:
                self._dataplane.say_hello(self._segment)
            except DataPlaneError as error:
                _log.warning("%s", error)
        self.look()

    def look(self) -> None:
        """Tell if another endbox delivers now, or this one does."""
        state = self.state()
        if state.passive == self._passive:
            return
        took_over = self._passive is True and not state.passive
        self._passive = state.passive
        if not state.passive:
            macs = self._announce() if took_over else 0
            _log.info("this endbox delivers to its LAN", extra={"announced": macs})
        elif state.winner is not None:
            winner = self._name_of(state.winner)
            _log.info("another endbox delivers to this LAN", extra={"winner": winner})
        else:
            _log.info("listening for other endboxes on this LAN")

    def _announce(self) -> int:
        """The switches here think that other LANs are behind the endbox that fell silent."""
        if not self._announces:
            return 0
        try:
            return self._dataplane.announce_macs(self._segment)
        except DataPlaneError as error:
            _log.warning("%s", error)
            return 0
