"""New keys again and again while data flows both ways as fast as it goes: is anything lost?

    python bench/rekeys.py [--count 1000] [--endbox] [--no-dh]

Two daemons in network namespaces; one asks for new keys (every third time both do at once) as soon
as the last ones are in force. Meanwhile iperf3 fills both directions with TCP, or a paced flow of
numbered datagrams runs both ways, of which every single one is counted. Prints what was lost:
packets that one data plane sent and the other did not get, and what was dropped for want of a key
(`unknown_spi`), as a replay or for a wrong integrity value.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from hipgw.errors import ControlError
from hipgw.lab import Lab
from hipgw.lab.host import Host
from hipgw.lab.topologies import GatewayNetwork, endbox_pair, host_pair

DATAGRAMS = Path(__file__).with_name("datagrams.py")
REASONS = ("unknown_spi", "replayed", "auth_failed", "send_failed", "send_queue_full")
PORTS = (5301, 5302)
OCTETS = 1200
QUIET_S = 1.0


@dataclass
class Ends:
    """Where traffic starts and ends, and the daemons in between."""

    network: GatewayNetwork
    hosts: tuple[Host, Host]
    addresses: tuple[str, str]


@dataclass
class Rekeys:
    """Asks for new keys until told to stop."""

    network: GatewayNetwork
    dh: bool
    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def run(self, count: int) -> None:
        """Ask *count* times, either side in turn, both at once every third time."""
        clients = [site.daemon.client() for site in self.network.sites]
        hits = [str(site.daemon.hit) for site in reversed(self.network.sites)]
        try:
            for turn in range(count):
                began = time.monotonic()
                side = turn % 2
                other = None
                if turn % 3 == 2:
                    other = threading.Thread(target=self._ask, args=(1 - side, hits[1 - side]))
                    other.start()
                try:
                    answer = clients[side].request("rekey", {"peer": hits[side]})
                    if answer["rekeyed"]:
                        self.seconds.append(time.monotonic() - began)
                    else:
                        self.failed.append(str(answer["reason"]))
                except ControlError as error:
                    self.failed.append(str(error))
                if other is not None:
                    other.join()
        finally:
            for client in clients:
                client.close()

    def _ask(self, side: int, hit: str) -> None:
        self.network.sites[side].daemon.request("rekey", peer=hit)


def counters(network: GatewayNetwork) -> list[dict[str, dict[str, int]]]:
    """What both data planes have counted."""
    return [site.daemon.request("counters") for site in network.sites]


def losses(before: list[dict], after: list[dict]) -> dict[str, int]:
    """Packets on the underlay that did not arrive, and drops by reason."""
    sums = dict.fromkeys(REASONS, 0)
    sent = received = 0
    for old, new in zip(before, after, strict=True):
        sent += new["dataplane"]["net_tx_packets"] - old["dataplane"]["net_tx_packets"]
        received += new["dataplane"]["net_rx_packets"] - old["dataplane"]["net_rx_packets"]
        for reason in REASONS:
            sums[reason] += new["dataplane_drops"][reason] - old["dataplane_drops"][reason]
    return {"sent": sent, "lost_on_the_way": sent - received, **sums}


def with_tcp(ends: Ends, rekeys: Rekeys, count: int) -> dict[str, object]:
    """TCP both ways at full speed."""
    server = ends.hosts[1].popen(["iperf3", "-s", "-1"])
    time.sleep(0.5)
    client = ends.hosts[0].popen(
        ["iperf3", "-c", ends.addresses[1], "--bidir", "-t", "3600", "--json"]
    )
    time.sleep(1.0)
    before = counters(ends.network)
    began = time.monotonic()
    rekeys.run(count)
    seconds = time.monotonic() - began
    after = counters(ends.network)
    client.require_running()
    client.stop()
    server.stop()
    found = losses(before, after)
    # What was in flight at either moment is in the difference.
    return {**found, "seconds": seconds, "packets_a_second": found["sent"] / seconds}


def with_datagrams(ends: Ends, rekeys: Rekeys, count: int, rate: float) -> dict[str, object]:
    """Paced datagrams both ways, each of which has to arrive."""
    before = counters(ends.network)
    python = sys.executable
    receivers = [
        host.popen([python, DATAGRAMS, "count", str(port), str(OCTETS)])
        for host, port in zip(ends.hosts, PORTS, strict=True)
    ]
    time.sleep(1.0)
    seconds = max(5.0, count * 0.05)
    senders = [
        host.popen(
            [python, DATAGRAMS, "send", address, str(port), str(OCTETS), f"{seconds}", f"{rate}"]
        )
        for host, address, port in zip(
            ends.hosts, reversed(ends.addresses), reversed(PORTS), strict=True
        )
    ]
    time.sleep(0.3)
    rekeys.run(count)
    sent = [json.loads(_result(sender, seconds + 30))["packets"] for sender in senders]
    got = [json.loads(_result(receiver, 30))["packets"] for receiver in receivers]
    time.sleep(QUIET_S)
    found = losses(before, counters(ends.network))
    return {**found, "datagrams": sum(sent), "datagrams_lost": sum(sent) - sum(got)}


def _result(process: object, timeout_s: float) -> str:
    process.wait(timeout_s)
    return process.output().strip().splitlines()[-1]


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="how often keys are renewed")
    parser.add_argument("--endbox", action="store_true", help="L2 instead of L3")
    parser.add_argument("--no-dh", action="store_true", help="draw from KEYMAT where it lasts")
    parser.add_argument("--rate", type=float, default=10_000.0, help="datagrams a second each way")
    options = parser.parse_args()
    with Lab("rekeys") as lab:
        esp = {"rekey_dh": not options.no_dh}
        network = (endbox_pair if options.endbox else host_pair)(lab, esp=esp)
        network.start()
        one, two = network.sites
        if options.endbox:
            ends = Ends(network, (one.lan, two.lan), (one.lan4, two.lan4))
        else:
            hosts = one.gateway, two.gateway
            ends = Ends(network, hosts, (str(one.daemon.hit), str(two.daemon.hit)))
            hosts[0].ping(str(two.daemon.hit), count=1, timeout_s=5)
        failed = False
        for name, run in (("datagrams", with_datagrams), ("tcp", with_tcp)):
            rekeys = Rekeys(network, not options.no_dh)
            extra = (options.rate,) if run is with_datagrams else ()
            found = run(ends, rekeys, options.count, *extra)
            print(
                f"{name}: {len(rekeys.seconds)} rekeys, {len(rekeys.failed)} failed, "
                f"median {statistics.median(rekeys.seconds) * 1e3:.1f} ms"
            )
            print("  " + ", ".join(f"{key} {value}" for key, value in found.items()))
            lost = found["unknown_spi"] or found["replayed"] or found["auth_failed"]
            failed = failed or bool(lost or rekeys.failed or found.get("datagrams_lost"))
            if rekeys.failed:
                print("  " + "; ".join(sorted(set(rekeys.failed))))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
