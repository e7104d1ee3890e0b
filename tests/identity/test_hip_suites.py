"""HIP suites of HIPv1: their ciphers and their MACs."""

import hashlib
import hmac

import pytest
from Crypto.Cipher import AES, DES3, Blowfish
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.ciphers import decrypt_parameters, encrypt_parameters
from hipgw.identity.hip_suites import (
    DEFAULT_HIP_SUITES,
    HIP_SUITES,
    HipSuite,
    hip_suite,
    hip_suite_by_name,
)
from hipgw.identity.rhash import MD5, LeadingOctets

KEY = bytes(range(1, 33))
every_suite = pytest.mark.parametrize("suite", list(HIP_SUITES.values()), ids=lambda s: s.name)


def tlv(kind: int, contents: bytes) -> bytes:
    data = kind.to_bytes(2, "big") + len(contents).to_bytes(2, "big") + contents
    return data + bytes(-len(data) % 8)


parameters = st.lists(
    st.tuples(st.integers(1, 65535), st.binary(max_size=80)), min_size=1, max_size=4
).map(lambda items: b"".join(tlv(kind, data) for kind, data in sorted(items)))


@pytest.mark.parametrize(
    ("number", "key_length", "iv_length", "mac_length"),
    [(1, 16, 16, 20), (2, 24, 8, 20), (3, 24, 8, 16), (4, 16, 8, 20), (5, 0, 0, 20), (6, 0, 0, 16)],
)
def test_lengths(number: int, key_length: int, iv_length: int, mac_length: int) -> None:
    suite = hip_suite(number)
    assert suite.cipher.key_length == key_length
    assert suite.cipher.iv_length == iv_length
    assert suite.mac.digest_size == mac_length
    assert hip_suite_by_name(suite.name) is suite


def test_only_aes_is_offered_by_default() -> None:
    assert DEFAULT_HIP_SUITES == (1,)


def test_unknown_suites() -> None:
    with pytest.raises(IdentityError):
        hip_suite(7)
    with pytest.raises(IdentityError) as caught:
        hip_suite_by_name("ROT13")
    assert "AES-128-CBC-SHA1" in caught.value.hint


@every_suite
@given(data=parameters, iv=st.binary(min_size=16, max_size=16))
def test_what_was_encrypted_comes_back(suite: HipSuite, data: bytes, iv: bytes) -> None:
    key, block = KEY[: suite.cipher.key_length], suite.cipher.iv_length
    sealed = encrypt_parameters(suite.cipher, key, data, lambda length: iv[:length])
    assert decrypt_parameters(suite.cipher, key, sealed) == data
    assert len(sealed) == block + (-(-len(data) // block) * block if block else len(data))


@pytest.mark.parametrize(("number", "module"), [(1, AES), (2, DES3), (3, DES3), (4, Blowfish)])
@pytest.mark.parametrize("extra", [0, 1])
def test_another_library_reads_it(number: int, module, extra: int) -> None:  # type: ignore[no-untyped-def]
    cipher = hip_suite(number).cipher
    key, iv = KEY[: cipher.key_length], bytes(range(cipher.iv_length))
    data = tlv(705, bytes(28))
    sealed = encrypt_parameters(cipher, key, data, lambda length: iv[:length])
    assert sealed == iv + module.new(key, module.MODE_CBC, iv).encrypt(data)
    # A whole block of fill, as PKCS5 has it where nothing is missing, does no harm.
    filled = data + extra * bytes([cipher.iv_length]) * cipher.iv_length
    sealed = iv + module.new(key, module.MODE_CBC, iv).encrypt(filled)
    assert decrypt_parameters(cipher, key, sealed) == data


@every_suite
def test_macs_are_hmacs(suite: HipSuite) -> None:
    name = suite.mac.name
    assert suite.mac.mac(b"key", b"data") == hmac.digest(b"key", b"data", name)
    assert suite.mac.digest(b"data") == hashlib.new(name, b"data").digest()


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(min_size=4, max_size=4))
def test_a_mac_with_octets_in_front(key: bytes, data: bytes, front: bytes) -> None:
    padded = LeadingOctets(MD5, 4)
    mac = padded.mac(key, data)
    assert mac == bytes(4) + MD5.mac(key, data)
    assert padded.verify_mac(key, data, front + mac[4:])
    assert not padded.verify_mac(key, data, mac[4:])
    assert not padded.verify_mac(key, data, mac + b"\0")
    assert not padded.verify_mac(key, data, mac[:-1] + bytes([mac[-1] ^ 1]))
    assert (padded.name, padded.digest_size) == ("md5", 16)
    assert padded.digest(data) == MD5.digest(data)
