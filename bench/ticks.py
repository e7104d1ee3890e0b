"""Sends numbered datagrams at a steady pace and notes those that come in; for handovers.py.

    ticks.py OWN OTHER PORT INTERVAL_S FILE

Until SIGTERM; then FILE gets a line for each: "sent" or "came", number, time.monotonic().
"""

import contextlib
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path


def main() -> None:
    """See above."""
    own, other, port, interval_s, file = sys.argv[1:]
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    sent: list[tuple[int, float]] = []
    came: list[tuple[int, float]] = []
    ended = False

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((own, int(port)))
        sock.setblocking(False)
        due = time.monotonic()
        while not ended:
            now = time.monotonic()
            if now >= due:
                # Nobody may listen yet, or the way is broken just now.
                with contextlib.suppress(OSError):
                    sock.sendto(struct.pack("!I", len(sent)), (other, int(port)))
                sent.append((len(sent), now))
                due += float(interval_s)
                continue
            if select.select([sock], [], [], due - now)[0]:
                with contextlib.suppress(OSError):
                    data = sock.recv(100)
                    came.append((struct.unpack("!I", data)[0], time.monotonic()))
    lines = [f"sent {n} {at}" for n, at in sent] + [f"came {n} {at}" for n, at in came]
    Path(file).write_text("\n".join(lines))


if __name__ == "__main__":
    main()
