"""What a mobile router forwards with SPINAT, on one core, beside the kernel's masquerade.

    python bench/spinat.py [--rounds 3] [--ways 20000] [--octets 64 1400] [--lock FILE]

A client's ESP comes in at a router's device and leaves by another one. One core does everything:
it takes the packets in as from a network card, which costs hardly anything (`sender alone`), does
what the router does with them, in the kernel and in user space, and drops them at the other end.
In turns, each in new namespaces:

- sender alone: the packets are dropped as they come in
- forwarding: the kernel routes, and changes nothing but the TTL
- masquerade: the kernel routes and gives the packets its own address (iptables)
- one at a time: a netfilter queue, one packet to a recv and a verdict, given back as it was
  (`nfqueue_one.c`): what others' way costs at least
- hipgw, one at a time: the general path, taking one packet to a batch
- hipgw, queue: the general path as it is by default
- hipgw, eBPF: the fast path

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
from measures.esp_flood import CLIENT, PEER
from measures.spinat_router import INSIDE_DEVICE, OUTSIDE, OUTSIDE_DEVICE, QUEUE

HERE = Path(__file__).parent
PLACE = ROOT / "build" / "bench" / "spinat.json"
INSIDE = {4: "10.0.0.1", 6: "fd00:1::1"}
TABLES = {4: "iptables", 6: "ip6tables"}
WARM_S, WINDOW_S = 0.15, 0.5
TRAFFIC_WAYS = 1024
TCX_DROP = 2


@dataclass(frozen=True)
class Shape:
    """What the packets look like."""

    family: int
    framing: str
    octets: int

    def __str__(self) -> str:
        return f"IPv{self.family}{' UDP' if self.framing == 'udp' else ''}, {self.octets}"


@dataclass
class Net:
    """A client, its router and a correspondent."""

    client: Host
    router: Host
    peer: Host
    shape: Shape
    ways: int
    directory: Path

    def rule(self, *words: str) -> None:
        """A rule of the router's firewall."""
        self.router.run([TABLES[self.shape.family], "-w", *words])

    def diverted(self) -> None:
        """Have the router queue what comes in, as hipgw does."""
        where = f"-t raw -A PREROUTING -i {INSIDE_DEVICE}"
        self.rule(*f"{where} -j NFQUEUE --queue-num {QUEUE} --queue-bypass".split())

    def started(self, command: Sequence[str | Path], name: str) -> None:
        """Start what takes the packets."""
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        process = self.router.popen([*on_core(2), *command], name=name, environment=environment)
        ready(process, "ready")

    def hipgw(self, batch: int, kind: str) -> None:
        """hipgw's path."""
        command = [sys.executable, "-m", "measures.spinat_router", str(self.shape.family)]
        command += [self.shape.framing, str(self.ways), str(batch), kind]
        self.started(command, "path")


def sender_alone(net: Net) -> None:
    """Drop all of it."""
    net.rule(*f"-t raw -A PREROUTING -i {INSIDE_DEVICE} -j DROP".split())


def forwarding(net: Net) -> None:
    """Nothing has to be done."""


def masquerade(net: Net) -> None:
    """The rule that everybody has."""
    net.rule(*f"-t nat -A POSTROUTING -o {OUTSIDE_DEVICE} -j MASQUERADE".split())


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
ALONE, QUEUED, FAST = "sender alone", "hipgw, queue", "hipgw, eBPF"


def on_core(priority: int) -> list[str | Path]:
    """How a program is started on the core that is measured, before what else the machine does."""
    return ["taskset", "-c", str(max(os.sched_getaffinity(0))), "chrt", "-f", str(priority)]


def ready(process: Process, word: str) -> None:
    """Wait until a program says that it is."""

    def said() -> bool:
        process.require_running()
        return word in process.output()

    wait_until(said, 60.0, what=f"{word!r} of a program")


@contextlib.contextmanager
def network(shape: Shape, ways: int) -> Iterator[Net]:
    """Three hosts in a row, the router's work on its core."""
    with Lab("spinat_bench") as lab:
        client, router, peer = lab.host("client"), lab.router("router"), lab.host("peer")
        lab.link(client, "eth0", router, INSIDE_DEVICE)
        lab.link(router, OUTSIDE_DEVICE, peer, "eth0")
        client.address("eth0", f"{CLIENT[4]}/24", f"{CLIENT[6]}/64")
        router.address(INSIDE_DEVICE, f"{INSIDE[4]}/24", f"{INSIDE[6]}/64")
        router.address(OUTSIDE_DEVICE, f"{OUTSIDE[4]}/24", f"{OUTSIDE[6]}/64")
        peer.address("eth0", f"{PEER[4]}/24", f"{PEER[6]}/64")
        for destination, via in (("default", OUTSIDE[4]), ("default6", OUTSIDE[6])):
            peer.route(destination, via)
        client.ping(INSIDE[4], count=1)
        router.ping(PEER[shape.family], count=1)
        with dropped(peer, "eth0"):
            yield Net(client, router, peer, shape, ways, lab.directory)


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


