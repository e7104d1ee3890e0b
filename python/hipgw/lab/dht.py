"""A ring of OpenDHT nodes: Debian's `dhtnode`, each with its HTTP proxy."""

import base64
import functools
import json
import secrets
import urllib.request
from collections.abc import Sequence

from hipgw.errors import LabError
from hipgw.lab.host import Host
from hipgw.lab.process import Process
from hipgw.lab.waiting import wait_until

_NETWORK = "77"
"""Nodes of another network id take no part, wherever they hear of the ring."""
_FIRST_PORT, _FIRST_PROXY = 4001, 8001
_TIMEOUT_S = 15.0


class DhtRing:
    """Nodes on one host, which find each other by the first one."""

    def __init__(self, host: Host, nodes: int = 5) -> None:
        """Start the nodes; see `wait_ready`."""
        self._host = host
        self.ports = [_FIRST_PROXY + n for n in range(nodes)]
        """TCP ports of the proxies."""
        self.nodes: list[Process] = []
        for n, proxy in enumerate(self.ports):
            first = ["-b", f"127.0.0.1:{_FIRST_PORT}"] if n else []
            self.nodes.append(
                host.popen(
                    [
                        *("dhtnode", "-s", "-n", _NETWORK, "-p", str(_FIRST_PORT + n)),
                        *(*first, "--proxyserver", str(proxy)),
                    ],
                    name=f"dhtnode{n}",
                )
            )

    def wait_ready(self) -> None:
        """Wait until what any node is given is found by all others."""
        for n in range(len(self.nodes)):
            wait_until(functools.partial(self._is_heard, n), _TIMEOUT_S, what=f"DHT node {n}")

    def kill(self, numbers: Sequence[int]) -> None:
        """End nodes as a crash would."""
        for n in numbers:
            self.nodes[n].kill()

    def request(self, node: int, path: str, body: object = None) -> bytes:
        """Ask a node's proxy: GET, or POST with a JSON body."""
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.ports[node]}/{path}"

        def ask() -> bytes:
            with urllib.request.urlopen(url, data, timeout=_TIMEOUT_S) as answer:
                return bytes(answer.read())

        try:
            return self._host.call(ask)
        except OSError as error:
            raise LabError(f"the proxy of DHT node {node} does not answer: {error}") from None

    def _is_heard(self, node: int) -> bool:
        """Put something there, and look for it everywhere: what nodes count of each other lags."""
        key, data = secrets.token_hex(20), base64.b64encode(secrets.token_bytes(8)).decode()
        for process in self.nodes:
            process.require_running()
        try:
            self.request(node, key, {"data": data})
            return all(data.encode() in self.request(n, key) for n in range(len(self.nodes)))
        except LabError:
            return False
