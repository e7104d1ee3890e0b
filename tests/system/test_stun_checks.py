"""Peers of RFC 5770 find a path behind real NATs: mode ICE-STUN-UDP."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomli_w

from hipgw.lab import Lab, wait_until
from hipgw.lab.nat import NatKind
from system.test_relay import PATIENCE_S, Network, build, path, path_of
from system.traffic import transfer

pytestmark = pytest.mark.system

MODES = {"modes": ["UDP-ENCAPSULATION", "ICE-STUN-UDP"]}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("stunchecks") as lab:
        yield lab


def stun(network: Network) -> list[int]:
    """STUN messages that came to both hosts; there is no STUN server."""
    counters: list[Any] = [
        site.daemon.request("counters")["dataplane"] for site in (network.a, network.b)
    ]
    return [int(one["stun_messages"]) for one in counters]


def test_a_direct_path_is_found_and_found_again(lab: Lab) -> None:
    network = build(lab, NatKind.PORT_RESTRICTED, hip={"keepalive_s": 1}, traversal=MODES)
    network.start()
    assert network.reaches()
    assert path(network.a, network.b)["remote"] == "203.0.113.2"
    assert path(network.b, network.a)["remote"] == "192.0.2.2"
    assert min(stun(network)) > 0
    assert transfer(network.a.host, network.b.host, str(network.b.daemon.hit)) > 1
    before = stun(network)
    wait_until(
        lambda: all(now > then for now, then in zip(stun(network), before, strict=True)),
        PATIENCE_S,
        what="keepalives by STUN",
    )
    # Each NAT drops what comes from where nothing was sent to.
    spi = path_of(network, "outbound_spi")
    network.a.nat.rebind()
    assert network.reaches()
    assert path_of(network, "outbound_spi") == spi, "no new association"
    assert network.relayed() == 0


def test_a_host_with_all_modes_and_one_with_this_alone(lab: Lab) -> None:
    network = build(lab, NatKind.ADDRESS_RESTRICTED, NatKind.SYMMETRIC)
    file = network.b.daemon.config_file
    tables = tomllib.loads(file.read_text())
    tables["nat"] |= MODES
    file.write_text(tomli_w.dumps(tables))
    network.start()
    assert network.reaches()
    assert min(stun(network)) > 0
    assert network.relayed() == 0
