"""The kernel's own rewriting where both sides differ in IP version, or in the use of UDP."""

import socket
from dataclasses import dataclass
from functools import partial

import pytest

from hipgw._esp_core import SpinatPath
from hipgw.lab import wait_until
from hipgw.lab.host import Host
from hipgw.wire.checksum import checksum16
from system.spinat_ends import (
    CLIENT,
    DONT_FRAGMENT,
    ESP,
    ICMP,
    INSIDE,
    OUTSIDE,
    PEER,
    QUEUE,
    UDP,
    Tap,
    divert,
    esp,
    ip_packet,
    packed,
    send,
    udp,
)
from system.spinat_kernel import SHAPES, TUN_CLIENT, Net, Shape, Tun, is_whole, lab, net, send_train

__all__ = ["lab", "net"]

pytestmark = pytest.mark.system

LENGTHS = (8, 40, 41, 511, 512, 1023, 1390)
"""Octets of ESP behind SPI and sequence number: what a checksum is made over, in pieces."""


@dataclass(frozen=True)
class Pair:
    """The shapes of both sides, and the SPIs of a flow that has them."""

    inside: Shape
    outside: Shape

    @property
    def number(self) -> int:
        return self.inside.number << 8 | self.outside.number

    @property
    def public_spi(self) -> int:
        return 0x1200_0000 | self.number

    @property
    def client_spi(self) -> int:
        return 0x3400_0000 | self.number

    @property
    def peer_spi(self) -> int:
        return 0x5600_0000 | self.number

    def enter(
        self, path: SpinatPath, router: Host, device: str, clients: dict[int, str] = CLIENT
    ) -> tuple[int, int]:
        """Its ways: inward and outward."""
        inside, outside = self.inside.family, self.outside.family
        return router.call(
            lambda: (
                path.insert(
                    spi=self.public_spi,
                    source=packed(PEER[inside]),
                    destination=packed(clients[inside]),
                    source_port=self.inside.port,
                    destination_port=self.inside.port,
                    new_spi=self.client_spi,
                    ifindex=socket.if_nametoindex(device),
                ),
                path.insert(
                    spi=self.peer_spi,
                    client=packed(clients[inside]),
                    correspondent=packed(PEER[inside]),
                    source=packed(OUTSIDE[outside]),
                    destination=packed(PEER[outside]),
                    source_port=self.outside.port,
                    destination_port=self.outside.port,
                    new_spi=self.peer_spi,
                    ifindex=socket.if_nametoindex("out0"),
                ),
            )
        )


PAIRS = [Pair(inside, outside) for inside in SHAPES for outside in SHAPES if inside != outside]


def packet(shape: Shape, source: str, destination: str, data: bytes, number: int) -> bytes:
    """One of several, with what a header may say besides."""
    protocol, payload = ESP, data
    if shape.encapsulated:
        protocol, payload = UDP, udp(source, destination, data)
        if shape.family == 4 and number % 2:
            payload = payload[:6] + bytes(2) + payload[8:]
    made = ip_packet(
        source, destination, protocol, payload, flags=DONT_FRAGMENT * (number % 2), ttl=40 + number
    )
    if shape.family == 6:
        return bytes([made[0] | 0xB, 0x8F, 0x12, 0x34]) + made[4:]
    return made[:1] + b"\xb8" + made[2:10] + bytes(2) + made[12:]


def whole(packet: bytes) -> bool:
    """Whether all checksums are right; UDP over IPv4 needs none (RFC 3948 §2.1)."""
    if packet[0] >> 4 == 4 and packet[9] == UDP and packet[26:28] == bytes(2):
        return checksum16(packet[:20]) == 0
    return is_whole(packet)


def likeness(packet: bytes | None) -> bytes | None:
    """A whole packet without what one of the other IP version says nothing about: identification,
    flags and checksums of IPv4."""
    if packet is None or packet[0] >> 4 == 6:
        return packet
    assert whole(packet), packet.hex()
    ports = packet[20:26] + packet[28:] if packet[9] == UDP else packet[20:]
    return packet[:4] + packet[8:10] + packet[12:20] + ports


def passed(pair: Pair, client: Host, peer: Host) -> list[bytes | None]:
    """What arrives of packets of many lengths, in both directions."""
    inside, outside = pair.inside.family, pair.outside.family
    got = []
    for sender, receiver, shape, source, destination, spi in (
        (client, peer, pair.inside, CLIENT[inside], PEER[inside], pair.peer_spi),
        (peer, client, pair.outside, PEER[outside], OUTSIDE[outside], pair.public_spi),
    ):
        tap = Tap(receiver, "eth0")
        for number, length in enumerate(LENGTHS):
            data = esp(spi)[:8] + bytes(n * 7 & 0xFF for n in range(length))
            send(sender, packet(shape, source, destination, data, number))
            got.append(tap.next((ESP, UDP)))
        tap.close()
    return got


