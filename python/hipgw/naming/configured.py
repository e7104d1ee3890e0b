"""The peers of this machine's own configuration, as a source of names."""

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address

from hipgw.naming.peers import CONFIGURED, Peer, PeerDirectory
from hipgw.naming.sources import Found, Provenance


class ConfiguredSource:
    """Answers from the directory of peers, of which it takes those that are configured."""

    name = CONFIGURED

    def __init__(
        self, directory: PeerDirectory, base: Callable[[Peer], Peer] = lambda peer: peer
    ) -> None:
        """*base* gives a peer without the places that other sources have told."""
        self._directory = directory
        self._base = base

    async def by_name(self, name: str) -> Sequence[Found]:
        return self._found(self._directory.by_name(name))

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        return self._found(self._directory.by_hit(hit))

    def _found(self, peer: Peer | None) -> Sequence[Found]:
        if peer is None or peer.source != CONFIGURED:
            return ()
        peer = self._base(peer)
        return (
            Found(
                hit=peer.hit,
                source=CONFIGURED,
                provenance=Provenance.CONFIGURED,
                ttl_s=0.0,
                name=peer.name,
                addresses=peer.addresses,
                rendezvous=peer.rendezvous,
                udp=peer.udp,
                port=peer.port,
                other_hits=peer.other_hits,
            ),
        )
