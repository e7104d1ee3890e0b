"""The kernel's own rewriting of a mobile router's packets, at real devices and beside the queue."""

import socket
import sys
from functools import partial

import pytest

from hipgw.lab import Lab, wait_until
from system.spinat_ends import (
    CLIENT,
    ESP,
    ICMP,
    OUTSIDE,
    PEER,
    PORT,
    QUEUE,
    UDP,
    Tap,
    divert,
    esp,
    ip_packet,
    packed,
    send,
)
from system.spinat_kernel import SHAPES, TUN_CLIENT, Net, Tun, is_whole, lab, net, send_train

__all__ = ["lab", "net"]

pytestmark = pytest.mark.system


def test_every_shape_without_any_queue(net: Net) -> None:
    """Nothing is diverted, and nothing forwards: what arrives was rewritten by the program."""
    at_client, at_peer = Tap(net.client, "eth0"), Tap(net.peer, "eth0")
    for shape in SHAPES:
        client, peer, outside = (ends[shape.family] for ends in (CLIENT, PEER, OUTSIDE))
        ways = net.enter(shape, client, "in0")
        send(net.client, shape.packet(client, peer, shape.peer_spi))
        assert at_peer.next((ESP, UDP)) == shape.packet(outside, peer, shape.peer_spi, 63)
        send(net.peer, shape.packet(peer, outside, shape.public_spi))
        assert at_client.next((ESP, UDP)) == shape.packet(peer, client, shape.client_spi, 63)
        for way in ways:
            packets, octets, idle_s = net.path.counts(way) or (0, 0, 99)
            assert (packets, octets) == (1, 48)
            assert idle_s < 60
        if shape.encapsulated:
            # Not finished by the sender: one datagram, and a train of them as one packet.
            for length in (1, 20):
                parts = [esp(shape.peer_spi, 400) + bytes([n]) for n in range(length)]
                send_train(net.client, client, peer, parts)
                got = [at_peer.next((UDP,)) or b"" for _ in parts]
                assert [one[-409:] for one in got] == parts
                assert all(map(is_whole, got))
                assert all(packed(outside) in one[:40] for one in got)
            assert (net.path.counts(ways[1]) or ())[:2] == (22, 48 + 21 * 409)
            for length in (1, 20):
                parts = [esp(shape.public_spi, 400) + bytes([n]) for n in range(length)]
                send_train(net.peer, peer, outside, parts)
                got = [at_client.next((UDP,)) or b"" for _ in parts]
                assert [one[-409:] for one in got] == [
                    esp(shape.client_spi, 400) + bytes([n]) for n in range(length)
                ]
                assert all(map(is_whole, got))
            assert (net.path.counts(ways[0]) or ())[:2] == (22, 48 + 21 * 409)
    assert net.counted("ebpf_rewritten") == 4 * 2 + 2 * 2 * (1 + 20)
    assert net.counted("ebpf_devices") == 2
    assert net.counted("received") == 0
    at_client.close()
    at_peer.close()


def test_what_the_program_leaves_is_done_by_the_queue(net: Net) -> None:
    divert(net.router)
    net.router.call(net.path.start)
    at_client, at_peer = Tap(net.client, "eth0"), Tap(net.peer, "eth0")
    for shape in SHAPES:
        net.enter(shape, CLIENT[shape.family], "in0")
    plain, encapsulated = SHAPES[:2]
    client, peer, outside = CLIENT[4], PEER[4], OUTSIDE[4]

    # Its ways by the program, though all is diverted behind it.
    send(net.client, plain.packet(client, peer, plain.peer_spi))
    assert at_peer.next((ESP,)) == plain.packet(outside, peer, plain.peer_spi, 63)
    assert (net.counted("ebpf_rewritten"), net.counted("rewritten")) == (1, 0)

    # Another framing than that of the other side is none of what it leaves.
    send(net.client, plain.packet(client, peer, encapsulated.peer_spi))
    got = at_peer.next((UDP,))
    assert got is not None and got[-48:] == esp(encapsulated.peer_spi)
    assert (net.counted("ebpf_rewritten"), net.counted("rewritten")) == (2, 0)

    # A train of two ways.
    net.router.call(
        lambda: net.path.insert(
            spi=0x78,
            source=packed(peer),
            destination=packed(client),
            source_port=PORT,
            destination_port=PORT,
            new_spi=0x79,
            ifindex=socket.if_nametoindex("in0"),
        )
    )
    send_train(net.peer, peer, outside, [esp(encapsulated.public_spi, 401), esp(0x78, 401)] * 10)
    trains = [at_client.next((UDP,)) or b"" for _ in range(20)]
    wanted = [esp(encapsulated.client_spi, 401), esp(0x79, 401)] * 10
    assert [one[-409:] for one in trains] == wanted
    assert net.counted("ebpf_left_joined") == 1
    wait_until(lambda: net.counted("rewritten") == 20, 5, what="the count")

    # Longer than the link takes, which was not so when the way was entered.
    net.router.mtu("out0", 1300)
    long = ip_packet(client, peer, ESP, esp(plain.peer_spi, 1400), flags=1 << 14)
    told = Tap(net.client, "eth0")
    send(net.client, long)
    error = told.next((ICMP,))
    assert error is not None and error[20:22] == b"\3\4"
    assert net.counted("ebpf_left_too_long") == 1
    net.router.mtu("out0", 1500)
    send(net.client, long)
    assert len(at_peer.next((ESP,)) or b"") == 1428
    told.close()
    assert net.counted("ebpf_rewritten") == 3

    # The end of its life, and an unknown SPI.
    send(net.client, plain.packet(client, peer, plain.peer_spi, ttl=1))
    send(net.client, plain.packet(client, peer, 0x999999))
    wait_until(
        lambda: (net.counted("expired"), net.counted("unknown_spi")) == (1, 1), 5, what="counts"
    )
    assert net.counted("ebpf_rewritten") == 3
    at_client.close()
    at_peer.close()


