"""The host: reachable by its HIT and LSI, and reaching others by theirs."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from hipgw.dataplane.backend import DataPlane
from hipgw.logs import packet_path_logger
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.effects import Closed, Effect, Established, Failed
from hipgw.roles.role import Associations, Finder

_packet_log = packet_path_logger(__name__)


class HostRole:
    """Makes an association when the first packet for a peer's HIT or LSI waits for one."""

    name = "host"

    def __init__(
        self,
        directory: PeerDirectory,
        dataplane: DataPlane,
        associations: Associations,
        finder: Finder | None = None,
    ) -> None:
        """*finder* looks up HITs that are no peer's; without it, packets to them are dropped."""
        self._directory = directory
        self._dataplane = dataplane
        self._associations = associations
        self._finder = finder

    def start(self) -> None:
        self._directory.subscribe(self._peer_changed)
        for peer in self._directory:
            self._dataplane.set_lsi(peer.lsi, peer.hit)

    def _peer_changed(self, old: Peer | None, new: Peer | None) -> None:
        if old is not None and (new is None or new.lsi != old.lsi):
            self._dataplane.remove_lsi(old.lsi)
        if new is not None and (old is None or new.lsi != old.lsi):
            self._dataplane.set_lsi(new.lsi, new.hit)

    def handle_event(self, event: Effect) -> None:
        match event:
            case Established(peer_hit=hit) if (peer := self._directory.by_hit(hit)) is not None:
                if len(peer.hits) > 1:
                    # Its LSI leads to the HIT that it is talked to by.
                    self._dataplane.set_lsi(peer.lsi, hit)
            case Established(peer_hit=hit):
                # A stranger who was let in needs a name for IPv4 applications as well.
                self._dataplane.set_lsi(self._directory.lsi_of(hit), hit)
            case Failed(peer_hit=IPv6Address() as hit):
                self._drop_held(hit)
            case Closed(peer_hit=hit):
                # Strangers come and go; there are only so many LSIs.
                if (lsi := self._directory.forget(hit)) is not None:
                    self._dataplane.remove_lsi(lsi)
            case _:
                pass

    def kept(self) -> Iterable[IPv6Address]:
        """None: the next packet makes the association anew."""
        return ()

    def acquire(self, destination: IPv4Address | IPv6Address) -> bool:
        peer = self._directory.by_destination(destination)
        if peer is not None:
            # Also one of which no place is known: it is looked up.
            self._associations.connect(peer)
        elif peer is None and self._finder is not None and isinstance(destination, IPv6Address):
            self._finder.find(destination, lambda found: self._found(destination, found))
        else:
            self._unknown(destination)
        return True

    def _found(self, destination: IPv6Address, peer: Peer | None) -> None:
        if peer is not None and peer.located:
            self._associations.connect(peer)
        else:
            self._unknown(destination)

    def _unknown(self, destination: IPv4Address | IPv6Address) -> None:
        # One for each packet: what would wait is dropped.
        _packet_log.warning(
            "packet for a peer without a known address", extra={"destination": str(destination)}
        )
        self._dataplane.drop_held(destination)

    def _drop_held(self, hit: IPv6Address) -> None:
        """Nobody answers: what waits for this peer will never be of use."""
        self._dataplane.drop_held(hit)
        if self._directory.by_hit(hit) is not None:
            self._dataplane.drop_held(self._directory.lsi_of(hit))
