"""The rules of a mobile router, from its start to its end."""

import logging
import threading
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
        self._worker: threading.Thread | None = None
        self._diversion: Diversion | None = Diversion(
            queue, udp_port, journal.record_diversion, ways
        )
        self.description = self._diversion.description
        """Where the rules are, for people who look for them."""
        self.reassembles = self._diversion.reassembles
        """Are fragments put together before they come to the queue, in any case?"""
        _log.info("packets are diverted to the mobile router", extra={"rules": self.description})

    def renew(self) -> None:
        """Set again what others have removed; to be called every few seconds.

        What needs other programs (iptables) is done by a thread meanwhile. Both are logged: that it
        was needed, and what fails.
        """
        diversion = self._diversion
        if diversion is None or (self._worker is not None and self._worker.is_alive()):
            return
        if not diversion.takes_time:
            self._renew(diversion)
            return
        self._worker = threading.Thread(target=self._renew, args=(diversion,), name="rules")
        self._worker.start()

    def close(self) -> None:
        """Remove the rules; what cannot be removed is logged, and left to the next start."""
        diversion, self._diversion = self._diversion, None
        if diversion is None:
            return
        if self._worker is not None:
            self._worker.join()
        try:
            diversion.close()
        except (PlatformError, OSError) as error:
            _log.warning("the mobile router's rules cannot be removed: %s", error)
        else:
            self._journal.forget_diversion()

    def _renew(self, diversion: Diversion) -> None:
        try:
            needed = diversion.renew()
        except (PlatformError, OSError) as error:
            _log.warning("the mobile router's rules cannot be set again: %s", error)
            return
        if needed:
            _log.warning(
                "somebody has removed the mobile router's rules; they are set again",
                extra={"rules": self.description},
            )
