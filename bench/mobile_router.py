"""A mobile router moves among four networks while its clients have data under way.

    python bench/mobile_router.py [--count 50] [--rtt 0.02] [--carrier same]

Three clients inside (IPv4, IPv6, both), two correspondents outside, one of HIPv1 by IP protocols
139 and 50, one of HIPv2 in UDP. The router goes from one network to another: IPv4 alone, IPv6
alone, both, behind a NAT. Half of the moves are made before the old network is left, half are
without any for 0.2 s. Meanwhile every client has a TCP connection of which every octet is compared,
and with each correspondent numbered datagrams through ESP, one each 10 ms in either direction.

Printed for each correspondent, from the clients to it and back, over all clients and moves:

- datagrams that are missing around a move, of each client;
- after a move without any network for a while: from the moment at which the new addresses are
  usable to the first datagram that comes in, also in round trips;
- the longest time without a datagram.

And at the end for each of the twelve moves among the networks what it costs. The status is that all
octets of the TCP connections came, and datagrams after each move in every direction.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handovers import line
from hipgw.errors import LabError
from hipgw.lab import Lab
from hipgw.lab.beats import Beats, Ticks, beats
from hipgw.lab.mobile_router import ROUND, MovingNetwork, Spot

SETTLE_S = 1.0
GAP_S = 0.2
LOOK_S = 30.0
INTERVAL_S = 0.01


@dataclass
class Move:
    """One move of the router."""

    before: Spot
    after: Spot
    make_first: bool
    began: float
    usable: float
    settled: float
    """When something had come in every direction, or was no longer waited for."""
    silent: list[str]
    """Directions in which nothing came."""

    @property
    def name(self) -> str:
        """From where to where."""
        return f"{self.before} to {self.after}"


@dataclass
class Figures:
    """Of one direction of a correspondent: one for each move and client."""

    lost: list[int]
    longest: list[float | None]
    first: list[float | None]


def main() -> int:
    """Measure and print; 0 if nothing was torn off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50, help="moves")
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--rtt", type=float, default=0.02, help="added round-trip time, in seconds")
    parser.add_argument("--carrier", choices=["same", "udp", "plain"], default="same")
    parser.add_argument("--path", choices=["auto", "nfqueue"], default="auto")
    parser.add_argument("--no-tickets", action="store_true", help="clients tell their peers")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    options = parser.parse_args()
    own = {"carrier_outside": options.carrier, "path": options.path}
    if options.no_tickets:
        own["tickets"] = False
    with Lab("mobile_router_bench") as lab:
        network = MovingNetwork(
            lab,
            clients=options.clients,
            delay_s=options.rtt / 2,
            router_tables={"mobile_router": own},
        )
        network.start()
        network.connect()
        print(
            f"== {options.count} moves, {options.clients} clients, 2 correspondents,"
            f" {options.rtt * 1e3:g} ms round trip added =="
        )
        torn = ""
        with beats(network.pairs(), INTERVAL_S) as running:
            try:
                with network.streams():
                    running.wait(time.monotonic())
                    moves = run(network, running, options.count)
            except LabError as error:
                torn = str(error)
            time.sleep(SETTLE_S)
        closed = network.closed()
    report(moves, running)
    if options.json is not None:
        options.json.write_text(json.dumps(by_move(moves, running), indent=1))
    silent = [f"{move.name}: {', '.join(move.silent)}" for move in moves if move.silent]
    for problem in (*([torn] if torn else ()), *closed, *silent):
        print(f"FAILED: {problem}")
    return bool(torn or closed or silent)


def run(network: MovingNetwork, running: Beats, count: int) -> list[Move]:
    """Move about."""
    (router,) = network.routers
    moves = []
    here: Spot = "dual0"
    for n in range(count):
        time.sleep(SETTLE_S)
        there = ROUND[n % len(ROUND)]
        make_first = (n + n // len(ROUND)) % 2 == 1
        began = time.monotonic()
        usable = router.place.go(there, make_first=make_first, gap_s=GAP_S)
        silent = []
        try:
            running.wait(usable, LOOK_S)
        except LabError:
            silent = running.silent(usable)
        moves.append(Move(here, there, make_first, began, usable, time.monotonic(), silent))
        here = there
    return moves


def directions(running: Beats) -> dict[str, list[Ticks]]:
    """Those of all clients by correspondent and way."""
    found: dict[str, list[Ticks]] = defaultdict(list)
    for pair, up, down in zip(running.pairs, running.up, running.down, strict=True):
        found[f"to {pair.far.name}"].append(up)
        found[f"from {pair.far.name}"].append(down)
    return found


def figures(moves: Sequence[Move], ticks: Sequence[Ticks]) -> Figures:
    """What the moves did to some directions."""
    found = Figures([], [], [])
    for move in moves:
        for one in ticks:
            span = (move.began - 0.1, move.settled + SETTLE_S - 0.2)
            found.lost.append(one.missing(*span))
            found.longest.append(one.longest(*span))
            if not move.make_first:
                found.first.append(one.first_after(move.usable, LOOK_S))
    return found


def report(moves: list[Move], running: Beats) -> None:
    """Print what the moves did to the datagrams."""
    made = [move for move in moves if move.make_first]
    broken = [move for move in moves if not move.make_first]
    for way, ticks in directions(running).items():
        for kind, those in (("make before break", made), ("break before make", broken)):
            found = figures(those, ticks)
            line(kind, way, "datagrams lost", found.lost, "")
            line(kind, way, "longest silence", found.longest, "ms")
            if found.first:
                line(kind, way, "usable to first", found.first, "ms")
    print()
    for name, one in by_move(moves, running).items():
        print(
            f"{name:30} {one['moves']:3} moves; lost of each client and way: median"
            f" {one['lost_median']:5.1f} max {one['lost_max']:5}; silence: median"
            f" {one['silence_median_ms']:7.1f} max {one['silence_max_ms']:7.1f} ms"
        )


def by_move(moves: list[Move], running: Beats) -> dict[str, dict[str, float]]:
    """The same for each pair of networks and manner, over all directions."""
    everything = [*running.up, *running.down]
    found = {}
    for name in dict.fromkeys((move.name, move.make_first) for move in moves):
        those = [move for move in moves if (move.name, move.make_first) == name]
        got = figures(those, everything)
        silence = [1e3 * one for one in got.longest if one is not None]
        found[f"{name[0]}, {'make' if name[1] else 'break'} first"] = {
            "moves": len(those),
            "lost_median": statistics.median(got.lost),
            "lost_max": max(got.lost),
            "silence_median_ms": statistics.median(silence),
            "silence_max_ms": max(silence),
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
