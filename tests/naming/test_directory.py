"""Peers come and go while the directory is in use."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.errors import NamingError
from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import Peer, PeerDirectory
from naming_sources import HIT, OLD, OTHER, configured


def test_a_peer_comes_changes_and_goes_and_listeners_hear_of_it() -> None:
    directory = PeerDirectory([], LsiTable())
    heard: list[tuple[Peer | None, Peer | None]] = []
    end = directory.subscribe(lambda old, new: heard.append((old, new)))
    one = configured(HIT, "Plant-B", "192.0.2.1")
    directory.add(one)
    directory.add(one)
    two = replace(one, addresses=(ip_address("192.0.2.2"),))
    directory.add(two)
    assert list(directory) == [two]
    assert directory.by_address(ip_address("192.0.2.1")) is None
    assert directory.by_address(ip_address("192.0.2.2")) == two
    assert directory.by_name("plant-b") == directory.find("1.0.0.9") == two
    assert directory.remove(HIT) == two
    assert directory.remove(HIT) is None
    assert directory.find("1.0.0.9") is None
    assert heard == [(None, one), (one, two), (two, None)]
    end()
    directory.add(one)
    assert len(heard) == 3


def test_a_name_belongs_to_the_better_source_whoever_comes_first() -> None:
    found = replace(configured(HIT, "b", lsi="1.0.0.1"), source="dns")
    fleet = replace(configured(OTHER, "b", lsi="1.0.0.2"), source="fleet")
    for peers in ((found, fleet), (fleet, found)):
        directory = PeerDirectory([], LsiTable())
        for peer in peers:
            directory.add(peer)
        assert directory.by_name("b") == fleet
        directory.remove(OTHER)
        assert directory.by_name("b") == found


def test_letters_of_another_case_go_behind_the_very_name() -> None:
    upper, lower = configured(HIT, "B", lsi="1.0.0.1"), configured(OTHER, "b", lsi="1.0.0.2")
    directory = PeerDirectory([upper, lower], LsiTable())
    assert directory.by_name("B") == upper
    assert directory.by_name("b") == lower


def test_nobody_gets_the_hit_or_the_lsi_of_another() -> None:
    directory = PeerDirectory([], LsiTable())
    directory.add(replace(configured(HIT, "a", lsi="1.0.0.1"), other_hits=(OLD,)))
    with pytest.raises(NamingError, match="is a HIT of a already"):
        directory.add(replace(configured(OTHER, "b", lsi="1.0.0.2"), other_hits=(OLD,)))
    with pytest.raises(Exception, match=r"LSI 1\.0\.0\.1"):
        directory.add(configured(OTHER, "b", lsi="1.0.0.1"))
    assert [peer.name for peer in directory] == ["a"]
