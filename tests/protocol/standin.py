"""TEMPORARY: passes I1 and UPDATE on, until there is the server."""

from hipgw.protocol.effects import SendDatagram
from hipgw.protocol.path import HIP_UDP_PORT, Transport
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.coverage import rvs_hmac_coverage
from hipgw.wire.insertion import with_parameters
from hipgw.wire.packet import HipPacket, PacketType, set_checksum
from hipgw.wire.parameters import From, RelayFrom, RvsHmac


def serve(node):
    machine = node.machine
    inner = machine.datagram_received

    def datagram_received(data, path, now):
        packet = HipPacket.parse(data, strict_order=False, versions=frozenset({1, 2}))
        if packet.receiver_hit in machine._core.identities or packet.packet_type not in (PacketType.I1, PacketType.UPDATE):
            return inner(data, path, now)
        client = machine._core.registrar.client(packet.receiver_hit, 1)
        if client is None or not client.mobility.verified:
            return []
        way, session = client.path, client.session
        more = [From(path.remote)]
        if path.transport is not way.transport or (path.transport is Transport.UDP and path.remote_port != HIP_UDP_PORT):
            udp = path.transport is Transport.UDP
            more.insert(0, RelayFrom(path.remote, path.remote_port if udp else 0, 17 if udp else 0))
        out = with_parameters(packet.raw, more)
        out = with_parameters(out, [RvsHmac(session.rhash.mac(session.hip_keys.outgoing_integrity, rvs_hmac_coverage(out)))])
        if way.transport is Transport.RAW:
            out = set_checksum(out, PseudoHeader(way.local, way.remote))
        return [SendDatagram(out, way, False)]

    machine.datagram_received = datagram_received
