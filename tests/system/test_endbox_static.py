"""LANs with configured addresses, beside learning; several endboxes on one LAN."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest

from hipgw.identity.keyfile import load_key_file
from hipgw.lab import Lab, read_pcap, wait_until
from hipgw.lab.host import Host
from hipgw.lab.topologies import (
    UP_TIMEOUT_S,
    GatewayNetwork,
    Site,
    endboxes,
    underlay_address,
)
from system.traffic import transfer

pytestmark = pytest.mark.system

MARK = "c0ffee"
TAKEOVER_S = 20.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("static") as lab:
        yield lab


def configure(
    site: Site,
    others: Sequence[tuple[Site, Mapping[str, Any]]],
    **endbox: Any,
) -> None:
    """Write a site's configuration: keys of `[endbox]`, and for every other site those of its
    `[[peer]]`."""
    site.daemon.configure(
        {"hip": {}, "endbox": {"ports": ["lan0"], **endbox}},
        [
            {
                "name": other.gateway.name,
                "hit": str(other.daemon.hit),
                "addresses": [underlay_address(other.number, 4)],
                **keys,
            }
            for other, keys in others
        ],
    )


def behind(site: Site) -> dict[str, Any]:
    return {"legacy_nodes": [site.lan4]}


def counted(site: Site, reason: str) -> int:
    return int(site.daemon.request("counters")["dataplane_drops"].get(reason, 0))


def broadcast(host: Host, address: str = "10.77.0.255") -> None:
    host.run(["ping", "-b", "-c", "1", "-W", "1", "-p", MARK, address], check=False)


def marked(frames: list[bytes]) -> list[bytes]:
    return [frame for frame in frames if bytes.fromhex(MARK * 4) in frame]


def mixed(lab: Lab) -> GatewayNetwork:
    """Sites 1 and 2 learn from each other; site 3 is as OpenHIP, and static to both."""
    network = endboxes(lab, 3)
    one, two, three = network.sites
    configure(one, [(two, {}), (three, behind(three))], **behind(one))
    configure(two, [(one, {}), (three, behind(three))], **behind(two))
    configure(three, [(one, behind(one)), (two, behind(two))], mode="static", **behind(three))
    return network


def mixed_versions(lab: Lab) -> GatewayNetwork:
    """The same, and site 3 speaks HIPv1, with all that deviates in OpenHIP."""
    network = endboxes(lab, 3, key_kind="rsa2048")
    one, two, three = network.sites
    old = [
        {"hit": str(load_key_file(site.daemon.directory / "key.pem", 1).hit)}
        for site in network.sites
    ]
    third = {**behind(three), **old[2]}
    configure(one, [(two, {}), (three, third)], **behind(one))
    configure(two, [(one, {}), (three, third)], **behind(two))
    configure(
        three,
        [(one, {**behind(one), **old[0]}), (two, {**behind(two), **old[1]})],
        mode="static",
        **behind(three),
    )
    return network


def wait_up(network: GatewayNetwork) -> None:
    for site in network.sites:
        wait_until(
            lambda site=site: site.daemon.request("status")["counts"]["established"] == 2,
            UP_TIMEOUT_S,
            what=f"both associations of {site.gateway.name}",
        )


@pytest.mark.parametrize("lan", [mixed, mixed_versions], ids=["v2", "v2-and-v1"])
def test_a_mixed_lan_carries_everything_and_has_no_loop(
    lab: Lab, lan: Callable[[Lab], GatewayNetwork]
) -> None:
    network = lan(lab)
    network.start(wait=False)
    wait_up(network)
    one, two, three = network.sites
    if lan is mixed_versions:
        spoken = {
            entry["peer"]: (entry["version"], entry["compat"])
            for entry in one.daemon.request("associations")
        }
        assert spoken == {"e2": (2, "none"), "e3": (1, "openhip")}
    captures = [site.lan.capture("eth0") for site in network.sites]
    for here, there in itertools.permutations(network.sites, 2):
        result = here.lan.ping(there.lan4, count=3, interval_s=0.05)
        assert (result.received, result.duplicates) == (3, 0), (here.number, there.number)
    # IPv6 goes where MAC addresses are learned, and nowhere else.
    assert one.lan.ping(two.lan6, count=2, interval_s=0.05).received == 2
    assert one.lan.ping(three.lan6, timeout_s=0.5).received == 0
    for host in (one.lan, three.lan):
        broadcast(host)
    time.sleep(0.5)
    seen = []
    for capture in captures:
        capture.stop()
        seen.append([frame.data for frame in read_pcap(capture.file)])
    for site, frames in zip(network.sites, seen, strict=True):
        # Two broadcasts; each host sees its own as it leaves.
        assert len(marked(frames)) == 2, f"site {site.number}"
    # Who asks for an address of site 3 asks there alone, as the owner is known.
    wanted = bytes([10, 77, 0, 3])
    asked = [
        data
        for data in seen[1]
        if data[12:14] == b"\x08\x06" and data[38:42] == wanted and data[28:32] != wanted
        if data[28:32] != bytes([10, 77, 0, 2])
    ]
    assert asked == []
    for here, there in ((one, two), (one, three), (three, two)):
        assert transfer(here.lan, there.lan, there.lan4) > 1
    answer = one.daemon.request("endbox")
    modes = {peer["peer"]: (peer["mode"], peer["legacy_nodes"]) for peer in answer["peers"]}
    assert modes == {"e2": ("learning", []), "e3": ("static", ["10.77.0.3"])}
    assert three.daemon.request("endbox")["mode"] == "static"


def test_a_static_peer_sends_from_its_own_addresses_only(lab: Lab) -> None:
    """Site 2 believes whatever its LAN says; site 1 does not."""
    network = endboxes(lab, 2)
    one, two = network.sites
    configure(one, [(two, behind(two))], **behind(one))
    configure(two, [(one, {})])
    network.start()
    assert one.lan.ping(two.lan4, count=2, interval_s=0.05).received == 2
    stranger = "10.77.0.66"
    two.lan.address("eth0", f"{stranger}/24")
    before = counted(one, "source_not_owned")
    capture = one.lan.capture("eth0")
    two.lan.run(["ping", "-c", "2", "-W", "1", "-I", stranger, one.lan4], check=False)
    capture.stop()
    source = IPv4Address(stranger).packed
    frames = [frame.data for frame in read_pcap(capture.file)]
    assert not [data for data in frames if source in (data[26:30], data[28:32])]
    assert counted(one, "source_not_owned") > before
    assert two.lan.ping(one.lan4, count=2, interval_s=0.05).received == 2


def test_without_the_filter_a_peer_is_believed(lab: Lab) -> None:
    network = endboxes(lab, 2)
    one, two = network.sites
    configure(one, [(two, behind(two))], source_filter=False, **behind(one))
    configure(two, [(one, {})])
    network.start()
    two.lan.address("eth0", "10.77.0.66/24")
    capture = one.lan.capture("eth0")
    two.lan.run(["ping", "-c", "2", "-W", "1", "-I", "10.77.0.66", one.lan4], check=False)
    capture.stop()
    frames = [frame.data for frame in read_pcap(capture.file)]
    assert [data for data in frames if IPv4Address("10.77.0.66").packed in data[28:32]]


def test_the_default_endbox_takes_what_nobody_owns(lab: Lab) -> None:
    """Behind site 2 is a router: its own address is listed, and what lies beyond is not."""
    network = endboxes(lab, 3)
    one, two, three = network.sites
    router = {"legacy_nodes": ["0.0.0.0", two.lan4]}
    configure(one, [(two, router), (three, behind(three))], mode="static", **behind(one))
    configure(two, [(one, behind(one)), (three, behind(three))], mode="static", **router)
    configure(three, [(one, behind(one)), (two, router)], mode="static", **behind(three))
    network.start()
    two.lan.address("lo", "203.0.113.1/32")
    for site in (one, three):
        site.lan.route("203.0.113.0/24", two.lan4)
        assert site.lan.ping("203.0.113.1", count=2, interval_s=0.05).received == 2
    assert one.lan.ping(three.lan4, count=2, interval_s=0.05).received == 2
    # Site 3 takes nothing that is not its own.
    three.lan.address("lo", "198.51.100.1/32")
    one.lan.route("198.51.100.0/24", three.lan4)
    assert one.lan.ping("198.51.100.1", timeout_s=0.5).received == 0


def test_a_pair_that_is_not_allowed_stays_silent(lab: Lab) -> None:
    network = endboxes(lab, 3)
    one, two, three = network.sites
    # One list for all sites, as in OpenHIP's file.
    first, second, third = (str(site.daemon.hit) for site in network.sites)
    pairs = [[first, second], [third, second]]
    for site in network.sites:
        others = [(other, {}) for other in network.sites if other is not site]
        configure(site, others, allowed_pairs=pairs)
    network.start(wait=False)
    for here, there in ((one, two), (two, three)):
        wait_until(
            lambda here=here, there=there: here.daemon.established(there.daemon.hit),
            what="an association",
        )
    assert one.lan.ping(two.lan4, count=2, interval_s=0.05).received == 2
    assert three.lan.ping(two.lan4, count=2, interval_s=0.05).received == 2
    assert one.lan.ping(three.lan4, timeout_s=1.0).received == 0
    assert not one.daemon.established(three.daemon.hit)
    # Also if called by hand, with the reason.
    answer = one.daemon.request("connect", peer="e3", timeout_s=2.0)
    assert not answer["established"]
    assert "allowed_pairs" in answer["reason"]
    peers = {peer["peer"]: peer["allowed"] for peer in one.daemon.request("endbox")["peers"]}
    assert peers == {"e2": True, "e3": False}
    # One that does not have the list calls, and is not answered.
    configure(one, [(two, {}), (three, {})])
    one.daemon.restart()
    answer = one.daemon.request("connect", peer="e3", timeout_s=2.0)
    assert not answer["established"]
    assert "allowed_pairs" not in answer["reason"]


def test_heartbeats(lab: Lab) -> None:
    network = endboxes(lab, 2)
    one, two = network.sites
    beats = one.gateway.directory / "beats"
    configure(one, [(two, {})], heartbeat_s=0.2, heartbeat_dir=str(beats))
    network.start()
    files = [beats / f"heartbeat.{part}" for part in ("main", "output", "input")]

    def times() -> list[float]:
        return [file.stat().st_mtime for file in files]

    before = times()
    wait_until(
        lambda: all(now > then for now, then in zip(times(), before, strict=True)),
        what="heartbeats",
    )
    one.daemon.stop()
    assert all(file.exists() for file in files)


def shared(lab: Lab, **endbox: Any) -> tuple[GatewayNetwork, list[Site], Host]:
    """Endboxes 1 and 3 are on one LAN with host h1, endbox 2 is alone with h2.

    Returns the network, endboxes 1 and 3 with the one that is elected first, and h1.
    """
    network = endboxes(lab, 3)
    one, two, three = network.sites
    switch = lab.switch("sw")
    host = lab.host("h")
    for number, (gateway, port) in enumerate(((one, "lan1"), (three, "lan1")), 1):
        lab.link(gateway.gateway, port, switch, f"port{number}")
    lab.link(host, "eth0", switch, "port9")
    host.address("eth0", "10.77.0.9/24")
    for site in network.sites:
        others = [(other, {}) for other in network.sites if other is not site]
        keys = {**endbox, "hello_s": 1, "ports": ["lan1"]} if site is not two else {}
        configure(site, others, **keys)
    ranked = sorted((one, three), key=lambda site: int(site.daemon.hit))
    return network, ranked, host


def delivers(site: Site) -> bool:
    return bool(site.daemon.request("endbox")["election"]["delivers"])


def test_one_of_two_endboxes_bridges_their_lan(lab: Lab) -> None:
    network, (winner, loser), host = shared(lab)
    two = network.sites[1]
    network.start()
    wait_until(lambda: delivers(winner) and not delivers(loser), what="an election")
    assert host.ping(two.lan4, count=5, interval_s=0.1).received == 5
    # Neither loops nor doubles, whoever begins.
    captures = [host.capture("eth0"), two.lan.capture("eth0")]
    broadcast(host)
    broadcast(two.lan)
    result = two.lan.ping("10.77.0.9", count=5, interval_s=0.05)
    assert (result.received, result.duplicates) == (5, 0)
    time.sleep(1.0)
    for capture in captures:
        capture.stop()
        frames = [frame.data for frame in read_pcap(capture.file)]
        assert len(marked(frames)) == 2
        assert len(frames) < 100
    status = loser.daemon.request("endbox")["election"]
    assert status["winner"] == winner.gateway.name
    assert status["hellos_heard"] > 0
    # The elected one falls silent: the other takes over, and gives back.
    winner.daemon.kill()
    wait_until(lambda: delivers(loser), TAKEOVER_S, what="a takeover")
    wait_until(
        lambda: host.ping(two.lan4, timeout_s=0.5).received == 1, TAKEOVER_S, what="the LAN to heal"
    )
    winner.daemon.start()
    # It has learned nothing yet, and the switch goes by what it has seen: until a host asks anew.
    host.ip("neigh flush all")
    wait_until(lambda: delivers(winner) and not delivers(loser), TAKEOVER_S, what="the old order")
    wait_until(
        lambda: host.ping(two.lan4, timeout_s=0.5).received == 1, TAKEOVER_S, what="the LAN to heal"
    )
    result = two.lan.ping("10.77.0.9", count=5, interval_s=0.05)
    assert (result.received, result.duplicates) == (5, 0)


def test_hellos_do_not_come_out_of_tunnels(lab: Lab) -> None:
    """One that is sent on the far LAN, by whomever, elects nobody here."""
    network, (winner, loser), host = shared(lab)
    two = network.sites[1]
    network.start()
    wait_until(lambda: delivers(winner) and not delivers(loser), what="an election")
    heard = winner.daemon.request("endbox")["election"]["hellos_heard"]
    smallest = "20010020" + "00" * 11 + "01"
    hello = "ff" * 6 + "020000000077" + "88b5" + smallest + "0000003c" + "00" * 8
    script = (
        "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW);"
        f"s.bind(('eth0', 0)); s.send(bytes.fromhex('{hello}'))"
    )
    two.lan.run([sys.executable, "-c", script])
    wait_until(
        lambda: counted(winner, "bad_hello") > 0, what="the hello to come, and to be dropped"
    )
    assert delivers(winner)
    # On its own LAN it is believed: that is trusted.
    host.run([sys.executable, "-c", script])
    wait_until(lambda: not delivers(winner), what="the hello to be heard")
    assert winner.daemon.request("endbox")["election"]["hellos_heard"] > heard
