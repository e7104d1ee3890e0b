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

    @property
    def reachable(self) -> bool:
        """Whether there is anything to send a first packet to."""
        return bool(self.addresses or self.relays)


class PeerDirectory:
    """Finds peers by name, HIT or LSI; also names strangers by an LSI while they are associated."""

    def __init__(self, peers: Iterable[Peer], lsis: LsiTable) -> None:
        self._by_hit = {peer.hit: peer for peer in peers}
        self._by_name = {peer.name: peer for peer in self._by_hit.values()}
        self._by_address = {
            address: peer for peer in self._by_hit.values() for address in peer.addresses
        }
        self._lsis = lsis

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._by_hit.values())

    def __len__(self) -> int:
        return len(self._by_hit)

    def by_hit(self, hit: IPv6Address) -> Peer | None:
        """The configured peer with this HIT."""
        return self._by_hit.get(hit)

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
        return self._lsis.assign(hit)

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
