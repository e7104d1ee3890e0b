import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.rhash import HitSuite, rhash

VECTORS = json.loads((Path(__file__).parent / "rfc_vectors.json").read_text())
SUITE_OF_HASH = {rhash(suite).name: suite for suite in HitSuite}


@pytest.mark.parametrize("case", VECTORS["rfc5869_hkdf"])
def test_hkdf_yields_the_vectors_of_rfc_5869(case: dict[str, Any]) -> None:
    function = rhash(SUITE_OF_HASH[case["hash"]])
    salt, secret, info = (bytes.fromhex(case[name]) for name in ("salt", "ikm", "info"))
    prk = function.hkdf_extract(salt, secret)
    assert prk.hex() == case["prk"]
    assert function.hkdf_expand(prk, info, case["length"]).hex() == case["okm"]
    assert function.hkdf(salt, secret, info, case["length"]).hex() == case["okm"]


@pytest.mark.parametrize("suite", [1, 2, 3])
@given(key=st.binary(max_size=200), data=st.binary(max_size=300))
def test_fixed_length_suites_hash_and_authenticate_as_the_standard_library_does(
    suite: int, key: bytes, data: bytes
) -> None:
    function = rhash(suite)
    assert function.digest(data) == hashlib.new(function.name, data).digest()
    assert function.mac(key, data) == hmac.new(key, data, function.name).digest()
    assert len(function.digest(data)) == len(function.mac(key, data)) == function.digest_size


def test_lengths_follow_the_suites() -> None:
    assert [rhash(suite).digest_size for suite in (1, 2, 3, 5)] == [32, 48, 20, 32]
    assert [rhash(suite).hkdf_limit for suite in (1, 2, 3, 5)] == [8160, 12240, 5100, 8160]


@given(data=st.binary(max_size=500), length=st.integers(1, 200))
def test_cshake128_without_customization_is_shake128(data: bytes, length: int) -> None:
    assert rhash(5).digest(data, length) == hashlib.shake_128(data).digest(length)
    assert rhash(5).digest(data) == hashlib.shake_128(data).digest(32)


def test_kmac128_yields_the_first_sample_of_sp_800_185() -> None:
    key = bytes(range(0x40, 0x60))
    mac = rhash(5).mac(key, bytes(range(4)))
    assert mac.hex() == "e5780b0d3ea6f7d3a429c5706aa43a00fadbd7d49628839e3187243f456ee14e"


def test_kmac128_refuses_a_key_below_its_strength() -> None:
    with pytest.raises(IdentityError, match="16 octets"):
        rhash(5).mac(bytes(15), b"data")


def test_hkdf_over_kmac128_is_rfc_5869_with_another_mac() -> None:
    function, salt, secret, info = rhash(5), bytes(range(64)), bytes(48), b"two hits"
    prk = function.mac(salt, secret)
    first = function.mac(prk, info + b"\1")
    second = function.mac(prk, first + info + b"\2")
    assert function.hkdf(salt, secret, info, 50) == (first + second)[:50]


@pytest.mark.parametrize("suite", list(HitSuite))
def test_a_mac_is_good_for_its_own_key_and_data_only(suite: int) -> None:
    function, key = rhash(suite), bytes(range(32))
    mac = function.mac(key, b"packet")
    assert function.verify_mac(key, b"packet", mac)
    assert not function.verify_mac(key, b"Packet", mac)
    assert not function.verify_mac(bytes(32), b"packet", mac)
    assert not function.verify_mac(key, b"packet", mac[:-1])
    assert not function.verify_mac(key, b"packet", b"")


@pytest.mark.parametrize("suite", list(HitSuite))
def test_hkdf_ends_after_255_blocks(suite: int) -> None:
    function = rhash(suite)
    prk = bytes(range(function.digest_size))
    assert len(function.hkdf_expand(prk, b"", function.hkdf_limit)) == function.hkdf_limit
    with pytest.raises(IdentityError, match="at most"):
        function.hkdf_expand(prk, b"", function.hkdf_limit + 1)


def test_a_fixed_length_hash_has_no_other_length() -> None:
    assert len(rhash(1).digest(b"", 32)) == 32
    with pytest.raises(IdentityError, match="yields 32"):
        rhash(1).digest(b"", 12)


@pytest.mark.parametrize("suite", [0, 4, 6, 15, 16, -1])
def test_other_suites_are_unknown(suite: int) -> None:
    with pytest.raises(IdentityError, match="not known"):
        rhash(suite)
