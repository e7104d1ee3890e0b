"""The mobile router's path between namespaces: real queues and links, ways entered by hand."""

import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from hipgw._esp_core import SpinatPath
from hipgw.lab import Lab, wait_until
from hipgw.lab.host import Host
from hipgw.wire.checksum import checksum16
from system.spinat_ends import (
    CLIENT,
    DONT_FRAGMENT,
    ESP,
    FRAGMENT,
    HIP,
    ICMP,
    ICMPV6,
    INSIDE,
    OTHER_PEER,
    OUTSIDE,
    PEER,
    PORT,
    QUEUE,
    UDP,
    Tap,
    divert,
    esp,
    ip_packet,
    own_addresses,
    packed,
    send,
    three_hosts,
    udp,
)

pytestmark = pytest.mark.system

PADDING = 33100
SPI, PUBLIC_SPI, PEER_SPI = 0x3030, 0x1212, 0x4545
OWN_HIT, OTHER_HIT = bytes.fromhex("200100210000000000000000000000aa"), bytes(15) + b"\7"


def hip(receiver: bytes = OTHER_HIT, length: int = 40) -> bytes:
    """An I1, or something longer, without a checksum."""
    return (
        bytes([59, length // 8 - 1, 1, 0x21, 0, 0, 0, 0])
        + bytes(16)
        + receiver
        + bytes(length - 40)
    )


def plain_hip(source: str, destination: str, data: bytes) -> bytes:
    pseudo = packed(source) + packed(destination) + struct.pack("!II", len(data), HIP)
    checksum = checksum16(pseudo + data)
    return data[:4] + checksum.to_bytes(2, "big") + data[6:]


@dataclass
class Ends:
    """A client, its router and a correspondent."""

    client: Host
    router: Host
    peer: Host
    path: SpinatPath

    def way(self, frm: int, to: int, *, encapsulated: bool = False) -> tuple[int, int]:
        """The ways of a client with *frm* inside and *to* outside: inward and outward."""
        known = PEER[frm] if frm == to else OTHER_PEER[frm]
        port = PORT if encapsulated else 0
        inward = self.path.insert(
            spi=PUBLIC_SPI, source=packed(known), destination=packed(CLIENT[frm]), new_spi=SPI
        )
        outward = self.path.insert(
            spi=PEER_SPI,
            client=packed(CLIENT[frm]),
            correspondent=packed(known),
            source=packed(OUTSIDE[to]),
            destination=packed(PEER[to]),
            source_port=port,
            destination_port=port,
            new_spi=PEER_SPI,
        )
        return inward, outward


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("spinat") as lab:
        yield lab


@pytest.fixture
def ends(lab: Lab) -> Iterator[Ends]:
    client, router, peer = three_hosts(lab)
    divert(router, everything=True)
    path = router.call(lambda: SpinatPath(queue=QUEUE, capacity=1000, ebpf=False))
    try:
        path.own([OWN_HIT], own_addresses())
        path.outside([router.index("out0")])
        router.call(path.start)
        yield Ends(client, router, peer, path)
    finally:
        path.stop()


@pytest.mark.parametrize("inside", [4, 6])
@pytest.mark.parametrize("outside", [4, 6])
@pytest.mark.parametrize("encapsulated", [False, True], ids=["plain", "udp"])
def test_esp_goes_both_ways(ends: Ends, inside: int, outside: int, encapsulated: bool) -> None:
    inward, outward = ends.way(inside, outside, encapsulated=encapsulated)
    known = PEER[inside] if inside == outside else OTHER_PEER[inside]
    at_peer, at_client = Tap(ends.peer, "eth0"), Tap(ends.client, "eth0")

    send(ends.client, ip_packet(CLIENT[inside], known, ESP, esp(PEER_SPI)))
    got = at_peer.next((ESP, UDP))
    assert got is not None
    if encapsulated:
        datagram = udp(OUTSIDE[outside], PEER[outside], esp(PEER_SPI))
        protocol = UDP
        if outside == 4:
            datagram = datagram[:6] + bytes(2) + datagram[8:]
    else:
        datagram, protocol = esp(PEER_SPI), ESP
    wanted = ip_packet(OUTSIDE[outside], PEER[outside], protocol, datagram, ttl=63)
    header = 20 if outside == 4 else 40
    assert got[header:] == wanted[header:]
    assert got[header - 8 : header] == wanted[header - 8 : header]  # addresses, or their ends

    back = esp(PUBLIC_SPI)
    if encapsulated:
        back = udp(PEER[outside], OUTSIDE[outside], back)
    send(ends.peer, ip_packet(PEER[outside], OUTSIDE[outside], protocol, back))
    got = at_client.next((ESP,))
    assert got is not None
    wanted = ip_packet(known, CLIENT[inside], ESP, esp(SPI), ttl=63)
    assert got[20 if inside == 4 else 40 :] == esp(SPI)
    assert got[-56:-48] == wanted[-56:-48]

    for way in (inward, outward):
        counts = ends.path.counts(way)
        assert counts is not None and counts[:2] == (1, 48)
    assert sorted(ends.path.used(60)) == sorted([inward, outward])
    wait_until(lambda: ends.path.statistics()["rewritten"] == 2, 5, what="the count")
    assert ends.path.remove(outward) is not None
    assert ends.path.counts(outward) is None
    at_peer.close()
    at_client.close()


def events(ends: Ends, timeout_s: float = 5.0) -> list[tuple[object, ...]]:
    if not select.select([ends.path.fileno()], [], [], timeout_s)[0]:
        return []
    return list(ends.path.events())


@pytest.mark.parametrize("version", [4, 6])
def test_hip_for_others_goes_to_the_control_plane(ends: Ends, version: int) -> None:
    client, router, peer = CLIENT[version], OUTSIDE[version], PEER[version]
    data = plain_hip(client, peer, hip())
    send(ends.client, ip_packet(client, peer, HIP, data))
    index = ends.router.index("in0")
    assert events(ends) == [("hip", data, packed(client), 0, packed(peer), 0, True, index)]

    datagram = udp(peer, router, bytes(4) + hip())
    send(ends.peer, ip_packet(peer, router, UDP, datagram))
    index = ends.router.index("out0")
    assert events(ends) == [("hip", hip(), packed(peer), PORT, packed(router), PORT, False, index)]

    wrong = bytearray(data)
    wrong[-1] ^= 1
    send(ends.client, ip_packet(client, peer, HIP, bytes(wrong)))
    wait_until(lambda: ends.path.statistics()["control_malformed"] == 1, 5, what="the count")
    assert events(ends, 0.1) == []


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_for_the_router_itself_is_handed_back(ends: Ends, version: int) -> None:
    client, router, peer = CLIENT[version], OUTSIDE[version], PEER[version]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    plain, any_udp = (
        ends.router.call(socket.socket, family, *kind)
        for kind in ((socket.SOCK_RAW, HIP), (socket.SOCK_DGRAM,))
    )
    any_udp.bind((router, PORT))
    with plain, any_udp:
        # By HIT, from inside, though to the outside address.
        data = plain_hip(client, router, hip(OWN_HIT))
        send(ends.client, ip_packet(client, router, HIP, data))
        assert select.select([plain], [], [], 5)[0]
        assert plain.recv(2000)[-len(data) :] == data
        # Opportunistic, in UDP; and data that only looks like a client's.
        for payload in (bytes(4) + hip(bytes(16)), esp(0x9999), b"\xff"):
            datagram = udp(peer, router, payload)
            send(ends.peer, ip_packet(peer, router, UDP, datagram))
            assert select.select([any_udp], [], [], 5)[0]
            assert any_udp.recv(2000) == payload
    assert ends.path.statistics()["accepted"] >= 4
    assert events(ends, 0.1) == []
    assert ends.client.ping(INSIDE[version])


def test_what_nobody_may_have(ends: Ends) -> None:
    """Unknown ESP for others, the end of a packet's life, and another client's address."""
    ends.way(4, 4)
    tap = Tap(ends.peer, "eth0")
    for packet in (
        ip_packet(CLIENT[4], PEER[4], ESP, esp(0x9999)),
        ip_packet("10.0.0.11", PEER[4], ESP, esp(PEER_SPI)),
        ip_packet(CLIENT[4], PEER[4], ESP, esp(PEER_SPI), ttl=1),
        ip_packet(CLIENT[4], PEER[4], ESP, bytes(4)),
    ):
        send(ends.client, packet)

    def counted() -> bool:
        found = ends.path.statistics()
        return (found["unknown_spi"], found["expired"], found["malformed"]) == (2, 1, 1)

    wait_until(counted, 5, what="the counts")
    assert tap.next((ESP,), 0.2) is None
    tap.close()
    assert ends.path.statistics()["rewritten"] == 0


@pytest.mark.parametrize("version", [4, 6])
def test_hip_is_sent_in_others_names(ends: Ends, version: int) -> None:
    client, peer = CLIENT[version], PEER[version]
    tap = Tap(ends.client, "eth0")
    data = plain_hip(peer, client, hip(length=1000))
    ends.path.send_hip(data, packed(peer), 0, packed(client), 0)
    got = tap.next((HIP,))
    assert got is not None and got[-len(data) :] == data
    ends.path.send_hip(hip(), packed(peer), 10501, packed(client), PORT)
    got = tap.next((UDP,))
    assert got is not None and got[-44:] == bytes(4) + hip()
    assert struct.unpack("!HH", got[-52:-48]) == (10501, PORT)
    tap.close()


def test_a_thousand_at_once(ends: Ends) -> None:
    """Batches lose nothing and keep the order."""
    ends.way(4, 4)
    tap = Tap(ends.peer, "eth0")

    def burst() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            for number in range(1000):
                payload = struct.pack("!II", PEER_SPI, number) + bytes(40)
                sock.sendto(ip_packet(CLIENT[4], PEER[4], ESP, payload), (PEER[4], 0))

    ends.client.call(burst)
    numbers: list[int] = []
    while len(numbers) < 1000 and (got := tap.next((ESP,), 2)) is not None:
        numbers.append(int.from_bytes(got[24:28]))
    tap.close()
    assert numbers == list(range(1000))


def icmp_error(
    source: str, destination: str, kind: int, code: int, rest: int, quote: bytes
) -> bytes:
    """An IP packet with an ICMP error."""
    message = struct.pack("!BBHI", kind, code, 0, rest) + quote
    v6 = ip_address(source).version == 6
    protocol = ICMPV6 if v6 else ICMP
    pseudo = b""
    if v6:
        pseudo = packed(source) + packed(destination) + struct.pack("!II", len(message), protocol)
    checksum = checksum16(pseudo + message)
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    return ip_packet(source, destination, protocol, message)


@pytest.mark.parametrize("inside", [4, 6])
@pytest.mark.parametrize("outside", [4, 6])
def test_a_narrow_link_of_the_router(ends: Ends, inside: int, outside: int) -> None:
    """The client is told how long its packets may be, in its own terms."""
    ends.way(inside, outside)
    ends.router.mtu("out0", 1400)
    known = PEER[inside] if inside == outside else OTHER_PEER[inside]
    overheads = {4: 20, 6: 40}
    at_client, at_peer = Tap(ends.client, "eth0"), Tap(ends.peer, "eth0")
    packet = ip_packet(CLIENT[inside], known, ESP, esp(PEER_SPI, 1400), flags=DONT_FRAGMENT)
    send(ends.client, packet)

    error = at_client.next((ICMP, ICMPV6))
    assert error is not None
    message = error[overheads[inside] :]
    assert (message[0], message[1]) == ((3, 4) if inside == 4 else (2, 0))
    expected = 1400 - overheads[outside] + overheads[inside]
    assert int.from_bytes(message[4:8]) == expected
    header = overheads[inside]
    assert message[8 + header :][:8] == esp(PEER_SPI)[:8]
    assert message[8 + header - 8 : 8 + header] == packet[header - 8 : header]
    if inside == 6:
        # Its fragments were put together before, or it would not believe it: so it passes as well.
        pieces = [at_peer.next((ESP, FRAGMENT)), at_peer.next((ESP, FRAGMENT))]
        assert all(piece is not None and len(piece) <= 1400 for piece in pieces)
    wait_until(lambda: ends.path.statistics()["icmp_sent"] == 1, 5, what="the count")
    at_client.close()
    at_peer.close()


def test_ipv4_that_may_be_cut_is_cut(ends: Ends) -> None:
    ends.way(4, 4)
    ends.router.mtu("out0", 1000)
    tap = Tap(ends.peer, "eth0")
    payload = esp(PEER_SPI, 1392)
    send(ends.client, ip_packet(CLIENT[4], PEER[4], ESP, payload))
    whole = b""
    for _ in range(2):
        piece = tap.next((ESP,))
        assert piece is not None and len(piece) <= 1000
        assert (int.from_bytes(piece[6:8]) & 0x1FFF) * 8 == len(whole)
        whole += piece[20:]
    assert whole == payload
    wait_until(lambda: ends.path.statistics()["fragmented"] == 1, 5, what="the count")
    assert ends.path.statistics()["icmp_sent"] == 0
    tap.close()


@pytest.mark.parametrize("version", [4, 6])
def test_long_hip_packets_are_cut(ends: Ends, version: int) -> None:
    """An R1 with large keys is longer than the link takes."""
    client, peer = CLIENT[version], PEER[version]
    tap = Tap(ends.client, "eth0")
    data = plain_hip(peer, client, hip(length=2048))
    ends.path.send_hip(data, packed(peer), 0, packed(client), 0)
    whole = b""
    for _ in range(2):
        piece = tap.next((HIP, FRAGMENT))
        assert piece is not None
        whole += piece[20 if version == 4 else 48 :]
    assert whole == data
    tap.close()


@pytest.mark.parametrize("inside", [4, 6])
@pytest.mark.parametrize("outside", [4, 6])
@pytest.mark.parametrize("encapsulated", [False, True], ids=["plain", "udp"])
def test_an_error_from_outside_reaches_the_client(
    ends: Ends, inside: int, outside: int, encapsulated: bool
) -> None:
    ends.way(inside, outside, encapsulated=encapsulated)
    known = PEER[inside] if inside == outside else OTHER_PEER[inside]
    at_client, at_peer = Tap(ends.client, "eth0"), Tap(ends.peer, "eth0")
    data = esp(PEER_SPI, 1000)
    # As the client sends it inside, so is it told.
    payload = udp(CLIENT[inside], known, data, PORT + 1) if encapsulated else data
    protocol = UDP if encapsulated else ESP
    send(ends.client, ip_packet(CLIENT[inside], known, protocol, payload))
    seen = at_peer.next((ESP, UDP))
    assert seen is not None
    # The correspondent here has no ear for ESP, and says so by itself.
    got = at_client.next((ICMP, ICMPV6))
    assert got is not None
    said = {(4, False): (3, 2), (4, True): (3, 3), (6, False): (4, 1), (6, True): (1, 4)}
    assert tuple(got[20 if inside == 4 else 40 :][:2]) == said[inside, encapsulated]

    kind, code = (3, 4) if outside == 4 else (2, 0)
    quote = seen[: (20 if outside == 4 else 40) + (16 if encapsulated else 8)]
    error = icmp_error(PEER[outside], OUTSIDE[outside], kind, code, 1320, quote)
    send(ends.peer, error)
    got = at_client.next((ICMP, ICMPV6))
    assert got is not None
    header, other = (20, 40) if inside == 4 else (40, 20)
    message = got[header:]
    assert (message[0], message[1]) == ((3, 4) if inside == 4 else (2, 0))
    assert int.from_bytes(message[4:8]) == (1320 if inside == outside else 1320 - other + header)
    quoted = message[8:]
    ends_of_quote = quoted[12:20] if inside == 4 else quoted[8:40]
    assert ends_of_quote == packed(CLIENT[inside]) + packed(known)
    if encapsulated:
        assert struct.unpack("!HH", quoted[header : header + 4]) == (PORT + 1, PORT)
        header += 8
    assert quoted[header : header + 8] == data[:8]
    wait_until(lambda: ends.path.statistics()["icmp_translated"] == 2, 5, what="the count")

    # About somebody else's packet: the kernel's affair, as is everything that is no error.
    wrong = quote[:-8] + bytes([9]) * 8
    send(ends.peer, icmp_error(PEER[outside], OUTSIDE[outside], kind, code, 1320, wrong))
    assert at_client.next((ICMP, ICMPV6), 0.1) is None
    assert ends.peer.ping(OUTSIDE[outside])
    at_client.close()
    at_peer.close()


@pytest.mark.parametrize("version", [4, 6])
def test_probes_of_the_path_mtu_are_whole_or_lost(ends: Ends, version: int) -> None:
    """What passes in pieces would prove nothing of the path."""
    client, peer = CLIENT[version], PEER[version]
    tap = Tap(ends.client, "eth0")
    data = hip(length=1432)
    data = data[:40] + struct.pack("!HH", PADDING, 1388) + data[44:] + bytes(9)
    ends.path.send_hip(data, packed(peer), PORT, packed(client), PORT)
    got = tap.next((UDP,))
    assert got is not None and got.endswith(data)
    ends.router.mtu("in0", 1400)
    ends.path.send_hip(data, packed(peer), PORT, packed(client), PORT)
    assert tap.next((UDP, FRAGMENT), 0.2) is None
    assert ends.path.statistics()["too_big"] == 1
    tap.close()
