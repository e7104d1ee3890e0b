"""KEYMAT of HIPv1, and the keys drawn from it."""

import hashlib
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.hip_suites import HIP_SUITES, HipSuite
from hipgw.identity.keymat import KEYMAT_V1_LIMIT, KeymatV1, draw_esp_keys, draw_hip_keys
from hipgw.identity.rhash import SHA1

LOWER, GREATER = IPv6Address("2001:10::1"), IPv6Address("2001:10::2")
I, J = bytes(range(8)), bytes(range(8, 16))  # noqa: E741
KIJ = b"\x5a" * 192


def keymat(a: IPv6Address = LOWER, b: IPv6Address = GREATER, **limit: int) -> KeymatV1:
    return KeymatV1(KIJ, I, J, a, b, SHA1, **limit)


def chain(blocks: int) -> bytes:
    """RFC 5201 §6.5, word for word."""
    k = [hashlib.sha1(KIJ + LOWER.packed + GREATER.packed + I + J + b"\x01").digest()]
    for number in range(2, blocks + 1):
        k.append(hashlib.sha1(KIJ + k[-1] + bytes([number % 256])).digest())
    return b"".join(k)


def test_it_is_the_chain_of_the_rfc() -> None:
    # Past the 255th block, where the number starts again from 0.
    assert keymat().at(0, 20 * 300) == chain(300)
    assert keymat(GREATER, LOWER).at(0, 40) == chain(2)


@given(st.lists(st.integers(0, 300), max_size=12))
def test_drawing_walks_through_without_gaps(lengths: list[int]) -> None:
    material, whole, index = keymat(), chain(200), 0
    for length in lengths:
        assert material.index == index
        assert material.draw(length) == whole[index : index + length]
        index += length


def test_it_ends_where_it_is_told_to() -> None:
    material = keymat(limit=760)
    assert len(material.draw(760)) == 760
    with pytest.raises(IdentityError, match="760"):
        material.draw(1)
    assert material.index == 760
    assert len(keymat().at(0, KEYMAT_V1_LIMIT)) == KEYMAT_V1_LIMIT
    with pytest.raises(IdentityError):
        keymat().at(KEYMAT_V1_LIMIT, 1)


@pytest.mark.parametrize("suite", list(HIP_SUITES.values()), ids=lambda suite: suite.name)
def test_hip_keys_come_in_the_order_of_the_hits(suite: HipSuite) -> None:
    encryption, integrity = suite.cipher.key_length, suite.mac.digest_size
    whole, at, expected = chain(20), 0, []
    for length in (encryption, integrity, encryption, integrity):
        expected.append(whole[at : at + length])
        at += length
    material = keymat()
    keys = draw_hip_keys(material, GREATER, LOWER, suite.cipher, suite.mac)
    assert [keys.outgoing_encryption, keys.outgoing_integrity] == expected[:2]
    assert [keys.incoming_encryption, keys.incoming_integrity] == expected[2:]
    assert material.index == at
    theirs = draw_hip_keys(keymat(), LOWER, GREATER, suite.cipher, suite.mac)
    assert theirs.outgoing_integrity == keys.incoming_integrity
    assert theirs.incoming_encryption == keys.outgoing_encryption


def test_esp_keys_with_the_lower_hit_first() -> None:
    keys = draw_esp_keys(keymat(), GREATER, LOWER, 8)
    swapped = draw_esp_keys(keymat(), GREATER, LOWER, 8, lower_first=True)
    assert swapped == draw_esp_keys(keymat(), LOWER, GREATER, 8)
    assert swapped.outgoing_encryption == keys.incoming_encryption
    assert swapped.incoming_authentication == keys.outgoing_authentication


def test_repr_shows_no_key() -> None:
    material = keymat()
    material.draw(20)
    assert repr(material) == "<KeymatV1 sha1 index=20>"
