"""The rendezvous server: what comes for a client goes to where the client is by now.

RFC 8004 §3.3, §4.3.2; RFC 8046 §3.2.3 for UPDATE. Only I1 and UPDATE are relayed: everything else
runs between the two hosts directly. A packet gets FROM, and RVS_HMAC behind it, and new addresses
around it. FROM has no port and tells no transport, so where the client could not guess these, it
gets RELAY_FROM (RFC 5770 §5.6) as well, which RVS_HMAC covers.

This has to be fast, since anybody can send I1s: a packet is looked at where it lies, and no object
is made of its parameters.
"""

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import NamedTuple

from hipgw.errors import WireError
from hipgw.identity.rhash import Rhash
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Path, Transport
from hipgw.protocol.rate_limit import RateLimit, source_key
from hipgw.protocol.rendezvous.clients import RendezvousClients
from hipgw.protocol.rendezvous.config import RendezvousConfig
from hipgw.wire import tlv
from hipgw.wire.checksum import PseudoHeader, hip_checksum
from hipgw.wire.coverage import rvs_hmac_coverage
from hipgw.wire.insertion import with_parameters
from hipgw.wire.packet import HEADER_LENGTH, MAX_LENGTH, PacketType
from hipgw.wire.parameters import (
    From,
    Parameter,
    RelayFrom,
    RelayHmac,
    RelayTo,
    RvsHmac,
    ViaRvs,
)

RELAYED = frozenset({int(PacketType.I1), int(PacketType.UPDATE)})
"""Packet types."""
_INSERTED = frozenset(kind.TYPE for kind in (RelayFrom, RelayTo, From, RvsHmac, ViaRvs, RelayHmac))
"""Nobody else may put these into the mouth of the server; so servers form no chains."""
_NAMES = {int(kind): kind.name for kind in PacketType}
_PREFIXES = {1: 0x2001001, 2: 0x2001002}
"""The first 28 bits of HITs, by version of HIP."""
_UDP, _PLAIN = 17, 0


class _Client(NamedTuple):
    """How to reach a client, and what its MACs are made with."""

    path: Path
    rhash: Rhash
    key: bytes
    tells_ports: bool


class RendezvousServer:
    """Relays, within limits for each source and each client."""

    def __init__(
        self, config: RendezvousConfig, clients: RendezvousClients, random: Callable[[int], bytes]
    ) -> None:
        self.clients = clients
        self.relayed: Counter[str] = Counter()
        """Packets, by type."""
        self._sources = RateLimit(config.packets_per_source, random(16))
        self._each = RateLimit(config.packets_per_client, random(16))

    def takes(self, data: bytes) -> bool:
        """Whether it is a packet for a client, which `forward` is to have."""
        return data[24:40] in self.clients and len(data) >= HEADER_LENGTH

    def is_idle_talk(self, core: Core, data: bytes, path: Path) -> bool:
        """Whether it is a NOTIFY from where a client at rest is known to be: a keepalive.

        There is nothing in it that could matter, and very many may come.
        """
        if len(data) < HEADER_LENGTH or data[2] & 0x7F != PacketType.NOTIFY:
            return False
        client = self.clients.resting(data[8:24])
        return client is not None and client.path == path and client.expires > core.now

    def forward(self, core: Core, data: bytes, path: Path, now: float) -> None:
        """Relay a packet that `takes` is true for. Raises Dropped."""
        kind, version = data[2] & 0x7F, data[3] >> 4
        length = 8 * (data[1] + 1)
        if kind not in RELAYED:
            raise Dropped(DropReason.NOT_RELAYED)
        name = _NAMES[kind]
        core.received[name] += 1
        if not HEADER_LENGTH <= length <= len(data):
            raise Dropped(DropReason.MALFORMED)
        data = data[:length]
        prefix = _PREFIXES.get(version)
        # Also of the client: a packet is of the version that its HITs are of.
        if prefix is None or int.from_bytes(data[24:28], "big") >> 4 != prefix:
            raise Dropped(DropReason.VERSION)
        if int.from_bytes(data[8:12], "big") >> 4 != prefix:
            raise Dropped(DropReason.BAD_SENDER)
        if path.transport is Transport.RAW and (
            path.local is None or hip_checksum(data, PseudoHeader(path.remote, path.local))
        ):
            raise Dropped(DropReason.CHECKSUM)
        try:
            entries = tlv.scan(data, HEADER_LENGTH, strict_order=False)
        except WireError:
            raise Dropped(DropReason.MALFORMED) from None
        for entry in entries:
            if entry.type in _INSERTED:
                raise Dropped(DropReason.NOT_RELAYED)
        if not self._sources.allow(source_key(path.remote), now):
            raise Dropped(DropReason.RATE_LIMIT)
        hit = data[24:40]
        client = self._client(hit, now)
        if not self._each.allow(hit, now):
            raise Dropped(DropReason.RATE_LIMIT)
        simple = not entries or entries[-1].type < RelayFrom.TYPE
        build = _relayed if simple else _relayed_in_order
        core.send(build(data, path, client), client.path, IPv6Address(hit))
        self.relayed[name] += 1

    def _client(self, hit: bytes, now: float) -> _Client:
        """Who a HIT belongs to. Raises Dropped."""
        resting = self.clients.resting(hit)
        if resting is not None:
            if resting.expires <= now:
                raise Dropped(DropReason.NOT_OUR_HIT)
            shape = resting.shape
            ports = shape.compat.rendezvous_ports
            return _Client(resting.path, shape.rhash, resting.key, ports)
        association = self.clients.association(hit)
        session = association.session if association is not None else None
        if association is None or session is None or association.path is None:
            raise Dropped(DropReason.NOT_OUR_HIT)
        if not association.mobility.verified:
            # It says that it has moved there. Strangers' packets are no way to find out.
            raise Dropped(DropReason.NOT_RELAYED)
        key = session.hip_keys.outgoing_integrity
        return _Client(association.path, session.rhash, key, session.compat.rendezvous_ports)


