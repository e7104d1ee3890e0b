"""A host behind mobile routers, which tell its correspondents where it is."""

from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import IPv6Address
from typing import Protocol

from hipgw.identity.hit import hit_version
from hipgw.naming.peers import Peer
from hipgw.protocol.registration import ServiceType
from hipgw.roles.service_client import Registering, ServiceClientRole


class InEachVersion(Registering, Protocol):
    """How this role has several associations with one router."""

    def connect_in_each_version(self, peer: Peer, hits: Sequence[IPv6Address]) -> None:
        """From now on, `connect` makes an association by each of these HITs of a peer."""


class MobileNodeRole(ServiceClientRole):
    """Keeps registered with every mobile router of this host.

    A router knows its clients by their HITs, and this host has another one in each version of HIP.
    So it registers in each that it speaks with anybody and that the router has a HIT of.
    """

    name = "mobile node"
    registrar = "mobile router"

    def __init__(
        self,
        routers: Iterable[Peer],
        associations: InEachVersion,
        random: Callable[[int], bytes],
        *,
        versions: Collection[int],
        lifetime_s: float,
    ) -> None:
        """*versions*: of HIP that this host speaks."""
        self._each_version = associations
        self._versions = frozenset(versions)
        services = (ServiceType.MOBILE_ROUTER,)
        super().__init__(routers, associations, random, services=services, lifetime_s=lifetime_s)

    def _call(self, peer: Peer) -> None:
        spoken = [hit for hit in peer.hits if hit_version(hit) in self._versions]
        if len(spoken) > 1:
            self._each_version.connect_in_each_version(peer, spoken)
        super()._call(peer)
