"""The registrar: grants services to peers for a time (RFC 8003 §3, §5)."""

from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from hipgw.protocol.compat import RFC, Compat
from hipgw.protocol.effects import RegistrationChanged
from hipgw.protocol.nat.config import RegistrarConfig, Terms
from hipgw.protocol.nat.data_relay import DataRelay
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import (
    FailureType,
    Grant,
    Granted,
    ServiceType,
    failure_name,
    lifetime_code,
    lifetime_s,
)
from hipgw.protocol.rendezvous.config import RendezvousConfig
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    LocatorSet,
    Parameter,
    PeerPermission,
    RegFailed,
    RegFrom,
    RegInfo,
    RegRequest,
    RegResponse,
)

if TYPE_CHECKING:
    from hipgw.protocol.association import Association
    from hipgw.protocol.core import Core

TYPES_MAX = 16
"""Registration types of one packet that are looked at."""
_UDP = 17
_NOWHERE = IPv6Address(0)
_EXCLUSIVE = frozenset({ServiceType.RENDEZVOUS, ServiceType.RELAY_UDP_HIP})
_TELL_WHERE_FROM = frozenset(
    {
        ServiceType.RENDEZVOUS,
        ServiceType.RELAY_UDP_HIP,
        ServiceType.RELAY_UDP_ESP,
        ServiceType.CANDIDATE_DISCOVERY,
    }
)
"""No RFC says so of rendezvous, but a client of it may be behind a NAT as well."""
_MOBILE = frozenset({ServiceType.MOBILE_ROUTER, ServiceType.MOBILE_NETWORK})
_UDP_ONLY = frozenset({ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP})


