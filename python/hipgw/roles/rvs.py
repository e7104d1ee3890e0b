"""The rendezvous server's role: it lasts as long as its registrations, and asks for nothing."""

import logging
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from hipgw.logs import packet_path_logger
from hipgw.protocol.effects import Effect, RegistrationChanged
from hipgw.protocol.registration import ServiceType

_log = packet_path_logger(__name__)
"""Limited: there may be very many clients, and not all of them need be known."""


class RvsRole:
    """Tells of its clients; the HIP machine does everything else."""

    name = "rvs"

    def start(self) -> None:
        """Nothing: clients come by themselves."""

    def handle_event(self, event: Effect) -> None:
        match event:
            case RegistrationChanged(
                registrar=True, reg_type=ServiceType.RENDEZVOUS, reason=reason
            ) if reason != "renewed":
                _log.log(
                    logging.INFO if event.failure_type is None else logging.WARNING,
                    "rendezvous client",
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
