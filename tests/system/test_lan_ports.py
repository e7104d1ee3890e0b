"""The LAN side of an endbox: what happens to its ports, and that the operator is told of it."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hipgw.errors import LabError
from hipgw.lab import Lab, wait_until
from hipgw.lab.topologies import GatewayNetwork, Site, endbox_pair
from hipgw.platform import links
from hipgw.platform.journal import FILE_NAME

pytestmark = pytest.mark.system

HEAL_S = 15.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("lan_ports") as lab:
        yield lab


def ailments(site: Site) -> list[str]:
    return [warning["code"] for warning in site.daemon.request("status")["health"]]


def becomes(site: Site, *codes: str) -> None:
    try:
        wait_until(lambda: ailments(site) == list(codes), HEAL_S, what="the status")
    except LabError:
        pytest.fail(f"waited for {list(codes)} in the status, which says {ailments(site)}")


def pings(network: GatewayNetwork, *, size: int = 56) -> bool:
    one, two = network.sites
    result = one.lan.ping(two.lan4, size=size, dont_fragment=True, timeout_s=0.5)
    return bool(result)


def plug(lab: Lab, site: Site, mtu: int = 1500) -> None:
    """A new pair of interfaces between a LAN's host and its endbox."""
    lab.link(site.lan, "eth0", site.gateway, "lan0", mtu=mtu)
    site.lan.address("eth0", f"{site.lan4}/24", f"{site.lan6}/64")


@pytest.mark.parametrize("mobility", [True, False], ids=["moves", "stays"])
def test_a_port_that_comes_back_is_in_the_lan_again(lab: Lab, mobility: bool) -> None:
    network = endbox_pair(lab, endbox={"mtu": 9000})
    one = network.sites[0]
    for site in network.sites:
        site.lan.mtu("eth0", 9000)
        site.gateway.mtu("lan0", 9000)
    file = one.daemon.config_file
    file.write_text(f"{file.read_text()}\n[mobility]\nenabled = {json.dumps(mobility)}\n")
    network.start()
    wait_until(lambda: pings(network, size=8000), HEAL_S, what="the LAN")
    journal = one.daemon.directory / FILE_NAME
    changes = json.loads(journal.read_text())["changes"]
    for _ in range(2):
        one.gateway.ip("link del lan0")
        becomes(one, "lan_port_missing")
        plug(lab, one)
        one.lan.mtu("eth0", 9000)
        becomes(one)
        assert one.gateway.call(links.master_of, "lan0") == "br-hipgw"
        wait_until(lambda: pings(network, size=8000), HEAL_S, what="the LAN")
    log = one.daemon.output()
    assert "the LAN port lan0 is not there" in log
    assert "LAN port is in the bridge again" in log
    # What is to be undone does not grow, and is undone on the interface of now.
    assert json.loads(journal.read_text())["changes"] == changes
    assert one.daemon.stop() == 0
    assert one.gateway.call(links.master_of, "lan0") is None
    assert not one.gateway.call(links.is_silent, "lan0")
    assert not journal.exists()


def test_what_ails_the_lan_is_told(lab: Lab) -> None:
    network = endbox_pair(lab)
    network.start()
    one, _ = network.sites
    becomes(one)
    gateway = one.gateway
    for command, code, back in (
        ("link set hipgw0 down", "lan_tap_down", "link set hipgw0 up"),
        ("link set hipgw0 nomaster", "lan_tap_not_bridged", "link set hipgw0 master br-hipgw"),
        ("link set lan0 nomaster", "lan_port_not_bridged", "link set lan0 master br-hipgw"),
        ("link set lan0 down", "lan_port_down", "link set lan0 up"),
        ("link set lan0 mtu 1400", "lan_port_mtu", "link set lan0 mtu 1500"),
        ("link set br-hipgw down", "lan_bridge_down", "link set br-hipgw up"),
    ):
        gateway.ip(command)
        becomes(one, code)
        gateway.ip(back)
        becomes(one)
    one.lan.down("eth0")
    becomes(one, "lan_port_no_carrier")
    checked = gateway.run(hipgw(one, "status", "--check"), check=False)
    assert checked.returncode != 0
    assert "the LAN port lan0 has no carrier" in checked.stdout
    findings = doctor(one)
    assert findings["LAN"]["detail"] == "the LAN port lan0 has no carrier"
    one.lan.up("eth0")
    becomes(one)
    assert "LAN" not in doctor(one)
    checked = gateway.run(hipgw(one, "status", "--check"), check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert wait_until(lambda: pings(network), HEAL_S, what="the LAN")


def test_a_bridge_of_others_that_is_made_again(lab: Lab) -> None:
    network = endbox_pair(lab, endbox={"bridge": "br-own"})
    one, _ = network.sites
    make = ("link add br-own type bridge forward_delay 0", "link set br-own up")
    one.gateway.ip(*make)
    network.start()
    wait_until(lambda: pings(network), HEAL_S, what="the LAN")
    one.gateway.ip("link del br-own")
    becomes(one, "lan_bridge_missing")
    one.gateway.ip(*make)
    becomes(one)
    assert wait_until(lambda: pings(network), HEAL_S, what="the LAN")
    assert one.daemon.stop() == 0
    assert one.gateway.call(links.exists, "br-own")
    assert one.gateway.call(links.master_of, "lan0") is None


def test_a_port_that_is_not_there_at_the_start(lab: Lab) -> None:
    network = endbox_pair(lab, endbox={"ports": ["lan7"]})
    daemon = network.sites[0].daemon
    daemon.start(wait=False)
    process = daemon.process
    assert process is not None
    assert process.wait() == 1
    assert "There is no interface lan7." in process.output()
    # Those of hipgw are none that could have been meant.
    assert "There are: lan0, lo, wan0." in process.output()


def hipgw(site: Site, *words: str) -> list[str]:
    program = [sys.executable, "-m", "hipgw.cli.main", *words]
    return [*program, "--socket", str(site.daemon.control_socket)]


def doctor(site: Site) -> dict[str, Any]:
    told = site.gateway.run(
        [
            *(sys.executable, "-m", "hipgw.cli.main", "doctor", "--json"),
            *("--config", str(site.daemon.config_file)),
        ],
        check=False,
    )
    return {finding["name"]: finding for finding in json.loads(told.stdout)}
