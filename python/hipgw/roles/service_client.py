"""A host that is registered with others for what they do for it (RFC 8003)."""

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
    """How these roles register; the daemon's driver of the HIP machine offers it."""

    def register(self, hit: IPv6Address, reg_types: Sequence[int], lifetime_s: float) -> None:
        """Want these services of a peer from now on."""

    def unregister(self, hit: IPv6Address) -> None:
        """Want no service of a peer any more."""

    def call_off(self, hit: IPv6Address) -> None:
        """A peer is not to be called again after all, by this (preferred) HIT of it."""


class ServiceClientRole:
    """Keeps an association with every registrar, and what it is registered for there."""

    name = "client"
    registrar = "registrar"
    """What a registrar is called in the log."""

    def __init__(
        self,
        registrars: Iterable[Peer],
        associations: Registering,
        random: Callable[[int], bytes],
        *,
        services: Sequence[int],
        lifetime_s: float,
    ) -> None:
        self._peers = {peer.hit: peer for peer in registrars}
        self._registrars: dict[IPv6Address, Peer] = {}
        """By each of their HITs: an association may be of another version of HIP."""
        self._associations = associations
        self._random = random
        self._backoff: dict[IPv6Address, BackOff] = {}
        self._services = tuple(services)
        self._lifetime_s = lifetime_s
        self._index()

    def start(self) -> None:
        for peer in self._peers.values():
            self._call(peer)

    def change(self, registrars: Iterable[Peer]) -> None:
        """These are the registrars from now on."""
        before = self._peers
        self._peers = {peer.hit: peer for peer in registrars}
        self._index()
        for peer in before.values():
            for hit in set(peer.hits) - set(self._registrars):
                self._associations.unregister(hit)
            if peer.hit not in self._peers:
                self._associations.call_off(peer.hit)
        for peer in self._peers.values():
            known = before.get(peer.hit)
            if known is None or known.hits != peer.hits:
                self._call(peer)

    def _call(self, peer: Peer) -> None:
        for hit in peer.hits:
            self._associations.register(hit, self._services, self._lifetime_s)
        self._associations.connect(peer)

    def _index(self) -> None:
        self._registrars = {hit: peer for peer in self._peers.values() for hit in peer.hits}
        self._backoff = {
            hit: self._backoff.get(hit) or BackOff(self._random) for hit in self._peers
        }

    def handle_event(self, event: Effect) -> None:
        match event:
            case Established(peer_hit=hit) if hit in self._registrars:
                self._backoff[self._registrars[hit].hit].succeeded()
            case Closed(peer_hit=hit, reason=reason) | Failed(peer_hit=hit, reason=reason) if (
                hit in self._registrars
            ):
                peer = self._registrars[hit]
                delay_s = self._backoff[peer.hit].failed()
                _log.info(
                    "%s will be called again",
                    self.registrar,
                    extra={"peer": peer.name, "delay_s": round(delay_s, 1), "reason": reason},
                )
                self._associations.call_later(delay_s, peer)
            case RegistrationChanged(registrar=False, peer_hit=hit, reason=reason) if (
                hit in self._registrars and reason != "renewed"
            ):
                level = logging.INFO if event.lifetime_s else logging.WARNING
                _log.log(
                    level,
                    "registration with a %s",
                    self.registrar,
                    extra={
                        "peer": self._registrars[hit].name,
                        "service": service_name(event.reg_type),
                        "reason": reason,
                    },
                )
            case _:
                pass

    def kept(self) -> Iterable[IPv6Address]:
        """All registrars: nobody could call this host without them."""
        return self._registrars

    def acquire(self, _destination: IPv4Address | IPv6Address) -> bool:
        """Other roles look after the traffic."""
        return False
