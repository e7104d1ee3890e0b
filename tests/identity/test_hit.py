import hashlib
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.hit import (
    CONTEXT_ID,
    derive_hit,
    derive_hit_v1,
    hit_suite_of,
    hit_version,
    is_hit,
)

KEY = bytes.fromhex("03010001") + b"\xaa" * 128


@pytest.mark.parametrize(
    ("suite", "hit"),
    [
        (1, "2001:21:9674:5f8:fb8b:5c76:76c6:aaf8"),
        (2, "2001:22:f2d4:c032:9501:7adf:2622:9a05"),
        (3, "2001:23:973c:d50:6e13:b0ec:dfec:3167"),
    ],
)
def test_hits_of_a_known_key(suite: int, hit: str) -> None:
    assert derive_hit(suite, KEY) == IPv6Address(hit)


@given(st.binary(max_size=600))
def test_the_middle_96_bits_are_kept(encoded: bytes) -> None:
    for suite, name, dropped in ((1, "sha256", 10), (2, "sha384", 18), (3, "sha1", 4)):
        digest = hashlib.new(name, CONTEXT_ID + encoded).digest()
        hit = derive_hit(suite, encoded).packed
        assert hit[4:] == digest[dropped:-dropped]
        assert hit[:4] == bytes([0x20, 0x01, 0x00, 0x20 | suite])


@given(st.binary(max_size=600))
def test_suite_5_asks_cshake128_for_96_bits(encoded: bytes) -> None:
    hit = derive_hit(5, encoded).packed
    assert hit[:4] == bytes.fromhex("20010025")
    assert hit[4:] == hashlib.shake_128(CONTEXT_ID + encoded).digest(12)


@given(st.sampled_from([1, 2, 3, 5]), st.binary(max_size=100))
def test_a_hit_tells_its_suite(suite: int, encoded: bytes) -> None:
    hit = derive_hit(suite, encoded)
    assert is_hit(hit)
    assert hit_suite_of(hit) == suite


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("2001:20::", True),
        ("2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:10::", True),
        ("2001:f:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("2001:30::", False),
        ("::", False),
    ],
)
def test_the_prefixes_are_28_bits_long(address: str, expected: bool) -> None:
    assert is_hit(IPv6Address(address)) is expected


@pytest.mark.parametrize(
    ("address", "version"),
    [
        ("2001:10::", 1),
        ("2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", 1),
        ("2001:20::", 2),
        ("2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", 2),
    ],
)
def test_a_hit_tells_its_version(address: str, version: int) -> None:
    assert hit_version(IPv6Address(address)) == version


def test_a_hit_of_v1_has_no_suite() -> None:
    assert hit_suite_of(derive_hit_v1(KEY)) == 0


@given(st.binary(max_size=600))
def test_a_hit_of_v1_has_the_middle_100_bits(encoded: bytes) -> None:
    digest = hashlib.sha1(CONTEXT_ID + encoded).digest()
    bits = "".join(f"{octet:08b}" for octet in digest)[30:130]
    hit = derive_hit_v1(encoded)
    assert f"{int(hit):0128b}" == f"{0x2001001:028b}" + bits
    assert hit_version(hit) == 1


def test_other_addresses_have_no_version() -> None:
    with pytest.raises(IdentityError, match="not a Host Identity Tag") as caught:
        hit_version(IPv6Address("2001:db8::1"))
    assert "2001:10::/28" in caught.value.hint


def test_an_ipv4_address_is_no_hit() -> None:
    assert not is_hit(IPv4Address("1.0.0.1"))


def test_other_addresses_have_no_suite() -> None:
    with pytest.raises(IdentityError, match="not a Host Identity Tag") as caught:
        hit_suite_of(IPv6Address("2001:db8::1"))
    assert "2001:20::/28" in caught.value.hint


def test_an_unknown_suite_has_no_hash() -> None:
    with pytest.raises(IdentityError):
        derive_hit(4, KEY)
