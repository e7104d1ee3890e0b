"""What a daemon takes from its machine and gives back: privileges, bridges, ports, interfaces."""

import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.roaming import RoamingNetwork, roaming_pair
from hipgw.lab.topologies import endbox_pair
from hipgw.platform import links
from hipgw.platform.privileges import CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("lifecycle") as lab:
        yield lab


def status_of_threads(pid: int) -> list[dict[str, str]]:
    """The fields of /proc/PID/task/*/status."""
    return [
        dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        for status in Path(f"/proc/{pid}/task").glob("*/status")
    ]


def interfaces(host: Host) -> list[str]:
    return host.call(links.names)


def test_every_thread_of_the_daemon_is_an_ordinary_user(lab: Lab) -> None:
    network = endbox_pair(lab)
    network.start()
    process = network.sites[0].daemon.process
    assert process is not None
    threads = status_of_threads(process.pid)
    assert len(threads) >= 3  # the control plane and both directions of the data plane
    user = str(pwd.getpwnam("nobody").pw_uid)
    kept = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW
    # The last where RLIMIT_RTPRIO may not be raised, as in some containers.
    allowed = {f"{mask:016x}" for mask in (0, kept, kept | 1 << CAP_SYS_NICE)}
    nothing = f"{0:016x}"
    for thread in threads:
        assert set(thread["Uid"].split()) == {user}, thread["Name"]
        assert thread["Groups"].strip() == ""
        assert thread["NoNewPrivs"] == "1"
        assert (thread["CapInh"], thread["CapAmb"]) == (nothing, nothing)
        assert thread["CapEff"] == thread["CapPrm"]
        assert thread["CapEff"] in allowed, thread["Name"]


def test_a_stopped_daemon_leaves_nothing(lab: Lab) -> None:
    network = endbox_pair(lab)
    gateway, daemon = network.sites[0].gateway, network.sites[0].daemon
    before = interfaces(gateway)
    routes = gateway.run(["ip", "route"]).stdout
    network.start()
    assert gateway.call(links.master_of, "lan0") == "br-hipgw"
    assert daemon.stop() == 0
    assert interfaces(gateway) == before
    assert gateway.call(links.master_of, "lan0") is None
    assert not gateway.call(links.is_silent, "lan0")
    assert gateway.run(["ip", "route"]).stdout == routes
    assert sorted(path.name for path in daemon.directory.iterdir()) == ["hipgw.toml", "key.pem"]


def test_a_killed_daemons_leftovers_go_with_the_next(lab: Lab) -> None:
    network = endbox_pair(lab)
    one, two = network.sites
    before = interfaces(one.gateway)
    network.start()
    one.daemon.kill()
    assert "br-hipgw" in interfaces(one.gateway)
    one.daemon.start()
    assert "undid" in one.daemon.output()
    wait_until(lambda: one.lan.ping(two.lan4, timeout_s=0.5), 15.0, what="the LAN")
    assert one.daemon.stop() == 0
    assert interfaces(one.gateway) == before
    assert one.gateway.call(links.master_of, "lan0") is None


def routing(host: Host) -> str:
    """All rules and routes, as ip(8) shows them."""
    commands = ("rule", "-6 rule", "route show table all", "-6 route show table all")
    return "\n".join(host.run(["ip", *command.split()]).stdout for command in commands)


def with_a_second_uplink(lab: Lab) -> RoamingNetwork:
    network = roaming_pair(lab)
    ours, _ = network.roamers
    for uplink, family in (("wwan0", 4), ("wan0", 6), ("wwan0", 6)):
        ours.arrive(ours.somewhere(uplink, family))
    # The peers are told of it as it is now.
    return network


def test_routing_by_source_address_ends_with_the_daemon(lab: Lab) -> None:
    network = with_a_second_uplink(lab)
    gateway, daemon = network.sites[0].gateway, network.sites[0].daemon
    # Rules and tables of others, in the very place where hipgw has its own.
    gateway.ip("rule add from 192.0.2.0/24 lookup 10501 priority 10500")
    gateway.ip("route add 192.0.2.0/24 dev wan0 table 10501")
    before = routing(gateway)
    daemon.start()
    assert routing(gateway).count("lookup 10500") == 6
    assert routing(gateway).count("lookup 10502") == 6
    assert daemon.stop() == 0
    assert routing(gateway) == before
    daemon.start()
    assert routing(gateway) != before
    daemon.kill()
    assert routing(gateway) != before
    daemon.start()
    assert "undid" in daemon.output()
    assert daemon.stop() == 0
    assert routing(gateway) == before


def test_routing_by_source_address_can_be_left_to_others(lab: Lab) -> None:
    network = with_a_second_uplink(lab)
    gateway, daemon = network.sites[0].gateway, network.sites[0].daemon
    file = daemon.directory / "hipgw.toml"
    file.write_text(file.read_text() + "\n[mobility]\nsource_routes = false\n")
    before = [line for line in routing(gateway).splitlines() if "lookup" in line]
    daemon.start()
    assert [line for line in routing(gateway).splitlines() if "lookup" in line] == before


def test_an_own_bridge_of_the_machine_is_used_and_kept(lab: Lab) -> None:
    network = endbox_pair(lab, endbox={"bridge": "br-own"})
    one, two = network.sites
    for site in (one, two):
        site.gateway.run(["ip", "link", "add", "br-own", "type", "bridge", "forward_delay", "0"])
        site.gateway.up("br-own")
    one.gateway.run(["ip", "link", "set", "lan0", "master", "br-own"])
    network.start()
    assert wait_until(lambda: one.lan.ping(two.lan4, timeout_s=0.5), 10.0, what="the LAN")
    network.stop()
    for site in (one, two):
        assert site.gateway.call(links.exists, "br-own")
    # What was a port before is one afterwards; what hipgw made one is none.
    assert one.gateway.call(links.master_of, "lan0") == "br-own"
    assert two.gateway.call(links.master_of, "lan0") is None


def test_a_port_of_another_bridge_is_refused(lab: Lab) -> None:
    network = endbox_pair(lab)
    gateway, daemon = network.sites[0].gateway, network.sites[0].daemon
    gateway.run(["ip", "link", "add", "br-own", "type", "bridge"])
    gateway.run(["ip", "link", "set", "lan0", "master", "br-own"])
    before = interfaces(gateway)
    daemon.start(wait=False)
    process = daemon.process
    assert process is not None
    assert process.wait() == 1
    assert "lan0 is a port of br-own already" in process.output()
    assert "Traceback" not in process.output()
    assert interfaces(gateway) == before
    assert gateway.call(links.master_of, "lan0") == "br-own"
