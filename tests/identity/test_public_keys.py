from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.host_identity import KEY_KINDS, HostIdentity, LocalIdentity
from hipgw.identity.public_keys import decode_public_key, encode_public_key

# Two keys of each algorithm are enough for all tests here; RSA keys are slow to make.
IDENTITIES = {
    kind: LocalIdentity.generate(kind) for kind in KEY_KINDS if kind not in ("rsa3072", "rsa4096")
}


@pytest.mark.parametrize("kind", list(IDENTITIES))
def test_a_public_key_survives_the_wire(kind: str) -> None:
    public = IDENTITIES[kind].public
    again = HostIdentity.from_wire(public.algorithm, public.encoded)
    assert again == public
    assert hash(again) == hash(public)
    assert again.hit == public.hit
    assert encode_public_key(decode_public_key(public.algorithm, public.encoded)) == (
        public.algorithm,
        public.encoded,
    )


def test_rsa_is_encoded_as_rfc_3110_says() -> None:
    numbers = decode_public_key(5, IDENTITIES["rsa2048"].public.encoded).public_numbers()
    encoded = IDENTITIES["rsa2048"].public.encoded
    assert encoded[:4] == bytes.fromhex("03010001")
    assert encoded[4:] == numbers.n.to_bytes(256, "big")


def test_rsa_exponents_may_announce_their_length_in_two_octets() -> None:
    encoded = IDENTITIES["rsa2048"].public.encoded
    longer = b"\0\0\3" + encoded[1:]
    identity = HostIdentity.from_wire(5, longer)
    assert identity.encoded == longer
    # The HIT is that of the octets received, hence another one.
    assert identity.hit != IDENTITIES["rsa2048"].hit
    assert identity.verify(b"data", IDENTITIES["rsa2048"].sign(b"data"))


@pytest.mark.parametrize(("kind", "label"), [("ecdsa-p256", 1), ("ecdsa-p384", 2)])
def test_ecdsa_is_a_curve_label_and_a_point(kind: str, label: int) -> None:
    encoded = IDENTITIES[kind].public.encoded
    assert encoded[:3] == bytes([0, label, 4])
    bare = encoded[:2] + encoded[3:]
    identity = HostIdentity.from_wire(7, bare)
    assert identity.encoded == bare
    assert identity.hit != IDENTITIES[kind].hit
    assert identity.verify(b"data", IDENTITIES[kind].sign(b"data"))


def test_eddsa_is_a_curve_label_two_empty_octets_and_the_key() -> None:
    public = IDENTITIES["ed25519"].public
    raw = decode_public_key(13, public.encoded).public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert public.encoded == bytes.fromhex("00010000") + raw
    assert len(public.encoded) == 36


def rsa_wire(n: int, e: int) -> bytes:
    exponent = e.to_bytes((e.bit_length() + 7) // 8, "big")
    return bytes([len(exponent)]) + exponent + n.to_bytes((n.bit_length() + 7) // 8, "big")


MODULUS = (1 << 2047) + 1235


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x03",
        b"\x03\x01\x00\x01",
        b"\x00",
        b"\x00\x00\x00" + bytes(10),
        b"\xff" + b"\x01" * 254,
        b"\x04\x00\x01\x00\x01" + MODULUS.to_bytes(256, "big"),
        b"\x03\x01\x00\x01\x00" + MODULUS.to_bytes(256, "big"),
        rsa_wire((1 << 511) + 187, 65537),
        rsa_wire((1 << 8192) + 1, 65537),
        rsa_wire(MODULUS, 1),
        rsa_wire(MODULUS, 2),
        rsa_wire(MODULUS, 65536),
        rsa_wire(MODULUS, (1 << 65) + 1),
        rsa_wire(MODULUS + 1, 65537),
    ],
)
def test_unusable_rsa_keys_are_refused(encoded: bytes) -> None:
    with pytest.raises(IdentityError, match="RSA"):
        HostIdentity.from_wire(5, encoded)


def test_rsa_keys_of_1024_bits_are_accepted_from_peers_but_not_made() -> None:
    key = rsa.generate_private_key(65537, 1024)
    algorithm, encoded = encode_public_key(key.public_key())
    assert HostIdentity.from_wire(algorithm, encoded).describe() == "RSA-1024"
    with pytest.raises(IdentityError, match="too weak") as caught:
        LocalIdentity(key)
    assert "hipgw keygen" in caught.value.hint


@pytest.mark.parametrize(
    "mangle",
    [
        lambda e: b"",
        lambda e: e[:2],
        lambda e: e[:-1],
        lambda e: e + b"\0",
        lambda e: b"\0\0" + e[2:],
        lambda e: b"\0\3" + e[2:],
        lambda e: e[:2] + b"\2" + e[3:35],
        lambda e: e[:2] + b"\5" + e[3:],
        lambda e: e[:-1] + bytes([e[-1] ^ 1]),
        lambda e: e[:2] + bytes(64),
    ],
)
def test_unusable_ecdsa_keys_are_refused(mangle: Callable[[bytes], bytes]) -> None:
    with pytest.raises(IdentityError, match="ECDSA"):
        HostIdentity.from_wire(7, mangle(IDENTITIES["ecdsa-p256"].public.encoded))


@pytest.mark.parametrize(
    "mangle",
    [
        lambda e: b"",
        lambda e: e[:4],
        lambda e: e[:-1],
        lambda e: e + b"\0",
        lambda e: b"\0\2" + e[2:],
        lambda e: b"\0\3" + e[2:],
        lambda e: e[:2] + e[4:],
    ],
)
def test_unusable_eddsa_keys_are_refused(mangle: Callable[[bytes], bytes]) -> None:
    with pytest.raises(IdentityError, match="EDDSA"):
        HostIdentity.from_wire(13, mangle(IDENTITIES["ed25519"].public.encoded))


@pytest.mark.parametrize("algorithm", [0, 1, 3, 6, 8, 9, 14, 65535])
def test_other_algorithms_are_not_supported(algorithm: int) -> None:
    with pytest.raises(IdentityError, match=f"algorithm {algorithm} is not supported"):
        HostIdentity.from_wire(algorithm, b"anything")


def test_keys_that_hip_has_no_number_for_have_no_identity() -> None:
    with pytest.raises(IdentityError, match="secp521r1") as caught:
        LocalIdentity(ec.generate_private_key(ec.SECP521R1()))
    assert "P-384" in caught.value.hint


def test_a_key_file_of_another_kind_is_refused() -> None:
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    key = ed448.Ed448PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(IdentityError, match="does not use"):
        LocalIdentity.from_pem(pem)


mangled_keys = st.builds(
    lambda kind, cut, at, value: (
        IDENTITIES[kind].public.algorithm,
        IDENTITIES[kind].public.encoded[: at % 90] + value + IDENTITIES[kind].public.encoded[cut:],
    ),
    st.sampled_from(list(IDENTITIES)),
    st.integers(0, 300),
    st.integers(0, 300),
    st.binary(max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(st.sampled_from([5, 7, 13, 3, 9]), st.binary(max_size=300))
    | st.tuples(st.integers(0, 65535), st.binary(max_size=40))
    | mangled_keys
)
def test_no_host_identity_does_more_than_be_refused(wire: tuple[int, bytes]) -> None:
    try:
        identity = HostIdentity.from_wire(*wire)
    except IdentityError as error:
        assert str(error)
    else:
        assert identity.encoded == wire[1]
        assert identity.describe()
        assert not identity.verify(b"data", b"no signature")
