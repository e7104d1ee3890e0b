"""A rendezvous server whose configuration is nothing but its role, under a flood of calls."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hipgw.lab import Lab, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.topologies import underlay, underlay_address

pytestmark = pytest.mark.system

HIPGW = (sys.executable, "-m", "hipgw.cli.main")
FLOOD_S = 6.0
PER_SOURCE, PER_CLIENT = 50, 200
"""Packets a second that are relayed, by default."""
GROWTH_KIB = 24 * 1024
PATIENCE_S = 40.0
FLOOD = """
import os, random, socket, sys, time
server, client, own, ends = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3]), 0
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 139)
def packet(kind, sender, receiver, more=b""):
    head = bytes((59, 4 + len(more) // 8, kind, 0x21, 0, 0, 0, 0))
    return head + sender + receiver + more
def hit():
    return bytes.fromhex("2001002a") + os.urandom(12)
via = bytes.fromhex("ffda0010") + os.urandom(16) + bytes(4)
sent, ends = 0, time.monotonic() + float(sys.argv[4])
while time.monotonic() < ends:
    for _ in range(100):
        for one in (
            packet(1, hit(), client),
            packet(1, hit(), client),
            packet(1, hit(), hit()),
            packet(1, hit(), client, via),
            packet(16, hit(), client, os.urandom(8 * random.randrange(8))),
            packet(random.randrange(256), client, own, os.urandom(8 * random.randrange(8))),
        ):
            sock.sendto(bytes(4) + one, (server, 10500))
            sent += 1
        raw.sendto(packet(1, hit(), client), (server, 0))
    time.sleep(0.002)
print(sent)
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("rvs") as lab:
        yield lab


def resident_kib(daemon: HipgwDaemon) -> int:
    process = daemon.process
    assert process is not None
    process.require_running()
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def test_calls_get_through_a_flood(lab: Lab) -> None:
    _routers, hosts = underlay(lab, 4, names="h")
    server, client, caller = (HipgwDaemon(h, key_kind="ecdsa-p256") for h in hosts[:3])
    attacker = hosts[3]
    # The role is given on the command line; nothing else is.
    server.configure({"hip": {"accept": "any"}})
    server.process = server.host.popen(
        [*HIPGW, "run", "--rvs", "--config", server.config_file], name="hipgw"
    )
    server.wait_ready()
    assert server.request("status")["roles"] == ["rvs"]
    known = {
        "name": "server",
        "hit": str(server.hit),
        "addresses": [underlay_address(1, 4)],
    }
    client.configure(
        {"hip": {"accept": "any"}, "host": {}, "rendezvous": {"servers": ["server"]}}, [known]
    )
    caller.configure(
        {"host": {}, "rendezvous": {"automatic": False}},
        [known, {"name": "client", "hit": str(client.hit), "rvs": ["server"]}],
    )
    client.start()
    caller.start()

    def counters() -> dict[str, dict[str, int]]:
        return dict(server.request("counters"))

    wait_until(
        lambda: counters()["control"]["rendezvous_resting"] == 1, PATIENCE_S, what="its rest"
    )
    (registration,) = server.request("registrations")
    assert registration["service"] == "RENDEZVOUS"
    assert registration["peer_hit"] == str(client.hit)
    assert server.request("status")["counts"]["security_associations"] == 0
    assert server.request("status")["counts"]["established"] == 1

    before = resident_kib(server)
    command = [sys.executable, "-c", FLOOD, underlay_address(1, 4), client.hit.packed.hex()]
    flood = attacker.popen([*command, server.hit.packed.hex(), str(FLOOD_S)], name="flood")
    # Found in the midst of it, though its caller has never heard of where it is.
    assert wait_until(
        lambda: caller.host.ping(str(client.hit), timeout_s=2.0), PATIENCE_S, what="an answer"
    )
    flood.wait(PATIENCE_S)
    sent = int(flood.output().split()[-1])
    assert sent > 1000
    after = counters()
    passed = after["dataplane"]["rendezvous_packets"]
    by_machine = sum(after["control"].get(f"relayed_{kind}", 0) for kind in ("I1", "UPDATE"))
    assert passed > 0
    # Over UDP by the engine and over IP by the machine, each within its limits.
    seconds = FLOOD_S + 2
    assert passed + by_machine <= 2 * PER_CLIENT * seconds
    dropped = after["dataplane_drops"]["rendezvous_limit"] + after["control_drops"]["rate_limit"]
    assert dropped > 0
    assert after["control_drops"]["not_relayed"] > 0
    assert after["control_drops"]["not_our_hit"] > 0
    assert resident_kib(server) < before + GROWTH_KIB
    assert after["control"]["rendezvous_clients"] == 1
    shown = server.host.run([*HIPGW, "registrations", "--socket", server.control_socket, "--json"])
    assert [one["role"] for one in json.loads(shown.stdout)] == ["registrar"]
    assert "Traceback" not in server.output()
    assert server.stop() == 0
