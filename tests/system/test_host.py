"""Hosts reach each other by HIT and LSI, over either family of the underlay."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest
import tomli_w

from hipgw.errors import ControlError
from hipgw.identity.lsi import default_lsi
from hipgw.lab import Lab, wait_until
from hipgw.lab.topologies import Family, Site, TransportName, host_pair, underlay_address
from system.traffic import transfer

pytestmark = pytest.mark.system

UNDERLAYS: list[tuple[Family, TransportName]] = [(4, "udp"), (4, "raw"), (6, "udp"), (6, "raw")]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("host") as lab:
        yield lab


def names(site: Site) -> tuple[str, str]:
    return str(site.daemon.hit), str(default_lsi(site.daemon.hit))


@pytest.mark.both_versions
@pytest.mark.parametrize(("family", "transport"), UNDERLAYS)
def test_by_hit_and_lsi(lab: Lab, family: Family, transport: TransportName) -> None:
    """All four: IPv6 and IPv4 applications over IPv4 and IPv6 underlays (RFC 7402 appendix B)."""
    network = host_pair(lab, family=family, transport=transport)
    network.start()
    one, two = network.sites
    for target in names(two):
        assert one.gateway.ping(target, count=5, interval_s=0.05).received == 5, target
        assert one.gateway.ping(target, count=3, interval_s=0.05, size=1200).received == 3
        assert transfer(one.gateway, two.gateway, target) > 1
        assert transfer(one.gateway, two.gateway, target, "-R") > 1
        assert transfer(one.gateway, two.gateway, target, "-u", "-b", "5M", "-l", "1000") > 4
    for target in names(one):
        assert two.gateway.ping(target, count=2).received == 2


@pytest.mark.parametrize("transport", ["udp", "raw"])
def test_whoever_is_at_an_address(lab: Lab, transport: TransportName) -> None:
    """The caller knows no peer at all; afterwards it has a HIT and an LSI for the one it met."""
    hip = {"opportunistic": True, "accept": "any"}
    network = host_pair(lab, transport=transport, hip=hip)
    one, two = network.sites
    tables = tomllib.loads(one.daemon.config_file.read_text())
    del tables["peer"]
    one.daemon.config_file.write_text(tomli_w.dumps(tables))
    network.start()
    address = underlay_address(2, 4)
    answer = one.daemon.request("connect", peer=address, timeout_s=15.0)
    assert answer["established"], answer
    assert answer["peer_hit"] == str(two.daemon.hit)
    (peer,) = one.daemon.request("peers")
    assert (peer["source"], peer["addresses"]) == ("opportunistic", [address])
    for target in (peer["hit"], peer["lsi"]):
        assert one.gateway.ping(target, count=2, timeout_s=5).received == 2, target
    # It is known by its address now, and called again by whatever is sent to it.
    again = one.daemon.request("connect", peer=address, timeout_s=15.0)
    assert (again["peer_hit"], again["established"]) == (peer["hit"], True)
    one.daemon.request("close", peer=peer["hit"], timeout_s=3.0)
    assert one.gateway.ping(peer["lsi"], count=1, timeout_s=5).received == 1
    with pytest.raises(ControlError, match="is this machine itself"):
        one.daemon.request("connect", peer=underlay_address(1, 4), timeout_s=1.0)


def test_nobody_is_called_by_an_address_unless_it_is_wanted(lab: Lab) -> None:
    network = host_pair(lab)
    network.start()
    one = network.sites[0]
    with pytest.raises(ControlError, match="opportunistic mode is off"):
        one.daemon.request("connect", peer=underlay_address(2, 6), timeout_s=1.0)
    # The address of somebody who is known needs none of it.
    answer = one.daemon.request("connect", peer=underlay_address(2, 4), timeout_s=15.0)
    assert (answer["peer"], answer["established"]) == ("g2", True)


@pytest.mark.both_versions(by_request=True)
def test_the_first_packet_is_held_and_delivered(lab: Lab) -> None:
    network = host_pair(lab)
    network.start()
    one, two = network.sites
    assert one.daemon.request("associations") == []
    hit, lsi = names(two)
    assert one.gateway.ping(hit, count=1, timeout_s=5).received == 1
    assert len(one.daemon.request("associations")) == 1
    one.daemon.request("close", peer="g2", timeout_s=3.0)
    assert one.gateway.ping(lsi, count=1, timeout_s=5).received == 1


def test_a_peer_that_is_away_costs_nothing_but_patience(lab: Lab) -> None:
    network = host_pair(lab, hip={"retransmit_s": 0.05, "retries": 2})
    one, two = network.sites
    one.daemon.start()
    assert not one.gateway.ping(names(two)[0], count=3, timeout_s=1)
    two.daemon.start()
    assert wait_until(
        lambda: one.gateway.ping(names(two)[0], timeout_s=0.5), 10.0, what="the peer that is back"
    )


@pytest.mark.both_versions
def test_a_stranger_is_refused_unless_any_may_come(lab: Lab) -> None:
    network = host_pair(lab)
    one, two = network.sites
    text = two.daemon.config_file.read_text()
    for accept, answered in (("peers", False), ("any", True)):
        cut = text[: text.index("[[peer]]")]
        two.daemon.config_file.write_text(cut.replace("[hip]", f'[hip]\naccept = "{accept}"'))
        two.daemon.start()
        one.daemon.start()
        assert bool(one.gateway.ping(names(two)[0], timeout_s=2)) is answered
        one.daemon.stop()
        two.daemon.stop()


@pytest.mark.both_versions(by_request=True)
def test_a_too_large_packet_is_answered(lab: Lab) -> None:
    """PMTU discovery works inside: the interface's MTU and its answers fit together."""
    network = host_pair(lab)
    network.start()
    one, two = network.sites
    hit, lsi = names(two)
    assert one.gateway.ping(hit, timeout_s=3)
    mtu = int(
        re.search(r"mtu (\d+)", one.gateway.run(["ip", "link", "show", "hip0"]).stdout)[1]  # type: ignore[index]
    )
    assert one.gateway.ping(hit, size=mtu - 48, dont_fragment=True).received == 1
    assert one.gateway.ping(lsi, size=mtu - 28, dont_fragment=True).received == 1
    assert one.gateway.ping(hit, size=3000).received == 1


