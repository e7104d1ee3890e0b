"""Calls a relay's clients after it was restarted, which cannot know that it has forgotten them.

Behind NATs nobody could call them, nor get data to them, until they ask for something again; and
the NATs still let in what comes from the relay's port.
"""

import asyncio
import itertools
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

from hipgw.daemon.client_memory import ClientMemory
from hipgw.daemon.driver import HipDriver
from hipgw.protocol.effects import Effect, RegistrationChanged
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import Transport
from hipgw.protocol.registration import ServiceType

FILE_NAME = "relay-clients.json"
RECALLED, RECALL_S = 20, 0.1
"""So many are called in each such time."""
PATIENCE_S = 30.0
"""How long they are remembered if they do not answer."""
KEEP_S = 0.5
"""How soon it is written down who has registered."""
_RELAYS = frozenset({ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP})


class RelayClients:
    """Remembers who is registered with this relay; everything on the event loop's thread."""

    def __init__(self, state_dir: Path, driver: HipDriver) -> None:
        """Read who was registered before."""
        self._memory = ClientMemory(state_dir, FILE_NAME)
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        self._recalled = iter(self._memory.places.items())
        self._recall: asyncio.TimerHandle | None = None
        self._keeping: asyncio.TimerHandle | None = None
        self._resting = False

    def start(self) -> None:
        """Call those of an earlier run, once the own addresses are known."""
        self._recall = self._loop.call_later(RECALL_S, self._recall_some)

    def handle_event(self, event: Effect) -> None:
        """Somebody has registered, or does so no more: it is written down soon."""
        if (
            isinstance(event, RegistrationChanged)
            and event.registrar
            and event.reg_type in _RELAYS
            and self._keeping is None
            and not self._resting
        ):
            self._keeping = self._loop.call_later(KEEP_S, self._keep)

    def rest(self) -> None:
        """The end is near: what is lost from now on is to be there again after a restart."""
        self._resting = True
        for handle in (self._recall, self._keeping):
            if handle is not None:
                handle.cancel()

    def _recall_some(self) -> None:
        some = list(itertools.islice(self._recalled, RECALLED))
        for hit, place in some:
            self._driver.recall(hit, place)
        if some:
            self._recall = self._loop.call_later(RECALL_S, self._recall_some)
        else:
            # Until they had the time to answer, nobody is forgotten.
            self._recall = self._loop.call_later(PATIENCE_S, self._recall_done)

    def _recall_done(self) -> None:
        self._recall = None
        self._keep()

    def _keep(self) -> None:
        self._keeping = None
        self._memory.keep(self._clients(), others=self._recall is not None)

    def _clients(self) -> Iterator[tuple[IPv6Address, Place]]:
        for one in self._driver.machine.registrations():
            if one.registrar and one.reg_type in _RELAYS and one.mapped is not None:
                yield one.peer_hit, Place(one.mapped[0], Transport.UDP, one.mapped[1])
