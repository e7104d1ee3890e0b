"""One daemon with every role that serves others: each of them gets what is its own."""

from collections.abc import Iterator
from typing import Literal

import pytest

from hipgw.lab import Lab, NatKind, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.rendezvous import PATIENCE_S, RendezvousNetwork
from system.test_relay import build

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("combined_roles") as lab:
        yield lab


def also(daemon: HipgwDaemon, *tables: str) -> None:
    """Give a daemon further roles."""
    file = daemon.config_file
    file.write_text("\n".join([file.read_text(), *tables, ""]))


@pytest.mark.parametrize("transport", ["udp", "raw"])
def test_a_rendezvous_server_that_is_a_mobile_router_and_a_relay(
    lab: Lab, transport: Literal["udp", "raw"]
) -> None:
    network = RendezvousNetwork(lab, transport=transport)
    for server in network.servers:
        also(server, "[mobile_router]", 'external_interfaces = ["eth0"]', "[relay]", "ports = 4")
    network.start()
    # Where it is now, its servers alone know.
    network.mobile.go("wwan0")
    wait_until(
        lambda: network.caller.host.ping(network.target, timeout_s=2.0),
        PATIENCE_S,
        what="an answer of the mobile host",
    )
    assert network.path()["remote"] == "10.200.11.1"


def test_a_relay_that_is_a_mobile_router_and_a_rendezvous_server(lab: Lab) -> None:
    network = build(lab, NatKind.SYMMETRIC)
    also(network.relay, "[mobile_router]", 'external_interfaces = ["wan0"]', "[rvs]")
    network.start()
    assert network.reaches()
    assert network.relayed() > 0
