"""A real etcd on a host of a lab (Debian's package etcd-server)."""

import base64
import json
import urllib.error
import urllib.request
from typing import Any

from hipgw.errors import LabError
from hipgw.lab.host import Host
from hipgw.lab.process import Process
from hipgw.lab.waiting import wait_until

CLIENT_PORT, PEER_PORT = 2379, 2380
START_TIMEOUT_S = 20.0
_REQUEST_TIMEOUT_S = 3.0


class Etcd:
    """A cluster of one member, stopped and started as often as wanted with the same data."""

    def __init__(self, host: Host, address: str) -> None:
        """*address*: of the host, where clients reach it."""
        self.host = host
        shown = f"[{address}]" if ":" in address else address
        self.url = f"http://{shown}:{CLIENT_PORT}"
        self._directory = host.directory / f"etcd-{host.name}"
        self._process: Process | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        peer = f"http://127.0.0.1:{PEER_PORT}"
        self._process = self.host.popen(
            [
                "etcd",
                f"--name={self.host.name}",
                f"--data-dir={self._directory}",
                f"--listen-client-urls={self.url}",
                f"--advertise-client-urls={self.url}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster={self.host.name}={peer}",
                "--heartbeat-interval=50",
                "--election-timeout=250",
                "--logger=zap",
                "--log-level=warn",
            ],
            name="etcd",
        )
        wait_until(self._answers, START_TIMEOUT_S, what="etcd")

    def stop(self) -> None:
        """End it as systemd would."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()

    def get(self, prefix: str) -> dict[str, bytes]:
        """All keys that begin so, and their values."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        answer = self._ask("/v3/kv/range", {"key": _encode(prefix), "range_end": _encode(end)})
        return {
            base64.b64decode(entry["key"]).decode(): base64.b64decode(entry.get("value", ""))
            for entry in answer.get("kvs", [])
        }

    def put(self, key: str, value: bytes) -> None:
        """Set a key, as whoever gets at the directory can."""
        encoded = base64.b64encode(value).decode()
        self._ask("/v3/kv/put", {"key": _encode(key), "value": encoded})

    def delete(self, key: str) -> None:
        """Take a key away."""
        self._ask("/v3/kv/deleterange", {"key": _encode(key)})

    def _answers(self) -> bool:
        if self._process is None:
            return False
        self._process.require_running()
        try:
            self._ask("/v3/kv/range", {"key": _encode("any")})
        except LabError:
            return False
        return True

    def _ask(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            request = urllib.request.Request(self.url + path, json.dumps(body).encode())  # noqa: S310
            with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S) as answer:  # noqa: S310
                return dict(json.load(answer))

        try:
            return self.host.call(ask)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise LabError(f"etcd on {self.host.name}: {error}") from None


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
