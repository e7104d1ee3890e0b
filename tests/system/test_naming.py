"""Peers are found by what their configuration does not say."""

import json
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomli_w

from hipgw.lab import Lab, wait_until
from hipgw.lab.topologies import Site, host_pair

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("naming") as lab:
        yield lab


def called_at(site: Site, *addresses: str) -> None:
    """Have the configuration say that its peer is there."""
    file = site.daemon.config_file
    tables = tomllib.loads(file.read_text())
    tables["peer"][0]["addresses"] = addresses
    file.write_text(tomli_w.dumps(tables))


def resolve(site: Site, query: str) -> Any:
    """What `hipgw resolve --json` says."""
    done = site.gateway.run(
        [
            *(sys.executable, "-m", "hipgw.cli.main", "resolve", query, "--json"),
            *("--socket", site.daemon.control_socket),
        ],
        check=False,
    )
    return json.loads(done.stdout)


def test_who_is_not_where_it_is_configured_is_found_where_it_was_last(lab: Lab) -> None:
    """The configuration of each has another mistake: a wrong address, and none."""
    network = host_pair(lab)
    one, two = network.sites
    called_at(one, "192.168.102.77")
    network.start()
    hits = [str(site.daemon.hit) for site in network.sites]
    assert two.gateway.ping(hits[0], timeout_s=5), "the one that knows begins"
    network.stop()
    called_at(two)
    network.start()
    found = {source["source"]: source["found"] for source in resolve(one, hits[1])["sources"]}
    assert found["last-known"][0]["addresses"] == ["192.168.102.1"]
    assert found["configured"][0]["addresses"] == ["192.168.102.77"]
    assert wait_until(
        lambda: one.gateway.ping(hits[1], timeout_s=5), 20.0, what="the one with a wrong address"
    )
    one.daemon.request("close", peer="g2", timeout_s=3.0)
    assert wait_until(lambda: two.gateway.ping(hits[0], timeout_s=5), 20.0, what="that without one")

    # A HIT that nobody knows costs nothing but patience.
    assert not one.gateway.ping("2001:20::dead:beef", timeout_s=1)
    answer = resolve(one, "2001:20::dead:beef")
    assert answer["hit"] is None
    assert {source["source"] for source in answer["sources"]} >= {"configured", "last-known"}
    assert one.gateway.ping(hits[1], timeout_s=5)
