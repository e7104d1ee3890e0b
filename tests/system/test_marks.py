"""DSCP and ECN across the tunnel, past a router that marks congestion (RFC 6040)."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from hipgw.lab import Capture, Host, Lab, read_pcap
from hipgw.lab.topologies import (
    Family,
    GatewayNetwork,
    TransportName,
    endbox_pair,
    host_pair,
)
from system.traffic import transfer

pytestmark = pytest.mark.system

UNDERLAYS: list[tuple[Family, TransportName]] = [(4, "udp"), (4, "raw"), (6, "udp"), (6, "raw")]
EXPEDITED = 0xB8
ECT_0, CE = 2, 3
SIZE = 333
"""Of echo requests, by which they are told from all else."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("marks") as lab:
        yield lab


def mark_congestion(network: GatewayNetwork, *, match: str = "0x02/0x03") -> None:
    """Have the router mark what says that it can be marked, or (*match*) anything else."""
    for family in (4, 6):
        rule = ("-t", "mangle", "-A", "FORWARD", "-m", "tos", "--tos", match)
        network.router.firewall(*rule, "-j", "TOS", "--set-tos", "0x03/0x03", family=family)


def ping(host: Host, target: str, marks: int, count: int = 3) -> int:
    command = ["ping", "-n", f"-c{count}", "-i0.05", "-W1", f"-s{SIZE}", f"-Q{marks}", target]
    done = host.run(command, check=False)
    found = re.search(r"(\d+) received", done.stdout)
    assert found, done.stdout + done.stderr
    return int(found[1])


def marks_of(packet: bytes) -> int:
    return packet[1] if packet[0] >> 4 == 4 else (packet[0] << 4 | packet[1] >> 4) & 0xFF


def requests(capture: Capture, link: int) -> set[int]:
    """Marks of the echo requests in a capture, whose packets begin behind *link* octets."""
    capture.stop()
    found = set()
    for frame in read_pcap(capture.file):
        packet = frame.data[link:]
        v4 = packet[:1] == b"\x45"
        if len(packet) == SIZE + 8 + (20 if v4 else 40) and packet[20 if v4 else 40] in (8, 128):
            found.add(marks_of(packet))
    return found


def outer(capture: Capture) -> set[int]:
    """Marks of the tunnel's packets that are as long as an echo request's."""
    capture.stop()
    packets = [frame.data[14:] for frame in read_pcap(capture.file)]
    return {marks_of(packet) for packet in packets if SIZE < len(packet) < SIZE + 150}


@pytest.mark.parametrize(("family", "transport"), UNDERLAYS)
def test_a_mark_on_the_way_arrives_in_the_frame(
    lab: Lab, family: Family, transport: TransportName
) -> None:
    network = endbox_pair(lab, family=family, transport=transport)
    mark_congestion(network)
    network.start()
    one, two = network.sites
    for target in (two.lan4, two.lan6):
        assert ping(one.lan, target, 0)
        wide, local = two.gateway.capture("wan0"), two.lan.capture("eth0")
        # With a wrong header checksum nothing would answer.
        assert ping(one.lan, target, EXPEDITED | ECT_0) == 3
        assert requests(local, 14) == {EXPEDITED | CE}
        assert outer(wide) == {EXPEDITED | CE}
    assert two.daemon.request("counters")["dataplane"]["ecn_marked"] >= 6


@pytest.mark.parametrize(
    ("esp", "outside"),
    [
        ({"copy_dscp": False}, ECT_0),
        ({"ecn": False}, EXPEDITED),
        ({"copy_dscp": False, "ecn": False}, 0),
    ],
)
@pytest.mark.parametrize("role", ["endbox", "host"])
def test_what_shows_outside_is_a_matter_of_policy(
    lab: Lab, role: str, esp: dict[str, Any], outside: int
) -> None:
    network = endbox_pair(lab, esp=esp) if role == "endbox" else host_pair(lab, esp=esp)
    network.start()
    one, two = network.sites
    if role == "endbox":
        source, target, there, link = one.lan, two.lan4, two.lan.capture("eth0"), 14
    else:
        source, target = one.gateway, str(two.daemon.hit)
        there, link = two.gateway.capture("hip0"), 0
    assert ping(source, target, 0)
    wide = two.gateway.capture("wan0")
    assert ping(source, target, EXPEDITED | ECT_0) == 3
    assert outer(wide) == {outside}
    # An inner header travels with a frame; without one there is only what shows outside.
    inside = EXPEDITED | ECT_0 if role == "endbox" else outside
    assert requests(there, link) == {0, inside}


def test_congestion_is_no_secret_from_those_who_cannot_be_told(lab: Lab) -> None:
    """A mark on what does not know of marks stands for a loss (RFC 6040 §4.2)."""
    network = endbox_pair(lab)
    network.start()
    one, two = network.sites
    assert ping(one.lan, two.lan4, 0) == 3
    mark_congestion(network, match="0x00/0x03")
    assert ping(one.lan, two.lan4, 0) == 0
    drops = two.daemon.request("counters")["dataplane_drops"]
    assert drops["ecn_not_capable"] >= 1


@pytest.mark.parametrize(("family", "transport"), [(4, "udp"), (6, "raw")])
@pytest.mark.parametrize("role", ["endbox", "host"])
def test_tcp_hears_of_congestion(
    lab: Lab, role: str, family: Family, transport: TransportName
) -> None:
    make = endbox_pair if role == "endbox" else host_pair
    network = make(lab, family=family, transport=transport)
    one, two = network.sites
    near, far = (one.lan, two.lan) if role == "endbox" else (one.gateway, two.gateway)
    for host in (near, far):
        host.sysctl("net/ipv4/tcp_ecn", 1)
    network.start()
    target = two.lan4 if role == "endbox" else str(two.daemon.hit)
    assert near.ping(target, timeout_s=3)
    mark_congestion(network)
    assert transfer(near, far, target) > 1
    # What the sender was told of by the receiver: the marks have come through to TCP.
    assert counted(near, "TcpExt", "TCPDeliveredCE") > 0


def counted(host: Host, group: str, name: str) -> int:
    names, values = (
        line.split()[1:]
        for line in host.run(["cat", "/proc/net/netstat"]).stdout.splitlines()
        if line.startswith(f"{group}:")
    )
    return int(values[names.index(name)])
