"""Hosts are found by what they have put into a DHT, and by nothing else."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, TypeVar

import pytest

from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import load_key_file
from hipgw.lab import Host, Lab, NatKind, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.dht import DhtRing
from hipgw.lab.topologies import underlay, underlay_address
from hipgw.naming.dht.calls import Put
from hipgw.naming.dht.client import DhtClient, Server
from hipgw.naming.dht.hdrr import locator_for, make_address_record
from hipgw.naming.dht.keys import hit_key, sha1
from hipgw.naming.dht.limits import ADDRESS_APPLICATION, ReturnCode

pytestmark = pytest.mark.system

PORT = 5851
ELSEWHERE = {4: "192.168.101.77", 6: "fd00:100:1::77"}
"""Where the one that moves goes to."""
Result = TypeVar("Result")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("dht") as lab:
        yield lab


def daemon(
    host: Host,
    dht: Mapping[str, Any],
    peers: tuple[HipgwDaemon, ...] = (),
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    addresses: Mapping[str, str] | None = None,
) -> HipgwDaemon:
    """A host that knows others by their HITs, and where they are only from the DHT."""
    made = HipgwDaemon(host)
    made.configure(
        {
            "hip": {"accept": "any"},
            "host": {},
            "naming": {"order": ["configured", "dht"], "negative_ttl_s": 1},
            "dht": {"private_addresses": True, "ttl_s": 600, **dht},
            **(tables or {}),
        },
        [
            {
                "name": one.host.name,
                "hit": str(one.hit),
                "addresses": [at] if (at := (addresses or {}).get(one.host.name)) else [],
            }
            for one in peers
        ],
    )
    return made


def start(*daemons: HipgwDaemon) -> None:
    for one in daemons:
        one.start(wait=False)
    for one in daemons:
        one.wait_ready()


def found(asker: HipgwDaemon, query: str) -> list[str]:
    """The addresses that the DHT has, as `hipgw resolve` says."""
    told = asker.request("resolve", query=query)["sources"]
    dht = [one for source in told if source["source"] == "dht" for one in source["found"]]
    return sorted({address for one in dht for address in one["addresses"]})


def ask(host: Host, server: str, work: Callable[[DhtClient, Server], Awaitable[Result]]) -> Result:
    """Speak with a gateway as any host can."""

    async def run() -> Result:
        there = Server(ip_address(server), PORT)
        client = DhtClient([there])
        try:
            return await work(client, there)
        finally:
            await client.close()

    return host.call(lambda: asyncio.run(run()))


def put(host: Host, server: str, value: bytes, key: bytes) -> ReturnCode:
    call = Put(key, value, sha1(os.urandom(40)), 600, ADDRESS_APPLICATION)
    return ask(host, server, lambda client, there: client.put(there, call))


def get(host: Host, server: str, key: bytes) -> list[bytes]:
    return ask(host, server, lambda client, there: client.get(there, key, ADDRESS_APPLICATION))


def record(identity: LocalIdentity, sequence: int, address: str) -> bytes:
    return make_address_record(identity, [locator_for(ip_address(address), 600)], sequence)


def test_a_ring_that_has_lost_nodes_answers_and_believes_nobody(lab: Lab) -> None:
    """Five real nodes and two gateways; two nodes are killed, one of them each gateway's first."""
    _, (moving, first, second, other) = underlay(lab, 4, names="g")
    ring = DhtRing(first)
    proxies = [f"127.0.0.1:{port}" for port in ring.ports]
    behind = {"gateway": ["0.0.0.0"], "store": "opendht", "publish": False}
    one = daemon(first, {**behind, "proxies": proxies})
    remote = [f"{underlay_address(2, 4)}:{port}" for port in ring.ports]
    two = daemon(second, {**behind, "proxies": remote[1::-1] + remote[2:]})
    at_one, at_two = underlay_address(2, 4), underlay_address(3, 4)
    mobile = daemon(moving, {"servers": [at_one], "name": "Plant-M"})
    asker = daemon(other, {"servers": [at_two], "publish": False}, (mobile,))
    ring.wait_ready()
    start(one, two, mobile, asker)
    here = sorted((underlay_address(1, 4), underlay_address(1, 6)))
    hit, key = str(mobile.hit), hit_key(mobile.hit)
    wait_until(lambda: found(asker, hit) == here, what="the record in the ring")
    wait_until(lambda: found(asker, "plant-m") == here, what="the name in the ring")
    ring.kill([0, 1])
    assert found(asker, hit) == here
    assert found(asker, "plant-m") == here
    assert other.ping(hit, timeout_s=10)

    identity = load_key_file(mobile.directory / "key.pem")
    (newest,) = get(other, at_two, key)
    forged = newest.replace(ip_address(here[0]).packed, ip_address("192.168.104.1").packed)
    stranger = LocalIdentity.generate("ecdsa-p256")
    for gateway in (at_one, at_two):
        for refused in (
            forged,
            record(stranger, 2**32 - 1, "192.168.104.1"),
            record(identity, 7, "192.168.104.1"),  # the owner's, of a time long ago
            newest,  # and what goes over the network is there for all to be said again
        ):
            assert put(other, gateway, refused, key) is ReturnCode.REFUSED
    for gateway in (one, two):
        for reason in ("signature is not", "another key", "newer one", "there before"):
            assert reason in gateway.output(), gateway.output()
    # Past the gateways, anybody in the ring can put anything.
    junk = [b"junk", json.dumps({"hipgw": 1, "application": "hip-addr"}).encode()]
    for value in (forged, record(identity, 7, "192.168.104.1"), b"short"):
        said = {
            "hipgw": 1,
            "application": "hip-addr",
            "value": base64.b64encode(value).decode(),
            "expires": 4102444800,
            "secret_hash": "",
        }
        junk += [json.dumps(said).encode(), json.dumps({**said, "expires": _soon()}).encode()]
    for data in junk:
        ring.request(3, key.hex(), {"data": base64.b64encode(data).decode()})
    assert get(other, at_two, key) == [newest]
    assert found(asker, hit) == here

    # It moves, and is found; it ends, and its last word cannot be repeated by others.
    moving.replace_address("wan0", f"{underlay_address(1, 4)}/24", f"{ELSEWHERE[4]}/24")
    there = sorted((ELSEWHERE[4], underlay_address(1, 6)))
    wait_until(lambda: found(asker, hit) == there, what="the new record in the ring")
    (last,) = get(other, at_two, key)
    mobile.stop()
    for gateway in (at_one, at_two):
        assert get(other, gateway, key) == []
        for replayed in (newest, last):
            assert put(other, gateway, replayed, key) is ReturnCode.REFUSED
    assert found(asker, hit) == []
    ring.kill([2, 3, 4])


