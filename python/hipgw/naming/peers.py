"""The peers that this machine knows: those of its configuration, and those that were found."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from hipgw.errors import NamingError
from hipgw.identity.lsi import LsiTable
from hipgw.naming.sources import Rendezvous

CONFIGURED, FLEET = "configured", "fleet"
_RANKS = {CONFIGURED: 0, FLEET: 1}
_FOUND_RANK = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """One known peer."""

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
    rendezvous: tuple[Rendezvous, ...] = ()
    """Rendezvous servers that it can be called by, in order; before `addresses` (RFC 8005 §4)."""
    source: str = CONFIGURED
    """Who said that there is such a peer, as in `naming.order`, or "opportunistic"."""
    sought: bool = False
    """Whether it is looked up when it has to be called and nothing is known of where it is."""

    @property
    def hits(self) -> tuple[IPv6Address, ...]:
        """All its HITs, the preferred one first."""
        return (self.hit, *self.other_hits)

    def compat(self, hit: IPv6Address) -> str:
        """The name of the profile of its deviations, by one of its HITs."""
        return dict(zip(self.hits, self.compats, strict=False)).get(hit, "none")

    @property
    def located(self) -> bool:
        """Whether there is anything to send a first packet to."""
        return bool(self.addresses or self.relays or self.rendezvous)

    @property
    def reachable(self) -> bool:
        """Whether it is worth calling: it is known where it is, or who may know is asked."""
        return self.located or self.sought

    @property
    def was_found(self) -> bool:
        """Whether it is a peer only because it was looked up."""
        return self.rank == _FOUND_RANK

    @property
    def rank(self) -> int:
        """How its source stands to those of others: the lower one decides about a name."""
        return _RANKS.get(self.source, _FOUND_RANK)


Listener = Callable[[Peer | None, Peer | None], None]
"""Called after a change with the peer as it was (None: new) and as it is (None: gone)."""


class PeerDirectory:
    """Finds peers by name, HIT or LSI; also names strangers by an LSI while they are associated.

    Peers come and go at run time; whoever keeps any of them has to listen (`subscribe`). The
    directory itself sets no bound to their number: who adds any does.
    """

    def __init__(self, peers: Iterable[Peer], lsis: LsiTable) -> None:
        self._peers: dict[IPv6Address, Peer] = {}
        self._by_hit: dict[IPv6Address, Peer] = {}
        self._by_name: dict[str, list[Peer]] = {}
        self._by_address: dict[IPv4Address | IPv6Address, list[Peer]] = {}
        self._lsis = lsis
        self._listeners: list[Listener] = []
        for peer in {peer.hit: peer for peer in peers}.values():
            self._enter(peer)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def __len__(self) -> int:
        return len(self._peers)

    # -- changes -----------------------------------------------------------------------------

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have every change told; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def add(self, peer: Peer) -> None:
        """Add a peer, or replace the one with the same (preferred) HIT.

        Raises NamingError if one of its HITs is that of another peer, and IdentityError if its LSI
        is another's.
        """
        for hit in peer.hits:
            holder = self._by_hit.get(hit)
            if holder is not None and holder.hit != peer.hit:
                raise NamingError(f"{hit} is a HIT of {holder.name} already")
        old = self._peers.get(peer.hit)
        if old == peer:
            return
        self._lsis.assign(peer.hit, peer.lsi)
        if old is not None:
            self._leave(old)
        self._enter(peer)
        self._tell(old, peer)

    def remove(self, hit: IPv6Address) -> Peer | None:
        """Forget a peer by any of its HITs, and free its LSI; None if there is none."""
        peer = self._by_hit.get(hit)
        if peer is None:
            return None
        self._leave(peer)
        self._lsis.remove(peer.hit)
        self._tell(peer, None)
        return peer

    def lsi_for(self, hit: IPv6Address, wanted: IPv4Address | None = None) -> IPv4Address:
        """The LSI for a peer that is about to be added. Raises IdentityError if there is none."""
        return self._lsis.assign(hit, wanted)

    # -- questions ---------------------------------------------------------------------------

    def by_hit(self, hit: IPv6Address) -> Peer | None:
        """The peer with this HIT, be it of one version or another."""
        return self._by_hit.get(hit)

    def by_name(self, name: str) -> Peer | None:
        """The peer with this name, in letters of any case if no other has it as it is written."""
        for key in (name, name.lower()):
            if found := self._by_name.get(key):
                return found[0]
        return None

    def primary(self, hit: IPv6Address) -> IPv6Address:
        """The preferred one of the HITs of whose this is."""
        peer = self._by_hit.get(hit)
        return hit if peer is None else peer.hit

    def by_address(self, address: IPv4Address | IPv6Address) -> Peer | None:
        """The peer that is called at this address of the underlay."""
        found = self._by_address.get(address)
        return found[-1] if found else None

    def find(self, text: str) -> Peer | None:
        """The peer that a person means by its name, HIT or LSI."""
        if peer := self.by_name(text):
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
        """The peer that a packet to this HIT or LSI is meant for."""
        if isinstance(destination, IPv6Address):
            return self._by_hit.get(destination)
        hit = self._lsis.hit_of(destination)
        return self._by_hit.get(hit) if hit else None

    def lsi_of(self, hit: IPv6Address) -> IPv4Address:
        """The LSI of any peer, known or a stranger (assigned on first use)."""
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

    # -- the indexes -------------------------------------------------------------------------

    def _enter(self, peer: Peer) -> None:
        self._peers[peer.hit] = peer
        self._by_hit.update(dict.fromkeys(peer.hits, peer))
        for name in {peer.name, peer.name.lower()}:
            same = self._by_name.setdefault(name, [])
            same.append(peer)
            # Whose name it is decides the better source, not who comes first or last. A name in
            # the very letters goes before one in others.
            same.sort(key=lambda one: (one.rank, one.name != name))
        for address in peer.addresses:
            self._by_address.setdefault(address, []).append(peer)

    def _leave(self, peer: Peer) -> None:
        del self._peers[peer.hit]
        for hit in peer.hits:
            del self._by_hit[hit]
        for name in {peer.name, peer.name.lower()}:
            _take_out(self._by_name, name, peer)
        for address in peer.addresses:
            _take_out(self._by_address, address, peer)

    def _tell(self, old: Peer | None, new: Peer | None) -> None:
        for listener in list(self._listeners):
            listener(old, new)


_Key = TypeVar("_Key")


def _take_out(index: dict[_Key, list[Peer]], key: _Key, peer: Peer) -> None:
    rest = [one for one in index[key] if one.hit != peer.hit]
    if rest:
        index[key] = rest
    else:
        del index[key]
