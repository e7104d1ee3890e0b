"""Peers without addresses are called if somebody may know where they are."""

from pathlib import Path

import pytest

from hipgw.config.load import load
from hipgw.daemon.directory import make_directory

DHT = '[dht]\nservers = ["192.0.2.9"]\n'


@pytest.mark.parametrize(
    ("name", "more", "called"),
    [
        ("plant-b", "", False),
        ("gate.plant-b.example", "", True),
        ("gate.plant-b.example", '[naming]\norder = ["configured", "last-known"]\n', False),
        ("plant-b", DHT, True),
        ("plant-b", DHT + '[naming]\norder = ["configured", "dns"]\n', False),
    ],
)
def test_who_waits_to_be_called_and_who_is_looked_up(
    tmp_path: Path, name: str, more: str, called: bool
) -> None:
    (tmp_path / "key.pem").write_text("a key")
    file = tmp_path / "hipgw.toml"
    file.write_text(
        f'[identity]\nkey_file = "key.pem"\n[host]\n{more}'
        f'[[peer]]\nname = "{name}"\nhit = "2001:22::b"\n'
    )
    (peer,) = make_directory(load(file))[0]
    assert not peer.located
    assert peer.reachable is called
