"""Datagrams: as many small ones as arrive, and large ones as fast as none get lost."""

import json
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from contestants import Ends
from hipgw.errors import LabError
from measures.listening import PORT, drain, wait_bound

DATAGRAMS = Path(__file__).parents[1] / "datagrams.py"
SKIP_S = 0.25
"""What the first datagrams find differs: caches are cold, queues empty."""
SMALL = 64
"""Octets of payload, as with `iperf3 -l 64`."""
OFFERED = (2.0, 1.2)
"""Rates to offer after the flood, as multiples of what arrived of it."""
LARGE = 1400
"""Octets of an IP packet: it fits every contestant's tunnel without being cut."""
LOSS_LIMIT = 0.001
WINDOW_S = 0.4
WINDOWS = 7
"""Of the search for the highest rate without loss, the flood included."""
HOPEFUL = 0.02
"""A rate that loses less than this is tried again: it may have been a hiccup of the machine."""


def udp64(ends: Ends, seconds: float) -> dict[str, float]:
    """64-byte datagrams that arrive, in thousands a second, at the offered rate that suits best.

    A flood comes first: as much as one sender can. Some tunnels get less done under a flood than
    under a load they can carry, so gentler rates follow and the best result counts.
    """
    window_s = seconds / (1 + len(OFFERED))
    best = flood = _arriving(ends, window_s, 0.0)
    if not flood:
        raise LabError(f"None of the datagrams arrived at {ends.address}.")
    for factor in OFFERED:
        best = max(best, _arriving(ends, window_s, flood * factor))
    return {"udp64_kpps": best / 1e3}


def udp1400(ends: Ends) -> dict[str, float]:
    """The highest rate that arrives but for 0.1 %, in Gb/s of IP packets, and what is lost of it.

    What arrives of a flood shows where to look; then the distance between the highest rate that
    held and the lowest that did not is halved.
    """
    payload = LARGE - (28 if ip_address(ends.address).version == 4 else 48)
    offered, arrived = _window(ends, payload, 0.0)
    best, best_loss = offered, 1 - arrived / offered
    if best_loss >= LOSS_LIMIT:
        best, low, high, rate = 0.0, 0.0, min(offered, arrived * 1.2), arrived * 0.8
        tried: set[float] = set()
        for _ in range(WINDOWS - 1):
            offered, arrived = _window(ends, payload, rate)
            loss = 1 - arrived / offered
            if loss < LOSS_LIMIT:
                low, best, best_loss = rate, offered, loss
            elif loss < HOPEFUL and rate not in tried:
                tried.add(rate)
                continue
            else:
                high = rate
            rate = (low + high) / 2 if low else high * 0.6
    return {
        "udp1400_gbps": best * LARGE * 8 / 1e9,
        "udp1400_loss_percent": max(best_loss, 0.0) * 100,
    }


def _arriving(ends: Ends, window_s: float, rate: float) -> float:
    """Small datagrams a second that arrive when *rate* a second are offered (0: all that go)."""
    counted, _ = _exchange(
        ends,
        ["receive", SMALL, SKIP_S, window_s],
        ["send", SMALL, SKIP_S + window_s + 0.2, round(rate)],
    )
    drain()
    return float(counted["packets"]) / float(counted["seconds"])


def _window(ends: Ends, payload: int, rate: float) -> tuple[float, float]:
    """Datagrams a second that were offered, and that arrived of these."""
    counted, sent = _exchange(ends, ["count", payload], ["send", payload, WINDOW_S, round(rate)])
    return sent["packets"] / sent["seconds"], counted["packets"] / sent["seconds"]


def _exchange(
    ends: Ends, receiver: list[str | int | float], sender: list[str | int | float]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the receiver and the sender report."""
    own: list[str | Path] = [sys.executable, "-S", DATAGRAMS]
    what, *options = map(str, receiver)
    counter = ends.server.popen([*own, what, str(PORT), *options])
    try:
        wait_bound(ends, "-u")
        what, *options = map(str, sender)
        done = ends.client.run([*own, what, ends.address, str(PORT), *options], timeout_s=60)
        counter.wait(15.0)
    finally:
        counter.stop()
    return json.loads(counter.output()), json.loads(done.stdout)
