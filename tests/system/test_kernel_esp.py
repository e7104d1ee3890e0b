"""The host role on the kernel's own ESP, alone and against the engine.

Skipped where the kernel has no ESP; `make test-vm` runs it on a kernel that has.
"""

from collections.abc import Iterator

import pytest

from hipgw.dataplane.kernel_suites import kernel_suites
from hipgw.errors import PlatformError
from hipgw.lab import Lab, wait_until
from hipgw.lab.topologies import (
    Family,
    GatewayNetwork,
    Site,
    TransportName,
    host_pair,
    underlay_address,
)
from system.forked import start
from system.traffic import transfer


def kernel_has_esp() -> bool:
    try:
        return bool(kernel_suites())
    except PlatformError:
        return False


pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not kernel_has_esp(), reason="this kernel has no ESP: make test-vm"),
    # An emulated processor may be fifty times slower than a real one.
    pytest.mark.timeout(600),
]

UNDERLAYS: list[tuple[Family, TransportName]] = [(4, "udp"), (4, "raw"), (6, "udp"), (6, "raw")]
SUITES = (
    "NULL-SHA256",
    "AES-128-CBC-SHA256",
    "AES-256-CBC-SHA256",
    "AES-128-CCM-8",
    "AES-128-CCM-16",
    "AES-128-GCM-8",
    "AES-128-GCM-16",
    "ChaCha20-Poly1305",
)
PATIENCE_S = 15.0
START_S = 60.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("kernel") as lab:
        yield lab


def hosts(
    lab: Lab,
    backends: tuple[str, str],
    family: Family = 4,
    transport: TransportName = "udp",
    **hip: object,
) -> GatewayNetwork:
    """Two hosts, each with its backend, by keys that are cheap to make."""
    network = host_pair(
        lab,
        family=family,
        transport=transport,
        hip={"dh_groups": ["P-256"], "puzzle_difficulty": 0, **hip},
        key_kind="ecdsa-p256",
    )
    for site, backend in zip(network.sites, backends, strict=True):
        text = site.daemon.config_file.read_text()
        site.daemon.config_file.write_text(text.replace("[esp]", f'[esp]\nbackend = "{backend}"'))
    return network


def started(network: GatewayNetwork) -> tuple[Site, Site]:
    for site in network.sites:
        start(site.daemon)
    for site in network.sites:
        wait_until(site.daemon._answers, START_S, what="the daemon")
    one, two = network.sites
    return one, two


def hit(site: Site) -> str:
    return str(site.daemon.hit)


def next_name(site: Site) -> str:
    return "g2" if site.number == 1 else "g1"


def spis(site: Site) -> set[int]:
    return {entry["spi"] for entry in site.daemon.request("sa")}


def xfrm(site: Site, what: str) -> str:
    return site.gateway.run(["ip", "xfrm", what]).stdout


@pytest.mark.parametrize("backends", [("kernel", "kernel"), ("kernel", "engine")], ids="-".join)
@pytest.mark.parametrize(("family", "transport"), UNDERLAYS)
def test_by_hit(
    lab: Lab, backends: tuple[str, str], family: Family, transport: TransportName
) -> None:
    one, two = started(hosts(lab, backends, family, transport))
    for near, far in ((one, two), (two, one)):
        result = near.gateway.ping(hit(far), count=3, interval_s=0.1, timeout_s=PATIENCE_S)
        assert result.received == 3, result
        assert near.gateway.ping(hit(far), size=1300, timeout_s=PATIENCE_S).received == 1
        assert near.gateway.ping(hit(far), size=4000, timeout_s=PATIENCE_S).received == 1
    speed = transfer(one.gateway, two.gateway, hit(two))
    back = transfer(one.gateway, two.gateway, hit(two), "-R")
    print(f"{'-'.join(backends)} IPv{family} {transport}: {speed:.0f} and {back:.0f} Mb/s by TCP")
    assert speed > 0.1
    assert back > 0.1
    assert transfer(one.gateway, two.gateway, hit(two), "-u", "-b", "1M", "-l", "1000") > 0.2
    entries = one.daemon.request("sa")
    assert {entry["direction"] for entry in entries} == {"in", "out"}
    assert all(entry["packets"] > 10 for entry in entries), entries
    states = xfrm(one, "state")
    assert states.count("mode beet") == 2
    assert states.count("encap type espinudp") == (2 if transport == "udp" else 0)


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_against_the_engine(lab: Lab, suite: str) -> None:
    network = hosts(lab, ("kernel", "engine"), esp_suites=[suite])
    one, two = started(network)
    assert one.gateway.ping(hit(two), count=3, interval_s=0.1, timeout_s=PATIENCE_S).received == 3
    assert two.gateway.ping(hit(one), size=1201, timeout_s=PATIENCE_S).received == 1
    (association,) = one.daemon.request("associations")
    assert association["esp_suite"] == suite


