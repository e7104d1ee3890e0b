import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.ciphers import (
    DEFAULT_HIP_CIPHERS,
    HIP_CIPHERS,
    decrypt_parameters,
    encrypt_parameters,
    hip_cipher,
    hip_cipher_by_name,
)

IV = bytes.fromhex("000102030405060708090a0b0c0d0e0f")


def key(cipher: int) -> bytes:
    return bytes(range(HIP_CIPHERS[cipher].key_length))


def tlv(kind: int, contents: bytes) -> bytes:
    data = kind.to_bytes(2, "big") + len(contents).to_bytes(2, "big") + contents
    return data + bytes(-len(data) % 8)


def seal(cipher: int, plaintext: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key(cipher)), modes.CBC(IV)).encryptor()
    return IV + encryptor.update(plaintext) + encryptor.finalize()


parameters = st.lists(
    st.tuples(st.integers(1, 65535), st.binary(max_size=80)), min_size=1, max_size=4
).map(lambda items: b"".join(tlv(kind, data) for kind, data in sorted(items)))


@pytest.mark.parametrize("cipher", list(HIP_CIPHERS))
@given(data=parameters, iv=st.binary(min_size=16, max_size=16))
def test_what_was_encrypted_comes_back(cipher: int, data: bytes, iv: bytes) -> None:
    sealed = encrypt_parameters(cipher, key(cipher), data, lambda length: iv[:length])
    assert decrypt_parameters(cipher, key(cipher), sealed) == data
    if cipher == 1:
        assert sealed == data
    else:
        assert sealed[:16] == iv
        assert len(sealed) == 16 + -(-len(data) // 16) * 16


def test_aes_128_cbc_yields_the_second_case_of_rfc_3602() -> None:
    # RFC 3602 §4, case 2: two whole blocks, so that nothing is filled up.
    secret = bytes.fromhex("c286696d887c9aa0611bbb3e2025a45a")
    iv = bytes.fromhex("562e17996d093d28ddb3ba695a2e6f58")
    data = bytes(range(32))
    sealed = encrypt_parameters(2, secret, data, lambda _: iv)
    assert sealed.hex() == iv.hex() + (
        "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1"
    )


def test_a_missing_half_block_is_filled_as_pkcs5_says() -> None:
    sealed = encrypt_parameters(2, key(2), tlv(705, b"x" * 4), lambda _: IV)
    decryptor = Cipher(algorithms.AES(key(2)), modes.CBC(IV)).decryptor()
    assert decryptor.update(sealed[16:]) == tlv(705, b"x" * 4) + b"\x08" * 8


@pytest.mark.parametrize("cipher", [2, 4])
@pytest.mark.parametrize(
    ("data", "fill"),
    [
        (tlv(705, b"x" * 12), b"\x10" * 16),  # a whole block, as PKCS5 has it by the letter
        (tlv(705, b"x" * 12), b""),
        (tlv(705, b"x" * 4), b"\x08" * 8),
        (tlv(705, b"x" * 4), bytes(8)),
        (tlv(705, b"x" * 4), b"\x00\x01\x02\x03\x04\x05\x06\x07"),
        (tlv(641, b"") + tlv(705, b""), bytes(16)),
    ],
)
def test_fill_of_any_kind_is_cut_off(cipher: int, data: bytes, fill: bytes) -> None:
    assert decrypt_parameters(cipher, key(cipher), seal(cipher, data + fill)) == data


def test_a_parameter_that_runs_out_of_the_data_is_left_to_the_parser() -> None:
    broken = (705).to_bytes(2, "big") + (500).to_bytes(2, "big") + bytes(28)
    assert decrypt_parameters(2, key(2), seal(2, broken)) == broken


@pytest.mark.parametrize("cipher", [2, 4])
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 31, 33, 47])
def test_lengths_that_cannot_be_right_are_refused(cipher: int, length: int) -> None:
    with pytest.raises(IdentityError, match="whole blocks"):
        decrypt_parameters(cipher, key(cipher), bytes(length))


@pytest.mark.parametrize("cipher", [2, 4])
@given(st.binary(max_size=400))
def test_no_ciphertext_does_more_than_be_refused(cipher: int, data: bytes) -> None:
    try:
        plain = decrypt_parameters(cipher, key(cipher), data)
    except IdentityError:
        assert len(data) % 16 or len(data) < 32
    else:
        assert len(plain) <= len(data) - 16


def test_a_key_of_another_length_is_refused_and_not_shown() -> None:
    with pytest.raises(IdentityError, match="has 16 octets, not 32") as caught:
        encrypt_parameters(2, b"k" * 32, b"", lambda _: IV)
    assert "kkk" not in str(caught.value)


def test_ciphers_have_the_names_of_the_configuration() -> None:
    assert hip_cipher_by_name("AES-256-CBC").id == 4
    assert hip_cipher(2).name == "AES-128-CBC"
    with pytest.raises(IdentityError) as caught:
        hip_cipher_by_name("ROT13")
    assert "AES-128-CBC" in caught.value.hint
    with pytest.raises(IdentityError, match="cipher 3"):
        hip_cipher(3)


def test_the_default_offer_has_the_mandatory_cipher_and_encrypts() -> None:
    assert 2 in DEFAULT_HIP_CIPHERS
    assert 1 not in DEFAULT_HIP_CIPHERS
