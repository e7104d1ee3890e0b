"""The rules of a mobile router, from its start to its end."""

import logging
from collections.abc import Sequence

from hipgw.errors import PlatformError
from hipgw.platform.diversion import Diversion, Way
from hipgw.platform.journal import Journal

_log = logging.getLogger(__name__)


class SpinatRules:
    """Diverts what may be a client's to the router's queue; the rules go with `close`.

    What a daemon before has left is to be undone by `Journal.recover` before.
    """

    def __init__(
        self, queue: int, udp_port: int, journal: Journal, *, ways: Sequence[Way] = tuple(Way)
    ) -> None:
        """Set the rules. Raises PlatformError, with what to do, if this machine has no way to.

        To be called while this process may do everything. *queue* is the number of the NFQUEUE,
        *udp_port* the own one. The first of *ways* that can is taken.
        """
        self._journal = journal
        self._diversion: Diversion | None = Diversion(
            queue, udp_port, journal.record_diversion, ways
        )
        self.description = self._diversion.description
        """Where the rules are, for people who look for them."""
        self.reassembles = self._diversion.reassembles
        """Are fragments put together before they come to the queue, in any case?"""
        _log.info("packets are diverted to the mobile router", extra={"rules": self.description})

    def renew(self) -> bool:
        """Set again what others have removed; to be called every few seconds.

        True if that was needed. What fails is logged.
        """
        if self._diversion is None:
            return False
        try:
            if not self._diversion.renew():
                return False
        except (PlatformError, OSError) as error:
            _log.warning("the mobile router's rules cannot be set again: %s", error)
            return False
        _log.warning(
            "somebody has removed the mobile router's rules; they are set again",
            extra={"rules": self.description},
        )
        return True

    def close(self) -> None:
        """Remove the rules; what cannot be removed is logged, and left to the next start."""
        diversion, self._diversion = self._diversion, None
        if diversion is None:
            return
        try:
            diversion.close()
        except (PlatformError, OSError) as error:
            _log.warning("the mobile router's rules cannot be removed: %s", error)
        else:
            self._journal.forget_diversion()
