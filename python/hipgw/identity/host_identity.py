"""Host Identities: public keys with their HITs, and the private keys of this host.

Signatures (RFC 7401 §5.2.9, §5.2.14, §6.4.2) are RSASSA-PSS with the hash of the signer's HIT
suite, MGF1 of the same and a salt as long as it (RFC 8017 §8.1, §9.1); ECDSA as r | s, each as long
as the order (RFC 4754 §3); or plain Ed25519 (RFC 8032 §5.1).

In HIPv1 (RFC 5201 §5.2.8, §5.2.11) they are RSASSA-PKCS1-v1_5 (RFC 3110 §3, RFC 8017 §8.2) or DSA
as T | r | s (RFC 2536 §3), both with SHA-1. The same RSA key is one identity in HIPv1 and another
one, with another HIT, in HIPv2.
"""

from ipaddress import IPv6Address
from typing import Literal, cast, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from hipgw.errors import IdentityError
from hipgw.identity.hit import derive_hit, derive_hit_v1
from hipgw.identity.public_keys import (
    RSA_BITS_MIN,
    RSA_BITS_MIN_WEAK,
    HiAlgorithm,
    PublicKey,
    decode_public_key,
    encode_public_key,
)
from hipgw.identity.rhash import HitSuite

PrivateKey = (
    rsa.RSAPrivateKey | dsa.DSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
)

KeyKind = Literal["rsa2048", "rsa3072", "rsa4096", "ecdsa-p256", "ecdsa-p384", "ed25519"]
KEY_KINDS: tuple[KeyKind, ...] = get_args(KeyKind)
"""What `LocalIdentity.generate` can make."""

_RSA_BITS_MIN_OWN = 2048
"""112 bits of security (RFC 7401 §5.2.9)."""
_DSA_NUMBER_LENGTH = 20
_DSA_SIZE = 8
"""T of the keys of 1024 bits (RFC 2536 §2); there are no others."""
_SUITES: dict[int, HitSuite] = {
    HiAlgorithm.RSA: HitSuite.RSA_DSA_SHA256,
    HiAlgorithm.ECDSA: HitSuite.ECDSA_SHA384,
    HiAlgorithm.EDDSA: HitSuite.EDDSA_CSHAKE128,
}
SUPPORTED_HIT_SUITES: tuple[int, ...] = (
    HitSuite.EDDSA_CSHAKE128,
    HitSuite.ECDSA_SHA384,
    HitSuite.RSA_DSA_SHA256,
)
"""HIT suites whose signatures hipgw can make and check, best first."""


_SHA1 = hashes.SHA1()  # noqa: S303 (the only hash of HIPv1's signatures, RFC 5201 §5.2.8)


