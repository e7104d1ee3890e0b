"""The process in the middle of a lossy link: carries frames between two TAP interfaces.

Started by `LossyLink` with both descriptors and a socket for orders. A process of its own, so that
neither what the lab does nor its Python lock delays frames.
"""

import contextlib
import json
import os
import select
import socket
import sys
import time

from hipgw.lab.impairment import Direction, Impairment

_LARGEST_FRAME = 1 << 16
_BATCH = 64


def run(taps: tuple[int, int], orders: socket.socket, seed: str) -> None:
    """Carry frames until the other end of *orders* is closed."""
    both = tuple(Direction(Impairment(), f"{seed}-{n}") for n in (0, 1))
    orders.setblocking(False)
    watched = [*taps, orders.fileno()]
    while True:
        times = [when for one in both if (when := one.next_time()) is not None]
        wait_s = max(0.0, min(times) - time.monotonic()) if times else None
        # select() for its microseconds: poll() and epoll count milliseconds.
        readable, _, _ = select.select(watched, [], [], wait_s)
        if orders.fileno() in readable and not _obey(orders, both):
            return
        for tap, direction in zip(taps, both, strict=True):
            if tap in readable:
                with contextlib.suppress(BlockingIOError):
                    for _ in range(_BATCH):
                        direction.take(os.read(tap, _LARGEST_FRAME), time.monotonic())
        now = time.monotonic()
        for tap, direction in zip(reversed(taps), both, strict=True):
            for frame in direction.due(now):
                # An interface that is down takes none.
                with contextlib.suppress(OSError):
                    os.write(tap, frame)


def _obey(orders: socket.socket, both: tuple[Direction, ...]) -> bool:
    """Take one order and answer it; False at the end."""
    order = orders.recv(1 << 16)
    if not order:
        return False
    request = json.loads(order)
    for direction in both:
        if request:
            direction.impairment = Impairment(**request)
    orders.send(json.dumps([direction.counts for direction in both]).encode())
    return True


def main() -> None:
    """Entry point: descriptors of both TAPs and of the socket for orders, and the seed."""
    near, far, orders, seed = sys.argv[1:]
    with socket.socket(fileno=int(orders)) as sock:
        run((int(near), int(far)), sock, seed)


if __name__ == "__main__":
    main()
