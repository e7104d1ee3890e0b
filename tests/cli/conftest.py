import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hipgw.cli.main import cli
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import save_key_file
from small_daemon import ServedDaemon

Run = Callable[..., Result]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ServedDaemon]:
    """A daemon behind a control socket, with one peer, `plant-b`."""
    served = ServedDaemon(tmp_path / "control.sock")
    yield served
    served.end()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `hipgw` with arguments; there is no daemon at the default socket."""
    monkeypatch.setenv("HIPGW_SOCKET", "/nonexistent/control.sock")

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def ask(run: Run, daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `hipgw` with a daemon at the socket that HIPGW_SOCKET names."""
    monkeypatch.setenv("HIPGW_SOCKET", str(daemon.path))
    return run


@pytest.fixture
def ask_json(ask: Run) -> Callable[..., Any]:
    """Runs `hipgw … --json` and returns what it wrote."""
    return lambda *arguments: json.loads(ask(*arguments, "--json").stdout)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A good configuration with a key of its own."""
    save_key_file(tmp_path / "host.pem", LocalIdentity.generate("ecdsa-p256"))
    file = tmp_path / "hipgw.toml"
    file.write_text(
        '[identity]\nkey_file = "host.pem"\n[endbox]\nports = ["lo0"]\n'
        '[[peer]]\nname = "plant-b"\nhit = "2001:21:bbbb::2"\naddresses = ["192.0.2.2"]\n'
    )
    return file