def test_the_first_packet_is_held_and_a_stop_leaves_nothing(lab: Lab) -> None:
    one, two = started(hosts(lab, ("kernel", "kernel")))
    assert one.gateway.ping(hit(two), count=1, timeout_s=PATIENCE_S).received == 1
    one.daemon.request("close", peer="g2", timeout_s=5.0)
    wait_until(lambda: "beet" not in xfrm(two, "state"), PATIENCE_S, what="the peer's close")
    assert "beet" not in xfrm(one, "state")
    assert one.gateway.ping(hit(two), count=1, timeout_s=PATIENCE_S).received == 1
    assert one.daemon.stop(20.0) == 0
    assert xfrm(one, "state") == ""
    assert xfrm(one, "policy") == ""


def test_a_crash_leaves_nothing_for_the_next_start(lab: Lab) -> None:
    one, two = started(hosts(lab, ("kernel", "engine")))
    assert one.gateway.ping(hit(two), timeout_s=PATIENCE_S)
    one.daemon.kill()
    assert "beet" in xfrm(one, "state")
    text = one.daemon.config_file.read_text()
    one.daemon.config_file.write_text(text.replace('"kernel"', '"engine"'))
    start(one.daemon)
    wait_until(one.daemon._answers, START_S, what="the daemon")
    assert xfrm(one, "state") == ""
    assert xfrm(one, "policy") == ""
    assert one.gateway.ping(hit(two), timeout_s=PATIENCE_S)


def test_nothing_comes_or_goes_in_the_clear(lab: Lab) -> None:
    """A packet that pretends to be a peer's is dropped, and none leaves without ESP."""
    one, two = started(hosts(lab, ("kernel", "kernel")))
    assert one.gateway.ping(hit(two), timeout_s=PATIENCE_S)
    two.daemon.stop(20.0)
    # The former peer sends from its HIT, but by plain routing.
    two.gateway.run(["ip", "-6", "addr", "add", f"{hit(two)}/128", "dev", "wan0", "nodad"])
    router = next(
        iter(two.gateway.run(["ip", "-6", "route", "show", "default"]).stdout.split()[2:])
    )
    two.gateway.run(["ip", "-6", "route", "add", f"{hit(one)}/128", "via", router, "dev", "wan0"])
    network = lab.hosts["r"]
    near = one.gateway.run(["ip", "-6", "-o", "addr", "show", "dev", "wan0"]).stdout.split()
    own = next(word.split("/")[0] for word in near if word.startswith("fd00:"))
    network.run(["ip", "-6", "route", "add", f"{hit(one)}/128", "via", own])
    capture = one.gateway.capture("wan0")
    assert not two.gateway.ping(hit(one), count=2, timeout_s=2.0)
    before = one.daemon.request("counters")["dataplane_drops"]
    assert before.get("XfrmInPolBlock", 0) + before.get("XfrmInTmplMismatch", 0) > 0, before
    one.gateway.ping(hit(two), count=2, timeout_s=1.0)
    capture.stop()
    # In HIP packets the two HITs stand side by side as well, but behind another header.
    ends = one.daemon.hit.packed + two.daemon.hit.packed
    heads = [part[-8] >> 4 for part in capture.file.read_bytes().split(ends)[:-1]]
    assert 6 not in heads


