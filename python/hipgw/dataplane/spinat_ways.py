"""The ways that the ESP of a mobile router's clients takes, and what has passed by them.

A way is one SPI in one direction. A flow of the HIP machine, which is a client and one of its
correspondents, has some of them:

- Inward: what bears the public SPI, from wherever. Where that is another than the client's own SPI,
  also what bears the client's own and comes from where the correspondent is, which may not know.
- Outward: what the client sends with one of the correspondent's SPIs, to an address by which the
  client knows it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Protocol

from hipgw.errors import DataPlaneError
from hipgw.logs import packet_path_logger
from hipgw.protocol.effects import LendSpi, ReturnSpi
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Transport

PAIRS_MAX = 4
"""Pairs of addresses inside by which a client sends to one correspondent: it may have several."""
WAYS_PER_FLOW = 6
"""To be reckoned with: four or so, twice while keys are renewed."""
CHUNK = 200
"""Flows that are aimed anew at once."""
GONE_MAX = 10000
"""Clients without any ways whose traffic is remembered."""
RECENT_S = 10.0
"""Flows that were used within this time are aimed anew before others."""

_log = logging.getLogger(__name__)
_packet_log = packet_path_logger(__name__ + ".packets")

Hits = tuple[IPv6Address, IPv6Address]
"""Of a client and its correspondent."""


@dataclass(frozen=True, slots=True)
class Flow:
    """By what packets of a way are known; addresses have 4 or 16 octets."""

    spi: int
    correspondent: bytes | None = None
    client: bytes | None = None
    """The address of the client for what it sends, else None."""


@dataclass(frozen=True, slots=True)
class Target:
    """What packets of a way become; ports are 0 without UDP."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    spi: int
    interface: int = 0
    """Index of the one they leave by, 0 if that is not known."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What has passed by a way."""

    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What has passed for a client."""

    inward: Counts = Counts(0, 0)
    outward: Counts = Counts(0, 0)
    flows: int = 0
    """Correspondents that data can be exchanged with."""


class WayTable(Protocol):
    """Where the ways are kept; `SpinatDataPlane`. What it refuses raises DataPlaneError."""

    def insert(self, flow: Flow, target: Target) -> int:
        """Enter a way; returns its name. Refused if there is one of this flow, or no room."""

    def aim(self, way: int, target: Target) -> bool:
        """Change what packets become; False if there is no such way."""

    def remove(self, way: int) -> Counts | None:
        """Forget a way; returns what has passed by it."""

    def counts(self, way: int) -> Counts | None:
        """What has passed by a way so far."""

    def used(self, since_s: float) -> list[int]:
        """The ways that were used within so many seconds."""


@dataclass(slots=True)
class _Kept:
    """A flow of the HIP machine."""

    lent: dict[int, LendSpi] = field(default_factory=dict)
    """By public SPI, the newest last."""
    pairs: dict[tuple[Place, Place], None] = field(default_factory=dict)
    """Where the client has sent from and to, the latest last."""
    ways: dict[Flow, tuple[int, Target]] = field(default_factory=dict)


class SpinatWays:
    """Keeps the table as the HIP machine wants it."""

    def __init__(
        self,
        table: WayTable,
        place_of: Callable[[IPv6Address, IPv6Address], Place | None],
        interface_of: Callable[[IPAddress], int],
        interface_to: Callable[[IPAddress], int],
    ) -> None:
        """*place_of* tells where data of a client for a correspondent leaves from.

        *interface_of*: index of the interface that has an own address; *interface_to*: of that
        which leads to an address inside. Both 0 if that is not known.
        """
        self._table = table
        self._place_of = place_of
        self._interface_of = interface_of
        self._interface_to = interface_to
        self._inside: dict[IPAddress, int] = {}
        """What `interface_to` has said."""
        self._flows: dict[Hits, _Kept] = {}
        self._owners: dict[int, Hits] = {}
        """By way."""
        self._public: dict[int, Hits] = {}
        """Who has a public SPI."""
        self._plain: dict[Flow, Hits] = {}
        """Who has which way for ESP that does not bear the public SPI."""
        self._gone: dict[IPv6Address, Counter[str]] = {}
        """What passed by ways that are not there any more."""
        self._places: Counter[IPAddress] = Counter()
        """Of correspondents, and for how many SPIs."""
        self.refused = 0

    def __len__(self) -> int:
        """Flows that have any way."""
        return len(self._flows)

    def lend(self, effect: LendSpi) -> None:
        """Let ESP pass by an SPI."""
        hits = effect.client_hit, effect.peer_hit
        kept = self._flows.setdefault(hits, _Kept())
        # What comes last is known best.
        before = kept.lent.pop(effect.public_spi, None)
        kept.lent[effect.public_spi] = effect
        self._note_places(effect, before)
        pair = effect.client, effect.shown
        kept.pairs.pop(pair, None)
        kept.pairs[pair] = None
        while len(kept.pairs) > PAIRS_MAX:
            del kept.pairs[next(iter(kept.pairs))]
        self._public[effect.public_spi] = hits
        for place in effect.peer:
            other = self._plain.get(Flow(effect.public_spi, place.address.packed))
            if other is not None and other != hits:
                self._arrange(other, self._flows[other])
        self._arrange(hits, kept)

    def give_back(self, effect: ReturnSpi) -> None:
        """Let nothing pass by an SPI any more."""
        hits = effect.client_hit, effect.peer_hit
        kept = self._flows.get(hits)
        before = kept.lent.pop(effect.public_spi, None) if kept is not None else None
        if kept is None or before is None:
            return
        self._note_places(None, before)
        if self._public.get(effect.public_spi) == hits:
            del self._public[effect.public_spi]
        self._arrange(hits, kept)
        if not kept.lent:
            del self._flows[hits]

    def moved(self) -> Iterator[None]:
        """The own places outside, or ways inside, have changed: aim everything anew.

        Yields after some flows each, those used lately first.
        """
        self._inside.clear()
        recent = [self._owners[way] for way in self._table.used(RECENT_S) if way in self._owners]
        for number, hits in enumerate(dict.fromkeys([*recent, *self._flows]), 1):
            # It may be gone meanwhile.
            if (kept := self._flows.get(hits)) is not None:
                self._arrange(hits, kept)
            if not number % CHUNK:
                yield

    def used(self, since_s: float) -> list[int]:
        """The public SPIs of flows that data has flowed by within so many seconds."""
        flows = {self._owners[way] for way in self._table.used(since_s) if way in self._owners}
        return [next(reversed(self._flows[hits].lent)) for hits in flows]

    def knows(self, address: IPAddress) -> bool:
        """Whether a correspondent is known to be there."""
        return address in self._places

    def traffic(self) -> dict[IPv6Address, Traffic]:
        """What has passed for each client; takes a while if there are many flows."""
        sums = {client: Counter(counter) for client, counter in self._gone.items()}
        for (client, _), kept in self._flows.items():
            counter = sums.setdefault(client, Counter())
            counter["flows"] += 1
            for flow, (way, _) in kept.ways.items():
                _add(counter, flow, self._table.counts(way))
        return {
            client: Traffic(
                Counts(counter["packets in"], counter["octets in"]),
                Counts(counter["packets out"], counter["octets out"]),
                counter["flows"],
            )
            for client, counter in sums.items()
        }

    def forget(self, client_hit: IPv6Address) -> None:
        """A client is gone, and with it what has passed for it."""
        self._gone.pop(client_hit, None)

    # -- inside ------------------------------------------------------------------------------

    def _note_places(self, effect: LendSpi | None, before: LendSpi | None) -> None:
        for place in effect.peer if effect is not None else ():
            self._places[place.address] += 1
        for place in before.peer if before is not None else ():
            self._places[place.address] -= 1
            if not self._places[place.address]:
                del self._places[place.address]

    def _arrange(self, hits: Hits, kept: _Kept) -> None:
        """Make the ways of a flow what they are to be."""
        wanted = self._wanted(hits, kept)
        for flow in [one for one in kept.ways if one not in wanted]:
            self._remove(hits, flow, kept.ways.pop(flow)[0])
        for flow, target in wanted.items():
            way, before = kept.ways.get(flow, (None, None))
            if before == target:
                continue
            if way is None or not self._table.aim(way, target):
                try:
                    way = self._table.insert(flow, target)
                except DataPlaneError as error:
                    # Somebody else's, or there are too many; it is tried again with the next news.
                    self.refused += 1
                    _packet_log.warning(
                        "a way for ESP is refused: %s", error, extra={"client": str(hits[0])}
                    )
                    continue
                self._owners[way] = hits
                if flow.correspondent is not None and flow.client is None:
                    self._plain[flow] = hits
            kept.ways[flow] = way, target

    def _remove(self, hits: Hits, flow: Flow, way: int) -> None:
        self._owners.pop(way, None)
        if self._plain.get(flow) == hits:
            del self._plain[flow]
        # Guests of a client that is a router itself never say that they are gone.
        if hits[0] not in self._gone and len(self._gone) >= GONE_MAX:
            del self._gone[next(iter(self._gone))]
        _add(self._gone.setdefault(hits[0], Counter()), flow, self._table.remove(way))

    def _wanted(self, hits: Hits, kept: _Kept) -> dict[Flow, Target]:
        found: dict[Flow, Target] = {}
        outside = self._place_of(*hits) if kept.lent else None
        for effect in kept.lent.values():
            peer = _peer(effect, outside)
            found |= self._inward(hits, effect, peer)
            if outside is not None and peer is not None:
                found |= self._outward(kept, effect, outside, peer)
        return found

    def _inward(self, hits: Hits, effect: LendSpi, peer: Place | None) -> dict[Flow, Target]:
        client, shown = effect.client, effect.shown
        version = client.address.version
        seen = peer if peer is not None and peer.address.version == version else shown
        if seen.address.version != version:
            return {}
        udp = client.transport is Transport.UDP
        # As the machine has it for HIP packets: data has to come from the same place.
        seen_port = seen.port if seen.transport is Transport.UDP else HIP_UDP_PORT
        target = Target(
            seen.address.packed,
            seen_port if udp else 0,
            client.address.packed,
            client.port if udp else 0,
            effect.private_spi,
            self._to_client(client.address),
        )
        flows = [Flow(effect.public_spi)]
        if effect.public_spi != effect.private_spi:
            flows += [
                Flow(effect.private_spi, one.address.packed)
                for one in effect.peer
                if not self._is_anothers(hits, effect.private_spi, one.address)
            ]
        return dict.fromkeys(flows, target)

    def _is_anothers(self, hits: Hits, spi: int, address: IPAddress) -> bool:
        """Whether what comes from there by an SPI is for another client, which has it outside.

        Else whoever names the SPI of its neighbour would get what that one's correspondent sends.
        """
        owner = self._public.get(spi)
        if owner is None or owner == hits:
            return False
        return any(place.address == address for place in self._flows[owner].lent[spi].peer)

    def _outward(
        self, kept: _Kept, effect: LendSpi, outside: Place, peer: Place
    ) -> dict[Flow, Target]:
        udp = outside.transport is Transport.UDP
        client = effect.client.address
        known = [(one.address, shown.address) for one, shown in kept.pairs]
        known += [(client, one.address) for one in effect.peer]
        interface = self._interface_of(outside.address)
        return {
            Flow(spi, to.packed, one.packed): Target(
                outside.address.packed,
                outside.port if udp else 0,
                peer.address.packed,
                peer.port if udp else 0,
                spi,
                interface,
            )
            for spi in effect.peer_spis
            for one, to in known
            if one.version == to.version
        }

    def _to_client(self, address: IPAddress) -> int:
        known = self._inside.get(address)
        if known is None:
            known = self._inside[address] = self._interface_to(address)
        return known


def _peer(effect: LendSpi, outside: Place | None) -> Place | None:
    """Where the correspondent is reached from a place outside."""
    if outside is None:
        return next(iter(effect.peer), None)
    version = outside.address.version
    return next((place for place in effect.peer if place.address.version == version), None)


def _add(counter: Counter[str], flow: Flow, counts: Counts | None) -> None:
    if counts is not None:
        way = "in" if flow.client is None else "out"
        counter[f"packets {way}"] += counts.packets
        counter[f"octets {way}"] += counts.octets