class HostIdentity:
    """The public key of a host, immutable, with the HIT that names it (RFC 7401 §3)."""

    __slots__ = ("_key", "algorithm", "encoded", "hit", "hit_suite", "version")

    algorithm: int
    """HI Algorithm and SIG alg on the wire: DSA 3, RSA 5, ECDSA 7, EdDSA 13."""
    encoded: bytes
    """The Host Identity field of HOST_ID, octet for octet as received; in HIPv1 the key in it."""
    version: int
    """Of HIP: 1 or 2."""
    hit_suite: int
    """1, 2 or 5; HIPv1 has none: 0."""
    hit: IPv6Address

    def __init__(self, algorithm: int, encoded: bytes, key: PublicKey, version: int = 2) -> None:
        self.algorithm = algorithm
        self.encoded = encoded
        self.version = version
        self.hit_suite = _SUITES[algorithm] if version == 2 else 0
        self.hit = derive_hit(self.hit_suite, encoded) if version == 2 else derive_hit_v1(encoded)
        self._key = key

    @classmethod
    def from_wire(
        cls, algorithm: int, encoded: bytes, version: int = 2, *, weak_keys: bool = False
    ) -> "HostIdentity":
        """Read the Algorithm and Host Identity fields of a HOST_ID (RFC 7401 §5.2.9).

        Raises IdentityError if they hold no usable public key. *weak_keys* allows RSA keys of less
        than 1024 bits.
        """
        key = decode_public_key(algorithm, encoded, version, weak_keys=weak_keys)
        return cls(algorithm, encoded, key, version)

    @classmethod
    def from_public_key(cls, key: PublicKey, version: int = 2) -> "HostIdentity":
        """Make the identity of a key; IdentityError if HIP has no encoding for it."""
        algorithm, encoded = encode_public_key(key, version)
        return cls(algorithm, encoded, key, version)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this host's signature of `data`."""
        try:
            if isinstance(self._key, rsa.RSAPublicKey):
                if self.version == 1:
                    self._key.verify(signature, data, padding.PKCS1v15(), _SHA1)
                else:
                    _verify_rsa(self._key, data, signature)
            elif isinstance(self._key, dsa.DSAPublicKey):
                _verify_dsa(self._key, data, signature)
            elif isinstance(self._key, ec.EllipticCurvePublicKey):
                _verify_ecdsa(self._key, data, signature)
            else:
                self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def describe(self) -> str:
        """Return the kind of key for people: "RSA-2048", "DSA-1024", "ECDSA P-256", "Ed25519"."""
        if isinstance(self._key, dsa.DSAPublicKey):
            return f"DSA-{self._key.key_size}"
        if isinstance(self._key, rsa.RSAPublicKey):
            return f"RSA-{self._key.key_size}"
        if isinstance(self._key, ec.EllipticCurvePublicKey):
            return f"ECDSA P-{self._key.key_size}"
        return "Ed25519"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HostIdentity):
            return NotImplemented
        return (self.version, self.algorithm, self.encoded) == (
            *(other.version, other.algorithm, other.encoded),
        )

    def __hash__(self) -> int:
        return hash((self.version, self.algorithm, self.encoded))

    def __repr__(self) -> str:
        return f"<HostIdentity {self.describe()} {self.hit}>"


