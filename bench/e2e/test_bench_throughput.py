"""How long a fixed number of octets takes through the whole path; needs root.

Run with: pytest bench/e2e --benchmark-only

Nothing of iperf3's start is in the time: one connection stays open, and a round ends when the last
octet was read at the other end. `extra_info` has the median as throughput.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.topologies import endbox_pair, host_pair, plain_pair

OCTETS = 128 << 20
"""Of one round."""
BLOCK = 1 << 20
PORT = 5201
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Ends:
    """Between whom octets are passed."""

    client: Host
    server: Host
    address: str


def plain(lab: Lab) -> Ends:
    """The same hops without a tunnel."""
    network = plain_pair(lab)
    return Ends(network.a, network.b, network.b4)


def endbox(lab: Lab, *suites: str) -> Ends:
    """Two LANs that are bridged."""
    network = endbox_pair(lab, hip={"esp_suites": suites} if suites else {})
    network.start()
    one, two = network.sites
    return Ends(one.lan, two.lan, two.lan4)


def host(lab: Lab) -> Ends:
    """Two hosts by HIT."""
    network = host_pair(lab)
    network.start()
    one, two = network.sites
    return Ends(one.gateway, two.gateway, str(two.daemon.hit))


PATHS: dict[str, Callable[[Lab], Ends]] = {
    "plain": plain,
    "endbox": endbox,
    "endbox-cbc": lambda lab: endbox(lab, "AES-128-CBC-SHA256"),
    "endbox-chacha": lambda lab: endbox(lab, "ChaCha20-Poly1305"),
    "host": host,
}


class Stream:
    """A TCP connection with somebody who reads all that comes."""

    def __init__(self, ends: Ends) -> None:
        family = socket.AF_INET6 if ":" in ends.address else socket.AF_INET
        with ends.server.call(socket.socket, family) as listener:
            listener.bind((ends.address, PORT))
            listener.listen()
            self._sender = ends.client.call(socket.socket, family)
            self._sender.settimeout(TIMEOUT_S)
            self._sender.connect((ends.address, PORT))
            listener.settimeout(TIMEOUT_S)
            self._receiver, _ = listener.accept()
        self._receiver.settimeout(TIMEOUT_S)
        self._block = bytes(BLOCK)

    def transfer(self, octets: int) -> int:
        """Pass *octets* and return how many arrived."""
        sending = threading.Thread(target=self._send, args=(octets,))
        sending.start()
        buffer, arrived = bytearray(BLOCK), 0
        while arrived < octets and (got := self._receiver.recv_into(buffer)):
            arrived += got
        sending.join()
        return arrived

    def close(self) -> None:
        """Close both ends."""
        self._sender.close()
        self._receiver.close()

    def _send(self, octets: int) -> None:
        for _ in range(octets // BLOCK):
            self._sender.sendall(self._block)


@pytest.fixture(params=PATHS)
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Ends of each path, in a lab of its own, when packets pass."""
    with Lab("bench_" + request.param.replace("-", "_")) as lab:
        found = PATHS[request.param](lab)
        wait_until(lambda: found.client.ping(found.address, timeout_s=0.5), what="an answer")
        yield found


@pytest.mark.system
def test_throughput(benchmark: BenchmarkFixture, ends: Ends) -> None:
    stream = Stream(ends)
    try:
        stream.transfer(OCTETS // 4)  # until the window has grown
        arrived = benchmark.pedantic(stream.transfer, args=(OCTETS,), rounds=5)
    finally:
        stream.close()
    assert arrived == OCTETS
    if benchmark.stats is not None:
        benchmark.extra_info["octets"] = OCTETS
        benchmark.extra_info["gbps"] = round(OCTETS * 8 / 1e9 / benchmark.stats.stats.median, 3)


@pytest.mark.system
def test_hundred_pings(benchmark: BenchmarkFixture, ends: Ends) -> None:
    """The time of a hundred round trips one after the other, the program's start included."""
    command = ["ping", "-n", "-q", "-A", "-c100", ends.address]
    done = benchmark.pedantic(ends.client.run, args=(command,), rounds=3, warmup_rounds=1)
    assert "100 received" in done.stdout
