"""The peers that the configuration names."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hipgw.identity.lsi import LsiTable


@dataclass(frozen=True, slots=True)
class Peer:
    """One configured peer."""

    name: str
    hit: IPv6Address
    addresses: tuple[IPv4Address | IPv6Address, ...]
    """Where to send the first packet, in order of preference; may be empty."""
    udp: bool
    """Whether to reach it inside UDP, or by IP protocols 139 and 50."""
    port: int
    """UDP only."""
    lsi: IPv4Address
    """Its alias on this machine alone."""
    relays: tuple[tuple[IPv4Address | IPv6Address, int], ...] = ()
    """Addresses and UDP ports of relays that it can be called by (RFC 9028 §4.5)."""
    other_hits: tuple[IPv6Address, ...] = ()
    """HITs of other versions of HIP that it may be talked to by, in order of preference."""
    compats: tuple[str, ...] = ()
    """Names of the profiles of its deviations, one for each of `hits`; none without."""

    @property
    def hits(self) -> tuple[IPv6Address, ...]:
        """All its HITs, the preferred one first."""
        return (self.hit, *self.other_hits)

    def compat(self, hit: IPv6Address) -> str:
        """The name of the profile of its deviations, by one of its HITs."""
        return dict(zip(self.hits, self.compats, strict=False)).get(hit, "none")

    @property
    def reachable(self) -> bool:
        """Whether there is anything to send a first packet to."""
        return bool(self.addresses or self.relays)


class PeerDirectory:
    """Finds peers by name, HIT or LSI; also names strangers by an LSI while they are associated."""

    def __init__(self, peers: Iterable[Peer], lsis: LsiTable) -> None:
        self._peers = list({peer.hit: peer for peer in peers}.values())
        self._by_hit = {hit: peer for peer in self._peers for hit in peer.hits}
        self._by_name = {peer.name: peer for peer in self._peers}
        self._by_address = {address: peer for peer in self._peers for address in peer.addresses}
        self._lsis = lsis

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers)

    def __len__(self) -> int:
        return len(self._peers)

    def by_hit(self, hit: IPv6Address) -> Peer | None:
        """The configured peer with this HIT, be it of one version or another."""
        return self._by_hit.get(hit)

    def primary(self, hit: IPv6Address) -> IPv6Address:
        """The preferred one of the HITs of whose this is."""
        peer = self._by_hit.get(hit)
        return hit if peer is None else peer.hit

    def by_address(self, address: IPv4Address | IPv6Address) -> Peer | None:
        """The configured peer that is called at this address of the underlay."""
        return self._by_address.get(address)

    def find(self, text: str) -> Peer | None:
        """The configured peer that a person means by its name, HIT or LSI."""
        if peer := self._by_name.get(text):
            return peer
        try:
            return self.by_destination(IPv6Address(text))
        except ValueError:
            pass
        try:
            return self.by_destination(IPv4Address(text))
        except ValueError:
            return None

    def by_destination(self, destination: IPv4Address | IPv6Address) -> Peer | None:
        """The configured peer that a packet to this HIT or LSI is meant for."""
        if isinstance(destination, IPv6Address):
            return self._by_hit.get(destination)
        hit = self._lsis.hit_of(destination)
        return self._by_hit.get(hit) if hit else None

    def lsi_of(self, hit: IPv6Address) -> IPv4Address:
        """The LSI of any peer, configured or not (assigned on first use)."""
        peer = self._by_hit.get(hit)
        return self._lsis.assign(hit) if peer is None else peer.lsi

    def forget(self, hit: IPv6Address) -> IPv4Address | None:
        """A stranger is gone: free its LSI and return it; None if it has none to be freed."""
        if hit in self._by_hit:
            return None
        lsi = self._lsis.lsi_of(hit)
        self._lsis.remove(hit)
        return lsi

    def name_of(self, hit: IPv6Address | None) -> str:
        """What to call a peer in logs and tables: its name, else its HIT."""
        if hit is None:
            return "?"
        peer = self._by_hit.get(hit)
        return peer.name if peer else str(hit)