class Registrar:
    """Who is registered for what. The grants themselves are kept with each association."""

    def __init__(self, config: RegistrarConfig, random: Callable[[int], bytes]) -> None:
        self.config = config
        self.clients: dict[IPv6Address, Association] = {}
        """By HIT: those with a grant in force."""
        self.data_relay = DataRelay(config, random)

    @staticmethod
    def offer(config: RegistrarConfig, compat: Compat = RFC) -> RegInfo:
        """What R1 says of the services (RFC 8003 §4.2)."""
        # All services share one range; what is granted is within that of each.
        terms = [_terms(config, kind) for kind in config.services] or [config]
        return RegInfo(
            _least_code(min(one.min_lifetime_s for one in terms)),
            lifetime_code(max(one.max_lifetime_s for one in terms)),
            compat.named(compat.shared_services(_services(config))),
        )

    def client(self, hit: IPv6Address, reg_type: int) -> "Association | None":
        """The association of a client that is registered for a service."""
        association = self.clients.get(hit)
        if association is None or reg_type not in association.registrations.granted.grants:
            return None
        return association

    def answer(
        self, core: "Core", association: "Association", packet: HipPacket, path: Path, now: float
    ) -> list[Parameter]:
        """What the answer to an authentic I2 or UPDATE says of registrations."""
        granted = association.registrations.granted
        compat = core.config.compat(association.peer_hit)
        requests = packet.all(RegRequest)
        answer: list[Parameter] = []
        # One request is allowed; of several, the first that names a type counts (§4.3).
        asked: dict[int, int] = {}
        for request in requests:
            for reg_type in compat.meant(request.reg_types[:TYPES_MAX]):
                asked.setdefault(reg_type, request.lifetime)
        failures: dict[int, list[int]] = {}
        lifetimes: list[tuple[int, int]] = []
        for reg_type, wanted in list(asked.items())[:TYPES_MAX]:
            if wanted == 0:
                self._cancel(core, association, packet, reg_type)
                lifetimes.append((0, reg_type))
                continue
            failure = self._refusal(core, association, reg_type, path, asked)
            if failure is None and reg_type == ServiceType.RELAY_UDP_ESP:
                ports = self.data_relay.lend(core, association, packet, path)
                failure = FailureType.INSUFFICIENT_RESOURCES if ports is None else None
                answer += ports or ()
            if failure is not None:
                failures.setdefault(failure, []).append(reg_type)
                self._tell(core, association, reg_type, 0.0, "refused", failure)
            elif reg_type != ServiceType.CANDIDATE_DISCOVERY:
                code = self._within_bounds(reg_type, wanted)
                self._grant(core, association, reg_type, lifetime_s(code), now)
                lifetimes.append((code, reg_type))
        if lifetimes:
            # Only one REG_RESPONSE may be sent, and it has one lifetime (§4.4).
            code = min((code for code, _ in lifetimes if code), default=0)
            types = tuple(reg_type for given, reg_type in lifetimes if bool(given) == bool(code))
            answer.append(RegResponse(code, compat.named(types)))
        answer += [
            RegFailed(kind, compat.named(tuple(types))) for kind, types in sorted(failures.items())
        ]
        concerned = {*asked, *granted.grants}
        if not compat.rendezvous_ports:
            concerned.discard(ServiceType.RENDEZVOUS)
        router = core.mobile_router
        if router is not None and not router.outside and _MOBILE & granted.grants.keys():
            # Of the clients' packets none is passed on for now.
            answer += [] if compat.lends_keymat else [RegFrom(_NOWHERE, 0, _UDP)]
        elif path.transport is Transport.UDP and _TELL_WHERE_FROM & concerned:
            answer.append(RegFrom(path.remote, path.remote_port, _UDP))
        core.arm(association)
        return answer

    def update(
        self, core: "Core", association: "Association", packet: HipPacket, path: Path, now: float
    ) -> list[Parameter]:
        """The same for an UPDATE, whose permissions are taken as well."""
        self.data_relay.permit(core, association, packet, now)
        if packet.get(LocatorSet) is not None and packet.get(PeerPermission) is None:
            self.data_relay.suspend(core, association)
        return self.answer(core, association, packet, path, now)

    def timer_expired(self, core: "Core", association: "Association", now: float) -> None:
        """End what is over."""
        granted = association.registrations.granted
        over = [kind for kind, grant in granted.grants.items() if grant.expires <= now]
        self._end(core, association, over, "expired")
        self.data_relay.expire(core, granted, now)

    def drop(self, core: "Core", association: "Association", reason: str) -> None:
        """The association is over, and all that hangs on it (RFC 9028 §4.1)."""
        granted = association.registrations.granted
        self._end(core, association, list(granted.grants), reason)
        granted.exclusive = None

    # -- inside ------------------------------------------------------------------------------

    def _refusal(
        self,
        core: "Core",
        association: "Association",
        reg_type: int,
        path: Path,
        asked: Iterable[int],
    ) -> FailureType | None:
        config, granted = self.config, association.registrations.granted
        if not core.config.compat(association.peer_hit).shared_services((reg_type,)):
            return FailureType.UNAVAILABLE
        if reg_type == ServiceType.MOBILE_NETWORK and (
            ServiceType.MOBILE_ROUTER not in granted.grants
        ):
            return FailureType.UNAVAILABLE
        discovery = reg_type == ServiceType.CANDIDATE_DISCOVERY
        offered = reg_type in _services(config) or (
            discovery and ServiceType.RELAY_UDP_HIP in config.services
        )
        if not offered or (reg_type in _UDP_ONLY and path.transport is not Transport.UDP):
            return FailureType.UNAVAILABLE
        if reg_type in _MOBILE and reg_type not in granted.grants and _is_outside(core, path):
            # It is no client, and would only take the place of one.
            return FailureType.UNAVAILABLE
        if not _terms(config, reg_type).allow(association.peer_hit):
            return FailureType.CREDENTIALS_REQUIRED
        if reg_type in _EXCLUSIVE and not _may_join(granted, reg_type, asked):
            return FailureType.SIMULTANEOUS_REGISTRATION
        if not discovery and self._is_full(core, association, reg_type):
            return FailureType.INSUFFICIENT_RESOURCES
        return None

    def _is_full(self, core: "Core", association: "Association", reg_type: int) -> bool:
        """Whether one client more would be too many."""
        config, rendezvous = self.config, core.rendezvous
        if reg_type == ServiceType.RENDEZVOUS and rendezvous is not None:
            known = reg_type in association.registrations.granted.grants
            return not known and len(rendezvous) >= rendezvous.config.clients_max
        terms = config.mobile_router_terms
        if reg_type == ServiceType.MOBILE_ROUTER and terms is not None:
            grants = [one.registrations.granted.grants for one in self.clients.values()]
            known = reg_type in association.registrations.granted.grants
            return not known and sum(reg_type in some for some in grants) >= terms.clients_max
        own = len(self.clients) - (rendezvous.awake_count if rendezvous is not None else 0)
        return association.peer_hit not in self.clients and own >= config.clients_max

    def _within_bounds(self, reg_type: int, code: int) -> int:
        """A lifetime that is too short or too long becomes the nearest one offered (§4.3)."""
        terms = _terms(self.config, reg_type)
        least, longest = _least_code(terms.min_lifetime_s), lifetime_code(terms.max_lifetime_s)
        return min(max(code, least), longest)

    def _grant(
        self, core: "Core", association: "Association", reg_type: int, length_s: float, now: float
    ) -> None:
        granted = association.registrations.granted
        first = reg_type not in granted.grants
        granted.grants[reg_type] = Grant(reg_type, length_s, now + length_s)
        if reg_type in _EXCLUSIVE:
            granted.exclusive = reg_type
        self.clients[association.peer_hit] = association
        if reg_type == ServiceType.MOBILE_NETWORK and core.mobile_router is not None:
            core.mobile_router.routers[association.peer_hit] = association
        if reg_type == ServiceType.RENDEZVOUS and core.rendezvous is not None:
            core.rendezvous.granted(core, association, now)
        self._tell(core, association, reg_type, length_s, "granted" if first else "renewed")

    def _cancel(
        self, core: "Core", association: "Association", packet: HipPacket, reg_type: int
    ) -> None:
        granted = association.registrations.granted
        if reg_type == ServiceType.RELAY_UDP_ESP and self.data_relay.take_back(
            core, granted, packet
        ):
            return
        if reg_type in granted.grants:
            self._end(core, association, [reg_type], "cancelled by the client")

    def _end(
        self, core: "Core", association: "Association", reg_types: list[int], reason: str
    ) -> None:
        granted = association.registrations.granted
        for reg_type in reg_types:
            del granted.grants[reg_type]
            if reg_type == ServiceType.RELAY_UDP_ESP:
                self.data_relay.close(core, granted)
            if reg_type == ServiceType.RELAY_UDP_HIP:
                granted.flows.clear()
            if reg_type == ServiceType.MOBILE_NETWORK and core.mobile_router is not None:
                core.mobile_router.routers.pop(association.peer_hit, None)
            if reg_type == ServiceType.RENDEZVOUS and core.rendezvous is not None:
                core.rendezvous.ended(association)
            self._tell(core, association, reg_type, 0.0, reason)
        if not granted.grants and self.clients.get(association.peer_hit) is association:
            del self.clients[association.peer_hit]

    @staticmethod
    def _tell(
        core: "Core",
        association: "Association",
        reg_type: int,
        length_s: float,
        reason: str,
        failure: FailureType | None = None,
    ) -> None:
        if failure is not None:
            reason = f"{reason}: {failure_name(failure)}"
        core.effects.append(
            RegistrationChanged(
                association.local_hit,
                association.peer_hit,
                True,
                reg_type,
                length_s,
                reason,
                failure,
            )
        )