def arrived(net: Net) -> int:
    """Packets that the correspondent's device has had."""
    text = net.peer.call(Path("/proc/thread-self/net/dev").read_text)
    line = next(line for line in text.splitlines() if line.strip().startswith("eth0:"))
    return int(line.partition(":")[2].split()[1])


def came_in(net: Net) -> int:
    """Packets that the router's first rule has seen."""
    command = [TABLES[net.shape.family], "-w", "-t", "raw", "-vxnL", "PREROUTING"]
    return int(net.router.run(command).stdout.splitlines()[2].split()[0])


def flood(net: Net, counted: Callable[[Net], int]) -> float:
    """Packets a second that are counted there."""
    shape = net.shape
    command: list[str | Path] = [*on_core(1), sys.executable, "-m", "measures.esp_flood"]
    command += [INSIDE_DEVICE, str(shape.family), shape.framing, str(shape.octets)]
    command += [str(TRAFFIC_WAYS)]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    process = net.router.popen(command, name="flood", environment=environment)
    ready(process, "sending")
    time.sleep(WARM_S)
    begin, before = time.monotonic(), counted(net)
    time.sleep(WINDOW_S)
    after, end = counted(net), time.monotonic()
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


Runs = dict[str, dict[str, list[float]]]
"""Packets a second by shape and contestant, one for each round."""


def ratio(runs: dict[str, list[float]], of: str, to: str) -> list[float]:
    """Of each round."""
    return [a / b for a, b in zip(runs[of], runs[to], strict=True)]


def table(runs: Runs) -> Table:
    """Medians with least and greatest, and medians of the ratios."""
    shown = Table(title="Packets a second on one core, in thousands", title_style="bold")
    for n, heading in enumerate(("path", "packets", "kpps", "of masquerade", "of one at a time")):
        shown.add_column(heading, justify="left" if n < 2 else "right", no_wrap=True)
    for shape, by_path in runs.items():
        for path, values in by_path.items():
            least, middle, greatest = (
                round(function(values) / 1e3) for function in (min, statistics.median, max)
            )
            ratios = [
                f"{statistics.median(ratio(by_path, path, base)):.2f}" if base in by_path else "-"
                for base in ("masquerade", "one at a time")
            ]
            style = "bold cyan" if path.startswith("hipgw") else ""
            shown.add_row(path, shape, f"{middle} ({least}-{greatest})", *ratios, style=style)
        shown.add_section()
    return shown


def bar(runs: Runs) -> list[str]:
    """What is missed of what is asked for, in words."""
    missed = []
    for shape, by_path in runs.items():
        for base, wanted in (("masquerade", 0.5), ("one at a time", 3.0)):
            if {QUEUED, FAST, base} <= set(by_path):
                paths = (statistics.median(ratio(by_path, one, base)) for one in (QUEUED, FAST))
                if (best := max(paths)) < wanted:
                    missed.append(f"{shape}: {best:.2f} of {base}, not {wanted:g}")
    return missed


def main() -> int:
    """Measure, print, write, and say by the status whether it is as much as asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", type=int, default=20_000, help="associations in the table")
    parser.add_argument("--octets", type=int, nargs="+", default=[64, 1400], help="of ESP")
    parser.add_argument("--families", type=int, nargs="+", choices=[4, 6], default=[4, 6])
    parser.add_argument("--framing", nargs="+", choices=["plain", "udp"], default=["plain", "udp"])
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--lock", type=Path, help="a file to hold (flock) during each turn")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    ways = max(options.ways, TRAFFIC_WAYS)
    shapes = [
        Shape(family, framing, octets)
        for family in options.families
        for framing in options.framing
        for octets in options.octets
    ]
    runs: Runs = {str(shape): {name: [] for name in options.only} for shape in shapes}
    for number in range(options.rounds):
        for shape in shapes:
            for name in options.only:
                with turn(options.lock), network(shape, ways) as net:
                    CONTESTANTS[name](net)
                    found = flood(net, came_in if name == ALONE else arrived)
                runs[str(shape)][name].append(found)
                console.print(f"{number + 1}: {shape}: {name}: {found / 1e3:.0f} kpps")
    console.print(table(runs))
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    content = {"kernel": platform.release(), "ways": ways, "packets_per_s": runs}
    PLACE.write_text(json.dumps(content, indent=1) + "\n")
    for line in (missed := bar(runs)):
        console.print(f"[red]{line}[/red]")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
