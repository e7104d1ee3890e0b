"""The endbox: one Ethernet segment, bridged with those of its peers."""

import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address

from hipgw.naming.peers import Peer
from hipgw.protocol.effects import Closed, Effect, Established, Failed
from hipgw.roles.backoff import BackOff
from hipgw.roles.role import Associations

SEGMENT = 1
"""Number of the segment in the data plane; one endbox bridges one segment."""

_log = logging.getLogger(__name__)


class EndboxRole:
    """Keeps an association with every endbox of the segment, for ever.

    A full mesh of associations and the split horizon of the data plane make one loop-free LAN
    (RFC 4762 §4.4), so every peer is called at start, and again after each failure.
    """

    name = "endbox"

    def __init__(
        self,
        peers: Iterable[Peer],
        associations: Associations,
        random: Callable[[int], bytes],
    ) -> None:
        self._members = list(peers)
        self._peers = {hit: peer for peer in self._members for hit in peer.hits}
        self._associations = associations
        self._random = random
        self._backoff = {peer.hit: BackOff(random) for peer in self._members}

    def start(self) -> None:
        for peer in self._members:
            if peer.reachable:
                self._associations.connect(peer)

    def change(self, peers: Iterable[Peer]) -> list[Peer]:
        """From now on these are the endboxes of the segment; returns those that are no more.

        New ones, and those that are found elsewhere now, are called. What associations there are
        is left as it is: their frames are the caller's to let in, or to end.
        """
        before = {peer.hit: peer for peer in self._members}
        self._members = list(peers)
        self._peers = {hit: peer for peer in self._members for hit in peer.hits}
        now = {peer.hit for peer in self._members}
        self._backoff = {
            hit: self._backoff[hit] if hit in before else BackOff(self._random) for hit in now
        }
        for peer in self._members:
            if peer.reachable and before.get(peer.hit) != peer:
                self._associations.connect(peer)
        return [peer for hit, peer in before.items() if hit not in now]

    def segment_of(self, hit: IPv6Address) -> int:
        """The segment whose frames a peer may send and gets; 0 for none."""
        return SEGMENT if hit in self._peers else 0

    def handle_event(self, event: Effect) -> None:
        match event:
            case Established(peer_hit=hit) if hit in self._peers:
                self._backoff[self._peers[hit].hit].succeeded()
            case Closed(peer_hit=hit, reason=reason) | Failed(peer_hit=hit, reason=reason) if (
                hit in self._peers and self._peers[hit].reachable
            ):
                peer = self._peers[hit]
                delay_s = self._backoff[peer.hit].failed()
                _log.info(
                    "endbox will be called again",
                    extra={"peer": peer.name, "delay_s": round(delay_s, 1), "reason": reason},
                )
                self._associations.call_later(delay_s, peer)
            case _:
                pass

    def kept(self) -> Iterable[IPv6Address]:
        """All of them: the first frame on a silent LAN is not to wait for a base exchange."""
        return self._peers

    def acquire(self, _destination: IPv4Address | IPv6Address) -> bool:
        """Frames never wait for an association: the LAN's own protocols repeat what matters."""
        return False
