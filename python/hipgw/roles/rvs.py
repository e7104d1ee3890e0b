"""The rendezvous server's role: it lasts as long as its registrations, and asks for nothing."""

import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address

from hipgw.dataplane.rendezvous import MACS, RendezvousDataPlane
from hipgw.logs import packet_path_logger
from hipgw.protocol.effects import ClientRests, ClientWakes, Effect, RegistrationChanged
from hipgw.protocol.path import Transport
from hipgw.protocol.registration import ServiceType

_log = packet_path_logger(__name__)
"""Limited: there may be very many clients, and not all of them need be known."""


class RvsRole:
    """Tells of its clients, and has the data plane relay to those that are silent, if it can.

    The HIP machine does everything else.
    """

    name = "rvs"

    def __init__(self, dataplane: RendezvousDataPlane | None, clock: Callable[[], float]) -> None:
        """*clock*: that of the HIP machine."""
        self._dataplane = dataplane
        self._clock = clock

    def start(self) -> None:
        """Nothing: clients come by themselves."""

    def handle_event(self, event: Effect) -> None:
        match event:
            case ClientRests() if self._dataplane is not None:
                self._rests(self._dataplane, event)
            case ClientWakes(hit=hit) if self._dataplane is not None:
                self._dataplane.remove_rendezvous_client(hit)
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

    def _rests(self, dataplane: RendezvousDataPlane, client: ClientRests) -> None:
        path = client.path
        if path.transport is not Transport.UDP or path.local is None or client.mac not in MACS:
            return
        dataplane.add_rendezvous_client(
            hit=client.hit,
            local=path.local,
            local_port=path.local_port,
            remote=path.remote,
            remote_port=path.remote_port,
            mac=client.mac,
            key=client.key,
            tells_ports=client.tells_ports,
            remaining_s=client.expires - self._clock(),
        )

    def kept(self) -> Iterable[IPv6Address]:
        """None: associations with clients last as long as their registrations by themselves."""
        return ()

    def acquire(self, _destination: IPv4Address | IPv6Address) -> bool:
        """Nothing is sent to clients by this host itself."""
        return False
