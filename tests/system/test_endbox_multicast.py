"""Endboxes that send the multicast of their LANs once, to a group of the underlay."""

import sys
import time
from collections.abc import Iterator

import pytest

from hipgw.lab import Host, Lab, read_pcap, wait_until
from hipgw.lab.daemon import HipgwDaemon

pytestmark = pytest.mark.system

SITES = (1, 2, 3)
GROUP = "239.7.7.7"
LAN_GROUP = "239.1.2.3"
SPI_ON_THE_WIRE = "34120000"
PAYLOAD = bytes.fromhex("c0ffee") * 8


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("group") as lab:
        yield lab


def send_multicast(host: Host, count: int) -> None:
    script = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4);"
        "s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("
        f"'{host_address(host)}'));"
        f"payload = bytes.fromhex('{PAYLOAD.hex()}');"
        f"[s.sendto(payload, ('{LAN_GROUP}', 5000)) for _ in range({count})]"
    )
    host.run([sys.executable, "-c", script])


def host_address(host: Host) -> str:
    return f"10.77.0.{host.name[1:]}"


def test_multicast_goes_once_to_the_group(lab: Lab) -> None:
    """Static peers on one underlay network, where nobody has to route the group."""
    switch = lab.switch("sw")
    gateways, hosts, daemons = {}, {}, {}
    for n in SITES:
        gateways[n], hosts[n] = lab.host(f"e{n}"), lab.host(f"h{n}")
        lab.link(gateways[n], "wan0", switch, f"port{n}")
        lab.link(hosts[n], "eth0", gateways[n], "lan0")
        gateways[n].address("wan0", f"192.0.2.{n}/24")
        hosts[n].address("eth0", f"10.77.0.{n}/24")
        daemons[n] = HipgwDaemon(gateways[n])
        key = daemons[n].directory / "group.key"
        key.write_text(bytes(range(24)).hex())
        key.chmod(0o600)
    for n in SITES:
        daemons[n].configure(
            {
                "endbox": {
                    "ports": ["lan0"],
                    "mode": "static",
                    "legacy_nodes": [f"10.77.0.{n}"],
                    "multicast_group": GROUP,
                    "multicast_spi": 0x1234,
                    "multicast_spi_swapped": True,
                    "multicast_key": "group.key",
                }
            },
            [
                {
                    "name": f"e{other}",
                    "hit": str(daemons[other].hit),
                    "addresses": [f"192.0.2.{other}"],
                    "legacy_nodes": [f"10.77.0.{other}"],
                }
                for other in SITES
                if other != n
            ],
        )
    for daemon in daemons.values():
        daemon.start(wait=False)
    for daemon in daemons.values():
        daemon.wait_ready()
    for n in SITES:
        for other in SITES:
            if n != other:
                wait_until(
                    lambda n=n, other=other: daemons[n].established(daemons[other].hit),
                    what="associations",
                )
    answer = daemons[1].request("endbox")["multicast"]
    assert answer == {"group": GROUP, "spi": 0x34120000, "local": "192.0.2.1"}
    captures = {n: hosts[n].capture("eth0") for n in SITES}
    underlay = gateways[1].capture("wan0")
    send_multicast(hosts[1], 5)
    # Unicast goes by the associations, as ever.
    assert hosts[1].ping("10.77.0.2", count=3, interval_s=0.05).received == 3
    time.sleep(1.0)
    underlay.stop()
    for n, capture in captures.items():
        capture.stop()
        # Several datagrams may come as one frame, for the host to segment (UDP_SEGMENT).
        datagrams = sum(frame.data.count(PAYLOAD) for frame in read_pcap(capture.file))
        assert datagrams == 5, f"site {n}"
    group = bytes([239, 7, 7, 7])
    sent = [
        frame.data
        for frame in read_pcap(underlay.file)
        if frame.data[12:14] == b"\x08\x00" and frame.data[23] == 50 and frame.data[30:34] == group
    ]
    assert len(sent) >= 5
    assert {data[34:38].hex() for data in sent} == {SPI_ON_THE_WIRE}
    # Whoever replays what was sent is believed, which is why there is a warning.
    assert "no protection against replay" in daemons[1].output()