def test_an_unknown_hit_is_not_asked_for(lab: Lab) -> None:
    network = host_pair(lab)
    network.start()
    one, _ = network.sites
    stranger = IPv6Address(int(one.daemon.hit) ^ 0xFFFF)
    assert not one.gateway.ping(str(stranger), timeout_s=0.5)
    assert one.daemon.request("associations") == []


@pytest.mark.both_versions
def test_the_command_line_tells_what_goes_on(lab: Lab) -> None:
    network = host_pair(lab)
    network.start()
    one, two = network.sites
    hipgw = [sys.executable, "-m", "hipgw.cli.main"]
    socket = ["--socket", str(one.daemon.control_socket)]
    ping = one.gateway.run([*hipgw, "ping", "g2", "-c", "2", *socket], check=False)
    connect = one.gateway.run([*hipgw, "connect", "g2", *socket])
    assert "g2" in connect.stdout
    ping = one.gateway.run([*hipgw, "ping", "g2", "-c", "2", *socket])
    assert "g2" in ping.stdout
    for command in ("status", "peers", "associations", "sa", "counters"):
        text = one.gateway.run([*hipgw, command, *socket]).stdout
        data = one.gateway.run([*hipgw, command, "--json", *socket]).stdout
        assert text
        json.loads(data)
    assert str(two.daemon.hit) in one.gateway.run([*hipgw, "peers", *socket]).stdout
    one.gateway.run([*hipgw, "close", "g2", *socket])
    assert one.gateway.run([*hipgw, "stop", *socket]).returncode == 0
    wait_until(lambda: one.daemon.process is not None and not one.daemon.process.running)
    gone = one.gateway.run([*hipgw, "status", *socket], check=False)
    assert gone.returncode == 3
    assert "Traceback" not in gone.stderr


SERVER = """
import socket, sys
with socket.create_server((sys.argv[1], 4711), family=socket.AF_INET) as server:
    print("ready", flush=True)
    while True:
        connection, peer = server.accept()
        with connection:
            connection.sendall(peer[0].encode())
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], 4711), timeout=10) as connection:
    print(connection.recv(64).decode())
"""


@pytest.mark.parametrize("of_version", [(1, "openhip")], ids=["openhip"], indirect=True)
def test_a_server_with_an_lsi_alone_is_there_for_openhip(lab: Lab) -> None:
    """Nothing on the wire tells LSIs from HITs, and OpenHIP's users have LSIs."""
    network = host_pair(lab)
    network.start()
    one, two = network.sites
    (_, own), (_, other) = names(one), names(two)
    server = two.gateway.popen([sys.executable, "-c", SERVER, other], name="server")
    wait_until(lambda: "ready" in server.output(), what="the server")
    answer = one.gateway.run([sys.executable, "-c", CLIENT, other])
    assert answer.stdout.strip() == own
    # What begins by HIT goes on by HIT.
    assert transfer(one.gateway, two.gateway, names(two)[0]) > 1
