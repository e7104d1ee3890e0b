"""What a mobile router forwards with SPINAT, on one core, beside the kernel's masquerade.

    python bench/spinat.py [--rounds 3] [--ways 20000] [--octets 64 1400] [--sides all] [--inward]
                           [--lock FILE]

A client's ESP comes in at a router's device and leaves by another one; with --inward it is that of
correspondents. One core does everything: it takes the packets in as from a network card, which
costs hardly anything (`sender alone`), does what the router does with them, in the kernel and in
user space, and drops them at the other end. In turns, each in new namespaces:

- sender alone: the packets are dropped as they come in
- forwarding: the kernel routes, and changes nothing but the TTL
- masquerade: the kernel routes and gives the packets its own address (iptables)
- one at a time: a netfilter queue, one packet to a recv and a verdict, given back as it was
  (`nfqueue_one.c`): what others' way costs at least
- hipgw, one at a time: the general path, taking one packet to a batch
- hipgw, queue: the general path as it is by default
- hipgw, eBPF: the fast path

Flows whose two sides differ in IP version, or in the use of UDP, have the last two alone: beside
them stands what the others do with packets that come in alike.

The figure is packets a second that arrive of a flood. Programs in user space come before the one
that takes packets in, which so waits for them: no queue overflows, and all time goes into packets
that arrive. Both come before all else on the machine (SCHED_FIFO). Prints figures for packets of
each family, plain and in UDP, with ratios within the same round, and writes
build/bench/spinat.json. The status is that the best path reaches half of masquerade and three times
one at a time, by the medians.
"""

import argparse
import contextlib
import fcntl
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hipgw.lab import Lab, wait_until
from hipgw.lab.host import Host
from hipgw.lab.process import Process
from latest import ROOT
from measures.bpf import CLASSIFIER, TCX_INGRESS, attach, load
from measures.esp_flood import CLIENT, ETHERNET, PEER, frame
from measures.spinat_router import INSIDE_DEVICE, OUTSIDE, OUTSIDE_DEVICE, QUEUE

HERE = Path(__file__).parent
PLACE = ROOT / "build" / "bench" / "spinat.json"
INSIDE = {4: "10.0.0.1", 6: "fd00:1::1"}
TABLES = {4: "iptables", 6: "ip6tables"}
WARM_S, WINDOW_S = 0.15, 0.5
TRAFFIC_WAYS = 1024
TCX_DROP = 2


@dataclass(frozen=True)
class Side:
    """What packets look like on one side of the router."""

    family: int
    framing: str

    def __str__(self) -> str:
        return f"IPv{self.family}{' UDP' if self.framing == 'udp' else ''}"


@dataclass(frozen=True)
class Flow:
    """What packets come in as and what they leave as, and their octets of ESP."""

    came: Side
    goes: Side
    octets: int

    def __str__(self) -> str:
        if self.came == self.goes:
            return f"{self.came}, {self.octets}"
        return f"{self.came} to {self.goes}, {self.octets}"

    @property
    def like(self) -> "Flow":
        """That of packets that come in alike and leave as they came."""
        return Flow(self.came, self.came, self.octets)


@dataclass
class Net:
    """A client, its router and a correspondent."""

    client: Host
    router: Host
    peer: Host
    flow: Flow
    inward: bool
    ways: int
    directory: Path

    @property
    def devices(self) -> tuple[str, str]:
        """Where packets come in, and where they leave."""
        if self.inward:
            return OUTSIDE_DEVICE, INSIDE_DEVICE
        return INSIDE_DEVICE, OUTSIDE_DEVICE

    @property
    def sink(self) -> Host:
        """Who gets them."""
        return self.client if self.inward else self.peer

    def rule(self, *words: str) -> None:
        """A rule of the router's firewall."""
        self.router.run([TABLES[self.flow.came.family], "-w", *words])

    def diverted(self) -> None:
        """Have the router queue what comes in, as hipgw does."""
        where = f"-t raw -A PREROUTING -i {self.devices[0]}"
        self.rule(*f"{where} -j NFQUEUE --queue-num {QUEUE} --queue-bypass".split())

    def started(self, command: Sequence[str | Path], name: str) -> None:
        """Start what takes the packets."""
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        process = self.router.popen([*on_core(2), *command], name=name, environment=environment)
        ready(process, "ready")

    def hipgw(self, batch: int, kind: str) -> None:
        """hipgw's path."""
        flow = self.flow
        inside, outside = (flow.goes, flow.came) if self.inward else (flow.came, flow.goes)
        command = [sys.executable, "-m", "measures.spinat_router"]
        for side in (inside, outside):
            command += [str(side.family), side.framing]
        command += [str(self.ways), str(batch), kind]
        self.started(command, "path")


def sender_alone(net: Net) -> None:
    """Drop all of it."""
    net.rule(*f"-t raw -A PREROUTING -i {net.devices[0]} -j DROP".split())


def forwarding(net: Net) -> None:
    """Nothing has to be done."""


