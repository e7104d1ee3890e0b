"""Where peers were last is remembered over restarts, within bounds."""

import stat
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest

from hipgw.naming.last_known import ADDRESSES_MAX, AGE_MAX_S, REMEMBERED_MAX, LastKnown
from naming_sources import HIT, Clock, configured


async def test_it_survives_a_restart_and_the_latest_address_is_first(tmp_path: Path) -> None:
    file = tmp_path / "last.json"
    known = LastKnown(file, Clock())
    peer = configured(HIT, "b")
    for number in range(1, 7):
        known.note(peer, ip_address(f"192.0.2.{number}"))
    known.note(peer, ip_address("192.0.2.4"))
    known.save()
    (found,) = await LastKnown(file, Clock()).by_hit(HIT)
    assert list(map(str, found.addresses)) == ["192.0.2.4", "192.0.2.6", "192.0.2.5", "192.0.2.3"]
    assert len(found.addresses) == ADDRESSES_MAX
    assert await known.by_name("b") == ()


async def test_nobody_else_reads_who_the_peers_are(tmp_path: Path) -> None:
    file = tmp_path / "last-known.json"
    known = LastKnown(file, Clock())
    known.note(configured(HIT, "b"), ip_address("192.0.2.1"))
    known.save()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_what_is_too_old_is_no_answer(tmp_path: Path) -> None:
    clock = Clock()
    known = LastKnown(tmp_path / "last.json", clock)
    known.note(configured(HIT, "b"), ip_address("192.0.2.1"))
    clock.now += AGE_MAX_S + 1
    assert await known.by_hit(HIT) == ()


async def test_the_longest_unheard_is_forgotten_first(tmp_path: Path) -> None:
    known = LastKnown(tmp_path / "last.json", Clock())
    for number in range(REMEMBERED_MAX + 1):
        known.note(configured(IPv6Address(int(HIT) + number), "b"), ip_address("192.0.2.1"))
    assert await known.by_hit(HIT) == ()
    assert await known.by_hit(IPv6Address(int(HIT) + 1))


async def test_what_is_forgotten_is_no_answer_and_stays_forgotten(tmp_path: Path) -> None:
    known = LastKnown(tmp_path / "last.json")
    known.forget(HIT)
    known.save()
    assert not list(tmp_path.iterdir()), "nothing to be kept"
    known.note(configured(HIT, "b"), ip_address("192.0.2.1"))
    known.save()
    known.forget(HIT)
    known.save()
    assert await LastKnown(tmp_path / "last.json").by_hit(HIT) == ()


@pytest.mark.parametrize(
    "content",
    [
        *("", "[", "{}", "3", "null", '["x"]', '[["2001:db8::1", 1, []]]', "[" * 100000),
        '[["2001:21::1", "x", []]]',
        '[["2001:21::1", 1, ["x"]]]',
        '[["2001:21::1", 1, 5]]',
    ],
)
async def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "last.json").write_text(content)
    assert await LastKnown(tmp_path / "last.json").by_hit(HIT) == ()


def test_a_state_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    known = LastKnown(tmp_path / "gone" / "last.json")
    known.note(configured(HIT, "b"), ip_address("192.0.2.1"))
    known.save()
