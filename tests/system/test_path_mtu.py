"""Path MTU discovery: a narrow link between two routers, which tell of it or do not."""

from collections.abc import Iterator
from typing import Any

import pytest

from hipgw.lab import Lab, read_pcap, wait_until
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
FOUND_S = 60.0
"""A search that gets no word from any router takes a fifth of this."""
FRAGMENT = 44


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("pathmtu") as lab:
        yield lab


def silence(network: GatewayNetwork) -> None:
    """No router tells of packets that are too large."""
    for router in network.routers:
        refuse = ("-A", "OUTPUT", "-p")
        drop = ("-j", "DROP")
        router.firewall(*refuse, "icmp", "--icmp-type", "fragmentation-needed", *drop)
        router.firewall(*refuse, "icmpv6", "--icmpv6-type", "packet-too-big", *drop, family=6)


def path_mtus(network: GatewayNetwork) -> list[tuple[int, str]]:
    answers: list[dict[str, Any]] = []
    for site in network.sites:
        answers += site.daemon.request("associations")
    return [(answer["path_mtu"], answer["path_mtu_source"]) for answer in answers]


def wait_found(network: GatewayNetwork, mtu: int) -> None:
    wait_until(
        lambda: [found for found, _ in path_mtus(network)] == [mtu, mtu],
        FOUND_S,
        what=f"both sides to find the MTU of {mtu}",
    )


def fragments(network: GatewayNetwork, capture: Any) -> int:
    """Pieces of IP packets on a gateway's link."""
    capture.stop()
    count = 0
    for frame in read_pcap(capture.file):
        kind, packet = frame.data[12:14], frame.data[14:]
        if kind == b"\x08\x00":
            count += int.from_bytes(packet[6:8], "big") & 0x3FFF != 0
        elif kind == b"\x86\xdd":
            count += packet[6] == FRAGMENT
    return count


@pytest.mark.parametrize("silent", [False, True], ids=["icmp", "silent"])
@pytest.mark.parametrize(("family", "transport"), UNDERLAYS)
def test_endboxes_find_a_narrow_path(
    lab: Lab, family: Family, transport: TransportName, silent: bool
) -> None:
    mtu = 1300 if family == 4 else 1400
    network = endbox_pair(lab, family=family, transport=transport, bottleneck=mtu)
    if silent:
        silence(network)
    network.start()
    one, two = network.sites
    wait_found(network, mtu)
    assert {source for _, source in path_mtus(network)} == {"probe" if silent else "icmp"}
    capture = two.gateway.capture("wan0")
    for target, size in ((two.lan4, 1472), (two.lan6, 1452)):
        result = one.lan.ping(target, count=5, interval_s=0.05, size=size, dont_fragment=True)
        assert result.received == 5, f"{size} octets to {target}"
    assert transfer(one.lan, two.lan, two.lan4) > 1
    assert transfer(two.lan, one.lan, one.lan6) > 1
    assert fragments(network, capture) == 0


@pytest.mark.parametrize("silent", [False, True], ids=["icmp", "silent"])
@pytest.mark.parametrize(("family", "transport"), UNDERLAYS)
def test_hosts_find_a_narrow_path(
    lab: Lab, family: Family, transport: TransportName, silent: bool
) -> None:
    mtu = 1400 if family == 4 else 1300
    network = host_pair(lab, family=family, transport=transport, bottleneck=mtu)
    if silent:
        silence(network)
    network.start()
    one, two = network.sites
    assert one.gateway.ping(str(two.daemon.hit), timeout_s=3)
    wait_found(network, mtu)
    capture = two.gateway.capture("wan0")
    for target in (str(two.daemon.hit), lsi(network, 2)):
        assert transfer(one.gateway, two.gateway, target) > 1
        assert transfer(one.gateway, two.gateway, target, "-R") > 1
    # The kernel cuts it for the interface first, and is told that this is too large.
    assert one.gateway.ping(str(two.daemon.hit), count=3, size=3000).received >= 2
    assert fragments(network, capture) == 0


