"""What a rendezvous server has passed on to this host, its client (RFC 8004 §4.3.2).

The answer goes straight to where the packet came from at the server, which FROM tells. Whoever
could forge that would have this host write to anybody, so it counts only with the RVS_HMAC of a
server where this host is registered.
"""

from dataclasses import replace

from hipgw.protocol.association import Association
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.locators import is_unicast
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Path, Transport
from hipgw.wire.coverage import rvs_hmac_coverage
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import From, RelayFrom, RvsHmac

_UDP, _PLAIN = 17, 0
_PASSED_ON = frozenset({PacketType.I1, PacketType.UPDATE})
"""UPDATE by RFC 8046 §3.2.3."""


def unwrap(core: Core, packet: HipPacket, path: Path) -> Path:
    """The path that leads straight to the sender of a packet.

    Raises Dropped if a server has not passed it on, although it says so.
    """
    origins, code = packet.all(From), packet.get(RvsHmac)
    if not origins and (code is None or packet.packet_type is not PacketType.I1):
        # On other packets the server may show that way whom they are from (§4.2.1); so do theirs.
        return path
    if origins and packet.packet_type not in _PASSED_ON:
        raise Dropped(DropReason.BAD_FROM)
    if code is None or not _vouched_for(core, packet, code, path):
        raise Dropped(DropReason.BAD_RVS_HMAC)
    if not origins:
        return path
    if len(origins) > 1:
        # The server knows where it came from last, and nobody vouches for the rest.
        raise Dropped(DropReason.BAD_FROM)
    if packet.packet_type is PacketType.I1 and not int(packet.receiver_hit):
        raise Dropped(DropReason.OPPORTUNISTIC)
    return _way_back(core, packet, origins[0].address, path)


def _vouched_for(core: Core, packet: HipPacket, code: RvsHmac, path: Path) -> bool:
    """Whether a server where this host is registered has made the RVS_HMAC.

    That at the address which the packet came from is asked first: there are only a few, and one
    with several addresses may use any.
    """
    covered = rvs_hmac_coverage(packet.raw)
    servers = [one for one in core.rendezvous_servers.values() if one.state in UP]
    servers.sort(key=lambda one: one.path is None or one.path.remote != path.remote)
    return any(_made_by(server, covered, code) for server in servers)


def _made_by(server: Association, covered: bytes, code: RvsHmac) -> bool:
    session = server.session
    return session is not None and session.rhash.verify_mac(
        session.hip_keys.incoming_integrity, covered, code.mac
    )


def _way_back(core: Core, packet: HipPacket, address: IPAddress, path: Path) -> Path:
    """Straight to where the server got the packet from, the way that it came there."""
    transport, port = path.transport, HIP_UDP_PORT
    relay_from = packet.get(RelayFrom)
    if relay_from is not None:
        # The server says more where FROM alone would mislead: a port, or another transport.
        if relay_from.address != address or relay_from.protocol not in (_UDP, _PLAIN):
            raise Dropped(DropReason.BAD_FROM)
        udp = relay_from.protocol == _UDP
        transport, port = (Transport.UDP, relay_from.port) if udp else (Transport.RAW, HIP_UDP_PORT)
    local = _own(core, address, path)
    if local is None or not port or not is_unicast(address) or address in core.own_addresses:
        raise Dropped(DropReason.BAD_FROM)
    return replace(
        path,
        local=local,
        remote=address,
        transport=transport,
        remote_port=port,
        via=path.remote,
    )


def _own(core: Core, remote: IPAddress, path: Path) -> IPAddress | None:
    """The own address to write to *remote* from; None without one of its family."""
    for local in (path.local, *core.own_addresses):
        if local is not None and local.version == remote.version:
            return local
    return None
