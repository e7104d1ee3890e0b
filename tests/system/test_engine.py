"""Two engines with fixed keys, between namespaces with real devices: no base exchange."""

import os
import random
import socket
import struct
from collections.abc import Iterator

import pytest

from hipgw import _esp_core
from hipgw.lab import Lab
from system.engines import copy, pair_of

pytestmark = pytest.mark.system

PATHS = [(4, True), (4, False), (6, True), (6, False)]
"""Family of the underlay, and whether ESP is in UDP."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("engine") as lab:
        yield lab


@pytest.mark.parametrize("vnet_hdr", [True, False], ids=["offload", "plain"])
def test_every_suite_over_every_path(lab: Lab, vnet_hdr: bool) -> None:
    with pair_of(lab, vnet_hdr=vnet_hdr) as pair:
        host = pair.one.host
        targets = (pair.two.lan, "fd09::2", str(pair.two.hit), str(pair.two.lsi))
        for suite in _esp_core.ESP_SUITES:
            for family, udp in PATHS:
                pair.connect(suite, family, udp)
                for target in targets:
                    where = (suite, family, udp, target)
                    # One at a time: after the last of several, ping waits for no longer than its
                    # interval, or two round trips.
                    assert all(host.ping(target) for _ in range(2)), where
                full = host.ping(pair.two.lan, size=1472, dont_fragment=True)
                assert full.received == 1, (suite, family, udp)
                copy(host, pair.two.host, pair.two.lan, 300_000)
        for gateway in (pair.one, pair.two):
            drops = gateway.dataplane.statistics().drops
            for reason in (
                "auth_failed",
                "replayed",
                "unknown_spi",
                "device_refused",
                "send_failed",
            ):
                assert drops[reason] == 0, (reason, drops)


@pytest.mark.parametrize(("family", "udp"), PATHS)
def test_bulk_arrives_intact(lab: Lab, family: int, udp: bool) -> None:
    """Split, sealed, opened and joined again, tens of megabytes of random octets stay the same."""
    with pair_of(lab) as pair:
        pair.connect(13, family, udp)
        host, peer = pair.one.host, pair.two.host
        for target in (pair.two.lan, "fd09::2", str(pair.two.hit), str(pair.two.lsi)):
            copy(host, peer, target, 20_000_000)
        assert pair.one.counter("split_packets") > 100
        assert pair.two.counter("coalesced_packets") > 1000
        assert pair.one.counter("fragments_sent") == 0
        if udp:
            assert pair.one.counter("gso_trains") > 100
            assert pair.two.counter("gro_segments") > 1000


def test_without_clamping_full_segments_are_fragmented_or_cut_smaller(lab: Lab) -> None:
    with pair_of(lab, mss_clamp=False, vnet_hdr=False) as pair:
        pair.connect(13, 4, True)
        copy(pair.one.host, pair.two.host, pair.two.lan, 5_000_000)
        assert pair.two.counter("reassembled") > 1000


def tagged(vlan: int, payload: bytes) -> bytes:
    """A TCP segment in a tagged frame, its checksum left to whoever sends it."""
    length = 20 + 20 + len(payload)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 1, 0x4000, 64, 6, 0)
    addresses = bytes([10, 7, 0, 1, 10, 7, 0, 2])
    total = sum(struct.unpack("!10H", ip + addresses))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", total ^ 0xFFFF)
    pseudo = sum(struct.unpack("!4H", addresses)) + 6 + length - 20
    pseudo = (pseudo & 0xFFFF) + (pseudo >> 16)
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, 77, 5, 0x50, 0x10, 500, pseudo, 0)
    macs = bytes.fromhex("ffffffffffff 020000000001")
    return macs + struct.pack("!HHH", 0x8100, vlan, 0x0800) + ip + addresses + tcp + payload


def test_tagged_super_packets_pass(lab: Lab) -> None:
    """What the kernel hands over in one piece, with a VLAN tag, comes out in one piece again."""
    sol_packet, packet_vnet_hdr, any_protocol = 263, 15, 0x0003
    payload = os.urandom(20_000)
    frame = tagged(7, payload)
    # A checksum to be completed from the TCP header on; TCP over IPv4 in segments of 1200.
    vnet_hdr = struct.pack("=BBHHHH", 1, 1, 18 + 40, 1200, 18 + 20, 16)
    with pair_of(lab) as pair:
        pair.connect(13, 4, True)
        ends = []
        for gateway in (pair.one, pair.two):
            end = gateway.host.call(
                socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(any_protocol)
            )
            end.setsockopt(sol_packet, packet_vnet_hdr, 1)
            end.bind(("tap0", any_protocol))
            end.settimeout(5)
            ends.append(end)
        with ends[0] as sender, ends[1] as receiver:
            sender.send(vnet_hdr + frame)
            # Packet sockets are shown the frame without its tag.
            while not (got := receiver.recv(70_000)).endswith(payload):
                pass
        assert pair.two.counter("coalesced_packets") >= 15
        got_header = struct.unpack("=BBHHHH", got[:10])
        assert got_header[1] == 1
        assert got_header[3] == 1200
        assert len(got) == 10 + 14 + 40 + len(payload)
        assert [entry.vlan for entry in pair.two.dataplane.mac_table(1) if entry.vlan] == [7]


def test_datagrams_of_every_size(lab: Lab) -> None:
    """UDP by name and on the segment, from empty to what takes many fragments."""
    with pair_of(lab) as pair:
        pair.connect(13, 4, True)
        for address in (pair.two.lan, str(pair.two.lsi), str(pair.two.hit)):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            server = pair.two.host.call(socket.socket, family, socket.SOCK_DGRAM)
            client = pair.one.host.call(socket.socket, family, socket.SOCK_DGRAM)
            with server, client:
                server.bind(("", 5002))
                server.settimeout(5)
                for size in (0, 1, 1000, 1300, 1372, 1400, 1472, 1473, 4000, 9000, 60000):
                    data = os.urandom(size)
                    client.sendto(data, (address, 5002))
                    assert server.recv(65536) == data, (address, size)


def test_garbage_does_not_disturb(lab: Lab) -> None:
    with pair_of(lab) as pair:
        pair.connect(13, 4, True)
        attacker = pair.one.host.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        raw = pair.one.host.call(socket.socket, socket.AF_INET, socket.SOCK_RAW, 50)
        chance = random.Random(1)
        with attacker, raw:
            for _ in range(20):
                for _ in range(200):
                    data = chance.randbytes(chance.randrange(1400))
                    attacker.sendto(data, ("192.0.2.2", 10500))
                    # A right SPI in front of garbage.
                    attacker.sendto((1001).to_bytes(4) + data, ("192.0.2.2", 10500))
                    raw.sendto((1001).to_bytes(4) + data, ("192.0.2.2", 0))
                assert pair.one.host.ping(pair.two.lan).received == 1
        drops = pair.two.dataplane.statistics().drops
        assert drops["auth_failed"] > 1000
        kinds = {type(event).__name__ for event in pair.two.dataplane.drain_events()}
        assert "Fatal" not in kinds
