"""The peers that the configuration names, as the other rooms know them."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from hipgw.config.names import SourceName
from hipgw.config.schema import Config, PeerConfig
from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import CONFIGURED, Peer, PeerDirectory
from hipgw.naming.sources import Rendezvous
from hipgw.protocol.path import Transport


def make_directory(config: Config) -> tuple[PeerDirectory, LsiTable]:
    """The configured peers, each with an LSI; those that are set go first."""
    lsis = LsiTable()
    for entry in sorted(config.peers, key=lambda peer: peer.lsi is None):
        lsis.assign(hits_of(config, entry)[0], entry.lsi)
    peers = [peer_of(config, entry, lsis.assign) for entry in config.peers]
    return PeerDirectory(peers, lsis), lsis


def peer_of(
    config: Config,
    entry: PeerConfig,
    lsi_for: Callable[[IPv6Address], IPv4Address],
    *,
    source: str = CONFIGURED,
) -> Peer:
    """One of the peers of *config*, as the other rooms know it. Raises what *lsi_for* does."""
    hits = hits_of(config, entry)
    return Peer(
        name=entry.name,
        hit=hits[0],
        other_hits=hits[1:],
        compats=tuple(
            config.compat_of(entry, version).value for version in config.versions_of(entry)
        ),
        addresses=entry.addresses,
        udp=config.transport_of(entry) is Transport.UDP,
        port=entry.port,
        lsi=lsi_for(hits[0]),
        relays=tuple(
            (address, relay.port)
            for relay in config.relays_of(entry)
            for address in relay.addresses
        ),
        rendezvous=tuple(
            Rendezvous(addresses, name, port)
            for addresses, port, name in config.rendezvous_of(entry)
        ),
        source=source,
        sought=is_sought(config, entry),
    )


def hits_of(config: Config, entry: PeerConfig) -> tuple[IPv6Address, ...]:
    """The HITs that a peer is talked to by, the preferred one first."""
    return tuple(entry.hits[version] for version in config.versions_of(entry))


def is_sought(config: Config, entry: PeerConfig) -> bool:
    """Whether it is worth calling a peer without addresses, because somebody may know one."""
    order = config.naming.order
    by_hit = config.dht is not None and SourceName.DHT in order
    return by_hit or (SourceName.DNS in order and "." in entry.name)
