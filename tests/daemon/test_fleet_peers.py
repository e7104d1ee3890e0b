"""What a fleet's entries come to on one machine: peers, its LAN, and who is kept out."""

import logging
from ipaddress import IPv6Address
from typing import Any

import pytest

from hipgw.config.schema import Config
from hipgw.daemon.fleet_peers import FleetPeers, Merged
from hipgw.daemon.membership import Membership
from hipgw.naming.fleet.entry import Entry, verify
from naming.fleet.signing import FLEET, KEYS, OPERATOR, hit, signed

OWN = IPv6Address(hit(1))
STATIC = "2001:21::5:1"


def config(**tables: Any) -> Config:
    return Config.model_validate(
        {
            "identity": {"key_file": "host.pem"},
            "fleet": {"operator_keys": [str(OPERATOR.public)], "file": "fleet.toml"},
            "endbox": {},
            **tables,
        }
    )


def fleet(**entries: dict[str, Any]) -> dict[str, Entry]:
    return {
        name: verify(signed(name, number, **values), KEYS, FLEET)
        for number, (name, values) in enumerate(entries.items(), 1)
    }


def merged(entries: dict[str, Entry], **tables: Any) -> Merged:
    return FleetPeers(config(**tables), [OWN]).merge(entries)


def endboxes(one: Merged) -> list[str]:
    return [peer.name for peer in one.config.endbox_peers]


def test_the_lan_of_the_own_entry_decides() -> None:
    entries = fleet(
        me={"hit": str(OWN), "lans": ["plant"]},
        a={"lans": ["plant", "office"], "addresses": ["192.0.2.1"]},
        b={"lans": ["office"]},
        c={},
    )
    one = merged(entries)
    assert one.lan == "plant"
    assert one.fleet == {"a", "b", "c"}
    assert endboxes(one) == ["a"]
    fleet_table = {"operator_keys": [str(OPERATOR.public)], "file": "f", "lan": "office"}
    assert endboxes(merged(entries, fleet=fleet_table)) == ["a", "b"]
    del entries["me"]
    nowhere = merged(entries)
    assert nowhere.lan is None
    assert endboxes(nowhere) == []
    assert nowhere.fleet == {"a", "b", "c"}


def test_the_configuration_goes_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    peers = [
        {"name": "a", "hit": STATIC, "addresses": ["192.0.2.9"]},
        {"name": "x", "hit": hit(2)},
    ]
    entries = fleet(
        a={"hit": hit(9), "addresses": ["192.0.2.1"], "lans": ["plant"]},
        y={"hit": hit(2), "accept": False},
        z={"hit": hit(2)},
        me={"hit": str(OWN), "lans": ["plant"]},
    )
    one = merged(entries, peer=peers)
    assert one.fleet == frozenset()
    assert one.barred == frozenset()
    assert [str(peer.hit) for peer in one.config.peers] == [STATIC, hit(2)]
    assert endboxes(one) == ["a", "x"]
    assert caplog.text.count("is not used here") == 2


def test_who_is_kept_out() -> None:
    one = merged(fleet(a={"hit": hit(9), "accept": False, "lans": ["plant"]}))
    assert one.fleet == frozenset()
    assert one.barred == {IPv6Address(hit(9))}
    membership = Membership(config(), [OWN])
    membership.change(one.config, one.barred)
    assert membership.is_barred(IPv6Address(hit(9)))
    assert not membership.is_barred(OWN)


def test_what_cannot_be_a_peer_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    entries = fleet(
        a={"addresses": ["2001:21::1"]},
        b={"hit": "2001:10::1"},
        c={"transport": "tcp"},
        d={"transport": "raw", "port": 4500},
        e={"hit": hit(9)},
    )
    peers = FleetPeers(config(), [OWN])
    for _ in range(3):
        assert peers.merge(entries).fleet == {"e"}
    assert caplog.text.count("cannot be used here") == 4


def test_pairs_and_relays_mean_fleet_peers_too() -> None:
    entries = fleet(
        me={"hit": str(OWN), "lans": ["plant"]},
        a={"lans": ["plant"]},
        b={"lans": ["plant"], "relays": ["hub"]},
        hub={"addresses": ["192.0.2.9"]},
    )
    endbox = {"allowed_pairs": [["self", "b"]]}
    one = merged(entries, endbox=endbox)
    membership = Membership(config(endbox=endbox), [OWN])
    assert membership.endboxes == ()
    membership.change(one.config, one.barred)
    assert membership.endbox_names == {"b"}
    assert membership.has_no_pair("a")
    assert not membership.may_associate("a")
    assert membership.may_associate("hub")
    assert membership.is_endbox(IPv6Address(hit(98)))
    assert membership.relays("b") == ["hub"]
    (b,) = [peer for peer in one.config.peers if peer.name == "b"]
    assert [relay.name for relay in one.config.relays_of(b)] == ["hub"]


def test_a_relay_of_the_fleet_gets_no_frames() -> None:
    peers = [
        {"name": "hub", "hit": STATIC, "addresses": ["192.0.2.9"]},
        {"name": "x", "hit": hit(2)},
    ]
    assert endboxes(merged({}, peer=peers)) == ["hub", "x"]
    assert endboxes(merged(fleet(a={"relays": ["hub"]}), peer=peers)) == ["x"]


def test_openhip_is_in_no_lan_by_a_directory(caplog: pytest.LogCaptureFixture) -> None:
    entries = fleet(
        me={"hit": str(OWN), "lans": ["plant"]},
        old={"hit": "2001:10::9", "compat": "openhip", "lans": ["plant"]},
        new={"lans": ["plant"]},
    )
    one = merged(entries, hip={"versions": ["v2", "v1"]})
    assert one.fleet == {"old", "new"}
    assert endboxes(one) == ["new"]
    (record,) = caplog.records
    assert "it is in none" in record.reason  # type: ignore[attr-defined]
