"""Endboxes join LANs: real daemons, real frames, every kind of underlay."""

import itertools
import re
import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from hipgw.lab import Lab, read_pcap, wait_until
from hipgw.lab.topologies import Family, GatewayNetwork, TransportName, endbox_pair, endbox_triangle
from system.traffic import transfer

pytestmark = pytest.mark.system

UNDERLAYS: list[tuple[Family, TransportName]] = [(4, "udp"), (4, "raw"), (6, "udp"), (6, "raw")]
every_underlay = pytest.mark.parametrize(("family", "transport"), UNDERLAYS)
HEAL_S = 15.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("endbox") as lab:
        yield lab


@pytest.mark.both_versions
@every_underlay
def test_a_pair_is_one_lan(lab: Lab, family: Family, transport: TransportName) -> None:
    network = endbox_pair(lab, family=family, transport=transport)
    network.start()
    one, two = network.sites
    # ARP and Neighbour Discovery have to cross before any of these works.
    assert one.lan.ping(two.lan4, count=5, interval_s=0.05).received == 5
    assert one.lan.ping(two.lan6, count=5, interval_s=0.05).received == 5
    assert one.lan.mac("eth0") in two.lan.run(["ip", "neigh", "show", one.lan4]).stdout
    # Full-size frames, which may not be fragmented on the LAN.
    for target, size in ((two.lan4, 1472), (two.lan6, 1452)):
        result = one.lan.ping(target, count=5, interval_s=0.05, size=size, dont_fragment=True)
        assert result.received == 5, f"{size} octets to {target}"
        assert result.duplicates == 0
    assert transfer(one.lan, two.lan, two.lan4) > 1
    assert transfer(two.lan, one.lan, one.lan6) > 1
    assert transfer(one.lan, two.lan, two.lan4, "-u", "-b", "5M", "-l", "1472") > 4


def test_without_the_mss_clamp_tcp_still_flows(lab: Lab) -> None:
    network = endbox_pair(lab, endbox={"mss_clamp": False})
    network.start()
    one, two = network.sites
    assert transfer(one.lan, two.lan, two.lan4) > 1


@pytest.mark.parametrize(
    "suite",
    [
        "AES-128-GCM-16",
        "AES-128-GCM-8",
        "AES-128-CCM-16",
        "AES-128-CCM-8",
        "ChaCha20-Poly1305",
        "AES-256-CBC-SHA256",
        "AES-128-CBC-SHA256",
        "NULL-SHA256",
    ],
)
def test_every_suite_carries_frames(lab: Lab, suite: str) -> None:
    network = endbox_pair(lab, hip={"esp_suites": [suite]})
    network.start()
    one, two = network.sites
    assert {sa["suite"] for sa in one.daemon.request("sa")} == {suite}
    for size in (56, 1472):
        assert one.lan.ping(two.lan4, count=3, interval_s=0.05, size=size).received == 3


@pytest.mark.parametrize("kind", ["rsa2048", "ecdsa-p256", "ed25519"])
def test_every_kind_of_key(lab: Lab, kind: str) -> None:
    network = endbox_pair(lab, key_kind=kind)
    network.start()
    one, two = network.sites
    assert one.lan.ping(two.lan4, count=2).received == 2


@pytest.mark.both_versions(by_request=True)
def test_vlan_tags_are_kept(lab: Lab) -> None:
    """Frames as a VLAN's switch port sends them; a kernel without VLAN devices cannot make more."""
    network = endbox_pair(lab)
    network.start()
    one, two = network.sites
    here, there = (bytes.fromhex(site.lan.mac("eth0").replace(":", "")) for site in network.sites)
    # Tag: VLAN 7, priority 5. A tagged frame of full size has four octets more than others.
    tag = bytes.fromhex("8100a00788b5")
    frames = [
        target + here + tag + bytes([n]) * length
        for n, (target, length) in enumerate(
            itertools.product([there, b"\xff" * 6], [46, 100, 1400, 1500])
        )
    ]
    capture = two.lan.capture("eth0")

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            for frame in frames:
                sock.send(frame)

    one.lan.call(send)
    time.sleep(0.5)
    capture.stop()
    arrived = [frame.data for frame in read_pcap(capture.file) if frame.data[12:18] == tag]
    assert sorted(arrived) == sorted(frames)
    learned = {(entry["mac"], entry["vlan"]) for entry in two.daemon.request("mac_table")}
    assert (one.lan.mac("eth0"), 7) in learned


def test_dhcp_crosses(lab: Lab, tmp_path: Path) -> None:
    network = endbox_pair(lab)
    network.start()
    one, two = network.sites
    server = one.lan.popen(
        [
            *("dnsmasq", "--keep-in-foreground", "--port=0", "--bind-interfaces"),
            *("--interface=eth0", "--except-interface=lo", "--user=root"),
            "--dhcp-range=10.77.0.100,10.77.0.120,1h",
            f"--dhcp-leasefile={tmp_path / 'leases'}",
            f"--pid-file={tmp_path / 'pid'}",
        ]
    )
    time.sleep(0.3)
    server.require_running()
    script = tmp_path / "bound"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "bound to $ip"\nexit 0\n')
    script.chmod(0o755)
    asked = two.lan.run(
        ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", "-s", str(script)]
    )
    assert re.search(r"bound to 10\.77\.0\.1[012]\d", asked.stdout)


