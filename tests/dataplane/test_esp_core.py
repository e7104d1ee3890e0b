"""The engine through its Python face: over loopback, with socket pairs in place of devices."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

import pytest

from hipgw import _esp_core
from hipgw.dataplane.backend import (
    Acquire,
    ControlReceived,
    DataPlane,
    DataPlaneEvent,
    FirstData,
    SourceChanged,
    StunReceived,
    UnknownSpi,
)
from hipgw.dataplane.esp_core import EspCoreDataPlane, capabilities
from hipgw.errors import DataPlaneError
from hipgw.identity.esp_format import EspFormat, FrameFormat
from hipgw.identity.esp_suites import ESP_SUITES, V1_ESP_SUITES, EspSuite
from hipgw.lab import wait_until

LOCALHOST = IPv4Address("127.0.0.1")
Event = TypeVar("Event")


@dataclass
class Node:
    dataplane: DataPlane
    hit: IPv6Address
    lsi: IPv4Address
    udp: socket.socket
    tap: socket.socket
    tun: socket.socket

    @property
    def port(self) -> int:
        return int(self.udp.getsockname()[1])

    def wait_for(self, kind: type[Event]) -> Event:
        """The next event of a kind; any other is a failure."""
        poll = select.poll()
        poll.register(self.dataplane.fileno(), select.POLLIN)
        assert poll.poll(5000), f"no {kind.__name__} came"
        events = self.dataplane.drain_events()
        assert len(events) == 1
        assert isinstance(events[0], kind)
        return events[0]


def devices() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.settimeout(5)
    return ours, theirs


@pytest.fixture
def make() -> Iterator[Callable[[int], Node]]:
    nodes: list[Node] = []

    def make_one(number: int) -> Node:
        dataplane = EspCoreDataPlane()
        hit, lsi = IPv6Address(f"2001:21::{number}"), IPv4Address(f"1.0.0.{number}")
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        dataplane.add_udp_socket(udp.fileno())
        tap, their_tap = devices()
        tun, their_tun = devices()
        with their_tap, their_tun:
            dataplane.add_tap(
                their_tap.fileno(), segment=1, mtu=1500, mss_clamp=True, vnet_hdr=False
            )
            dataplane.set_tun(
                their_tun.fileno(), mtu=1400, local_hit=hit, local_lsi=lsi, vnet_hdr=False
            )
        dataplane.start()
        nodes.append(Node(dataplane, hit, lsi, udp, tap, tun))
        return nodes[-1]

    yield make_one
    for node in nodes:
        node.dataplane.stop()
        for sock in (node.udp, node.tap, node.tun):
            sock.close()


def install(node: Node, direction: str, peer: Node, spi: int, **changes: object) -> None:
    parameters: dict[str, object] = {
        "direction": direction,
        "spi": spi,
        "suite": 13,
        "encryption_key": bytes([spi & 255]) * 20,
        "authentication_key": b"",
        "local_hit": node.hit,
        "peer_hit": peer.hit,
        "local": LOCALHOST,
        "remote": LOCALHOST,
        "udp": True,
        "local_port": node.port,
        "remote_port": peer.port,
        "segment": 1,
    }
    node.dataplane.add_sa(**(parameters | changes))  # type: ignore[arg-type]


def connect(a: Node, b: Node) -> None:
    for source, destination, spi in ((a, b, 1001), (b, a, 1002)):
        install(destination, "in", source, spi)
        install(source, "out", destination, spi)


def test_frames_tables_and_statistics(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    connect(a, b)
    frame = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(1500)
    a.tap.send(frame)
    assert b.tap.recv(2000) == frame
    assert b.wait_for(FirstData) == FirstData(1001)
    assert b.dataplane.drain_events() == []
    (learned,) = b.dataplane.mac_table(1)
    assert (learned.mac, learned.vlan, learned.peer_hit) == ("02:00:00:00:00:01", 0, a.hit)
    assert learned.age_s < 5
    by_spi = {sa.spi: sa for sa in b.dataplane.security_associations()}
    inbound, outbound = by_spi[1001], by_spi[1002]
    assert (inbound.direction, outbound.direction) == ("in", "out")
    # Too large for one packet, so two.
    assert (inbound.packets, inbound.sequence) == (2, 2)
    assert inbound.last_used_s is not None
    assert inbound.last_used_s < 5
    assert (outbound.packets, outbound.last_used_s) == (0, None)
    assert (inbound.local, inbound.remote, inbound.remote_port) == (LOCALHOST, LOCALHOST, a.port)
    assert (inbound.local_hit, inbound.peer_hit, inbound.suite) == (b.hit, a.hit, 13)
    # A frame is counted once it is written, which is when it may have been read here.
    wait_until(lambda: b.dataplane.statistics().counters["tap_tx_frames"], 5.0, what="the count")
    statistics = b.dataplane.statistics()
    assert statistics.counters["tap_tx_frames"] == 1
    assert statistics.counters["reassembled"] == 1
    assert tuple(statistics.drops) == _esp_core.DROP_REASONS
    assert sum(statistics.drops.values()) == 0
    assert b.dataplane.flush_macs(1, a.hit) == 1
    assert b.dataplane.mac_table(1) == []


def test_control_packets_and_strangers(make: Callable[[int], Node]) -> None:
    node = make(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        port = stranger.getsockname()[1]
        stranger.sendto(bytes(4) + b"h" * 40, ("127.0.0.1", node.port))
        got = node.wait_for(ControlReceived)
        assert got == ControlReceived(b"h" * 40, LOCALHOST, LOCALHOST, node.port, port)
        stranger.sendto(bytes.fromhex("00001234") + bytes(60), ("127.0.0.1", node.port))
        assert node.wait_for(UnknownSpi) == UnknownSpi(0x1234, LOCALHOST, port)
        answer = bytes.fromhex("010100002112a442") + bytes(12)
        stranger.sendto(answer, ("127.0.0.1", node.port))
        stun = node.wait_for(StunReceived)
        assert stun == StunReceived(answer, LOCALHOST, LOCALHOST, node.port, port)


def test_a_held_packet_is_delivered(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    # IPv6 with next header 253, for experiments (RFC 3692).
    packet = bytes.fromhex("60000000 0004 fd 40") + a.hit.packed + b.hit.packed + b"data"
    a.tun.send(packet)
    assert a.wait_for(Acquire) == Acquire(b.hit)
    connect(a, b)
    assert b.tun.recv(2000) == packet
    # By LSI, which nobody has yet.
    stranger = IPv4Address("1.0.0.9")
    header = bytes.fromhex("45000018 00004000 40 fd 0000") + a.lsi.packed + stranger.packed
    a.tun.send(header + b"data")
    assert a.wait_for(Acquire) == Acquire(stranger)
    assert a.dataplane.drop_held(stranger) == 1
    assert a.dataplane.drop_held(stranger) == 0


def test_a_peer_that_turns_up_elsewhere(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    # As if a NAT had given it another port since.
    install(b, "in", a, 1001, remote_port=a.port - 1)
    install(a, "out", b, 1001)
    frame = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(100)
    a.tap.send(frame)
    assert b.tap.recv(2000) == frame
    first, second = b.dataplane.drain_events()
    assert first == FirstData(1001)
    assert second == SourceChanged(1001, LOCALHOST, b.port, LOCALHOST, a.port, True)


def test_an_unverified_path_needs_credit(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    install(b, "in", a, 1001)
    install(a, "out", b, 1001, verified=False)
    frame = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(100)

    def dropped() -> int:
        return a.dataplane.statistics().drops["no_credit"]

    a.tap.send(frame)
    wait_until(lambda: dropped() == 1, 5.0, what="the drop")
    (entry,) = a.dataplane.security_associations()
    assert (entry.verified, entry.packets, entry.lost) == (False, 0, 0)
    a.dataplane.move_sa(
        spi=1001,
        peer_hit=b.hit,
        local=None,
        remote=LOCALHOST,
        udp=True,
        local_port=a.port,
        remote_port=b.port,
        interface=socket.if_nametoindex("lo"),
    )
    (entry,) = a.dataplane.security_associations()
    assert entry.verified
    a.tap.send(frame)
    assert b.tap.recv(2000) == frame
    assert dropped() == 1


def test_an_spi_that_a_mobile_router_lends_is_on_the_wire_and_in_no_icv(
    make: Callable[[int], Node],
) -> None:
    a, b = make(1), make(2)
    frame = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(100)
    # b plays the router: it puts the SPI of the association back, which the ICV is made with.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router:
        router.bind(("127.0.0.1", 0))
        router.settimeout(5.0)
        port = router.getsockname()[1]
        install(b, "in", a, 1001)
        install(a, "out", b, 1001, remote_port=port, wire_spi=7777)
        a.tap.send(frame)
        packet = router.recv(2000)
        assert int.from_bytes(packet[:4], "big") == 7777
        router.sendto((1001).to_bytes(4, "big") + packet[4:], ("127.0.0.1", b.port))
        assert b.tap.recv(2000) == frame
        # Behind another router it may be another one, or its own.
        for wire_spi, shown in ((8888, 8888), (0, 1001)):
            a.dataplane.move_sa(
                spi=1001,
                peer_hit=b.hit,
                local=LOCALHOST,
                remote=LOCALHOST,
                udp=True,
                local_port=a.port,
                remote_port=port,
                wire_spi=wire_spi,
            )
            a.tap.send(frame)
            assert int.from_bytes(router.recv(2000)[:4], "big") == shown


def test_keys_are_used_once(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    for _ in range(2):
        # The same again goes on.
        install(a, "out", b, 1001)
    with pytest.raises(DataPlaneError, match="in use before"):
        install(a, "out", b, 1002, encryption_key=bytes([1001 & 255]) * 20)
    a.dataplane.remove_sa(direction="out", spi=1001, peer_hit=b.hit)
    with pytest.raises(DataPlaneError, match="in use before"):
        install(a, "out", b, 1001)
    assert a.dataplane.security_associations() == []


def test_what_is_refused(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)

    def refused(what: str, **changes: object) -> None:
        spi = changes.pop("spi", 1001)
        assert isinstance(spi, int)
        with pytest.raises(DataPlaneError, match=what):
            install(a, "out", b, spi, **changes)

    refused("suite 14 is not supported", suite=14)
    refused("needs a key of 20 octets, not 5", encryption_key=b"short")
    refused("SPI 7 is reserved", spi=7)
    refused("no segment 9", segment=9)
    refused("no raw ESP socket for IPv4", udp=False)
    refused("different families", remote=IPv6Address("::1"))
    refused("path MTU", path_mtu=100)
    with pytest.raises(DataPlaneError, match="sideways"):
        install(a, "sideways", b, 1001)
    with pytest.raises(DataPlaneError, match="started already"):
        a.dataplane.add_udp_socket(a.udp.fileno())
    with pytest.raises(DataPlaneError, match=r"1\.0\.0\.0/8"):
        a.dataplane.set_lsi(IPv4Address("10.0.0.1"), b.hit)
    with pytest.raises(DataPlaneError):
        a.dataplane.move_sa(
            spi=999,
            peer_hit=b.hit,
            local=None,
            remote=LOCALHOST,
            udp=True,
            local_port=1,
            remote_port=1,
        )
    a.dataplane.remove_sa(direction="out", spi=999, peer_hit=b.hit)
    assert a.dataplane.security_associations() == []


def test_keys_show_nowhere(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    connect(a, b)
    shown = repr(a.dataplane.security_associations()) + repr(a.dataplane)
    assert "encryption" not in shown
    assert (bytes([1001 & 255]) * 20).hex() not in shown


def test_calls_take_microseconds(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    started = time.perf_counter()
    for spi in range(2000, 4000):
        install(a, "in", b, spi)
    each_s = (time.perf_counter() - started) / 2000
    assert len(a.dataplane.security_associations()) == 2000
    # Tens of microseconds; the limit allows for a machine busy with other things.
    assert each_s < 0.002


def test_stop_is_quick_and_final(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    connect(a, b)
    started = time.perf_counter()
    a.dataplane.stop()
    a.dataplane.stop()
    assert time.perf_counter() - started < 1
    assert a.dataplane.security_associations() == []
    with pytest.raises(DataPlaneError):
        a.dataplane.start()
    with pytest.raises(DataPlaneError, match="stopped"):
        install(a, "out", b, 1003)


def test_capabilities_are_named() -> None:
    found = capabilities()
    assert {"udp_gso", "udp_gro", "tun_vnet_hdr", "aes", "pclmulqdq"} <= set(found)
    assert all(isinstance(value, bool) for value in found.values())


def test_the_face_is_a_data_plane() -> None:
    events: list[DataPlaneEvent] = EspCoreDataPlane().drain_events()
    assert events == []
    assert _esp_core.ENGINE_EVENTS > 0
    assert len(set(_esp_core.DROP_REASONS)) == len(_esp_core.DROP_REASONS)


@pytest.mark.parametrize("suite", V1_ESP_SUITES.values(), ids=lambda suite: suite.name)
@pytest.mark.parametrize("frames", FrameFormat)
def test_packets_of_every_format(
    make: Callable[[int], Node], suite: EspSuite, frames: FrameFormat
) -> None:
    a, b = make(1), make(2)
    changes = {
        "suite": suite.id,
        "encryption_key": bytes(range(suite.encryption_key_length)),
        "authentication_key": bytes(range(suite.authentication_key_length)),
        "format": EspFormat(
            esn=False, icv_length=suite.mac_length, null_iv=True, alignment=16, frames=frames
        ),
    }
    install(b, "in", a, 1001, **changes)
    install(a, "out", b, 1001, **changes)
    for length in (46, 1500):
        frame = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(length)
        a.tap.send(frame)
        assert b.tap.recv(2000) == frame


def test_formats_that_there_are_not(make: Callable[[int], Node]) -> None:
    a, b = make(1), make(2)
    for wrong in (EspFormat(icv_length=12), EspFormat(alignment=3)):
        with pytest.raises(DataPlaneError):
            install(a, "out", b, 1001, format=wrong)


def test_the_engine_has_the_suites_of_both_versions() -> None:
    assert {
        suite.id: (suite.name, suite.encryption_key_length, suite.authentication_key_length)
        for suite in (*ESP_SUITES.values(), *V1_ESP_SUITES.values())
    } == _esp_core.ESP_SUITES
