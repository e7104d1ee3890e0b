"""Which version of HIP a peer is talked to in."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.roles.versions import VersionPolicy

NEW, OLD = IPv6Address("2001:20::1"), IPv6Address("2001:10::1")


def peer(*hits: IPv6Address) -> Peer:
    return Peer("b", hits[0], (), True, 10500, IPv4Address("1.0.0.2"), other_hits=hits[1:])


def policy(folder: Path, *hits: IPv6Address) -> tuple[VersionPolicy, Peer]:
    one = peer(*hits)
    return VersionPolicy(PeerDirectory([one], LsiTable()), folder / "heard.json"), one


def test_after_a_failure_the_other_version_is_tried(tmp_path: Path) -> None:
    versions, one = policy(tmp_path, NEW, OLD)
    assert versions.next_hit(one, NEW) == OLD
    assert versions.next_hit(one, OLD) is None
    assert versions.allows(OLD)


def test_a_peer_that_was_heard_in_version_2_stays_there_also_after_a_restart(
    tmp_path: Path,
) -> None:
    versions, one = policy(tmp_path, NEW, OLD)
    versions.established(NEW)
    for now in (versions, policy(tmp_path, NEW, OLD)[0]):
        assert now.next_hit(one, NEW) is None
        assert not now.allows(OLD)
        assert now.allows(NEW)


def test_version_1_does_not_count_as_having_been_heard(tmp_path: Path) -> None:
    versions, one = policy(tmp_path, NEW, OLD)
    versions.established(OLD)
    assert versions.next_hit(one, NEW) == OLD


def test_a_policy_that_prefers_version_1_is_not_overruled(tmp_path: Path) -> None:
    versions, one = policy(tmp_path, OLD, NEW)
    versions.established(NEW)
    assert versions.allows(OLD)
    assert versions.next_hit(one, OLD) == NEW


@pytest.mark.parametrize("content", ["", "[", "{}", '["x"]', '["2001:db8::1"]', "3"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "heard.json").write_text(content)
    assert policy(tmp_path, NEW, OLD)[0].allows(OLD)


def test_strangers_and_peers_of_one_version_are_not_remembered(tmp_path: Path) -> None:
    versions, _ = policy(tmp_path, NEW)
    versions.established(NEW)
    versions.established(IPv6Address("2001:20::2"))
    assert not (tmp_path / "heard.json").exists()