@pytest.mark.both_versions(by_request=True)
@pytest.mark.parametrize(("family", "transport"), [(4, "udp"), (6, "raw")])
def test_three_sites_without_loops_or_duplicates(
    lab: Lab, family: Family, transport: TransportName
) -> None:
    network = endbox_triangle(lab, family=family, transport=transport)
    network.start()
    captures = [site.lan.capture("eth0") for site in network.sites]
    for one, two in itertools.permutations(network.sites, 2):
        result = one.lan.ping(two.lan4, count=3, interval_s=0.05)
        assert (result.received, result.duplicates) == (3, 0)
    # A broadcast reaches every other site once.
    first = network.sites[0].lan
    first.run(["ping", "-b", "-c", "1", "-W", "1", "-p", "c0ffee", "10.77.0.255"], check=False)
    # An address nobody has: asked for, flooded, never answered, never multiplied.
    first.ping("10.77.0.99", timeout_s=1.0)
    time.sleep(0.5)
    marker = bytes.fromhex("c0ffee" * 4)
    asked = bytes([10, 77, 0, 99])
    for site, capture in zip(network.sites, captures, strict=True):
        capture.stop()
        frames = [frame.data for frame in read_pcap(capture.file)]
        broadcasts = [data for data in frames if marker in data]
        arps = [data for data in frames if data[12:14] == b"\x08\x06" and asked in data[38:42]]
        assert len(broadcasts) == 1, f"site {site.number}"
        assert 1 <= len(arps) <= 3, f"site {site.number}"
    silent = lab_quiet(network)
    assert silent < 20, f"{silent} packets on the underlay while the LANs are silent"


def lab_quiet(network: GatewayNetwork) -> int:
    """Packets that an endbox sends in a second in which nothing should be going on."""
    capture = network.sites[0].gateway.capture("wan0")
    time.sleep(1.0)
    capture.stop()
    return len(list(read_pcap(capture.file)))


@pytest.mark.both_versions(by_request=True)
@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("which", [0, 1])
def test_a_restarted_daemon_heals(lab: Lab, crash: bool, which: int) -> None:
    network = endbox_pair(lab)
    network.start()
    one, two = network.sites
    assert one.lan.ping(two.lan4).received == 1
    network.sites[which].daemon.restart(crash=crash)
    wait_until(lambda: one.lan.ping(two.lan4, timeout_s=0.3), HEAL_S, what="the LAN to heal")
    assert one.lan.ping(two.lan4, count=5, interval_s=0.05).received == 5


def test_a_crashed_peer_that_cannot_call_back_is_called_again(lab: Lab) -> None:
    """The other side has no address for it: only unanswered traffic tells that it is gone."""
    network = endbox_pair(lab)
    one, two = network.sites
    two.daemon.wait_to_be_called()
    network.start()
    assert one.lan.ping(two.lan4).received == 1
    two.daemon.restart(crash=True)
    wait_until(lambda: one.lan.ping(two.lan4, timeout_s=0.3), 2 * HEAL_S, what="the LAN to heal")


def test_the_lan_comes_back_after_the_underlay_was_away(lab: Lab) -> None:
    network = endbox_pair(lab)
    network.start()
    one, two = network.sites
    network.router.down("site2")
    assert not one.lan.ping(two.lan4, timeout_s=0.5)
    network.router.up("site2")
    network.router.address("site2", "fd00:100:2::fe/64")  # IPv6 addresses go with the link
    wait_until(lambda: one.lan.ping(two.lan4, timeout_s=0.3), HEAL_S, what="the LAN to heal")


def test_a_stranger_gets_nothing(lab: Lab) -> None:
    """An endbox that is not in the other's configuration is not answered."""
    network = endbox_pair(lab)
    one, two = network.sites
    text = two.daemon.config_file.read_text()
    somebody = IPv6Address(int(one.daemon.hit) ^ 1)
    two.daemon.config_file.write_text(text.replace(str(one.daemon.hit), str(somebody)))
    network.start(wait=False)
    time.sleep(2)
    assert not one.daemon.established(two.daemon.hit)
    assert not one.lan.ping(two.lan4, timeout_s=0.5)
    assert two.daemon.request("counters")["control_drops"]["policy"] > 0


def test_nothing_is_left_behind(lab: Lab) -> None:
    network = endbox_pair(lab)
    network.start()
    gateway = network.sites[0].gateway
    assert network.sites[0].daemon.stop() == 0
    links = gateway.run(["ip", "-br", "link"]).stdout
    assert "br-hipgw" not in links
    assert "hipgw0" not in links
    assert "master" not in gateway.run(["ip", "link", "show", "lan0"]).stdout
    network.sites[1].daemon.kill()
    other = network.sites[1].gateway
    assert "br-hipgw" in other.run(["ip", "-br", "link"]).stdout
    network.sites[1].daemon.start()
    network.sites[1].daemon.stop()
    assert "br-hipgw" not in other.run(["ip", "-br", "link"]).stdout


def test_a_second_daemon_leaves_the_first_alone(lab: Lab) -> None:
    network = endbox_pair(lab)
    network.start()
    one, two = network.sites
    command = [sys.executable, "-m", "hipgw.cli.main", "run", "--config", one.daemon.config_file]
    second = one.gateway.run(command, check=False)
    assert second.returncode != 0
    assert "Another hipgw is running" in second.stderr
    assert one.lan.ping(two.lan4, count=3, interval_s=0.05).received == 3


@pytest.mark.parametrize("family", [4, 6])
def test_the_way_to_a_peer_is_no_lan_port(lab: Lab, family: Family) -> None:
    network = endbox_pair(lab, family=family, endbox={"ports": ["lan0", "wan0"]})
    gateway, daemon = network.sites[0].gateway, network.sites[0].daemon
    command = [sys.executable, "-m", "hipgw.cli.main", "run", "--config", daemon.config_file]
    refused = gateway.run(command, check=False)
    assert refused.returncode != 0
    assert "wan0 is the way to e2" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "master" not in gateway.run(["ip", "link", "show", "wan0"]).stdout
