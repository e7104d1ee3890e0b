"""A mobile router between a client and two correspondents."""

import json
import sys
from collections.abc import Callable, Iterator

import pytest

from hipgw.lab import Lab, wait_until
from hipgw.lab.mobile_router import SPOTS, MovingNetwork

pytestmark = pytest.mark.system

PATIENCE_S = 40.0
HIPGW = (sys.executable, "-m", "hipgw.cli.main")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("mobile_router") as lab:
        yield lab


def two_uplinks(
    network: MovingNetwork, answered: Callable[[], bool], remotes: Callable[[], set[str]]
) -> None:
    """Another network has a better route, but is not preferred: used while the other is away."""
    (router,) = network.routers
    host, address = router.place.host, network.core.address
    address("m1dual0", "10.99.1.254/24")
    # Packets that leave by the wrong interface get no further.
    network.core.sysctl("net/ipv4/conf/all/rp_filter", 1)
    host.ip(
        "link set dual0 up",
        "address add 10.99.1.1/24 dev dual0",
        "route add default via 10.99.1.254 dev dual0 metric 1",
    )

    def outside() -> list[str]:
        return [one["address"] for one in router.daemon.request("mobile_router")["outside"]]

    def seen() -> bool:
        return remotes() == {outside()[0]}

    here = router.place.addresses[4]
    wait_until(lambda: outside() == [here, "10.99.1.1"], PATIENCE_S, what="both uplinks")
    assert answered()
    assert seen()
    stay = router.place.stay
    assert stay is not None
    host.ip(*(f"address del {one}" for one in stay.given))
    wait_until(lambda: outside() == ["10.99.1.1"] and seen(), PATIENCE_S, what="the other uplink")
    wait_until(answered, PATIENCE_S, what="answers by the other uplink")
    host.ip(
        *(f"address add {one}" for one in stay.given), *(f"route add {one}" for one in stay.routes)
    )
    wait_until(lambda: outside()[0] == here and seen(), PATIENCE_S, what="the one before")
    wait_until(answered, PATIENCE_S, what="answers by the one before")


def the_client_is_gone(network: MovingNetwork) -> None:
    """Its correspondents, which are patient with it, hear from the router that it is silent."""
    (client,), peers = network.clients, network.correspondents
    client.daemon.kill()

    def given_up() -> bool:
        for peer in peers:
            peer.place.host.ping(str(client.hits[peer.version]), timeout_s=0.2)
        said = [line for line in network.closed() if "it does not answer any more" in line]
        return all(any(line.startswith(f"{peer.name}:") for line in said) for peer in peers)

    # In a tunnel it would be 180 s.
    wait_until(given_up, 2 * PATIENCE_S, what="correspondents to give the client up")


def test_a_router_moves(lab: Lab) -> None:
    """Its client talks HIPv1 with one, by IP protocols 139 and 50, and HIPv2 with the other."""
    network = MovingNetwork(lab, clients=1)
    (router,), (client,), peers = network.routers, network.clients, network.correspondents
    both = {"versions": ["v2", "v1"], "v1": {"compat": "none"}}
    # The client registers by both its HITs, as it has a correspondent for each.
    router.daemon.configure(
        {
            "hip": {"accept": "any", **both},
            "mobility": {"preferred_interfaces": ["four0"]},
            "mobile_router": {"external_interfaces": [*SPOTS], "path": "nfqueue"},
        }
    )
    client.daemon.configure(
        {"hip": both, "host": {}, "mobile_node": {"routers": ["m1"], "automatic": False}},
        [
            {
                "name": "m1",
                "hit": str(router.hits[2]),
                "hit_v1": str(router.hits[1]),
                "addresses": [router.inner_address(4)],
            },
            *(peer.known(addresses=True) for peer in peers),
        ],
    )
    network.start()
    wait_until(
        lambda: len(client.daemon.request("registrations")) == 2, PATIENCE_S, what="registrations"
    )

    def answered() -> bool:
        return all(
            client.place.host.ping(str(peer.hits[peer.version]), count=2, timeout_s=1.0)
            for peer in peers
        )

    def remotes() -> set[str]:
        return {
            str(one["path"]["remote"])
            for peer in peers
            for one in peer.daemon.request("associations")
            if one["peer_hit"] == str(client.hits[peer.version])
        }

    wait_until(answered, PATIENCE_S, what="answers through the router")
    # Correspondents see the router and nothing of what is behind it.
    assert remotes() <= set(router.place.addresses.values())
    for spot in ("six0", "four0"):
        router.place.go(spot)
        wait_until(answered, PATIENCE_S, what=f"answers at {spot}")
        wait_until(
            lambda: remotes() <= set(router.place.addresses.values()),
            PATIENCE_S,
            what=f"correspondents to know of {spot}",
        )
    assert not network.closed()
    two_uplinks(network, answered, remotes)
    # It is gone without a word, and there again: its clients are back without asking for it.
    router.daemon.restart(crash=True)
    wait_until(
        lambda: len(router.daemon.request("mobile_router_clients")) == 2,
        PATIENCE_S,
        what="clients to be back",
    )
    wait_until(answered, PATIENCE_S, what="answers through the router as it was restarted")
    shown = {
        command: router.place.host.run(
            [*HIPGW, "mobile-router", command, "--json", "--socket", router.daemon.control_socket]
        ).stdout
        for command in ("status", "clients")
    }
    status = json.loads(shown["status"])
    assert [one["interface"] for one in status["outside"]] == ["four0", "dual0"]
    assert (status["clients"], status["correspondents"], status["refused"]) == (2, 2, 0)
    clients = json.loads(shown["clients"])
    assert {one["hit"] for one in clients} == {str(hit) for hit in client.hits.values()}
    for one in clients:
        assert one["tickets"] == 1
        assert min(one["packets_in"], one["packets_out"], one["octets_in"], one["octets_out"]) > 0
    counters = router.daemon.request("counters")["dataplane"]
    assert counters["spinat_rewritten"] > 0
    assert (status["path"], counters.get("spinat_ebpf_rewritten", 0)) == ("nfqueue", 0)
    the_client_is_gone(network)
    assert router.daemon.stop() == 0
