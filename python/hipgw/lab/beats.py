"""Numbered datagrams both ways at a steady pace: which of them came, and when.

What a stream repeats by itself is lost here and counted. One thread of this process sends and
receives for all pairs; the clock is that of `time.monotonic`.
"""

import contextlib
import itertools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hipgw.lab.host import Host
from hipgw.lab.waiting import wait_until

FIRST_PORT = 7200
INTERVAL_S = 0.01
PATIENCE_S = 30.0


@dataclass
class Ticks:
    """Numbered datagrams of one direction."""

    sent: dict[int, float] = field(default_factory=dict)
    came: dict[int, float] = field(default_factory=dict)
    """Number and time of each; of one that came twice, the first time."""

    def first_after(self, when: float, look_s: float) -> float | None:
        """Seconds from *when* to the first one that came in; None if none did within *look_s*."""
        later = (at for at in self.came.values() if when <= at < when + look_s)
        return min((at - when for at in later), default=None)

    def missing(self, begin: float, end: float) -> int:
        """How many of those sent in a time never came."""
        return sum(1 for n, at in self.sent.items() if begin <= at < end and n not in self.came)

    def longest(self, begin: float, end: float) -> float:
        """The longest time without one, in seconds."""
        there = [begin, *sorted(at for at in self.came.values() if begin <= at < end), end]
        return max(after - before for before, after in itertools.pairwise(there))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hosts, and the address that each has for the other's datagrams."""

    near: Host
    near_address: str
    far: Host
    far_address: str

    @property
    def name(self) -> str:
        """Of both hosts."""
        return f"{self.near.name}-{self.far.name}"


class _Sender:
    """One direction of a pair."""

    def __init__(self, sock: socket.socket, target: tuple[str, int], ticks: Ticks) -> None:
        self._sock = sock
        self._target = target
        self._ticks = ticks

    def tick(self) -> None:
        number = len(self._ticks.sent)
        self._ticks.sent[number] = time.monotonic()
        # The way may be broken just now.
        with contextlib.suppress(OSError):
            self._sock.sendto(struct.pack("!I", number), self._target)


class Beats:
    """Running datagrams; made by `beats`."""

    def __init__(self, pairs: Sequence[Pair], interval_s: float) -> None:
        self.pairs = list(pairs)
        self.up = [Ticks() for _ in pairs]
        """From the near end of each pair to the far one."""
        self.down = [Ticks() for _ in pairs]
        self._interval_s = interval_s
        self._end = threading.Event()
        self._sockets: list[socket.socket] = []
        self._senders: list[_Sender] = []
        self._selector = selectors.DefaultSelector()
        for number, pair in enumerate(pairs):
            port = FIRST_PORT + number
            near = _bound(pair.near, pair.near_address, port)
            far = _bound(pair.far, pair.far_address, port)
            self._sockets += [near, far]
            up, down = self.up[number], self.down[number]
            self._senders.append(_Sender(near, (pair.far_address, port), up))
            self._senders.append(_Sender(far, (pair.near_address, port), down))
            self._selector.register(far, selectors.EVENT_READ, up)
            self._selector.register(near, selectors.EVENT_READ, down)
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)
        self._thread.start()

    def directions(self) -> Iterator[tuple[str, Ticks]]:
        """Every direction by its name."""
        for pair, up, down in zip(self.pairs, self.up, self.down, strict=True):
            yield f"{pair.name} up", up
            yield f"{pair.name} down", down

    def silent(self, since: float) -> list[str]:
        """The directions in which nothing that was sent since then has come."""
        return [
            name
            for name, ticks in self.directions()
            if not any(ticks.sent[n] >= since for n in reversed(list(ticks.came)))
        ]

    def wait(self, since: float, timeout_s: float = PATIENCE_S) -> None:
        """Wait until something that was sent since then has come in every direction.

        Raises LabError naming those where nothing did.
        """
        limit = time.monotonic() + timeout_s
        while self.silent(since) and time.monotonic() < limit:
            time.sleep(0.02)
        silent = self.silent(since)
        wait_until(lambda: not silent, 0.0, what=f"anything by {', '.join(silent)}")

    def close(self) -> None:
        """End it; what is under way has half a second to arrive."""
        self._end.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()
        self._selector.close()

    def _run(self) -> None:
        # All at once would be a burst: each has its own time in the interval.
        gap_s = self._interval_s / len(self._senders)
        due = time.monotonic()
        for sender in itertools.cycle(self._senders):
            if self._end.is_set():
                break
            while (now := time.monotonic()) < due:
                self._receive(due - now)
            sender.tick()
            # After a pause of this process there is no catching up: it would be a burst as well.
            due = max(due + gap_s, now - self._interval_s)
        limit = time.monotonic() + 0.5
        while (now := time.monotonic()) < limit:
            self._receive(limit - now)

    def _receive(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            sock, ticks = key.fileobj, key.data
            assert isinstance(sock, socket.socket)
            with contextlib.suppress(OSError):
                while True:
                    data = sock.recv(100)
                    ticks.came.setdefault(struct.unpack("!I", data)[0], time.monotonic())


def _bound(host: Host, address: str, port: int) -> socket.socket:
    def opened() -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.setblocking(False)
        return sock

    return host.call(opened)


@contextlib.contextmanager
def beats(pairs: Sequence[Pair], interval_s: float = INTERVAL_S) -> Iterator[Beats]:
    """Datagrams between all *pairs* while the block lasts, one each *interval_s* and direction."""
    running = Beats(pairs, interval_s)
    try:
        yield running
    finally:
        running.close()
