"""A fleet's directory, in real etcd and in a file, changes under real traffic."""

import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from hipgw.lab import Host, Lab, Process, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.etcd import Etcd
from hipgw.lab.topologies import Site, underlay, underlay_address

pytestmark = pytest.mark.system

PREFIX = "/hipgw/fleet/"
SEEN_S = 15.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("fleet") as lab:
        yield lab


class Operator:
    """Who signs, on a machine of its own."""

    def __init__(self, host: Host, folder: Path, place: str) -> None:
        self._host = host
        self._place = place
        self._key = folder / "operator.pem"
        self.public = self._hipgw("keygen", self._key).split("public:")[1].split()[0]

    def add(self, site: Site, *options: str, known: bool = False) -> None:
        """Sign a gateway's entry into the directory."""
        options = ("--change", *options) if known else options
        self.do("add", site.gateway.name, "--hit", str(site.daemon.hit), *options)

    def do(self, *arguments: str) -> str:
        """Run a command of `hipgw fleet` that signs."""
        return self._hipgw(*arguments, "--directory", self._place, "--key", self._key)

    def verify(self) -> str:
        """What `hipgw fleet verify` writes, whatever it finds."""
        arguments = ("--directory", self._place, "--operator-key", self.public)
        return self._hipgw("verify", *arguments, check=False)

    def _hipgw(self, *arguments: str | Path, check: bool = True) -> str:
        command = [sys.executable, "-m", "hipgw.cli.main", "fleet", *arguments]
        done = self._host.run(command, check=check, timeout_s=60.0)
        return done.stdout + done.stderr


class Pings:
    """One ping after the other, until asked what became of them."""

    def __init__(self, host: Host, target: str) -> None:
        self._process: Process = host.popen(["ping", "-qn", "-i0.02", target], name="stream")

    def result(self) -> tuple[int, int]:
        """How many were sent, and how many of them were lost."""
        self._process.signal(signal.SIGINT)
        self._process.wait()
        found = re.search(r"(\d+) packets transmitted, (\d+) received", self._process.output())
        assert found is not None, self._process.output()
        return int(found[1]), int(found[1]) - int(found[2])


def sites_of(lab: Lab, gateways: Sequence[Host], *, lans: bool = True) -> list[Site]:
    """A site for each gateway, with a host behind it."""
    sites = []
    for n, gateway in enumerate(gateways, 1):
        site = Site(n, gateway, HipgwDaemon(gateway, key_kind="ecdsa-p256"))
        if lans:
            site.lan_host = lab.host(f"h{n}")
            lab.link(site.lan, "eth0", gateway, "lan0")
            site.lan.address("eth0", f"{site.lan4}/24")
        sites.append(site)
    return sites


def configure(site: Site, fleet: dict[str, Any], **tables: dict[str, Any]) -> None:
    """No peers at all: they come from the directory."""
    site.daemon.configure(
        {
            "fleet": {"state_dir": str(site.daemon.directory / "fleet"), **fleet},
            "hip": {"retransmit_s": 0.2},
            **tables,
        }
    )


def at(site: Site) -> tuple[str, str]:
    return "--address", underlay_address(site.number, 4)


def entry_of(site: Site) -> dict[str, Any]:
    """What an operator writes of a gateway."""
    name, hit = site.gateway.name, str(site.daemon.hit)
    return {"name": name, "hit": hit, "addresses": [underlay_address(site.number, 4)]}


def joined(*sites: Site) -> None:
    """Wait until each of these is associated with each other one."""
    for site in sites:
        for other in sites:
            if other is not site:
                wait_until(
                    lambda here=site.daemon, there=other.daemon: here.established(there.hit),
                    SEEN_S,
                    what=f"{site.gateway.name} with {other.gateway.name}",
                )


def logged(site: Site, *texts: str, times: int = 1) -> None:
    """Wait until so many lines of a daemon's log have all of these."""
    wait_until(
        lambda: (
            sum(all(text in line for text in texts) for line in site.daemon.output().splitlines())
            >= times
        ),
        SEEN_S,
        what=f"{texts} in the log of {site.gateway.name}",
    )


