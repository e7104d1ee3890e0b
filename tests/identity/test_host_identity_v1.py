"""Host Identities of HIPv1: RSA with PKCS #1 v1.5 and DSA, both with SHA-1."""

import pytest
from Crypto.Hash import SHA1
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15
from Crypto.Util.number import getPrime
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.hit import derive_hit_v1, hit_version
from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.keyfile import load_key_file, save_key_file

RSA_KEY = rsa.generate_private_key(65537, 2048)
DSA_KEY = dsa.generate_private_key(1024)
IDENTITIES = {"rsa": LocalIdentity(RSA_KEY, 1), "dsa": LocalIdentity(DSA_KEY, 1)}
DATA = b"a HIP packet up to its signature"
every_key = pytest.mark.parametrize("kind", list(IDENTITIES))


def rsa_key_of_512_bits() -> rsa.RSAPrivateKey:
    """No library makes one any more."""
    p = q = 1
    while (p * q).bit_length() < 512 or p == q:
        p, q = getPrime(256), getPrime(256)
    d = pow(65537, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        *(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p)), rsa.RSAPublicNumbers(65537, p * q)
    ).private_key()


@every_key
def test_a_key_has_the_hit_of_its_encoding(kind: str) -> None:
    public = IDENTITIES[kind].public
    assert public.version == IDENTITIES[kind].version == 1
    assert public.hit == derive_hit_v1(public.encoded)
    assert hit_version(public.hit) == 1
    assert public.hit_suite == 0
    assert public.describe() == {"rsa": "RSA-2048", "dsa": "DSA-1024"}[kind]
    again = HostIdentity.from_wire(public.algorithm, public.encoded, 1)
    assert again == public
    assert hash(again) == hash(public)


@every_key
def test_a_signature_is_good_for_its_own_data_and_signer_only(kind: str) -> None:
    identity = IDENTITIES[kind]
    other = IDENTITIES["dsa" if kind == "rsa" else "rsa"]
    signature = identity.sign(DATA)
    assert identity.public.verify(DATA, signature)
    assert not identity.public.verify(DATA + b"\0", signature)
    assert not identity.public.verify(DATA, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not other.public.verify(DATA, signature)
    for cut in (b"", signature[:-1], signature + b"\0"):
        assert not identity.public.verify(DATA, cut)


@given(st.binary(max_size=64))
def test_any_octets_are_no_signature(octets: bytes) -> None:
    for identity in IDENTITIES.values():
        assert not identity.public.verify(DATA, octets)


def test_rsa_signatures_are_those_of_another_library() -> None:
    der = RSA_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert IDENTITIES["rsa"].sign(DATA) == pkcs1_15.new(RSA.import_key(der)).sign(SHA1.new(DATA))


def test_dsa_signatures_are_t_r_s() -> None:
    signature = IDENTITIES["dsa"].sign(DATA)
    assert len(signature) == 41
    assert signature[0] == 8
    # T says nothing that the key does not.
    assert IDENTITIES["dsa"].public.verify(DATA, b"\0" + signature[1:])


def test_a_dsa_key_on_the_wire() -> None:
    numbers = DSA_KEY.public_key().public_numbers()
    group = numbers.parameter_numbers
    encoded = IDENTITIES["dsa"].public.encoded
    assert encoded[0] == 8
    assert int.from_bytes(encoded[1:21], "big") == group.q
    values = [int.from_bytes(encoded[at : at + 128], "big") for at in (21, 149, 277)]
    assert values == [group.p, group.g, numbers.y]


def test_one_rsa_key_is_an_identity_in_each_version() -> None:
    old = IDENTITIES["rsa"]
    new = old.in_version(2)
    assert new.version == 2
    assert new.public.encoded == old.public.encoded
    assert new.public != old.public
    assert new.hit != old.hit
    assert hit_version(new.hit) == 2
    assert new.in_version(1).public == old.public
    # Neither version takes the other's signatures.
    assert not new.public.verify(DATA, old.sign(DATA))
    assert not old.public.verify(DATA, new.sign(DATA))


def test_keys_of_the_other_version_are_refused() -> None:
    with pytest.raises(IdentityError, match="not supported"):
        IDENTITIES["dsa"].in_version(2)
    for kind in ("ecdsa-p256", "ed25519"):
        identity = LocalIdentity.generate(kind)  # type: ignore[arg-type]
        with pytest.raises(IdentityError, match="HIPv1"):
            identity.in_version(1)
        with pytest.raises(IdentityError, match="HIPv1"):
            HostIdentity.from_wire(identity.public.algorithm, identity.public.encoded, 1)
    dsa_public = IDENTITIES["dsa"].public
    with pytest.raises(IdentityError, match="not supported"):
        HostIdentity.from_wire(dsa_public.algorithm, dsa_public.encoded)


def test_a_key_of_1024_bits_is_for_v1_only() -> None:
    key = rsa.generate_private_key(65537, 1024)
    identity = LocalIdentity(key, 1)
    assert identity.public.describe() == "RSA-1024"
    with pytest.raises(IdentityError, match="too weak"):
        identity.in_version(2)


def test_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for kind, identity in IDENTITIES.items():
        file = tmp_path / kind
        save_key_file(file, identity)
        assert load_key_file(file, 1).public == identity.public
    assert load_key_file(tmp_path / "rsa").public == IDENTITIES["rsa"].in_version(2).public
    with pytest.raises(IdentityError):
        load_key_file(tmp_path / "dsa")


@given(st.binary(max_size=420))
def test_any_octets_as_a_dsa_key(octets: bytes) -> None:
    for encoded in (octets, b"\x08" + octets, b"\0" + octets):
        with pytest.raises(IdentityError):
            HostIdentity.from_wire(3, encoded, 1)


@pytest.mark.parametrize(
    ("at", "value"),
    [(20, b"\0"), (148, b"\0"), (149, bytes(128)), (277, bytes(128)), (277, b"\xff" * 128)],
    ids=["even order", "even prime", "no generator", "no public value", "public value too large"],
)
def test_a_dsa_key_with_a_fault(at: int, value: bytes) -> None:
    encoded = IDENTITIES["dsa"].public.encoded
    broken = encoded[:at] + value + encoded[at + len(value) :]
    with pytest.raises(IdentityError, match="DSA"):
        HostIdentity.from_wire(3, broken, 1)


def test_a_larger_dsa_key_has_no_encoding() -> None:
    with pytest.raises(IdentityError, match="2048"):
        LocalIdentity(dsa.generate_private_key(2048), 1)


def test_weak_keys_only_where_they_are_allowed() -> None:
    key = rsa_key_of_512_bits()
    with pytest.raises(IdentityError, match="too weak"):
        LocalIdentity(key, 1)
    with pytest.raises(IdentityError, match="too weak"):
        LocalIdentity(key, 2, weak_keys=True)
    identity = LocalIdentity(key, 1, weak_keys=True)
    public = identity.public
    with pytest.raises(IdentityError, match="bits"):
        HostIdentity.from_wire(public.algorithm, public.encoded, 1)
    again = HostIdentity.from_wire(public.algorithm, public.encoded, 1, weak_keys=True)
    assert again.verify(DATA, identity.sign(DATA))
