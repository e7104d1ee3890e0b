"""Reaching a peer by its rendezvous servers: whom to call in which order, and what may answer."""

from collections.abc import Sequence
from dataclasses import replace

from hipgw.protocol import paths
from hipgw.protocol.association import Association, InitiatorExchange
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.locators import PeerLocator
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Path, Transport
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import ViaRvs

WAYS_MAX = 4
"""Addresses of rendezvous servers of one peer that are tried."""


def check_via(core: Core, exchange: InitiatorExchange, packet: HipPacket, path: Path) -> None:
    """See whether an R1 has come by a server that the I1 went to (RFC 8004 §4.3.4).

    It comes from elsewhere then. A server that was called at one of its addresses may send from
    another; if that is of the other IP version, nobody here need know it. Raises Dropped.
    """
    via = packet.get(ViaRvs)
    if via is None or path.relay_to is not None:
        return
    known = {way.remote for way in exchange.paths}
    known |= {address for address, _ in core.config.rendezvous_of(packet.sender_hit)}
    if known & set(via.addresses):
        return
    versions = {address.version for address in via.addresses}
    servers = [way for way in exchange.paths if way.by_rendezvous]
    if not servers or any(way.remote.version in versions for way in servers):
        raise Dropped(DropReason.BAD_VIA_RVS)


def note(association: Association, called: Sequence[Path], named: Sequence[IPAddress] = ()) -> None:
    """Remember where a peer was called: that is for when it is not where it was, either.

    It is not where a rendezvous server is (RFC 8046 §3.2.3); *named* are addresses of those, too.
    """
    servers = [way for way in called if way.by_rendezvous or way.remote in named]
    mobility = association.mobility
    mobility.rendezvous = tuple(replace(way, by_rendezvous=True) for way in servers)[:WAYS_MAX]
    mobility.home = tuple(way for way in called if way not in servers)


def learn(association: Association, exchange: InitiatorExchange, packet: HipPacket) -> None:
    """An R1 tells which of the addresses that were called is that of a rendezvous server."""
    if (via := packet.get(ViaRvs)) is not None:
        note(association, exchange.paths, via.addresses)


def known(core: Core, association: Association) -> list[Path]:
    """Paths to a peer's rendezvous servers, in order, from addresses that this host has now.

    They are of the association's transport: its addresses are told apart by that.
    """
    current = association.path
    if current is None or current.relay_to is not None:
        return []
    places = [(way.remote, way.locator_port) for way in association.mobility.rendezvous]
    places += core.config.rendezvous_of(association.peer_hit)
    found = []
    udp = current.transport is Transport.UDP
    for address, port in list(dict.fromkeys(places))[:WAYS_MAX]:
        local = paths.local_for(core, association, address)
        if local is not None and address not in core.own_addresses:
            locator = PeerLocator(address=address, port=(port or HIP_UDP_PORT) if udp else 0)
            way = paths.towards(current, local, locator)
            found.append(replace(way, by_rendezvous=True, via=None))
    return found


def mixed_in(direct: list[Path], by_server: list[Path]) -> list[Path]:
    """Both kinds of paths in turn, beginning with a direct one: so neither has to wait long."""
    mixed: list[Path] = []
    for index in range(max(len(direct), len(by_server))):
        mixed += direct[index : index + 1] + by_server[index : index + 1]
    return mixed
