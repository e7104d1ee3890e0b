"""TCP connections that go on while something happens to the path; every octet is compared."""

import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hipgw.errors import LabError
from hipgw.lab.host import Host

PORT = 7000
CHUNK = 4096
PAUSE_S = 0.002
"""Between chunks: about 2 MB/s each way, which also a debug build carries."""
PATIENCE_S = 30.0


class Stream:
    """One TCP connection with pseudo-random data both ways, until it is told to end."""

    def __init__(
        self, client: socket.socket, server: socket.socket, pause_s: float = PAUSE_S
    ) -> None:
        self._pause_s = pause_s
        self._end = threading.Event()
        self._errors: list[BaseException] = []
        self._digests: dict[str, str] = {}
        self.octets = {"up": 0, "down": 0}
        """What has come in so far."""
        self._last = {"up": time.monotonic(), "down": time.monotonic()}
        self.longest_s = {"up": 0.0, "down": 0.0}
        """The longest time in which nothing came in."""
        pairs = (("up", client, server), ("down", server, client))
        self._threads = [
            threading.Thread(target=self._guard, args=(work, name, sock), daemon=True)
            for name, sender, receiver in pairs
            for work, sock in ((self._send, sender), (self._receive, receiver))
        ]
        for thread in self._threads:
            thread.start()

    def progresses(self) -> bool:
        """Whether data still arrives both ways: waits for 100 kB each."""
        wanted = {name: count + 100_000 for name, count in self.octets.items()}
        limit = time.monotonic() + PATIENCE_S
        while any(self.octets[name] < count for name, count in wanted.items()):
            if self._errors or time.monotonic() > limit:
                return False
            time.sleep(0.005)
        return True

    def finish(self) -> None:
        """End it in order; everything that was sent has to have come in, and nothing else.

        Raises LabError if it did not, or if the connection broke.
        """
        self._end.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            if thread.is_alive():
                raise LabError("The stream hangs.")
        if self._errors:
            raise LabError(f"The stream broke: {self._errors[0]!r}.") from self._errors[0]
        for name in ("up", "down"):
            if self._digests[f"sent {name}"] != self._digests[f"received {name}"]:
                raise LabError(f"What the stream carried {name} is not what was sent.")

    def _guard(
        self, work: Callable[[str, socket.socket], None], name: str, sock: socket.socket
    ) -> None:
        try:
            work(name, sock)
        except BaseException as error:
            self._errors.append(error)

    def _send(self, name: str, sock: socket.socket) -> None:
        digest = hashlib.sha256()
        source = random.Random(name)  # noqa: S311 - any data will do
        while not self._end.is_set():
            chunk = source.randbytes(CHUNK)
            digest.update(chunk)
            sock.sendall(chunk)
            time.sleep(self._pause_s)
        sock.shutdown(socket.SHUT_WR)
        self._digests[f"sent {name}"] = digest.hexdigest()

    def _receive(self, name: str, sock: socket.socket) -> None:
        digest = hashlib.sha256()
        while data := sock.recv(1 << 16):
            now = time.monotonic()
            self.longest_s[name] = max(self.longest_s[name], now - self._last[name])
            self._last[name] = now
            digest.update(data)
            self.octets[name] += len(data)
        self._digests[f"received {name}"] = digest.hexdigest()


@contextmanager
def stream(
    client: Host, server: Host, address: str, *, port: int = PORT, pause_s: float = PAUSE_S
) -> Iterator[Stream]:
    """A running stream; checked at the end of the block.

    Each way has 4 KiB every *pause_s* at most.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen() -> socket.socket:
        return socket.create_server((address, port), family=family)

    def connect() -> socket.socket:
        return socket.create_connection((address, port), PATIENCE_S)

    with server.call(listen) as listener:
        listener.settimeout(PATIENCE_S)
        with client.call(connect) as near, listener.accept()[0] as far:
            for sock in (near, far):
                sock.settimeout(PATIENCE_S)
            running = Stream(near, far, pause_s)
            yield running
            running.finish()