def test_devices_without_link_headers(net: Net) -> None:
    """As modems and PPP have none."""
    tun = Tun(net.router, "tun0")
    at_peer = Tap(net.peer, "eth0")
    net.router.route(f"{TUN_CLIENT[4]}/32", interface="tun0")
    net.router.route(f"{TUN_CLIENT[6]}/128", interface="tun0")
    for shape in SHAPES:
        client, peer, outside = (ends[shape.family] for ends in (TUN_CLIENT, PEER, OUTSIDE))
        net.enter(shape, client, "tun0")
        tun.send(shape.packet(client, peer, shape.peer_spi))
        assert at_peer.next((ESP, UDP)) == shape.packet(outside, peer, shape.peer_spi, 63)
        wanted = shape.packet(peer, client, shape.client_spi, 63)
        send(net.peer, shape.packet(peer, outside, shape.public_spi))
        wait_until(partial(lambda wanted: tun.read() == wanted, wanted), 5, what="the packet")
    assert net.path.ebpf is None
    assert net.counted("ebpf_rewritten") == 8
    at_peer.close()
    tun.close()


LATER = """
import socket, time
from hipgw._esp_core import SpinatPath
from hipgw.platform.privileges import drop
path = SpinatPath(queue={queue}, capacity=100)
drop("nobody")
print("dropped", flush=True)
while "in1" not in [name for _, name in socket.if_nameindex()]:
    time.sleep(0.01)
path.outside([socket.if_nametoindex("out0")])
path.insert(
    spi=7, source=socket.inet_aton("{peer}"), destination=socket.inet_aton("{client}"),
    new_spi=8, ifindex=socket.if_nametoindex("in1"),
)
path.insert(
    spi=9, client=socket.inet_aton("{client}"), correspondent=socket.inet_aton("{peer}"),
    source=socket.inet_aton("{outside}"), destination=socket.inet_aton("{peer}"),
    new_spi=9, ifindex=socket.if_nametoindex("out0"),
)
print("path:", path.ebpf)
print("another:", SpinatPath(queue={queue} + 1, capacity=100).ebpf, flush=True)
time.sleep(60)
"""
LATER_CLIENT = "10.0.1.10"


def test_devices_that_come_when_privileges_are_gone(net: Net, lab: Lab) -> None:
    """And nothing is left of the program when the process is gone, however it ends."""
    net.path.stop()
    peer, outside = PEER[4], OUTSIDE[4]
    script = LATER.format(queue=QUEUE + 1, peer=peer, outside=outside, client=LATER_CLIENT)
    process = net.router.popen([sys.executable, "-c", script])
    wait_until(lambda: "dropped" in process.output(), 20, what="the other process")
    lab.link(net.client, "eth1", net.router, "in1")
    net.client.address("eth1", f"{LATER_CLIENT}/24")
    net.router.address("in1", "10.0.1.1/24")
    net.client.route(f"{peer}/32", "10.0.1.1")
    wait_until(lambda: "another:" in process.output(), 20, what="its ways")
    found = dict(line.split(": ", 1) for line in process.output().splitlines() if ": " in line)
    assert found["path"] == "None"
    assert "CAP_BPF" in found["another"]

    at_client, at_peer = Tap(net.client, "eth1"), Tap(net.peer, "eth0")
    send(net.client, ip_packet(LATER_CLIENT, peer, ESP, esp(9)))
    assert at_peer.next((ESP,)) == ip_packet(outside, peer, ESP, esp(9), ttl=63)
    send(net.peer, ip_packet(peer, outside, ESP, esp(7)))
    assert at_client.next((ESP,)) == ip_packet(peer, LATER_CLIENT, ESP, esp(8), ttl=63)

    process.kill()
    send(net.client, ip_packet(LATER_CLIENT, peer, ESP, esp(9)))
    send(net.peer, ip_packet(peer, outside, ESP, esp(7)))
    assert at_peer.next((ESP,), 0.2) is None
    assert at_client.next((ESP,), 0.2) is None
    at_client.close()
    at_peer.close()
