"""A host that moves is found by the DNS alone, where its record names rendezvous servers."""

import sys
from collections.abc import Iterator

import pytest

from hipgw.lab import Lab, NatKind, wait_until
from hipgw.lab.dns import Bind, UpdateKey, Zone
from hipgw.lab.rendezvous import PATIENCE_S, RendezvousNetwork
from hipgw.lab.topologies import Family

pytestmark = pytest.mark.system

ZONE = "plant.example"
NAME = f"m.{ZONE}"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("foundbydns") as lab:
        yield lab


class NamedNetwork(RendezvousNetwork):
    """The caller knows a name server, and nothing of the mobile host but its name."""

    def __init__(self, lab: Lab, family: Family) -> None:
        super().__init__(lab, nat=NatKind.SYMMETRIC)
        for one in (self.mobile, self.caller):
            one.go("wan0", family)
        places = [f"10.200.{n}.1" if family == 4 else f"fd00:200:{n}::1" for n in (1, 2)]
        kind = "A" if family == 4 else "AAAA"
        records = [f"rvs{number} 60 IN {kind} {place}" for number, place in enumerate(places, 1)]
        key = UpdateKey()
        self.key_file = key.write(lab.directory / "update.key")
        self.name_server = places[1]
        self.bind = Bind(self.servers[1].host, self.name_server, [Zone(ZONE, tuple(records))], key)
        self.caller.daemon.configure(
            {
                "hip": {"retransmit_s": 0.2},
                "host": {},
                "naming": {"order": ["configured", "dns"]},
                "dns": {"servers": [self.name_server], "intercept": False},
            }
        )

    def publish(self, *servers: str) -> None:
        """Have the record of the mobile host name these, and no address of its own."""
        names = [part for server in servers for part in ("--rvs", f"{server}.{ZONE}")]
        config = self.mobile.daemon.config_file
        self.servers[0].host.run(
            [
                *(sys.executable, "-m", "hipgw.cli.main", "dns-record", NAME, *names),
                *("--config", config, "--ttl", "60"),
                *("--update", self.name_server, "--tsig-key", self.key_file),
            ]
        )

    def close(self) -> None:
        """End the association, so that neither tells the other where it goes."""
        self.caller.daemon.request("close", peer=NAME, timeout_s=3.0)

    def reached(self) -> bool:
        """Whether a packet gets there and back; a dead peer has to be noticed first."""
        return bool(
            wait_until(
                lambda: self.caller.host.ping(self.target, timeout_s=3.0),
                2 * PATIENCE_S,
                what="an answer of the mobile host",
            )
        )


@pytest.mark.parametrize("family", [4, 6])
def test_by_its_name_alone_wherever_it_goes(lab: Lab, family: Family) -> None:
    """Over IPv4 also from behind a NAT."""
    network = NamedNetwork(lab, family)
    network.bind.start()
    network.publish("rvs1")
    network.start()
    answer = network.caller.daemon.request("connect", peer=NAME, timeout_s=10.0)
    assert answer["established"], answer
    assert network.reached()

    network.close()
    network.mobile.go("nat0" if family == 4 else "wwan0", family)
    assert network.reached()

    # Its server is gone, and the record, of which the caller has an older one, names another.
    network.close()
    network.servers[0].kill()
    network.publish("rvs2")
    network.mobile.go("wwan0" if family == 4 else "wan0", family)
    assert network.reached()
    if family == 4:
        # It crashes, and is elsewhere when it comes back: the caller still believes in it.
        network.mobile.daemon.kill()
        network.mobile.go("wan0", family)
        network.mobile.daemon.start()
        assert network.reached()
    found = network.caller.daemon.request("peers")[0]
    assert found["source"] == "dns"
    assert found["rendezvous"] == [f"rvs2.{ZONE} ({network.name_server})"]
