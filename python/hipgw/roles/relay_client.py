"""A host behind a NAT: registered with relays, by which it can be called (RFC 9028 §4.1)."""

import logging
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from hipgw.naming.peers import Peer
from hipgw.protocol.effects import Closed, Effect, Established, Failed, RegistrationChanged
from hipgw.protocol.registration import service_name
from hipgw.roles.backoff import BackOff
from hipgw.roles.role import Associations

_log = logging.getLogger(__name__)


class Registering(Associations, Protocol):
    """How this role registers; the daemon's driver of the HIP machine offers it."""

    def register(self, hit: IPv6Address, reg_types: Sequence[int], lifetime_s: float) -> None:
        """Want these services of a peer from now on."""


class RelayClientRole:
    """Keeps an association with every relay, and what it is registered for there."""

    name = "relay client"

    def __init__(
        self,
        relays: Iterable[Peer],
        associations: Registering,
        random: Callable[[int], bytes],
        *,
        services: Sequence[int],
        lifetime_s: float,
    ) -> None:
        self._relays = {peer.hit: peer for peer in relays}
        self._associations = associations
        self._backoff = {hit: BackOff(random) for hit in self._relays}
        self._services = tuple(services)
        self._lifetime_s = lifetime_s

    def start(self) -> None:
        for peer in self._relays.values():
            self._associations.register(peer.hit, self._services, self._lifetime_s)
            self._associations.connect(peer)

    def handle_event(self, event: Effect) -> None:
        match event:
            case Established(peer_hit=hit) if hit in self._relays:
                self._backoff[hit].succeeded()
            case Closed(peer_hit=hit, reason=reason) | Failed(peer_hit=hit, reason=reason) if (
                hit in self._relays
            ):
                peer = self._relays[hit]
                delay_s = self._backoff[hit].failed()
                _log.info(
                    "relay will be called again",
                    extra={"peer": peer.name, "delay_s": round(delay_s, 1), "reason": reason},
                )
                self._associations.call_later(delay_s, peer)
            case RegistrationChanged(registrar=False, peer_hit=hit, reason=reason) if (
                hit in self._relays and reason != "renewed"
            ):
                level = logging.INFO if event.lifetime_s else logging.WARNING
                _log.log(
                    level,
                    "registration with a relay",
                    extra={
                        "peer": self._relays[hit].name,
                        "service": service_name(event.reg_type),
                        "reason": reason,
                    },
                )
            case _:
                pass

    def kept(self) -> Iterable[IPv6Address]:
        """All relays: nobody could call this host without them."""
        return self._relays

    def acquire(self, _destination: IPv4Address | IPv6Address) -> bool:
        """Other roles look after the traffic."""
        return False