def _services(config: RegistrarConfig) -> tuple[int, ...]:
    """All that is offered: what goes along with a service need not be configured."""
    router = config.mobile_router
    if router is None or not router.nested or ServiceType.MOBILE_ROUTER not in config.services:
        return tuple(config.services)
    return (*config.services, ServiceType.MOBILE_NETWORK)


def _terms(config: RegistrarConfig, reg_type: int) -> RegistrarConfig | RendezvousConfig | Terms:
    """On what terms a service is granted."""
    if reg_type in _MOBILE and config.mobile_router_terms is not None:
        return config.mobile_router_terms
    if reg_type == ServiceType.RENDEZVOUS and config.rendezvous is not None:
        return config.rendezvous
    return config


def _is_outside(core: "Core", path: Path) -> bool:
    """Whether a packet has come to an address that a mobile router has outside."""
    router = core.mobile_router
    return router is not None and any(place.address == path.local for place in router.outside)


def _least_code(seconds: float) -> int:
    """The code of a shortest lifetime. Not less than what is meant: codes are rounded down."""
    return min(lifetime_code(seconds) + 1, 255)


def _may_join(granted: Granted, reg_type: int, asked: Iterable[int]) -> bool:
    """Of rendezvous and control relay only one is had in the life of an association.

    Both share keys, so that a message of one might be taken for one of the other. Who asks for
    both gets the relay (RFC 9028 §7.8).
    """
    if granted.exclusive is not None:
        return reg_type == granted.exclusive
    return reg_type == ServiceType.RELAY_UDP_HIP or ServiceType.RELAY_UDP_HIP not in asked