def masquerade(net: Net) -> None:
    """The rule that everybody has."""
    net.rule(*f"-t nat -A POSTROUTING -o {OUTSIDE_DEVICE} -j MASQUERADE".split())
    if net.inward:
        # The kernel lets in only what answers somebody.
        side = net.flow.came
        ends, before = (CLIENT[side.family], PEER[side.family]), arrived(net.peer)
        net.client.call(send, frame(bytes(6), *ends, side.framing == "udp", 64)[ETHERNET:])
        wait_until(lambda: arrived(net.peer) > before, 10, what="a first packet of the client")


def one_at_a_time(net: Net) -> None:
    """As lean as can be."""
    program = net.directory / "nfqueue_one"
    subprocess.run(["cc", "-O2", "-o", program, HERE / "nfqueue_one.c"], check=True)
    net.started([program, str(QUEUE)], "one")
    net.diverted()


def hipgw_one(net: Net) -> None:
    """The general path without batches."""
    net.hipgw(1, "queue")
    net.diverted()


def hipgw_queue(net: Net) -> None:
    """The general path."""
    net.hipgw(64, "queue")
    net.diverted()


def hipgw_ebpf(net: Net) -> None:
    """The fast path, in front of the general one."""
    net.hipgw(64, "ebpf")
    net.diverted()


CONTESTANTS: dict[str, Callable[[Net], None]] = {
    "sender alone": sender_alone,
    "forwarding": forwarding,
    "masquerade": masquerade,
    "one at a time": one_at_a_time,
    "hipgw, one at a time": hipgw_one,
    "hipgw, queue": hipgw_queue,
    "hipgw, eBPF": hipgw_ebpf,
}
UNMAPPED = ("forwarding", "one at a time")
"""Those that leave the addresses as they are."""
OWN = ("hipgw, queue", "hipgw, eBPF")
"""Those that are to reach what is asked for, and can do so if both sides differ."""
ALONE = "sender alone"
BASES = {"masquerade": 0.5, "one at a time": 3.0}
"""What is asked for: so much of these."""


def on_core(priority: int) -> list[str | Path]:
    """How a program is started on the core that is measured, before what else the machine does."""
    return ["taskset", "-c", str(max(os.sched_getaffinity(0))), "chrt", "-f", str(priority)]


def ready(process: Process, word: str) -> None:
    """Wait until a program says that it is."""

    def said() -> bool:
        process.require_running()
        return word in process.output()

    wait_until(said, 60.0, what=f"{word!r} of a program")


def send(packet: bytes) -> None:
    """Send an IP packet from here."""
    family = socket.AF_INET if packet[0] >> 4 == 4 else socket.AF_INET6
    ends = packet[16:20] if family == socket.AF_INET else packet[24:40]
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(packet, (socket.inet_ntop(family, ends), 0))


@contextlib.contextmanager
def network(flow: Flow, inward: bool, ways: int) -> Iterator[Net]:
    """Three hosts in a row, the router's work on its core."""
    with Lab("spinat_bench") as lab:
        client, router, peer = lab.host("client"), lab.router("router"), lab.host("peer")
        lab.link(client, "eth0", router, INSIDE_DEVICE)
        lab.link(router, OUTSIDE_DEVICE, peer, "eth0")
        client.address("eth0", f"{CLIENT[4]}/24", f"{CLIENT[6]}/64")
        router.address(INSIDE_DEVICE, f"{INSIDE[4]}/24", f"{INSIDE[6]}/64")
        router.address(OUTSIDE_DEVICE, f"{OUTSIDE[4]}/24", f"{OUTSIDE[6]}/64")
        peer.address("eth0", f"{PEER[4]}/24", f"{PEER[6]}/64")
        for host, gateways in ((client, INSIDE), (peer, OUTSIDE)):
            host.route("default", gateways[4])
            host.route("default6", gateways[6])
        for family in (4, 6):
            client.ping(INSIDE[family], count=1)
            router.ping(PEER[family], count=1)
        net = Net(client, router, peer, flow, inward, ways, lab.directory)
        with dropped(net.sink, "eth0"):
            yield net


@contextlib.contextmanager
def dropped(host: Host, device: str) -> Iterator[None]:
    """Drop what comes in at a device as soon as it has been counted."""
    program = load(CLASSIFIER, [(0xB7, 0, 0, 0, TCX_DROP), (0x95, 0, 0, 0, 0)])
    link = host.call(attach, program, host.index(device), TCX_INGRESS)
    try:
        yield
    finally:
        os.close(link)
        os.close(program)


def arrived(host: Host) -> int:
    """Packets that a host's device has had."""
    text = host.call(Path("/proc/thread-self/net/dev").read_text)
    line = next(line for line in text.splitlines() if line.strip().startswith("eth0:"))
    return int(line.partition(":")[2].split()[1])


