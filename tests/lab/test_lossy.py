"""A lossy link does what it is told, and the same again with the same seed."""

import functools
import socket
import time
from collections.abc import Iterator

import pytest

from hipgw.errors import LabError
from hipgw.lab import Host, Impairment, Lab, wait_until
from hipgw.lab.impairment import Direction

SO_RCVBUFFORCE = 33
FRAMES = [n.to_bytes(4, "big") for n in range(10000)]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("lossy") as lab:
        yield lab


def carried(impairment: Impairment, seed: str = "1") -> list[bytes]:
    """What comes out when a frame enters each 100 microseconds."""
    direction, out = Direction(impairment, seed), []
    for n, frame in enumerate(FRAMES):
        now = n / 10000
        out += direction.due(now)
        direction.take(frame, now)
    out += direction.due(1000.0)
    assert direction.next_time() is None
    return out


def test_a_good_link_changes_nothing() -> None:
    assert carried(Impairment()) == FRAMES
    assert carried(Impairment(delay_s=0.5)) == FRAMES


def test_loss() -> None:
    left = carried(Impairment(loss=0.02))
    assert left == sorted(left)
    assert 100 < len(FRAMES) - len(left) < 300
    assert carried(Impairment(loss=1.0)) == carried(Impairment(cut=True)) == []


def test_the_seed_says_which() -> None:
    bad = Impairment(loss=0.1, duplicate=0.1, reorder=0.1)
    assert carried(bad) == carried(bad)
    assert carried(bad) != carried(bad, "2")
    # One rate does not change what another one hits.
    assert set(carried(bad)) == set(carried(Impairment(loss=0.1)))


def test_duplicates_and_reordering() -> None:
    doubled = carried(Impairment(duplicate=0.02))
    assert 100 < len(doubled) - len(FRAMES) < 300
    assert set(doubled) == set(FRAMES)
    mixed = carried(Impairment(reorder=0.02, reorder_s=0.002))
    assert sorted(mixed) == FRAMES
    late = [frame for frame, before in zip(mixed[1:], mixed, strict=False) if frame < before]
    assert 100 < len(late) < 300


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.1}, {"loss": -0.1}, {"delay_s": -1.0}, {"delay_s": 61.0}]
)
def test_impossible_links_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LabError, match=next(iter(wrong))):
        Impairment(**wrong)  # type: ignore[arg-type]


def two(lab: Lab) -> tuple[Host, Host]:
    return lab.host("a"), lab.host("b")


def number(a: Host, b: Host) -> None:
    a.address("eth0", "10.0.0.1/24", "fd00::1/64")
    b.address("eth0", "10.0.0.2/24", "fd00::2/64")


@pytest.mark.system
def test_a_real_link_carries_everything(lab: Lab) -> None:
    a, b = two(lab)
    link = lab.lossy_link(a, "eth0", b, "eth0", mtu=1400, a_mac="02:00:00:00:00:0a")
    number(a, b)
    assert a.mac("eth0") == "02:00:00:00:00:0a"
    for target in ("10.0.0.2", "fd00::2"):
        assert a.ping(target, size=1352, dont_fragment=True)
        result = b.ping(target.replace("2", "1"), count=50, interval_s=0.01)
        assert (result.received, result.duplicates) == (50, 0)
    assert not a.ping("10.0.0.2", size=1373, dont_fragment=True, timeout_s=0.2)
    near, far = link.counts()
    assert near["frames"] >= 52 and far["frames"] >= 52
    assert near["lost"] == far["lost"] == 0


@pytest.mark.system
def test_what_it_does_can_be_changed(lab: Lab) -> None:
    a, b = two(lab)
    link = lab.lossy_link(a, "eth0", b, "eth0", delay_s=0.02)
    number(a, b)
    assert a.ping("10.0.0.2")
    result = a.ping("10.0.0.2", count=5, interval_s=0.05)
    assert min(result.times_ms) >= 40.0
    link.set(delay_s=0.0, duplicate=1.0)
    assert a.ping("10.0.0.2", count=3, interval_s=0.05).duplicates > 0
    link.set(duplicate=0.0, cut=True)
    assert not a.ping("10.0.0.2", timeout_s=0.3)
    assert link.impairment.cut
    link.set(cut=False)
    assert a.ping("10.0.0.2")
    link.close()
    with pytest.raises(LabError, match="eth0"):
        a.index("eth0")


@pytest.mark.system
def test_loss_is_about_the_rate(lab: Lab) -> None:
    a, b = two(lab)
    link = lab.lossy_link(a, "eth0", b, "eth0", loss=0.1, seed=7)
    number(a, b)
    a.ping("10.0.0.2")

    def opened() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        sock.bind(("", 5000))
        return sock

    with a.call(opened) as sender, b.call(opened) as receiver:
        before = link.counts()[0]
        for n in range(2000):
            sender.sendto(n.to_bytes(2, "big"), ("10.0.0.2", 5000))
            if n % 100 == 0:
                time.sleep(0.01)
        wait_until(lambda: link.counts()[0]["frames"] >= before["frames"] + 2000, what="frames")
        lost = link.counts()[0]["lost"] - before["lost"]
        receiver.settimeout(1.0)
        came = set()
        while len(came) < 2000 - lost:
            came.add(receiver.recv(10))
    assert 100 < lost < 320


@pytest.mark.system
def test_a_stream_survives_a_bad_link(lab: Lab) -> None:
    a, b = two(lab)
    lab.lossy_link(a, "eth0", b, "eth0", loss=0.02, duplicate=0.01, reorder=0.05, delay_s=0.001)
    number(a, b)
    data = bytes(range(256)) * 4000

    def listen() -> socket.socket:
        return socket.create_server(("10.0.0.2", 6000))

    connect = functools.partial(socket.create_connection, ("10.0.0.2", 6000), 10.0)
    received = bytearray()
    with b.call(listen) as listener, a.call(connect) as client, listener.accept()[0] as accepted:
        client.settimeout(60)
        accepted.settimeout(60)
        view = memoryview(data)
        for start in range(0, len(data), 32768):
            chunk = view[start : start + 32768]
            client.sendall(chunk)
            while len(received) < start + len(chunk):
                received += accepted.recv(65536)
    assert bytes(received) == data


@pytest.mark.system
def test_names_of_interfaces_are_checked(lab: Lab) -> None:
    a, b = two(lab)
    lab.lossy_link(a, "eth0", b, "eth0")
    with pytest.raises(LabError, match="eth0"):
        lab.lossy_link(a, "eth0", b, "eth1")
