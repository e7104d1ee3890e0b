"""The mobile router's role: has its clients' packets pass as the HIP machine grants it."""

import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from hipgw.dataplane.spinat_ways import SpinatWays
from hipgw.errors import DataPlaneError
from hipgw.logs import packet_path_logger
from hipgw.protocol.effects import Effect, ForwardHip, LendSpi, RegistrationChanged, ReturnSpi
from hipgw.protocol.mobile_router.transit import Transit
from hipgw.protocol.registration import ServiceType

_log = packet_path_logger(__name__)


class Sending(Protocol):
    """How HIP packets of others are sent on. Raises DataPlaneError."""

    def send(self, data: bytes, transit: Transit) -> None:
        """Send a HIP packet from one place to another."""


class MobileRouterRole:
    """Tells of its clients, and carries out what the machine wants of the data plane."""

    name = "mobile_router"

    def __init__(
        self, ways: SpinatWays, sending: Sending, clients_changed: Callable[[], None]
    ) -> None:
        """*clients_changed* is called when somebody has registered, or does so no more."""
        self._ways = ways
        self._sending = sending
        self._clients_changed = clients_changed

    def start(self) -> None:
        """Nothing: clients come by themselves."""

    def handle_event(self, event: Effect) -> None:
        match event:
            case ForwardHip(data=data, transit=transit):
                try:
                    self._sending.send(data, transit)
                except DataPlaneError as error:
                    # A stranger's I1 from a network that there is no way to is enough for this.
                    _log.warning("a HIP packet is not passed on: %s", error)
            case LendSpi():
                self._ways.lend(event)
            case ReturnSpi():
                self._ways.give_back(event)
            case RegistrationChanged(
                registrar=True, reg_type=ServiceType.MOBILE_ROUTER, reason=reason
            ) if reason != "renewed":
                self._clients_changed()
                if not event.lifetime_s:
                    self._ways.forget(event.peer_hit)
                _log.log(
                    logging.INFO if event.failure_type is None else logging.WARNING,
                    "client of the mobile router",
                    extra={"peer_hit": str(event.peer_hit), "reason": reason},
                )
            case _:
                pass

    def kept(self) -> Iterable[IPv6Address]:
        """None: associations with clients last as long as their registrations by themselves."""
        return ()

    def acquire(self, _destination: IPv4Address | IPv6Address) -> bool:
        """Nothing is sent to clients by this host itself."""
        return False
