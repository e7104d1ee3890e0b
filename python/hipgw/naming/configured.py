"""The peers of this machine's own configuration, as a source of names."""

from collections.abc import Sequence
from ipaddress import IPv6Address

from hipgw.naming.peers import CONFIGURED, Peer, PeerDirectory
from hipgw.naming.sources import Found, Provenance


class ConfiguredSource:
    """Answers from the directory of peers, of which it takes those that are configured."""

    name = CONFIGURED

    def __init__(self, directory: PeerDirectory) -> None:
        self._directory = directory

    async def by_name(self, name: str) -> Sequence[Found]:
        return _found(self._directory.by_name(name))

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        return _found(self._directory.by_hit(hit))


def _found(peer: Peer | None) -> Sequence[Found]:
    if peer is None or peer.source != CONFIGURED:
        return ()
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