def _soon() -> int:
    return int(time.time()) + 500


def test_a_host_that_moved_is_found_again_by_the_dht_alone(lab: Lab) -> None:
    """By correspondents of IPv4, of IPv6 and behind a NAT, which were away while it moved."""
    (router,), (moving, only4, only6, server) = underlay(lab, 4, names="g")
    nat, inside = lab.nat("nat"), lab.host("in")
    lab.link(nat, "out0", router, "natted")
    lab.link(inside, "wan0", nat, "lan0")
    nat.address("out0", "192.168.109.1/24")
    router.address("natted", "192.168.109.254/24")
    nat.route("default", "192.168.109.254")
    nat.address("lan0", "10.9.0.254/24")
    inside.address("wan0", "10.9.0.1/24")
    inside.route("default", "10.9.0.254")
    nat.hide("out0", kind=NatKind.PORT_RESTRICTED)
    only4.remove_address("wan0", f"{underlay_address(2, 6)}/64")
    only6.remove_address("wan0", f"{underlay_address(3, 4)}/24")
    at4, at6 = underlay_address(4, 4), underlay_address(4, 6)
    gateway = daemon(server, {"gateway": ["0.0.0.0", "::"], "publish": False}, tables={"rvs": {}})
    mobile = daemon(moving, {"servers": [at4]})
    callers = [
        daemon(host, {"servers": [at], "publish": False}, (mobile,))
        for host, at in ((only4, at4), (only6, f"[{at6}]"))
    ]
    hidden = daemon(
        inside,
        {"servers": [at4]},
        (mobile, gateway),
        {"rendezvous": {"servers": ["g4"]}},
        {"g4": at4},
    )
    callers.append(hidden)
    start(gateway, mobile, *callers)
    hit = str(mobile.hit)
    wait_until(lambda: len(found(callers[0], hit)) == 2, what="the first record")
    wait_until(lambda: all(ping_from_all(callers, hit)), what="all to find it")
    # It goes without a word. The association that they still have tells them the old place.
    mobile.kill()
    moving.replace_address("wan0", f"{underlay_address(1, 4)}/24", f"{ELSEWHERE[4]}/24")
    moving.replace_address("wan0", f"{underlay_address(1, 6)}/64", f"{ELSEWHERE[6]}/64")
    mobile.start()
    wait_until(lambda: all(ping_from_all(callers, hit)), 60.0, what="all to find it again")
    for caller in callers:
        (remote,) = (
            entry["path"]["remote"]
            for entry in caller.request("associations")
            if entry["peer_hit"] == hit and entry["state"] in ("ESTABLISHED", "R2-SENT")
        )
        assert remote in ELSEWHERE.values()
    # Who is behind the NAT has published by which server it can be called.
    assert only4.ping(str(hidden.hit), timeout_s=10)


def ping_from_all(callers: Sequence[HipgwDaemon], hit: str) -> list[bool]:
    """Whether each reaches the HIT, all at once."""
    with ThreadPoolExecutor(len(callers)) as pool:
        return list(pool.map(lambda one: bool(one.host.ping(hit, timeout_s=3)), callers))
