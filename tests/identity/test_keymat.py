from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.ciphers import HIP_CIPHERS
from hipgw.identity.esp_suites import ESP_SUITES
from hipgw.identity.keymat import Keymat, draw_esp_keys, draw_hip_keys
from hipgw.identity.rhash import HitSuite, rhash

LOWER, GREATER = IPv6Address("2001:20::1"), IPv6Address("2001:20::2")
PUZZLE_I, PUZZLE_J = bytes(range(32)), bytes(range(32, 64))


def keymat(suite: int = 1) -> Keymat:
    return Keymat(b"\x5a" * 192, PUZZLE_I, PUZZLE_J, LOWER, GREATER, rhash(suite))


def test_keymat_of_a_known_exchange() -> None:
    expected = "e26287e3137c228e3a7a1f05b4f4e16e29f488274cf43dc0f22ad61927ce7c38"
    assert keymat().draw(32).hex() == expected


def test_keymat_is_hkdf_over_the_sorted_hits() -> None:
    info = LOWER.packed + GREATER.packed
    assert keymat().at(0, 500) == rhash(1).hkdf(PUZZLE_I + PUZZLE_J, b"\x5a" * 192, info, 500)


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1))
def test_both_sides_have_the_same_keymat(a: int, b: int) -> None:
    hits = IPv6Address(a), IPv6Address(b)
    ours = Keymat(b"secret", PUZZLE_I, PUZZLE_J, hits[0], hits[1], rhash(1))
    theirs = Keymat(b"secret", PUZZLE_I, PUZZLE_J, hits[1], hits[0], rhash(1))
    assert ours.draw(64) == theirs.draw(64)


def test_hits_are_compared_as_unsigned_numbers() -> None:
    low, high = IPv6Address("2001:20::1"), IPv6Address("f001:20::1")
    material = Keymat(b"secret", PUZZLE_I, PUZZLE_J, high, low, rhash(1))
    expected = rhash(1).hkdf(PUZZLE_I + PUZZLE_J, b"secret", low.packed + high.packed, 16)
    assert material.draw(16) == expected


@given(st.lists(st.integers(0, 700), max_size=12))
def test_drawing_walks_through_without_gaps(lengths: list[int]) -> None:
    material, whole = keymat(), keymat().at(0, 8160)
    index = 0
    for length in lengths:
        if index + length > 8160:
            break
        assert material.index == index
        assert material.draw(length) == whole[index : index + length]
        index += length
    assert material.index == index


@pytest.mark.parametrize("suite", list(HitSuite))
def test_keymat_ends_where_hkdf_does(suite: int) -> None:
    material = keymat(suite)
    limit = rhash(suite).hkdf_limit
    assert len(material.at(limit - 8, 8)) == 8
    with pytest.raises(IdentityError, match="KEYMAT ends") as caught:
        material.at(limit - 7, 8)
    assert "Diffie-Hellman" in caught.value.hint
    for index, length in ((-1, 4), (0, -4), (10, -4)):
        with pytest.raises(IdentityError):
            material.at(index, length)


def test_a_refused_draw_leaves_the_index_where_it_was() -> None:
    material = keymat()
    material.draw(8150)
    with pytest.raises(IdentityError):
        material.draw(11)
    assert material.index == 8150
    assert len(material.draw(10)) == 10


@pytest.mark.parametrize("cipher", list(HIP_CIPHERS))
@pytest.mark.parametrize("suite", list(HitSuite))
def test_hip_keys_are_drawn_for_the_greater_hit_first(cipher: int, suite: int) -> None:
    e, m = HIP_CIPHERS[cipher].key_length, rhash(suite).digest_size
    whole = keymat(suite).at(0, 2 * (e + m))
    expected = [whole[:e], whole[e : e + m], whole[e + m : 2 * e + m], whole[2 * e + m :]]
    material = keymat(suite)
    greater = draw_hip_keys(material, GREATER, LOWER, cipher, rhash(suite))
    assert material.index == 2 * (e + m)
    assert [
        greater.outgoing_encryption,
        greater.outgoing_integrity,
        greater.incoming_encryption,
        greater.incoming_integrity,
    ] == expected
    lower = draw_hip_keys(keymat(suite), LOWER, GREATER, cipher, rhash(suite))
    assert lower.outgoing_encryption == greater.incoming_encryption
    assert lower.outgoing_integrity == greater.incoming_integrity
    assert lower.incoming_encryption == greater.outgoing_encryption
    assert lower.incoming_integrity == greater.outgoing_integrity


@pytest.mark.parametrize("suite", list(ESP_SUITES.values()), ids=lambda suite: suite.name)
def test_esp_keys_follow_the_hip_keys(suite) -> None:  # type: ignore[no-untyped-def]
    e, a = suite.encryption_key_length, suite.authentication_key_length
    ends = []
    for local, peer in ((GREATER, LOWER), (LOWER, GREATER)):
        material = keymat()
        draw_hip_keys(material, local, peer, 4, rhash(1))
        start = material.index
        ends.append(draw_esp_keys(material, local, peer, suite.id))
        assert material.index == start + 2 * (e + a)
    whole = keymat().at(start, 2 * (e + a))
    greater, lower = ends
    assert greater.outgoing_encryption == lower.incoming_encryption == whole[:e]
    assert greater.outgoing_authentication == lower.incoming_authentication == whole[e : e + a]
    assert greater.incoming_encryption == lower.outgoing_encryption
    assert greater.incoming_encryption == whole[e + a : 2 * e + a]
    assert greater.incoming_authentication == lower.outgoing_authentication == whole[2 * e + a :]


def test_an_association_has_two_ends() -> None:
    with pytest.raises(IdentityError, match="both ends"):
        draw_hip_keys(keymat(), LOWER, LOWER, 4, rhash(1))


def test_unknown_transforms_have_no_keys() -> None:
    with pytest.raises(IdentityError, match="cipher 3"):
        draw_hip_keys(keymat(), LOWER, GREATER, 3, rhash(1))
    with pytest.raises(IdentityError, match="suite 14"):
        draw_esp_keys(keymat(), LOWER, GREATER, 14)


def test_no_text_shows_a_key() -> None:
    material = keymat()
    hip = draw_hip_keys(material, LOWER, GREATER, 4, rhash(1))
    esp = draw_esp_keys(material, LOWER, GREATER, 9)
    shown = f"{material!r} {material} {hip!r} {hip} {esp!r} {esp}"
    assert shown == (
        "<Keymat sha256 index=256> <Keymat sha256 index=256> "
        "HipKeys() HipKeys() EspKeys() EspKeys()"
    )
