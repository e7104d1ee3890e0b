"""Rubbish at every entrance of a running daemon: it goes on, and does not grow."""

import json
import random
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hipgw.lab import Lab
from hipgw.lab.topologies import GatewayNetwork, endbox_pair, host_pair, underlay_address
from hipgw.platform.sockets import ESP_PROTOCOL, HIP_PROTOCOL

pytestmark = pytest.mark.system

HIPGW = (sys.executable, "-m", "hipgw.cli.main")
ROUNDS = 3000
GROWTH_KIB = 24 * 1024
"""Far less than a leak of every packet's size would make, and more than caches take."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("garbage") as lab:
        yield lab


@pytest.fixture
def network(lab: Lab) -> GatewayNetwork:
    network = endbox_pair(lab)
    network.start()
    return network


def resident_kib(network: GatewayNetwork) -> int:
    process = network.sites[1].daemon.process
    assert process is not None
    process.require_running()
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def captured(network: GatewayNetwork) -> list[bytes]:
    """Real packets of an exchange, to be mutilated."""
    capture = network.sites[1].gateway.capture("wan0")
    network.sites[0].daemon.restart()
    network.wait_established()
    network.sites[0].lan.ping(network.sites[1].lan4, count=3)
    capture.stop()
    from hipgw.lab import read_pcap

    packets = [frame.data for frame in read_pcap(capture.file)]
    return [p[42:] for p in packets if p[12:14] == b"\x08\x00" and p[23] == socket.IPPROTO_UDP]


def flood(network: GatewayNetwork, packets: list[bytes], kind: int, protocol: int) -> None:
    """Send from the other endbox's own address, so that nothing is dropped for its sender."""
    chance = random.Random(7)
    target = underlay_address(2, 4)

    def send() -> None:
        family, raw = socket.AF_INET, kind == socket.SOCK_RAW
        with socket.socket(family, kind, protocol) as sock:
            for _ in range(ROUNDS):
                packet = bytearray(chance.choice(packets))
                for _ in range(chance.randrange(4)):
                    if packet:
                        packet[chance.randrange(len(packet))] = chance.randrange(256)
                if chance.random() < 0.3:
                    packet = packet[: chance.randrange(len(packet) + 1)]
                if chance.random() < 0.1:
                    packet = bytearray(chance.randbytes(chance.randrange(1400)))
                sock.sendto(packet, (target, 0 if raw else 10500))

    network.sites[0].gateway.call(send)


def test_on_the_network(network: GatewayNetwork) -> None:
    packets = captured(network)
    hip = [packet[4:] for packet in packets if packet[:4] == bytes(4)]
    esp = [packet for packet in packets if packet[:4] != bytes(4)]
    assert hip
    assert esp
    one, two = network.sites
    before = 0
    for turn in range(2):
        flood(network, packets, socket.SOCK_DGRAM, 0)
        flood(network, hip, socket.SOCK_RAW, HIP_PROTOCOL)
        flood(network, esp, socket.SOCK_RAW, ESP_PROTOCOL)
        assert two.daemon.request("status")["counts"]["established"] == 1
        # A forged address may cost answers for the rest of a second, not longer.
        assert one.lan.ping(two.lan4, count=10, interval_s=0.1).received >= 9
        if turn == 0:
            before = resident_kib(network)
    assert resident_kib(network) - before < GROWTH_KIB
    counters = two.daemon.request("counters")
    assert sum(counters["control_drops"].values()) > ROUNDS / 4
    assert sum(counters["dataplane_drops"].values()) > ROUNDS / 4
    assert "Traceback" not in two.daemon.output()


def test_on_the_lan(network: GatewayNetwork) -> None:
    one, two = network.sites
    chance = random.Random(11)

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            for _ in range(ROUNDS):
                kind = chance.choice(
                    [b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x08\x06", b"\x88\x08"]
                )
                mac = chance.randbytes(6)
                sock.send(
                    mac + chance.randbytes(6) + kind + chance.randbytes(chance.randrange(46, 1400))
                )

    one.lan.call(send)
    before = resident_kib(network)
    one.lan.call(send)
    assert resident_kib(network) - before < GROWTH_KIB
    assert one.lan.ping(two.lan4, count=10, interval_s=0.1).received >= 9
    assert "Traceback" not in two.daemon.output()


def test_on_the_tun(lab: Lab) -> None:
    network = host_pair(lab)
    network.start()
    one, two = network.sites
    hit = two.daemon.hit
    assert one.gateway.ping(str(hit), timeout_s=3)
    chance = random.Random(13)

    def send() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            for _ in range(ROUNDS):
                body = chance.randbytes(chance.randrange(1200))
                length = chance.choice([len(body), len(body), chance.randrange(65536)])
                head = struct.pack("!IHBB", 6 << 28, length, chance.randrange(256), 64)
                packet = head + one.daemon.hit.packed + hit.packed + body
                try:
                    sock.sendto(packet, (str(hit), 0))
                except OSError:
                    continue  # the kernel refuses some by itself

    one.gateway.call(send)
    assert one.gateway.ping(str(hit), count=5, interval_s=0.1).received == 5
    for site in network.sites:
        assert "Traceback" not in site.daemon.output()


def test_on_the_control_socket(network: GatewayNetwork) -> None:
    daemon = network.sites[1].daemon
    chance = random.Random(17)
    samples = [
        b"",
        b"\n" * 1000,
        b"{" * 100_000,
        b'{"id":1,"method":"status","params":[]}\n',
        b'{"id":{},"method":7}\n',
        b'{"id":1,"method":"ping","params":{"peer":"' + b"x" * 70_000 + b'"}}\n',
        json.dumps({"id": 1, "method": "connect", "params": {"peer": None}}).encode() + b"\n",
        b"\xff\xfe\x00" * 50,
    ]
    before = resident_kib(network)
    for turn in range(300):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(daemon.control_socket))
            sock.settimeout(0.05)
            data = chance.choice(samples) if turn % 2 else chance.randbytes(chance.randrange(2000))
            try:
                sock.sendall(data + b"\n")
                sock.recv(65536)
            except OSError:
                continue
    assert daemon.request("status")["counts"]["established"] == 1
    assert resident_kib(network) - before < GROWTH_KIB
    assert "Traceback" not in daemon.output()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[[",
        "identity = 7",
        '[identity]\nkey_file = "nowhere.pem"\n[endbox]\n',
        '[identity]\nkey_file = "key.pem"\n[endbox]\nports = ["nope0"]\n',
        '[identity]\nkey_file = "key.pem"\n[endbox]\n[hip]\nprot = 1\n',
        "\x00\x01",
    ],
)
def test_in_the_configuration(lab: Lab, text: str) -> None:
    network = endbox_pair(lab)
    daemon = network.sites[0].daemon
    daemon.config_file.write_text(text)
    done = daemon.host.run([*HIPGW, "run", "--config", daemon.config_file], check=False)
    assert done.returncode not in {0, -9, -11}
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert "br-hipgw" not in daemon.host.run(["ip", "-br", "link"]).stdout