class LocalIdentity:
    """A private key of this host, with its public side. Shows the key to nobody but `to_pem`."""

    __slots__ = ("_key", "public")

    public: HostIdentity

    def __init__(self, key: PrivateKey, version: int = 2, *, weak_keys: bool = False) -> None:
        """Raise IdentityError for a key that this version of HIP does not have, or a weak one.

        RSA keys have at least 2048 bits, in HIPv1 1024, or 512 there with *weak_keys*.
        """
        bits_min = _RSA_BITS_MIN_OWN
        if version == 1:
            bits_min = RSA_BITS_MIN_WEAK if weak_keys else RSA_BITS_MIN
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size < bits_min:
            raise IdentityError(
                f"an RSA key of {key.key_size} bits is too weak for a Host Identity",
                hint=f"make one of at least {_RSA_BITS_MIN_OWN} bits with hipgw keygen",
            )
        self._key = key
        self.public = HostIdentity.from_public_key(key.public_key(), version)

    @classmethod
    def generate(cls, kind: KeyKind) -> "LocalIdentity":
        """Make a new key; IdentityError for a kind that is not in KEY_KINDS."""
        if kind not in KEY_KINDS:
            raise IdentityError(
                f"there is no kind of key {kind!r}", hint=f"known kinds: {', '.join(KEY_KINDS)}"
            )
        if kind == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        if kind == "ecdsa-p256":
            return cls(ec.generate_private_key(ec.SECP256R1()))
        if kind == "ecdsa-p384":
            return cls(ec.generate_private_key(ec.SECP384R1()))
        return cls(rsa.generate_private_key(65537, int(kind.removeprefix("rsa"))))

    @classmethod
    def from_pem(cls, data: bytes, version: int = 2, *, weak_keys: bool = False) -> "LocalIdentity":
        """Read an unencrypted private key in PEM; IdentityError says what is wrong with it."""
        try:
            key = load_pem_private_key(data, password=None)
        except TypeError:
            raise IdentityError(
                "the private key is encrypted with a passphrase",
                hint="decrypt it with: openssl pkey -in FILE -out NEWFILE; chmod 600 NEWFILE",
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            # The library's own text could quote the file, which may hold a key.
            raise IdentityError(
                "there is no readable private key in PEM", hint="make one with hipgw keygen"
            ) from None
        if not isinstance(key, PrivateKey):
            raise IdentityError(
                "the private key is of a kind that HIP does not use",
                hint=f"make one of {', '.join(KEY_KINDS)} with hipgw keygen",
            )
        return cls(key, version, weak_keys=weak_keys)

    def in_version(self, version: int, *, weak_keys: bool = False) -> "LocalIdentity":
        """Return the identity that the same key is in a version of HIP, with the HIT of that.

        Raises IdentityError if that version has no such keys.
        """
        return LocalIdentity(self._key, version, weak_keys=weak_keys)

    def to_pem(self) -> bytes:
        """Return the private key in PEM, PKCS #8, unencrypted."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def hit(self) -> IPv6Address:
        """The HIT of the public side."""
        return self.public.hit

    @property
    def version(self) -> int:
        """Of HIP: 1 or 2."""
        return self.public.version

    def sign(self, data: bytes) -> bytes:
        """Sign `data`; the result goes into HIP_SIGNATURE with `public.algorithm`."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            if self.version == 1:
                return self._key.sign(data, padding.PKCS1v15(), _SHA1)
            return self._key.sign(data, _pss(padding.PSS.DIGEST_LENGTH), hashes.SHA256())
        if isinstance(self._key, dsa.DSAPrivateKey):
            r, s = decode_dss_signature(self._key.sign(data, _SHA1))
            length = _DSA_NUMBER_LENGTH
            return bytes([_DSA_SIZE]) + r.to_bytes(length, "big") + s.to_bytes(length, "big")
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            length = (self._key.key_size + 7) // 8
            der = self._key.sign(data, ec.ECDSA(hashes.SHA384()))
            r, s = decode_dss_signature(der)
            return r.to_bytes(length, "big") + s.to_bytes(length, "big")
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"<LocalIdentity {self.public.describe()} {self.hit}>"


def _pss(salt_length: object) -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA256()), cast(int, salt_length))


def _verify_rsa(key: rsa.RSAPublicKey, data: bytes, signature: bytes) -> None:
    # Any salt length: RFC 7401 names none, and it takes nothing from a signature's worth.
    key.verify(signature, data, _pss(padding.PSS.AUTO), hashes.SHA256())


def _verify_dsa(key: dsa.DSAPublicKey, data: bytes, signature: bytes) -> None:
    # T in front is a copy of the key's and decides nothing (RFC 2536 §3).
    if len(signature) != 1 + 2 * _DSA_NUMBER_LENGTH:
        raise InvalidSignature
    r = int.from_bytes(signature[1 : 1 + _DSA_NUMBER_LENGTH], "big")
    s = int.from_bytes(signature[1 + _DSA_NUMBER_LENGTH :], "big")
    key.verify(encode_dss_signature(r, s), data, _SHA1)


def _verify_ecdsa(key: ec.EllipticCurvePublicKey, data: bytes, signature: bytes) -> None:
    length = (key.key_size + 7) // 8
    if len(signature) != 2 * length:
        raise InvalidSignature
    r = int.from_bytes(signature[:length], "big")
    s = int.from_bytes(signature[length:], "big")
    der = encode_dss_signature(r, s)
    try:
        key.verify(der, data, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        if key.key_size != 256:
            raise
        # The suite says SHA-384 for both curves (RFC 7401 §5.2.10); RFC 4754 §3 on its own pairs
        # P-256 with SHA-256, so a peer may have read it that way.
        key.verify(der, data, ec.ECDSA(hashes.SHA256()))
