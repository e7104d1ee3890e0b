"""What a mobile router remembers of its clients."""

import json
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest

from hipgw.daemon.client_memory import FILE_NAME, ClientMemory
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import Transport

HIT, OTHER = IPv6Address("2001:21::1"), IPv6Address("2001:21::2")
PLACE = Place(ip_address("10.1.0.2"), Transport.UDP, 4000)
PLAIN = Place(ip_address("fd00::2"))


def info(hit: IPv6Address, place: Place | None) -> tuple[IPv6Address, Place | None]:
    return hit, place


def test_clients_are_there_again(tmp_path: Path) -> None:
    memory = ClientMemory(tmp_path)
    assert memory.places == {}
    memory.keep([info(HIT, PLACE), info(OTHER, PLAIN), info(IPv6Address("2001:21::3"), None)])
    assert ClientMemory(tmp_path).places == {HIT: PLACE, OTHER: PLAIN}
    memory.keep([info(OTHER, PLACE)], others=True)
    assert ClientMemory(tmp_path).places == {HIT: PLACE, OTHER: PLACE}
    memory.keep([info(HIT, PLACE)])
    assert ClientMemory(tmp_path).places == {HIT: PLACE}


def test_nothing_is_written_if_nothing_has_changed(tmp_path: Path) -> None:
    memory = ClientMemory(tmp_path)
    memory.keep([])
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "7", "[7]", "{}", '[{"hit": "x"}]', "[" * 100000),
        json.dumps([{"hit": "2001:21::1", "address": "x", "transport": "udp", "port": 1}]),
        json.dumps([{"hit": "2001:db8::1", "address": "::1", "transport": "udp", "port": 1}]),
        json.dumps([{"hit": "2001:21::1", "address": "::1", "transport": "udp", "port": 65536}]),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    assert ClientMemory(tmp_path).places == {}


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ClientMemory(tmp_path / "nowhere").keep([info(HIT, PLACE)])
    assert "cannot keep" in caplog.text
