"""The peers that the configuration names, as the other rooms know them."""

from ipaddress import IPv6Address

from hipgw.config.names import SourceName
from hipgw.config.schema import Config, PeerConfig
from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.naming.sources import Rendezvous
from hipgw.protocol.path import Transport


def make_directory(config: Config) -> tuple[PeerDirectory, LsiTable]:
    """The configured peers, each with an LSI; those that are set go first."""
    lsis = LsiTable()
    for entry in sorted(config.peers, key=lambda peer: peer.lsi is None):
        lsis.assign(hits_of(config, entry)[0], entry.lsi)
    peers = [
        Peer(
            name=entry.name,
            hit=hits_of(config, entry)[0],
            other_hits=hits_of(config, entry)[1:],
            compats=tuple(
                config.compat_of(entry, version).value for version in config.versions_of(entry)
            ),
            addresses=entry.addresses,
            udp=config.transport_of(entry) is Transport.UDP,
            port=entry.port,
            lsi=lsis.assign(hits_of(config, entry)[0]),
            relays=tuple(
                (address, relay.port)
                for relay in config.relays_of(entry)
                for address in relay.addresses
            ),
            rendezvous=tuple(
                Rendezvous(addresses, name, port)
                for addresses, port, name in config.rendezvous_of(entry)
            ),
            sought=is_sought(config, entry),
        )
        for entry in config.peers
    ]
    return PeerDirectory(peers, lsis), lsis


def hits_of(config: Config, entry: PeerConfig) -> tuple[IPv6Address, ...]:
    """The HITs that a peer is talked to by, the preferred one first."""
    return tuple(entry.hits[version] for version in config.versions_of(entry))


def is_sought(config: Config, entry: PeerConfig) -> bool:
    """Whether it is worth calling a peer without addresses, because somebody may know one."""
    return SourceName.DNS in config.naming.order and "." in entry.name