@pytest.mark.parametrize("backends", [("kernel", "engine"), ("engine", "kernel")], ids="-".join)
def test_a_rekeying(lab: Lab, backends: tuple[str, str]) -> None:
    """New keys and SPIs while packets flow; none is lost, and nothing of the old is left."""
    one, two = started(hosts(lab, backends))
    assert one.gateway.ping(hit(two), timeout_s=PATIENCE_S)
    before = spis(one)
    flow = one.gateway.popen(["ping", "-n", "-i0.2", "-w8", "-W5", hit(two)])
    for near in (one, two):
        answer = near.daemon.request("rekey", peer=next_name(near), timeout_s=30.0)
        assert answer["rekeyed"], answer
    flow.wait(30.0)
    assert " 0% packet loss" in flow.output(), flow.output()
    wait_until(lambda: len(spis(one)) == 2, 30.0, what="the end of the old associations")
    assert not spis(one) & before
    kernel = one if backends[0] == "kernel" else two
    assert xfrm(kernel, "state").count("mode beet") == 2
    assert xfrm(kernel, "policy").count("dir out") == 1


@pytest.mark.parametrize("backends", [("kernel", "engine"), ("engine", "kernel")], ids="-".join)
@pytest.mark.parametrize("transport", ["udp", "raw"])
def test_a_move(lab: Lab, backends: tuple[str, str], transport: TransportName) -> None:
    """The first host gets another address and loses the old one; data goes on, both ways."""
    one, two = started(hosts(lab, backends, transport=transport))
    assert one.gateway.ping(hit(two), timeout_s=PATIENCE_S)
    old = underlay_address(1, 4)
    new = old[: old.rindex(".")] + ".77"
    one.gateway.sysctl("net/ipv4/conf/all/promote_secondaries", 1)
    one.gateway.address("wan0", f"{new}/24")
    one.gateway.remove_address("wan0", f"{old}/24")
    wait_until(
        lambda: one.gateway.ping(hit(two), timeout_s=1.0) and two.gateway.ping(hit(one)),
        60.0,
        what="data by the new address",
    )
    (association,) = two.daemon.request("associations")
    assert association["path"]["remote"] == new
    kernel = one if backends[0] == "kernel" else two
    states = xfrm(kernel, "state")
    assert states.count("mode beet") == 2
    assert states.count(f"src {new} ") == states.count(f"dst {new}") == 1
    assert f"src {old} " not in states
    assert transfer(one.gateway, two.gateway, hit(two)) > 0.1
    sequences = {entry["direction"]: entry["sequence"] for entry in kernel.daemon.request("sa")}
    # Sequence numbers go on, with those left out that the old one may have used meanwhile.
    assert sequences["out"] > 1 << 16


def test_a_lossy_link(lab: Lab) -> None:
    """A tenth of the packets lost, some late and some twice: TCP gets through both ways."""
    one, two = started(hosts(lab, ("kernel", "engine"), retries=10))
    netem = ["loss", "10%", "delay", "5ms", "3ms", "duplicate", "2%", "reorder", "20%"]
    for site in (one, two):
        site.gateway.run(
            ["tc", "qdisc", "add", "dev", "wan0", "root", "netem", "limit", "10000", *netem]
        )
    received = one.gateway.ping(hit(two), count=40, interval_s=0.1, timeout_s=PATIENCE_S).received
    assert 20 <= received <= 40
    assert transfer(one.gateway, two.gateway, hit(two)) > 0.01
    assert transfer(one.gateway, two.gateway, hit(two), "-R") > 0.01
    inbound = [entry for entry in one.daemon.request("sa") if entry["direction"] == "in"]
    assert sum(entry["replayed"] for entry in inbound) > 0, inbound
