"""Runs the STUN client on the event loop, and tells the HIP machine what it finds out."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from hipgw.protocol.nat.reflexive import Reflexive
from hipgw.protocol.nat.stun_client import StunClient
from hipgw.protocol.path import IPAddress, Path

_log = logging.getLogger(__name__)


class StunRunner:
    """Joins the sans-IO client with the sockets and the clock."""

    def __init__(
        self,
        client: StunClient,
        send: Callable[[bytes, Path], None],
        found: Callable[[Reflexive, float], None],
    ) -> None:
        """*found* gets what a server has told, and for how many seconds that counts."""
        self._client = client
        self._send = send
        self._found = found
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._seen: dict[tuple[IPAddress, IPAddress], Reflexive] = {}
        """What was logged last, by own address and server."""

    def addresses_changed(self, addresses: Sequence[IPAddress]) -> None:
        """These are the own addresses now, the best first."""
        self._seen.clear()
        self._client.addresses_changed(addresses, time.monotonic())
        self._arm()

    def received(self, data: bytes, path: Path) -> bool:
        """Take a STUN message, from anybody, if it answers what a server was asked."""
        if not self._client.expects(data, path):
            return False
        seen = self._client.received(data, path, time.monotonic())
        self._arm()
        if seen is not None:
            self._learn(seen)
        return True

    def stop(self) -> None:
        """Ask nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _learn(self, seen: Reflexive) -> None:
        key = (seen.local[0], seen.server[0])
        if self._seen.get(key) != seen:
            self._seen[key] = seen
            _log.info(
                "a STUN server sees this host",
                extra={
                    "local": str(seen.local[0]),
                    "server": str(seen.server[0]),
                    "mapped": str(seen.mapped[0]),
                    "port": seen.mapped[1],
                },
            )
        self._found(seen, self._client.lifetime_s)

    def _arm(self) -> None:
        self.stop()
        when = self._client.next_timer()
        if when is not None:
            self._timer = self._loop.call_at(when, self._timer_expired)

    def _timer_expired(self) -> None:
        self._timer = None
        for message, path in self._client.timer_expired(time.monotonic()):
            self._send(message, path)
        self._arm()