def test_the_kernel_makes_of_them_what_the_queue_makes(net: Net) -> None:
    """Octet for octet: one after the other has all of the same packets."""
    ways = {pair: pair.enter(net.path, net.router, "in0") for pair in PAIRS}
    by_kernel = {pair: passed(pair, net.client, net.peer) for pair in PAIRS}
    for pair, both in ways.items():
        octets = sum(LENGTHS) + 8 * len(LENGTHS)
        counts = [(net.path.counts(way) or ())[:2] for way in both]
        assert counts == [(len(LENGTHS), octets)] * 2, pair
    assert net.counted("ebpf_rewritten") == len(PAIRS) * 2 * len(LENGTHS)
    net.path.stop()

    divert(net.router)
    queue = net.router.call(lambda: SpinatPath(queue=QUEUE, capacity=100, ebpf=False))
    try:
        queue.own([], [packed(one) for own in (INSIDE, OUTSIDE) for one in own.values()])
        queue.outside([net.router.index("out0")])
        net.router.call(queue.start)
        for pair in PAIRS:
            pair.enter(queue, net.router, "in0")
        for pair in PAIRS:
            by_queue = passed(pair, net.client, net.peer)
            assert None not in by_queue, pair
            assert by_kernel[pair] == by_queue, pair
            assert all(map(whole, filter(None, by_queue))), pair
    finally:
        queue.stop()


def test_what_others_have_to_finish_and_what_is_joined(net: Net) -> None:
    """Datagrams and trains of them as the kernel's own senders leave them; and what has grown."""
    divert(net.router)
    net.router.call(net.path.start)
    at_peer = Tap(net.peer, "eth0")
    left = rewritten = 0
    for pair in PAIRS:
        pair.enter(net.path, net.router, "in0")
        if not pair.inside.encapsulated:
            continue
        client, correspondent = (ends[pair.inside.family] for ends in (CLIENT, PEER))
        for length in (1, 20):
            parts = [esp(pair.peer_spi, 400) + bytes([n]) for n in range(length)]
            send_train(net.client, client, correspondent, parts)
            got = [at_peer.next((ESP, UDP)) or b"" for _ in parts]
            assert [one[-409:] for one in got] == parts, (pair, length)
            assert all(map(whole, got)), (pair, length)
        # Without UDP there is nowhere to make a checksum, and nothing to keep them apart.
        if pair.outside.encapsulated:
            rewritten += 1 + 20
        else:
            left += 1
        assert net.counted("ebpf_rewritten") == rewritten, pair
        assert net.counted("ebpf_left_other_shape") == left, pair
        assert net.counted("ebpf_left_joined") == left, pair

    grows = Pair(SHAPES[0], SHAPES[3])
    told = Tap(net.client, "eth0")

    def long(length: int) -> bytes:
        data = esp(grows.peer_spi, length - 28)
        return ip_packet(CLIENT[4], PEER[4], ESP, data, flags=DONT_FRAGMENT)

    send(net.client, long(1473))
    error = told.next((ICMP,))
    assert error is not None
    assert (error[20:22], int.from_bytes(error[26:28])) == (b"\3\4", 1472)
    assert (net.counted("ebpf_left_too_long"), net.counted("ebpf_rewritten")) == (1, rewritten)
    send(net.client, long(1472))
    got_at_last = at_peer.next((ESP, UDP)) or b""
    assert (len(got_at_last), is_whole(got_at_last)) == (1500, True)
    assert net.counted("ebpf_rewritten") == rewritten + 1
    told.close()
    at_peer.close()


def test_devices_without_link_headers(net: Net) -> None:
    """The same at a device with bare IP packets."""
    tun = Tun(net.router, "tun0")
    net.router.route(f"{TUN_CLIENT[4]}/32", interface="tun0")
    net.router.route(f"{TUN_CLIENT[6]}/128", interface="tun0")
    at_peer = Tap(net.peer, "eth0")
    for pair in PAIRS:
        pair.enter(net.path, net.router, "tun0", TUN_CLIENT)
        inside, outside = pair.inside.family, pair.outside.family
        client = TUN_CLIENT[inside]
        tun.send(pair.inside.packet(client, PEER[inside], pair.peer_spi))
        wanted = pair.outside.packet(OUTSIDE[outside], PEER[outside], pair.peer_spi, 63)
        assert likeness(at_peer.next((ESP, UDP))) == likeness(wanted), pair
        send(net.peer, pair.outside.packet(PEER[outside], OUTSIDE[outside], pair.public_spi))
        wanted = pair.inside.packet(PEER[inside], client, pair.client_spi, 63)
        wait_until(
            partial(lambda w: likeness(tun.read()) == w, likeness(wanted)), 5, what=str(pair)
        )
    assert net.counted("ebpf_rewritten") == 2 * len(PAIRS)
    at_peer.close()
    tun.close()