def test_etcd_comes_and_goes_under_traffic(lab: Lab) -> None:
    _, hosts = underlay(lab, 4)
    one, two, three = sites = sites_of(lab, hosts[:3])
    etcd = Etcd(hosts[3], underlay_address(4, 4))
    etcd.start()
    operator = Operator(hosts[3], lab.directory, etcd.url + PREFIX)
    for site in sites:
        fleet = {"etcd": [etcd.url], "operator_keys": [operator.public]}
        configure(site, fleet, endbox={"ports": ["lan0"]})
        site.daemon.start(wait=False)
    # Machines that run already learn of it as it is written.
    draft = lab.directory / "draft.toml"
    draft.write_text(
        tomli_w.dumps({"entry": [{**entry_of(site), "lans": ["plant"]} for site in (one, two)]})
    )
    operator.do("sign", str(draft))
    for site in sites:
        site.daemon.wait_ready()
    joined(one, two)
    assert one.lan.ping(two.lan4, count=3).received == 3
    before = etcd.get(PREFIX)
    pings = Pings(one.lan, two.lan4)

    # The directory is gone, and a machine starts anew without it.
    operator.add(three, *at(three), "--lan", "plant")
    joined(*sites)
    etcd.kill()
    logged(one, "going on with what was known last")
    three.daemon.restart()
    joined(*sites)
    assert three.lan.ping(one.lan4, count=2).received == 2

    # It comes back, and what happens to it then is followed again.
    etcd.start()
    operator.add(two, "--lan", "plant", "--lan", "office", known=True)
    logged(one, "the fleet's directory is followed", times=2)
    logged(three, "the fleet's directory is followed")

    # Who steals it admits nobody by it: neither by other words nor by old ones nor by none.
    key = f"{PREFIX}e2"
    stolen = json.loads(etcd.get(PREFIX)[key])
    etcd.put(key, json.dumps({**stolen, "hit": "2001:21::66", "revision": 2**62}).encode())
    etcd.put(f"{PREFIX}stranger", json.dumps({**stolen, "name": "stranger"}).encode())
    for site in (one, three):
        told = ("level=warning", "is refused: its signature is wrong")
        logged(site, *told, "entry=e2", f"where={key}")
        logged(site, *told, "entry=stranger")
    assert "2 of 4 entries" in operator.verify()
    etcd.put(key, before[key])
    logged(one, "is refused: its revision", "an old entry was put back", "entry=e2")
    etcd.delete(key)
    logged(one, "without a signed removal", "entry=e2")
    etcd.put(key, json.dumps(stolen).encode())

    # Only the operator's word counts.
    operator.do("remove", "e3")
    for site in (one, two):
        wait_until(lambda here=site.daemon: not here.established(three.daemon.hit), SEEN_S)
    assert not three.lan.ping(one.lan4, count=2, timeout_s=0.5)
    assert "e3" not in {peer["name"] for peer in one.daemon.request("peers")}
    ailments = [one["code"] for one in three.daemon.request("status")["health"]]
    assert "fleet_no_lan" in ailments, ailments
    sent, lost = pings.result()
    assert sent > 100
    assert lost == 0


def test_a_file_moves_a_peer_between_lans(lab: Lab) -> None:
    _, hosts = underlay(lab, 2)
    one, two = sites = sites_of(lab, hosts)
    file = lab.directory / "share" / "fleet.toml"
    file.parent.mkdir()
    operator = Operator(hosts[0], lab.directory, str(file))
    operator.add(one, *at(one), "--lan", "plant")
    operator.add(two, *at(two))
    for site in sites:
        fleet = {"file": str(file), "operator_keys": [operator.public], "lan": "plant"}
        configure(site, fleet, endbox={"ports": ["lan0"]}, host={})
        site.daemon.start(wait=False)
    for site in sites:
        site.daemon.wait_ready()
        logged(site, "the fleet's directory is followed")

    def by_hit(here: Site, there: Site) -> bool:
        return here.gateway.ping(str(there.daemon.hit), timeout_s=1.0).received == 1

    wait_until(lambda: by_hit(one, two), SEEN_S, what="an association of two hosts")
    assert not one.lan.ping(two.lan4, timeout_s=0.5)
    pings = Pings(one.gateway, str(two.daemon.hit))

    # The second one comes into the LAN, and into no other hands meanwhile.
    operator.add(two, "--lan", "plant", known=True)
    wait_until(lambda: one.lan.ping(two.lan4, timeout_s=0.5), SEEN_S, what="one LAN")
    file.write_text(file.read_text() + "[[entry")
    logged(one, "it is no TOML file")
    time.sleep(0.3)
    sent, lost = pings.result()
    assert sent > 10
    assert lost == 0

    # It leaves the LAN, and stays a host that can be reached.
    file.write_text(file.read_text().removesuffix("[[entry"))
    operator.add(two, "--lan", "office", known=True)
    wait_until(lambda: not one.lan.ping(two.lan4, timeout_s=0.3), SEEN_S, what="two LANs")
    wait_until(lambda: by_hit(one, two), SEEN_S, what="the hosts again")
    assert not one.lan.ping(two.lan4, timeout_s=0.5)

    # It is kept out.
    operator.add(two, "--refused", known=True)
    logged(one, "association closed", "the fleet's operator keeps it out")
    wait_until(lambda: not by_hit(one, two) and not by_hit(two, one), SEEN_S)
    status = one.daemon.request("fleet")
    assert (status["lan"], status["entries"]) == ("plant", 2)
    assert status["directories"][0]["reached"]


def test_a_relay_of_the_fleet_is_registered_with(lab: Lab) -> None:
    """No peer is configured: who the relay is, and where, the directory says."""
    _, hosts = underlay(lab, 2)
    hub, one = sites = sites_of(lab, hosts, lans=False)
    file = lab.directory / "share" / "fleet.toml"
    file.parent.mkdir()
    operator = Operator(hosts[0], lab.directory, str(file))
    operator.add(one)
    fleet = {"file": str(file), "operator_keys": [operator.public]}
    configure(hub, fleet, relay={"ports": 4})
    configure(one, fleet, host={}, nat={"relays": ["e1"]})
    for site in sites:
        site.daemon.start(wait=False)
    for site in sites:
        site.daemon.wait_ready()
        logged(site, "the fleet's directory is followed")

    def health() -> list[tuple[str, str]]:
        return [(each["code"], each["hint"]) for each in one.daemon.request("status")["health"]]

    assert health() == [("not_registered", "the fleet's directory has nobody of this name")]
    operator.add(hub, *at(hub))
    wait_until(lambda: health() == [], SEEN_S, what="a registration")
    services = {entry["peer"] for entry in one.daemon.request("registrations")}
    assert services == {"e1"}
    operator.do("remove", "e1")
    wait_until(lambda: not one.daemon.request("registrations"), SEEN_S, what="its end")