def came_in(net: Net) -> int:
    """Packets that the router's first rule has seen."""
    command = [TABLES[net.flow.came.family], "-w", "-t", "raw", "-vxnL", "PREROUTING"]
    return int(net.router.run(command).stdout.splitlines()[2].split()[0])


def flood(net: Net, name: str) -> float:
    """Packets a second that one of them passes on."""
    flow, family = net.flow, net.flow.came.family
    ends = (CLIENT, PEER)
    if net.inward:
        ends = (PEER, CLIENT if name in UNMAPPED else OUTSIDE)

    def counted() -> int:
        return came_in(net) if name == ALONE else arrived(net.sink)

    command: list[str | Path] = [*on_core(1), sys.executable, "-m", "measures.esp_flood"]
    command += [net.devices[0], *(end[family] for end in ends)]
    command += [flow.came.framing, str(flow.octets), str(TRAFFIC_WAYS)]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    process = net.router.popen(command, name="flood", environment=environment)
    ready(process, "sending")
    time.sleep(WARM_S)
    begin, before = time.monotonic(), counted()
    time.sleep(WINDOW_S)
    after, end = counted(), time.monotonic()
    process.kill()
    return (after - before) / (end - begin)


@contextlib.contextmanager
def turn(lock: Path | None) -> Iterator[None]:
    """Hold the lock of those who measure on this machine."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


Runs = dict[Flow, dict[str, list[float]]]
"""Packets a second by flow and contestant, one for each round."""


def ratio(runs: Runs, flow: Flow, of: str, to: str) -> float | None:
    """The median of those of each round, to what packets that come in alike reach."""
    values, bases = runs[flow].get(of), runs.get(flow.like, {}).get(to)
    if not values or not bases:
        return None
    return statistics.median(a / b for a, b in zip(values, bases, strict=True))


def table(runs: Runs) -> Table:
    """Medians with least and greatest, and medians of the ratios."""
    shown = Table(title="Packets a second on one core, in thousands", title_style="bold")
    for n, heading in enumerate(("path", "packets", "kpps", "of masquerade", "of one at a time")):
        shown.add_column(heading, justify="left" if n < 2 else "right", no_wrap=True)
    for flow, by_path in runs.items():
        for path, values in by_path.items():
            least, middle, greatest = (
                round(function(values) / 1e3) for function in (min, statistics.median, max)
            )
            ratios = [ratio(runs, flow, path, base) for base in BASES]
            cells = ["-" if one is None else f"{one:.2f}" for one in ratios]
            style = "bold cyan" if path.startswith("hipgw") else ""
            shown.add_row(path, str(flow), f"{middle} ({least}-{greatest})", *cells, style=style)
        shown.add_section()
    return shown


def bar(runs: Runs) -> list[str]:
    """What is missed of what is asked for, in words."""
    missed = []
    for flow in runs:
        for base, wanted in BASES.items():
            both = [ratio(runs, flow, one, base) for one in OWN]
            reached = [one for one in both if one is not None]
            if len(reached) == len(OWN) and (best := max(reached)) < wanted:
                missed.append(f"{flow}: {best:.2f} of {base}, not {wanted:g}")
    return missed


def main() -> int:
    """Measure, print, write, and say by the status whether it is as much as asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", type=int, default=20_000, help="associations in the table")
    parser.add_argument("--octets", type=int, nargs="+", default=[64, 1400], help="of ESP")
    parser.add_argument("--families", type=int, nargs="+", choices=[4, 6], default=[4, 6])
    parser.add_argument("--framing", nargs="+", choices=["plain", "udp"], default=["plain", "udp"])
    parser.add_argument("--sides", choices=["same", "other", "all"], default="all")
    parser.add_argument("--inward", action="store_true", help="what correspondents send")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--lock", type=Path, help="a file to hold (flock) during each turn")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    ways = max(options.ways, TRAFFIC_WAYS)
    sides = [Side(family, framing) for family in (4, 6) for framing in ("plain", "udp")]
    flows = [
        Flow(came, goes, octets)
        for came in sides
        if came.family in options.families and came.framing in options.framing
        for goes in sides
        if options.sides == "all" or (came == goes) == (options.sides == "same")
        for octets in options.octets
    ]
    runs: Runs = {flow: {} for flow in flows}
    for number in range(options.rounds):
        for flow in flows:
            for name in options.only:
                if flow != flow.like and name not in OWN:
                    continue
                with turn(options.lock), network(flow, options.inward, ways) as net:
                    CONTESTANTS[name](net)
                    found = flood(net, name)
                runs[flow].setdefault(name, []).append(found)
                console.print(f"{number + 1}: {flow}: {name}: {found / 1e3:.0f} kpps")
    console.print(table(runs))
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "kernel": platform.release(),
        "ways": ways,
        "inward": options.inward,
        "packets_per_s": {str(flow): by_path for flow, by_path in runs.items()},
    }
    PLACE.write_text(json.dumps(content, indent=1) + "\n")
    for line in (missed := bar(runs)):
        console.print(f"[red]{line}[/red]")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