def lsi(network: GatewayNetwork, site: int) -> str:
    status = network.sites[site - 1].daemon.request("status")
    return str(status["identities"][0]["lsi"])


@pytest.mark.parametrize("silent", [False, True], ids=["icmp", "silent"])
@pytest.mark.parametrize(("family", "transport"), [(4, "udp"), (6, "raw")])
def test_a_path_that_becomes_narrower_heals(
    lab: Lab, family: Family, transport: TransportName, silent: bool
) -> None:
    """TCP goes on, though its segments were cut for a wider path."""
    network = endbox_pair(lab, family=family, transport=transport, bottleneck=1500)
    if silent:
        silence(network)
    network.start()
    one, two = network.sites
    wait_found(network, 1500)
    server = two.lan.popen(["iperf3", "-s", "-1"])
    wait_until(lambda: ":5201" in two.lan.run(["ss", "-Hltn"]).stdout, what="iperf3")
    client = one.lan.popen(["iperf3", "-c", two.lan4, "-t", "60", "-b", "20M", "-i", "1"])

    def received() -> int:
        for sa in two.daemon.request("sa"):
            if sa["direction"] == "in":
                return int(sa["bytes"])
        return 0

    wait_until(lambda: received() > 1_000_000, 10.0, what="the stream to flow")
    network.set_bottleneck(1400)
    wait_until(lambda: path_mtus(network)[0][0] == 1400, FOUND_S, what="one side to notice")
    before = received()
    wait_until(lambda: received() > before + 5_000_000, FOUND_S, what="the stream to go on")
    client.stop()
    server.stop()
    result = one.lan.ping(two.lan4, count=3, interval_s=0.05, size=1472, dont_fragment=True)
    assert result.received == 3


def test_a_forged_message_changes_nothing(lab: Lab) -> None:
    """Somebody who sees no packet cannot know what a router would quote."""
    network = endbox_pair(lab)
    network.start()
    one, two = network.sites
    wait_found(network, 1500)
    quoted = bytes.fromhex("4500059c00004000401100 00".replace(" ", ""))
    quoted = quoted[:10] + bytes(2) + bytes([192, 168, 101, 1, 192, 168, 102, 1])
    udp = bytes.fromhex("2904290405880000") + bytes.fromhex("deadbeef00000001") + bytes(400)
    network.router.call(send_too_big, "192.168.101.1", quoted + udp)
    network.router.call(send_too_big, "192.168.101.1", quoted + udp[:8])
    assert one.lan.ping(two.lan4, count=5, interval_s=0.1, size=1472).received == 5
    assert [mtu for mtu, _ in path_mtus(network)] == [1500, 1500]


def send_too_big(target: str, quoted: bytes) -> None:
    import socket

    from hipgw.wire.checksum import checksum16

    message = bytes([3, 4, 0, 0, 0, 0]) + (600).to_bytes(2, "big") + quoted
    message = message[:2] + checksum16(message).to_bytes(2, "big") + message[4:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.sendto(message, (target, 0))


def test_without_discovery_the_network_may_cut(lab: Lab) -> None:
    network = endbox_pair(lab, esp={"path_mtu_discovery": False}, bottleneck=1400)
    network.start()
    one, two = network.sites
    capture = two.gateway.capture("wan0")
    # Fits the own link in one piece, which the narrow one does not take.
    assert one.lan.ping(two.lan4, count=3, size=1380, dont_fragment=True).received == 3
    assert {source for _, source in path_mtus(network)} == {"route"}
    assert fragments(network, capture) > 0


def test_a_path_mtu_that_is_set_is_not_searched(lab: Lab) -> None:
    network = endbox_pair(lab, esp={"path_mtu": 1300}, bottleneck=1400)
    network.start()
    one, two = network.sites
    capture = two.gateway.capture("wan0")
    assert one.lan.ping(two.lan4, count=3, size=1472, dont_fragment=True).received == 3
    assert path_mtus(network) == [(1300, "config"), (1300, "config")]
    assert fragments(network, capture) == 0
