"""A client, its router and a correspondent between namespaces, and the packets that they send."""

import select
import socket
import struct
import time
from ipaddress import ip_address

from hipgw.lab import Lab
from hipgw.lab.host import Host
from hipgw.wire.checksum import checksum16

QUEUE = 10500
PORT = 10500
ESP, HIP, UDP, ICMP, ICMPV6, FRAGMENT = 50, 139, 17, 1, 58, 44
DONT_FRAGMENT = 0x4000
CLIENT = {4: "10.0.0.10", 6: "fd00:1::10"}
INSIDE = {4: "10.0.0.1", 6: "fd00:1::1"}
OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
PEER = {4: "192.0.2.7", 6: "2001:db8::7"}
OTHER_PEER = {4: "198.51.100.7", 6: "2001:db8:99::7"}
"""What the client takes the correspondent to be, where it has only addresses of the other kind."""


_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_ALL_PROTOCOLS = 3
_IPV4, _IPV6 = 0x0800, 0x86DD
_SO_RCVBUFFORCE = 33


def packed(address: str) -> bytes:
    return ip_address(address).packed


def ip_packet(
    source: str, destination: str, protocol: int, payload: bytes, *, ttl: int = 64, flags: int = 0
) -> bytes:
    ends = packed(source) + packed(destination)
    if len(ends) == 32:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl) + ends + payload
    start = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), 7, flags, ttl, protocol)
    return start + checksum16(start + bytes(2) + ends).to_bytes(2, "big") + ends + payload


def udp(source: str, destination: str, payload: bytes, port: int = PORT) -> bytes:
    """A UDP datagram, with a checksum."""
    header = struct.pack("!HHH", port, PORT, 8 + len(payload))
    pseudo = packed(source) + packed(destination) + struct.pack("!II", 8 + len(payload), UDP)
    checksum = checksum16(pseudo + header + bytes(2) + payload)
    return header + checksum.to_bytes(2, "big") + payload


def esp(spi: int, length: int = 40) -> bytes:
    return struct.pack("!II", spi, 1) + bytes(length)


def three_hosts(lab: Lab) -> tuple[Host, Host, Host]:
    """The client behind `in0` of the router, which reaches the correspondent by `out0`."""
    client, router, peer = lab.host("client"), lab.host("router"), lab.host("peer")
    lab.link(client, "eth0", router, "in0")
    lab.link(router, "out0", peer, "eth0")
    client.address("eth0", f"{CLIENT[4]}/24", f"{CLIENT[6]}/64")
    router.address("in0", f"{INSIDE[4]}/24", f"{INSIDE[6]}/64")
    router.address("out0", f"{OUTSIDE[4]}/24", f"{OUTSIDE[6]}/64")
    peer.address("eth0", f"{PEER[4]}/24", f"{PEER[6]}/64")
    client.route("default", INSIDE[4])
    client.route("default6", INSIDE[6])
    return client, router, peer


def own_addresses() -> list[bytes]:
    """Those of the router."""
    return [packed(one) for own in (INSIDE, OUTSIDE) for one in own.values()]


def divert(router: Host, *, everything: bool = False) -> None:
    """Have the queue take ESP, plain and in UDP; or all that a router's queue takes."""
    for tables, icmp in (("iptables", "icmp"), ("ip6tables", "ipv6-icmp")):
        matches = ["50", "udp --dport 10500"]
        if everything:
            matches += ["139", "udp --sport 10500", icmp]
        for match in matches:
            command = f"{tables} -w -t raw -A PREROUTING ! -i lo -p {match} -j NFQUEUE"
            router.run([*command.split(), "--queue-num", str(QUEUE), "--queue-bypass"])


def send(host: Host, packet: bytes) -> None:
    """Send a whole IP packet, as it is, to where it says."""
    family = packet[0] >> 4
    target = socket.inet_ntop(_FAMILY[family], packet[16:20] if family == 4 else packet[24:40])

    def once() -> None:
        with socket.socket(_FAMILY[family], socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.sendto(packet, (target, 0))

    host.call(once)


class Tap:
    """The IP packets that come in by an interface."""

    def __init__(self, host: Host, interface: str) -> None:
        self._socket = host.call(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        host.call(self._socket.bind, (interface, _ALL_PROTOCOLS))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)

    def next(self, wanted: tuple[int, ...], timeout_s: float = 5.0) -> bytes | None:
        """The next packet of one of the protocols *wanted*, or none."""
        limit = time.monotonic() + timeout_s
        while (left := limit - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                break
            data, (_, ethertype, kind, *_) = self._socket.recvfrom(65536)
            if kind == socket.PACKET_OUTGOING:
                continue
            if ethertype == _IPV4 and data[9] in wanted:
                return data[: int.from_bytes(data[2:4])]
            # Neighbours asking for each other are no errors.
            if ethertype == _IPV6 and data[6] in wanted and (data[6] != ICMPV6 or data[40] < 128):
                return data[: 40 + int.from_bytes(data[4:6])]
        return None

    def close(self) -> None:
        self._socket.close()