def _relayed(data: bytes, path: Path, client: _Client) -> bytes:
    """A packet with FROM and RVS_HMAC; its checksum field is zero. Raises Dropped."""
    packet = bytearray(data)
    packet[4:6] = b"\0\0"
    if client.tells_ports and not _can_guess(path, client.path):
        udp = path.transport is Transport.UDP
        packet += _RELAY_FROM_HEADER
        packet += (path.remote_port if udp else 0).to_bytes(2, "big")
        packet += bytes((_UDP if udp else _PLAIN, 0))
        packet += _mapped(path.remote)
    packet += _FROM_HEADER
    packet += _mapped(path.remote)
    packet += b"\0\0\0\0"
    if len(packet) > MAX_LENGTH:
        raise Dropped(DropReason.MALFORMED)
    # Header Length leaves out what the MAC does not cover (RFC 8004 §4.2.1).
    packet[1] = len(packet) // 8 - 1
    packet += tlv.build([(RvsHmac.TYPE, client.rhash.mac(client.key, bytes(packet)))])
    if len(packet) > MAX_LENGTH:
        raise Dropped(DropReason.MALFORMED)
    packet[1] = len(packet) // 8 - 1
    return bytes(packet)


def _relayed_in_order(data: bytes, path: Path, client: _Client) -> bytes:
    """The same for a packet with parameters that have to stand behind these. Raises Dropped."""
    source: list[Parameter] = [From(path.remote)]
    if client.tells_ports and not _can_guess(path, client.path):
        udp = path.transport is Transport.UDP
        port, protocol = (path.remote_port, _UDP) if udp else (0, _PLAIN)
        source.append(RelayFrom(path.remote, port, protocol))
    try:
        packet = with_parameters(data, source)
        code = client.rhash.mac(client.key, rvs_hmac_coverage(packet))
        return with_parameters(packet, [RvsHmac(code)])
    except WireError:
        raise Dropped(DropReason.MALFORMED) from None


def _can_guess(came: Path, goes: Path) -> bool:
    """Whether FROM alone tells where the answer is to go: port 10500, and the same transport."""
    if came.transport is not goes.transport:
        return False
    return came.transport is Transport.RAW or came.remote_port == HIP_UDP_PORT


def _mapped(address: IPAddress) -> bytes:
    packed = address.packed
    return packed if len(packed) == 16 else _V4_MAPPED + packed


_V4_MAPPED = bytes(10) + b"\xff\xff"
_FROM_HEADER = From.TYPE.to_bytes(2, "big") + (16).to_bytes(2, "big")
_RELAY_FROM_HEADER = RelayFrom.TYPE.to_bytes(2, "big") + (20).to_bytes(2, "big")
