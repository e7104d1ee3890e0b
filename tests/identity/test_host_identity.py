import json
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pss
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.hit import derive_hit
from hipgw.identity.host_identity import (
    KEY_KINDS,
    SUPPORTED_HIT_SUITES,
    HostIdentity,
    KeyKind,
    LocalIdentity,
)

VECTORS = json.loads((Path(__file__).parent / "rfc_vectors.json").read_text())
IDENTITIES = {kind: LocalIdentity.generate(kind) for kind in KEY_KINDS}
DATA = b"a HIP packet up to its signature"


def raw_rs(der: bytes, length: int) -> bytes:
    r, s = decode_dss_signature(der)
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


@pytest.mark.parametrize(
    ("kind", "algorithm", "suite", "described"),
    [
        ("rsa2048", 5, 1, "RSA-2048"),
        ("rsa3072", 5, 1, "RSA-3072"),
        ("rsa4096", 5, 1, "RSA-4096"),
        ("ecdsa-p256", 7, 2, "ECDSA P-256"),
        ("ecdsa-p384", 7, 2, "ECDSA P-384"),
        ("ed25519", 13, 5, "Ed25519"),
    ],
)
def test_each_kind_of_key_has_its_algorithm_and_suite(
    kind: KeyKind, algorithm: int, suite: int, described: str
) -> None:
    public = IDENTITIES[kind].public
    assert (public.algorithm, public.hit_suite) == (algorithm, suite)
    assert public.describe() == described
    assert public.hit == derive_hit(suite, public.encoded) == IDENTITIES[kind].hit
    assert isinstance(public.hit, IPv6Address)
    assert suite in SUPPORTED_HIT_SUITES


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_a_signature_is_good_for_its_own_data_and_signer_only(kind: KeyKind) -> None:
    identity = IDENTITIES[kind]
    signature = identity.sign(DATA)
    assert identity.public.verify(DATA, signature)
    assert not identity.public.verify(DATA + b"\0", signature)
    assert not identity.public.verify(DATA, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not identity.public.verify(DATA, bytes([signature[0] ^ 1]) + signature[1:])
    for other in ("rsa2048", "ecdsa-p256", "ecdsa-p384", "ed25519"):
        if other != kind:
            assert not IDENTITIES[other].public.verify(DATA, signature)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_another_key_of_the_same_kind_does_not_verify(kind: KeyKind) -> None:
    if kind.startswith("rsa"):
        other = HostIdentity.from_public_key(rsa.generate_private_key(65537, 1024).public_key())
    else:
        other = LocalIdentity.generate(kind).public
    assert not other.verify(DATA, IDENTITIES[kind].sign(DATA))


@pytest.mark.parametrize(
    ("kind", "length"),
    [("rsa2048", 256), ("ecdsa-p256", 64), ("ecdsa-p384", 96), ("ed25519", 64)],
)
def test_signatures_have_a_fixed_length(kind: KeyKind, length: int) -> None:
    assert {len(IDENTITIES[kind].sign(bytes([n]))) for n in range(40)} == {length}


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KEY_KINDS), signature=st.binary(max_size=600))
def test_no_signature_does_more_than_fail(kind: KeyKind, signature: bytes) -> None:
    assert not IDENTITIES[kind].public.verify(DATA, signature)


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384"])
def test_ecdsa_values_out_of_range_fail(kind: KeyKind) -> None:
    length = len(IDENTITIES[kind].sign(DATA))
    for signature in (bytes(length), b"\xff" * length, bytes(length - 1) + b"\1"):
        assert not IDENTITIES[kind].public.verify(DATA, signature)


def test_rsa_is_pss_with_sha_256_and_a_salt_of_32_octets() -> None:
    # pycryptodome is the other implementation here; it insists on the salt's length.
    key = RSA.import_key(IDENTITIES["rsa2048"].to_pem())
    scheme = pss.new(key, salt_bytes=32)
    scheme.verify(SHA256.new(DATA), IDENTITIES["rsa2048"].sign(DATA))
    assert IDENTITIES["rsa2048"].public.verify(DATA, scheme.sign(SHA256.new(DATA)))


@pytest.mark.parametrize("salt_length", [0, 20, 222])
def test_rsa_salts_of_other_lengths_verify(salt_length: int) -> None:
    scheme = pss.new(RSA.import_key(IDENTITIES["rsa2048"].to_pem()), salt_bytes=salt_length)
    assert IDENTITIES["rsa2048"].public.verify(DATA, scheme.sign(SHA256.new(DATA)))


