"""Handovers in a row while data flows: how long is it interrupted, and what is lost?

    python bench/handovers.py [--count 100] [--rtt 0.02] [--role endbox]

Two gateways in network namespaces; the first one takes another address again and again: on the
same uplink, on the other one, of the other IP version. Half of the moves make the new address
before the old one goes, half are without any address for a while. Meanwhile numbered datagrams run
both ways, one each two milliseconds, and a TCP connection of which every octet is compared. All of
it twice: over a good core network, and over one that loses 2 % of the frames each way and reorders
2 %, both times with the same delay.

Printed for each kind of move, and each way:

- make before break: datagrams that are missing around the move (on the bad core also those that
  the core lost), and the longest time in which none came in;
- break before make: from the moment at which the new address is usable to the first datagram that
  comes in, beside the round-trip time. One way and one packet are the least: the peer has to be
  told, by UPDATE.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hipgw.lab import Impairment, Lab
from hipgw.lab.beats import Ticks
from hipgw.lab.host import Host
from hipgw.lab.process import Process
from hipgw.lab.roaming import RoamingNetwork, roaming_pair
from hipgw.lab.stream import stream

TICKS = Path(__file__).with_name("ticks.py")
PORT = 7100
INTERVAL_S = 0.002
SETTLE_S = 0.5
"""Before and after each move; more than any handover needs that goes well."""
GAP_S = 0.2
LOOK_S = 5.0
"""How long after a move a first datagram is looked for."""
MOVES: tuple[dict[str, Any], ...] = (
    {},
    {"uplink": "wwan0"},
    {"family": 6},
    {"uplink": "wan0"},
    {},
    {"family": 4},
)


@dataclass
class Move:
    """One handover."""

    make_first: bool
    began: float
    usable: float
    ended: float


def main() -> int:
    """Measure, print, and say by the status whether every octet of the TCP connections came."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="moves under each condition")
    parser.add_argument("--rtt", type=float, default=0.02, help="added round-trip time, in seconds")
    parser.add_argument("--role", choices=["endbox", "host"], default="endbox")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    delay_s, share = options.rtt / 2, 0.02
    conditions = {
        "a good core": Impairment(delay_s=delay_s),
        "2 % lost, 2 % reordered": Impairment(delay_s=delay_s, loss=share, reorder=share),
    }
    for name, impairment in conditions.items():
        print(f"== {options.count} handovers, {name}, round trip {options.rtt * 1e3:g} ms ==")
        with Lab("handovers") as lab:
            network = roaming_pair(lab, options.role, impairment=impairment, seed=options.seed)
            report(*run(network, options.count, options.seed))
    return 0


def run(network: RoamingNetwork, count: int, seed: int) -> tuple[list[Move], Ticks, Ticks, float]:
    """The moves, the datagrams each way, and the round-trip time on the way in milliseconds."""
    network.start(wait=False)
    network.connect()
    near, far = network.ends
    addresses = own_address(network, 0), network.target
    rtt_ms = statistics.median(near.ping(addresses[1], count=20, interval_s=0.05).times_ms)
    ends = [
        tick(near, addresses[0], addresses[1], network.lab.directory / "near"),
        tick(far, addresses[1], addresses[0], network.lab.directory / "far"),
    ]
    mover, moves = network.roamers[0], []
    pick = random.Random(seed)
    with stream(near, far, addresses[1]) as running:
        for n in range(count):
            time.sleep(SETTLE_S + pick.random() * 0.1)
            began = time.monotonic()
            make_first = n % 2 == 0
            move = MOVES[n % len(MOVES)]
            usable = mover.go(**move, make_first=make_first, gap_s=GAP_S)
            moves.append(Move(make_first, began, usable, time.monotonic()))
        assert running.progresses()
    time.sleep(SETTLE_S)
    for end in ends:
        end.stop()
    sent_near, came_near = read(network.lab.directory / "near")
    sent_far, came_far = read(network.lab.directory / "far")
    return moves, Ticks(sent_near, came_far), Ticks(sent_far, came_near), rtt_ms


def own_address(network: RoamingNetwork, number: int) -> str:
    site = network.sites[number]
    return site.lan4 if site.lan_host is not None else str(site.daemon.hit)


def tick(host: Host, own: str, other: str, file: Path) -> Process:
    arguments = [own, other, str(PORT), str(INTERVAL_S), str(file)]
    return host.popen([sys.executable, TICKS, *arguments], name="ticks")


def read(file: Path) -> tuple[dict[int, float], dict[int, float]]:
    found: dict[str, dict[int, float]] = {"sent": {}, "came": {}}
    for line in file.read_text().splitlines():
        what, number, at = line.split()
        found[what].setdefault(int(number), float(at))
    return found["sent"], found["came"]


def report(moves: list[Move], up: Ticks, down: Ticks, rtt_ms: float) -> None:
    """Print what the moves did to the datagrams."""
    print(f"round trip through the tunnel, measured: {rtt_ms:.1f} ms")
    directions = {"from the mover": up, "to the mover": down}
    make = [move for move in moves if move.make_first]
    for name, ticks in directions.items():
        span = [(move.began - 0.1, move.ended + SETTLE_S - 0.1) for move in make]
        lost = [ticks.missing(*one) for one in span]
        sent = sum(one[1] - one[0] for one in span) / INTERVAL_S
        line("make before break", name, "datagrams lost", lost, "")
        print(f"{'':>58} {sum(lost) / sent if sent else 0:.2%} of all in that time")
        longest = [ticks.longest(*one) for one in span]
        line("make before break", name, "longest silence", longest, "ms")
    broken = [move for move in moves if not move.make_first]
    for name, ticks in directions.items():
        firsts = [ticks.first_after(move.usable, LOOK_S) for move in broken]
        line("break before make", name, "usable to first", firsts, "ms")
        in_rtts = [None if first is None else first * 1e3 / rtt_ms for first in firsts]
        line("break before make", name, "the same in round trips", in_rtts, "")
    print()


def line(kind: str, way: str, what: str, values: Iterable[float | None], unit: str) -> None:
    known = sorted(value for value in values if value is not None)
    never = sum(1 for value in values if value is None) if isinstance(values, list) else 0
    scale = 1e3 if unit == "ms" else 1.0
    if not known:
        print(f"{kind:18} {way:15} {what:24} nothing came in")
        return
    show: Callable[[float], str] = lambda value: f"{value * scale:8.1f}"  # noqa: E731
    p90 = known[min(len(known) - 1, int(len(known) * 0.9))]
    figures = f"median {show(statistics.median(known))}  p90 {show(p90)}  max {show(known[-1])}"
    late = f"  ({never} not within {LOOK_S:g} s)" if never else ""
    print(f"{kind:18} {way:15} {what:24} {figures} {unit}{late}")


if __name__ == "__main__":
    sys.exit(main())
