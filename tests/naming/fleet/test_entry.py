"""Entries of a fleet's directory: what is signed, and what is refused."""

import json
import tomllib
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.operator_key import OperatorKey, OperatorPublicKey
from hipgw.naming.fleet.entry import OCTETS_MAX, EntryError, sign, signed_octets, verify
from naming.fleet.signing import FLEET, KEYS, OPERATOR, hit, signed, table

FULL: dict[str, Any] = {
    "hit_v1": "2001:10::1",
    "addresses": ["192.0.2.1", "2001:db8::1"],
    "lans": ["plant", "office"],
    "expires": "2030-01-31T12:00:00Z",
    "transport": "udp",
    "port": 4500,
    "relays": ["relay"],
    "rvs": ["hub", "192.0.2.9"],
    "versions": ["v2"],
    "compat": "none",
    "accept": False,
}


def test_what_was_signed_is_verified() -> None:
    entry = verify(signed("a", 7, **FULL), KEYS, FLEET)
    assert (entry.name, entry.revision, entry.signer) == ("a", 7, OPERATOR.public.id)
    assert entry.hits == (IPv6Address(hit(97)), IPv6Address("2001:10::1"))
    assert entry.addresses == (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    assert entry.lans == ("plant", "office")
    assert entry.rvs == ("hub", "192.0.2.9")
    assert not entry.accept
    assert entry.valid_at(1.8e9)
    assert not entry.valid_at(1.9e9)
    assert entry.peer() == {
        "name": "a",
        "hit": hit(97),
        **{key: FULL[key] for key in FULL if key not in ("lans", "expires", "accept")},
    }


def test_toml_and_json_are_the_same_entry() -> None:
    one = signed("a", 7, **FULL)
    assert verify(json.loads(json.dumps(one)), KEYS, FLEET) == verify(one, KEYS, FLEET)
    assert verify(tomllib.loads(tomli_w.dumps(one)), KEYS, FLEET) == verify(one, KEYS, FLEET)


def test_the_signed_text_is_fixed() -> None:
    """Other programs sign as well: this must never change."""
    assert signed_octets({"b": 1, "a": ["ü", "x"], "c": True, "signature": "?"}) == (
        b'hipgw fleet entry 1\n{"a":["\\u00fc","x"],"b":1,"c":true}'
    )


@pytest.mark.parametrize(
    "change",
    [
        {"hit": hit(66)},
        {"addresses": ["192.0.2.66"]},
        {"addresses": ["2001:db8::1", "192.0.2.1"]},
        {"lans": ["plant"]},
        {"name": "b"},
        {"revision": 8},
        {"expires": "2031-01-31T12:00:00Z"},
        {"accept": True},
        {"accept": 0},
        {"fleet": "other"},
        {"new": "key"},
        {"signature": "AAAA"},
        {"signature": "no base64"},
        {"signature": signed("b")["signature"]},
    ],
)
def test_nothing_can_be_changed(change: dict[str, Any]) -> None:
    with pytest.raises(EntryError, match="signature is wrong"):
        verify({**signed("a", 7, **FULL), **change}, KEYS, FLEET)


@pytest.mark.parametrize("key", ["addresses", "expires", "lans", "accept"])
def test_nothing_can_be_left_out(key: str) -> None:
    one = signed("a", 7, **FULL)
    del one[key]
    with pytest.raises(EntryError, match="signature is wrong"):
        verify(one, KEYS, FLEET)


def test_strangers_sign_nothing() -> None:
    stranger = OperatorKey.generate()
    with pytest.raises(EntryError, match="none of the operators'"):
        verify(signed(key=stranger), KEYS, FLEET)
    with pytest.raises(EntryError, match="signature is wrong"):
        verify({**signed(key=stranger), "signer": OPERATOR.public.id}, KEYS, FLEET)
    assert verify(signed(key=stranger), [*KEYS, stranger.public], FLEET).signer == (
        stranger.public.id
    )


def test_unsigned_and_of_another_fleet() -> None:
    with pytest.raises(EntryError, match="not signed"):
        verify(table(), KEYS, FLEET)
    with pytest.raises(EntryError, match="another fleet, plants"):
        verify(signed(), KEYS, "offices")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"hit": "2001:db8::1"}, "hit is not a HIT"),
        ({"hit": "x"}, "hit is not a HIT"),
        ({"addresses": ["plant-b.example"]}, "one of its addresses"),
        ({"addresses": "192.0.2.1"}, "wrong type"),
        ({"addresses": ["192.0.2.1"] * 17}, "at most 16"),
        ({"lans": ["a b"]}, "lans has to be"),
        ({"name": "a b"}, "name has to be"),
        ({"name": ""}, "name has to be"),
        ({"revision": 0}, "out of range"),
        ({"revision": 2**63}, "out of range"),
        ({"revision": True}, "wrong type"),
        ({"revision": 1.5}, "wrong type"),
        ({"expires": "soon"}, "no time"),
        ({"legacy_nodes": ["192.0.2.1"]}, "not known here"),
        ({"removed": True, "hit": hit(1)}, "says more"),
        ({"relays": [1]}, "relays is no list"),
        ({"rvs": ["x" * OCTETS_MAX]}, "larger than"),
    ],
)
def test_an_operator_signs_no_nonsense(values: dict[str, Any], text: str) -> None:
    with pytest.raises(EntryError, match=text):
        sign(table(**values), OPERATOR)


def test_without_a_hit_there_is_no_machine() -> None:
    one = table()
    del one["hit"]
    with pytest.raises(EntryError, match="hit is missing"):
        sign(one, OPERATOR)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from([*table(**FULL), "signer", "signature", "x"]), VALUES))
def test_whatever_stands_there_is_refused_in_order(noise: dict[str, Any]) -> None:
    with pytest.raises(EntryError):
        verify(noise, KEYS, FLEET)
    with pytest.raises(EntryError):
        verify({**signed(**FULL), **noise, "name": "b"}, KEYS, FLEET)


def test_public_keys_are_read_as_they_are_written() -> None:
    assert OperatorPublicKey.parse(str(OPERATOR.public)) == OPERATOR.public
    again = OperatorKey.from_pem(OPERATOR.to_pem())
    assert again.public == OPERATOR.public
    for text in ("", "ed25519:", "ed25519:AAAA", "ed25519:?", str(OPERATOR.public)[8:]):
        with pytest.raises(IdentityError):
            OperatorPublicKey.parse(text)
    for data in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(IdentityError, match="cannot be read"):
            OperatorKey.from_pem(data)