def test_rsa_with_the_padding_of_hipv1_fails() -> None:
    key = rsa.generate_private_key(65537, 2048)
    public = HostIdentity.from_public_key(key.public_key())
    for function in (hashes.SHA1(), hashes.SHA256()):
        assert not public.verify(DATA, key.sign(DATA, padding.PKCS1v15(), function))


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384"])
def test_ecdsa_signs_with_the_hash_of_its_suite(kind: KeyKind) -> None:
    identity = IDENTITIES[kind]
    key = ec.derive_private_key(1, ec.SECP256R1())
    assert identity.public.verify(DATA, identity.sign(DATA))
    other = HostIdentity.from_public_key(key.public_key())
    assert other.verify(DATA, raw_rs(key.sign(DATA, ec.ECDSA(hashes.SHA384())), 32))


def test_p_256_with_sha_256_verifies_too_but_no_other_pair() -> None:
    p256, p384 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1()))
    public256, public384 = (HostIdentity.from_public_key(k.public_key()) for k in (p256, p384))
    assert public256.verify(DATA, raw_rs(p256.sign(DATA, ec.ECDSA(hashes.SHA256())), 32))
    assert not public256.verify(DATA, raw_rs(p256.sign(DATA, ec.ECDSA(hashes.SHA512())), 32))
    assert not public384.verify(DATA, raw_rs(p384.sign(DATA, ec.ECDSA(hashes.SHA256())), 48))


@pytest.mark.parametrize("case", VECTORS["rfc4754_ecdsa"])
def test_ecdsa_verifies_the_vectors_of_rfc_4754(case: dict[str, str]) -> None:
    encoded = int(case["curve"]).to_bytes(2, "big") + bytes.fromhex(case["point"])
    public = HostIdentity.from_wire(7, encoded)
    message, signature = bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
    assert public.verify(message, signature)
    assert not public.verify(message + b"d", signature)


@pytest.mark.parametrize("case", VECTORS["rfc8032_ed25519"])
def test_ed25519_yields_the_vector_of_rfc_8032(case: dict[str, str]) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(case["secret"]))
    identity = LocalIdentity(key)
    assert identity.public.encoded.hex() == "00010000" + case["public"]
    signature = identity.sign(bytes.fromhex(case["message"]))
    assert signature.hex() == case["signature"]
    assert identity.public.verify(bytes.fromhex(case["message"]), signature)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_a_key_survives_pem(kind: KeyKind) -> None:
    pem = IDENTITIES[kind].to_pem()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    again = LocalIdentity.from_pem(pem)
    assert again.public == IDENTITIES[kind].public
    assert again.public.verify(DATA, again.sign(DATA))


@pytest.mark.parametrize("kind", ["rsa2048", "ecdsa-p256"])
def test_older_pem_forms_are_read(kind: KeyKind) -> None:
    from cryptography.hazmat.primitives.serialization import NoEncryption, load_pem_private_key

    key = load_pem_private_key(IDENTITIES[kind].to_pem(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert LocalIdentity.from_pem(pem).public == IDENTITIES[kind].public


def test_an_encrypted_key_is_refused_with_the_way_out() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(IdentityError, match="passphrase") as caught:
        LocalIdentity.from_pem(pem)
    assert "openssl pkey" in caught.value.hint


@given(st.binary(max_size=200))
def test_no_pem_does_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(IdentityError, match="no readable private key"):
        LocalIdentity.from_pem(data)


@pytest.mark.parametrize("kind", ["rsa1024", "dsa", "", "RSA2048"])
def test_other_kinds_cannot_be_made(kind: str) -> None:
    with pytest.raises(IdentityError, match="no kind of key") as caught:
        LocalIdentity.generate(kind)  # type: ignore[arg-type]
    assert "ed25519" in caught.value.hint


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_no_text_shows_a_private_key(kind: KeyKind) -> None:
    identity = IDENTITIES[kind]
    expected = f"<LocalIdentity {identity.public.describe()} {identity.hit}>"
    assert repr(identity) == str(identity) == f"{identity}" == expected


def test_a_broken_key_file_is_not_quoted() -> None:
    pem = IDENTITIES["ed25519"].to_pem()
    secret = pem.split(b"\n")[1]
    with pytest.raises(IdentityError) as caught:
        LocalIdentity.from_pem(pem.replace(b"-----END", b"-----KEND"))
    assert secret.decode() not in f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert caught.value.__cause__ is None


def test_identities_are_equal_by_their_public_keys() -> None:
    one, other = IDENTITIES["ed25519"].public, IDENTITIES["ecdsa-p256"].public
    assert one == HostIdentity.from_wire(one.algorithm, one.encoded)
    assert one != other
    assert one != one.encoded
    assert len({one, other, HostIdentity.from_wire(one.algorithm, one.encoded)}) == 2
