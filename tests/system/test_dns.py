"""Names of HIP hosts with real name servers, BIND 9 and Knot DNS, and nothing else configured."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hipgw.identity.lsi import default_lsi
from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.dns import Bind, Knot, UpdateKey, Zone, ask_name_servers
from hipgw.lab.topologies import underlay, underlay_address

pytestmark = pytest.mark.system

HIPGW = [sys.executable, "-m", "hipgw.cli.main"]
PLAIN, SIGNED = "plant.example", "signed.example"
BIND, KNOT = "192.168.103.1", "192.168.103.2"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("dns") as lab:
        yield lab


class Network:
    """Two hosts that know nothing of each other, and one with the name servers."""

    def __init__(self, lab: Lab, **dns: Any) -> None:
        _, (self.one, self.two, self.servers) = underlay(lab, 3, names="g")
        self.servers.address("wan0", f"{KNOT}/24")
        self.key = UpdateKey()
        self.key_file = self.key.write(lab.directory / "update.key")
        self.knot = Knot(self.servers, KNOT, [Zone(SIGNED, signed=True)], self.key)
        self.knot.start()
        self.bind = Bind(
            self.servers,
            BIND,
            [Zone(PLAIN, ("legacy 60 IN A 192.0.2.77",))],
            self.key,
            asks=[(SIGNED, KNOT)],
            trust_anchors=[self.knot.anchor(SIGNED)],
        )
        self.bind.start()
        self.resolv_conf = ask_name_servers(self.one, BIND, search=[PLAIN])
        self.daemons = [HipgwDaemon(host) for host in (self.one, self.two)]
        for daemon in self.daemons:
            daemon.configure({"host": {}, "hip": {"accept": "any"}, "dns": dns})
        ask_name_servers(self.two, BIND)
        for daemon in self.daemons:
            daemon.start(wait=False)
        for daemon in self.daemons:
            daemon.wait_ready()

    def publish(self, name: str, server: str, *options: str) -> None:
        """The second host puts its record on a server."""
        config = self.daemons[1].config_file
        self.two.run(
            [
                *HIPGW,
                *("dns-record", name, "--config", config, "--address", underlay_address(2, 4)),
                *("--ttl", "60", "--update", server, "--tsig-key", self.key_file, *options),
            ]
        )


def addresses(host: Host, name: str, family: int) -> set[str]:
    done = host.run(["getent", f"ahostsv{family}", name], check=False)
    return {line.split()[0] for line in done.stdout.splitlines()}


@pytest.mark.both_versions(by_request=True)
def test_with_a_zone_alone(lab: Lab) -> None:
    """Programs reach a host by its name, of which nothing is configured but its record."""
    network = Network(lab, resolver="resolv.conf")
    before = "search plant.example\nnameserver 192.168.103.1\n"
    one, two = network.one, network.two
    hit = network.daemons[1].hit
    lsi = default_lsi(hit)
    _refused(network, BIND, f"b.{PLAIN}")
    _refused(network, KNOT, f"b.{SIGNED}", "--tsig-key", UpdateKey().write(lab.directory / "other"))
    network.publish(f"b.{PLAIN}", BIND)
    assert "status: NOERROR" in network.bind.dig("HIP", f"b.{PLAIN}.")

    for name in ("b.hip", f"b.{PLAIN}.hip", f"B.{PLAIN}.HIP"):
        assert addresses(one, name, 6) == {str(hit)}, name
        assert addresses(one, name, 4) == {str(lsi)}, name
    assert one.run(["getent", "hosts", "b.hip"]).stdout.split()[0] == str(hit)
    assert one.run(["getent", "hosts", "nobody.hip"], check=False).returncode == 2
    for options in ((), ("-4",), ("-6",)):
        one.run(["ping", *options, "-c1", "-W5", "b.hip"])
    command = [sys.executable, "-u", "-m", "http.server", "80", "--bind", "::"]
    server = two.popen(command, name="http")
    wait_until(lambda: "Serving" in server.output(), what="the server")
    for options in ((), ("-4",), ("-6",)):
        page = one.run(["curl", "-sS", "--noproxy", "*", *options, "http://b.hip/"])
        assert "Directory listing" in page.stdout
    # All others get what the real server says.
    assert addresses(one, f"legacy.{PLAIN}", 4) == {"192.0.2.77"}
    for options in ("+edns=0", "+noedns", "+tcp", "+dnssec", "+cookie=0123456789abcdef"):
        by_us = one.run(["dig", "@127.0.0.139", options, "+nostats", f"legacy.{PLAIN}."]).stdout
        direct = one.run(["dig", f"@{BIND}", options, "+nostats", f"legacy.{PLAIN}."]).stdout
        assert _without_ids(by_us) == _without_ids(direct)

    # The system is as it was when the daemon stops, and when it is killed.
    daemon = network.daemons[0]
    assert "127.0.0.139" in network.resolv_conf.read_text()
    daemon.stop()
    assert network.resolv_conf.read_text() == before
    assert addresses(one, f"legacy.{PLAIN}", 4) == {"192.0.2.77"}
    daemon.start()
    assert "127.0.0.139" in network.resolv_conf.read_text()
    daemon.kill()
    assert addresses(one, f"legacy.{PLAIN}", 4) == {"192.0.2.77"}
    wait_until(lambda: network.resolv_conf.read_text() == before, what="resolv.conf as it was")
    # No record, no host.
    network.two.run(
        [
            *HIPGW,
            *("dns-record", f"b.{PLAIN}", "--delete", "--update", BIND),
            *("--tsig-key", network.key_file),
        ]
    )
    daemon.start()
    assert addresses(one, "b.hip", 6) == set()


def test_a_resolver_that_validates(lab: Lab) -> None:
    """Knot signs a zone, BIND validates it: the HIT of a name is proven then."""
    network = Network(lab, dnssec="trust", resolver="resolv.conf")
    network.publish(f"b.{SIGNED}", KNOT)
    network.publish(f"b.{PLAIN}", BIND)
    one = network.one
    socket = ["--socket", str(network.daemons[0].control_socket)]
    for zone, trust in ((SIGNED, "dnssec"), (PLAIN, "unsigned")):
        done = one.run([*HIPGW, "resolve", f"b.{zone}", "--json", *socket])
        trusts = [
            found["provenance"]
            for source in json.loads(done.stdout)["sources"]
            for found in source["found"]
            if source["source"] == "dns"
        ]
        assert trusts == [trust]
    assert one.ping(f"b.{SIGNED}.hip", timeout_s=5)
    daemon = network.daemons[0]
    daemon.stop()
    daemon.configure({"host": {}, "dns": {"dnssec": "require", "resolver": "off"}})
    daemon.start()
    ask = ["dig", "@127.0.0.139", "+short", "AAAA"]
    assert one.run([*ask, f"b.{SIGNED}.hip"]).stdout.strip() == str(network.daemons[1].hit)
    refused = one.run(["dig", "@127.0.0.139", "AAAA", f"b.{PLAIN}.hip"]).stdout
    assert "SERVFAIL" in refused


def _refused(network: Network, server: str, name: str, *key: str | Path) -> None:
    """Who may not change a zone is told so."""
    arguments = ("dns-record", name, "--config", network.daemons[1].config_file)
    done = network.two.run([*HIPGW, *arguments, "--update", server, *key], check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "TSIG" in done.stderr


def _without_ids(text: str) -> list[str]:
    """What dig prints without what differs from one query to the next."""
    unlike = ("; <<>>", ";; Got", ";; ->>HEADER", "; COOKIE", ";; SERVER", ";; WHEN", ";; Query")
    return [line for line in text.splitlines() if not line.startswith(unlike)]
