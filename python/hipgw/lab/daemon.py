"""A hipgw daemon on a host of a lab: its key, its configuration, its process."""

import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import tomli_w

from hipgw.control.client import ControlClient
from hipgw.errors import ControlError, LabError
from hipgw.identity.host_identity import KeyKind, LocalIdentity
from hipgw.identity.keyfile import save_key_file
from hipgw.lab.host import Host
from hipgw.lab.process import Process
from hipgw.lab.waiting import wait_until

START_TIMEOUT_S = 60.0

hip_version: ContextVar[int] = ContextVar("hip_version", default=2)
"""Of HIP: what daemons speak that are made from now on."""
v1_compat: ContextVar[str] = ContextVar("v1_compat", default="none")
"""The profile that they have for each other in HIPv1."""


class HipgwDaemon:
    """One `hipgw run`, started and stopped as often as wanted with the same key."""

    def __init__(self, host: Host, *, key_kind: KeyKind = "ecdsa-p384") -> None:
        """In HIPv1 the key is an RSA one, whatever *key_kind* says."""
        self.host = host
        self.version = hip_version.get()
        """Of HIP."""
        self.compat = v1_compat.get() if self.version == 1 else "none"
        """The profile that it has for its peers."""
        self.directory = host.directory / f"hipgw-{host.name}"
        self.directory.mkdir(mode=0o755, exist_ok=True)
        identity = LocalIdentity.generate(key_kind if self.version == 2 else "rsa2048")
        save_key_file(self.directory / "key.pem", identity, overwrite=True)
        self.hit: IPv6Address = identity.in_version(self.version).hit
        self.process: Process | None = None

    @property
    def config_file(self) -> Path:
        """Its hipgw.toml."""
        return self.directory / "hipgw.toml"

    @property
    def control_socket(self) -> Path:
        """Where its control API listens."""
        return self.directory / "control.sock"

    def configure(
        self,
        tables: Mapping[str, Mapping[str, Any]],
        peers: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Write hipgw.toml from tables by name; identity and daemon are filled in."""
        if self.version == 1:
            old = {"versions": ["v1"], "v1": {"compat": self.compat}}
            tables = {**tables, "hip": {**old, **tables.get("hip", {})}}
        complete: dict[str, Any] = {
            "identity": {"key_file": "key.pem"},
            **tables,
            "daemon": {
                "state_dir": str(self.directory),
                "control_socket": str(self.control_socket),
                **tables.get("daemon", {}),
            },
        }
        if peers:
            complete["peer"] = list(peers)
        self.config_file.write_text(tomli_w.dumps(complete))

    def wait_to_be_called(self) -> None:
        """Take the addresses of all peers out of hipgw.toml."""
        tables = tomllib.loads(self.config_file.read_text())
        for peer in tables.get("peer", ()):
            peer.pop("addresses", None)
        self.config_file.write_text(tomli_w.dumps(tables))

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it answers on its control socket."""
        if self.process is not None and self.process.running:
            raise LabError(f"hipgw runs on {self.host.name} already.")
        self.process = self.host.popen(
            [sys.executable, "-m", "hipgw.cli.main", "run", "--config", self.config_file],
            name="hipgw",
        )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers on its control socket; LabError with its output if it ended."""
        wait_until(self._answers, START_TIMEOUT_S, what=f"hipgw on {self.host.name}")

    def stop(self, timeout_s: float = 5.0) -> int:
        """End it as systemd would; its exit status."""
        if self.process is None:
            return 0
        return self.process.stop(timeout_s)

    def kill(self) -> None:
        """End it as a crash would: nothing is said to its peers, nothing is cleaned up."""
        if self.process is not None:
            self.process.kill()

    def restart(self, *, crash: bool = False) -> None:
        """Stop (or kill) it and start it again."""
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    def client(self) -> ControlClient:
        """A connection to its control API; close it, or use it in a `with` block."""
        return ControlClient(self.control_socket)

    def request(self, method: str, **params: Any) -> Any:
        """Ask one thing of its control API."""
        with self.client() as client:
            return client.request(method, params)

    def established(self, hit: IPv6Address) -> bool:
        """Whether data can flow to this peer."""
        return any(
            entry["peer_hit"] == str(hit) and entry["state"] in {"ESTABLISHED", "R2-SENT"}
            for entry in self.request("associations")
        )

    def output(self) -> str:
        """What it has logged since it was started last."""
        return "" if self.process is None else self.process.output()

    def _answers(self) -> bool:
        if self.process is None:
            return False
        self.process.require_running()
        try:
            self.request("status")
        except (ControlError, OSError):
            return False
        return True
