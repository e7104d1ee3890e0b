"""Transport addresses where a host may be reached, in order of preference (RFC 9028 §4.2)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hipgw.protocol.locators import is_unicast
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.wire.parameters import (
    CandidateKind,
    Locator,
    LocatorSet,
    TrafficType,
    TransportLocator,
)

CANDIDATES_MAX = 16
"""Of a peer; further ones are left out."""
OWN_MAX = {
    CandidateKind.HOST: 6,
    CandidateKind.SERVER_REFLEXIVE: 4,
    CandidateKind.RELAYED: 2,
}
"""Own ones: with a peer like this host, no pair is lost for want of room."""
RELAYS_MAX = 2
"""Addresses of a peer's control relays that are remembered."""
_TYPE_PREFERENCE = {
    CandidateKind.HOST: 126,
    CandidateKind.PEER_REFLEXIVE: 110,
    CandidateKind.SERVER_REFLEXIVE: 100,
    CandidateKind.RELAYED: 0,
}
"""RFC 8445 §5.1.2.2."""
_BEST_LOCAL_PREFERENCE = 65535
_ONLY_COMPONENT = 1
_FOREVER = 0xFFFFFFFF
_UDP = 17


def priority(kind: CandidateKind, local_preference: int) -> int:
    """The priority of a candidate (RFC 8445 §5.1.2.1); the component is always 1."""
    return (_TYPE_PREFERENCE[kind] << 24) + (local_preference << 8) + (256 - _ONLY_COMPONENT)


@dataclass(frozen=True, slots=True)
class Base:
    """What an own candidate sends from: an own address, or a data relay."""

    local: IPAddress
    local_port: int
    relay: tuple[IPAddress, int] | None = None
    """Where the relay is spoken to, for a relayed candidate."""

    @property
    def version(self) -> int:
        """IP version of what it can reach."""
        return self.relay[0].version if self.relay else self.local.version

    def path_to(self, address: IPAddress, port: int) -> Path:
        """The path from here to a peer's candidate."""
        if self.relay is None:
            return Path(self.local, address, Transport.UDP, self.local_port, port)
        relay, relay_port = self.relay
        target = (address, port)
        return Path(self.local, relay, Transport.UDP, self.local_port, relay_port, target)


@dataclass(frozen=True, slots=True)
class LocalCandidate:
    """An own transport address as the peer is to know it."""

    address: IPAddress
    port: int
    kind: CandidateKind
    local_preference: int
    base: Base

    @property
    def priority(self) -> int:
        """Among all candidates of this host."""
        return priority(self.kind, self.local_preference)

    @property
    def reflexive_priority(self) -> int:
        """What a candidate that a check from here shows to the peer would have (RFC 9028 §5.14)."""
        return priority(CandidateKind.PEER_REFLEXIVE, self.local_preference)


@dataclass(frozen=True, slots=True)
class RemoteCandidate:
    """A transport address of the peer."""

    address: IPAddress
    port: int
    kind: int
    priority: int


@dataclass(frozen=True, slots=True)
class Source:
    """Something to make a candidate of: a base, and what it looks like from outside."""

    kind: CandidateKind
    base: Base
    address: IPAddress
    port: int


def gather(sources: Iterable[Source]) -> list[LocalCandidate]:
    """Candidates, each transport address once, with local preferences in the order given (§4.2)."""
    found: dict[tuple[IPAddress, int], Source] = {}
    count: Counter[CandidateKind] = Counter()
    for source in sources:
        place = (source.address, source.port)
        if not is_unicast(source.address) or not source.port or place in found:
            continue
        if count[source.kind] < OWN_MAX[source.kind]:
            count[source.kind] += 1
            found[place] = source
    return [
        LocalCandidate(
            source.address,
            source.port,
            source.kind,
            _BEST_LOCAL_PREFERENCE - index,
            source.base,
        )
        for index, source in enumerate(found.values())
    ]


def locator_set(
    candidates: Sequence[LocalCandidate], relays: Iterable[tuple[IPAddress, int]], spi: int
) -> LocatorSet:
    """The own candidates and control relays as a peer is told of them (RFC 9028 §4.5, §5.7)."""
    entries = [
        Locator(
            TransportLocator(one.address, one.port, _UDP, one.kind, one.priority, spi), _FOREVER
        )
        for one in candidates
    ]
    entries += [
        Locator(
            TransportLocator(address, port, _UDP, CandidateKind.HOST, 0, spi),
            _FOREVER,
            traffic_type=TrafficType.SIGNALING,
        )
        for address, port in list(relays)[:RELAYS_MAX]
    ]
    return LocatorSet(tuple(entries))


def read(locators: LocatorSet) -> tuple[list[RemoteCandidate], list[tuple[IPAddress, int]]]:
    """A peer's candidates, and its control relays, which are not checked (RFC 9028 §4.5)."""
    candidates: dict[tuple[IPAddress, int], RemoteCandidate] = {}
    relays: list[tuple[IPAddress, int]] = []
    for entry in locators.locators:
        match entry.locator:
            case TransportLocator(address=address, port=port, protocol=protocol) as locator:
                if protocol != _UDP or not port or not is_unicast(address):
                    continue
                if entry.traffic_type == TrafficType.SIGNALING:
                    relays.append((address, port))
                elif entry.lifetime:
                    candidates.setdefault(
                        (address, port),
                        RemoteCandidate(address, port, locator.kind, locator.priority),
                    )
            case _:
                pass
    return list(candidates.values())[:CANDIDATES_MAX], relays[:RELAYS_MAX]
