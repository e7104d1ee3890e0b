"""RHASH, the hash that the Responder's HIT suite brings, with its MAC and its HKDF.

One association uses one RHASH for the puzzle, for the MACs and for KEYMAT, on both sides and
whoever sends: that of the Responder's HIT (RFC 7401 §5.2.10, §6.3, §6.4.1, §6.5).

Suite 5, EdDSA/cSHAKE128 (RFC 9374 §3.4.2 table 7), leaves some things open. hipgw reads it so:

- cSHAKE128 is called with empty name and customization strings, which is how RFC 9374 §3.5.2.1
  makes HITs of it (the Context ID is part of the input there); SP 800-185 §3.3 makes that SHAKE128.
- RHASH and MAC are 256 bits long: an XOF has no length of its own, and twice its security strength
  is what SP 800-185 §8.4.2 asks of a KMAC128 that is to be as strong as its key.
- The MAC is KMAC128 (table 7, column HMAC) with an empty customization string.
- HKDF is RFC 5869 with KMAC128 in the place of HMAC-Hash. RFC 7401 §5.2.7 ties HKDF to the
  Diffie-Hellman groups, and §5.2.10 takes "the HMAC" from the suite's row of the table.
"""

import hashlib
import hmac
from abc import ABC, abstractmethod
from enum import IntEnum

from Crypto.Hash import KMAC128, cSHAKE128

from hipgw.errors import IdentityError

_HKDF_BLOCKS_MAX = 255
"""RFC 5869 §2.3."""


class HitSuite(IntEnum):
    """HIT Suite IDs (RFC 7401 §5.2.10, RFC 9374 §3.4.2)."""

    RSA_DSA_SHA256 = 1
    ECDSA_SHA384 = 2
    ECDSA_LOW_SHA1 = 3
    EDDSA_CSHAKE128 = 5


class Rhash(ABC):
    """A hash function with the MAC and the key derivation that go with it."""

    name: str
    """The name in hashlib, or "cshake128"."""
    digest_size: int
    """Octets of a digest, of a MAC and of a MAC key."""

    def __repr__(self) -> str:
        return f"<RHASH {self.name}>"

    @abstractmethod
    def digest(self, data: bytes, length: int | None = None) -> bytes:
        """Hash `data`.

        `length` is for variable-length hashes only; None means `digest_size` octets.
        """

    @abstractmethod
    def mac(self, key: bytes, data: bytes) -> bytes:
        """Authenticate `data`: HMAC (RFC 2104), or KMAC128 for suite 5."""

    def verify_mac(self, key: bytes, data: bytes, mac: bytes) -> bool:
        """Tell, in constant time, whether `mac` is the MAC of `data`."""
        return hmac.compare_digest(self.mac(key, data), mac)

    def hkdf_extract(self, salt: bytes, secret: bytes) -> bytes:
        """Return the pseudorandom key (RFC 5869 §2.2)."""
        return self.mac(salt or bytes(self.digest_size), secret)

    def hkdf_expand(self, pseudorandom_key: bytes, info: bytes, length: int) -> bytes:
        """Return `length` octets of output keying material (RFC 5869 §2.3).

        Raises IdentityError for more than 255 digests.
        """
        if not 0 <= length <= self.hkdf_limit:
            raise IdentityError(
                f"HKDF with {self.name} yields at most {self.hkdf_limit} octets, not {length}"
            )
        block = output = b""
        counter = 1
        while len(output) < length:
            block = self.mac(pseudorandom_key, block + info + bytes([counter]))
            output += block
            counter += 1
        return output[:length]

    def hkdf(self, salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
        """Extract, then expand (RFC 5869 §2)."""
        return self.hkdf_expand(self.hkdf_extract(salt, secret), info, length)

    @property
    def hkdf_limit(self) -> int:
        """Most octets that HKDF yields."""
        return _HKDF_BLOCKS_MAX * self.digest_size


class _FixedLengthRhash(Rhash):
    """MD5, SHA-1, SHA-256, SHA-384 with HMAC."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.digest_size = hashlib.new(name, usedforsecurity=False).digest_size

    def digest(self, data: bytes, length: int | None = None) -> bytes:
        if length not in (None, self.digest_size):
            raise IdentityError(f"{self.name} yields {self.digest_size} octets, not {length}")
        return hashlib.new(self.name, data, usedforsecurity=self.name not in _BROKEN).digest()

    def mac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self.name)


class LeadingOctets(Rhash):
    """Another RHASH whose MACs have octets in front of them that mean nothing.

    OpenHIP gives an HMAC-MD5 the length of an HMAC-SHA-1 this way, and takes no other.
    """

    def __init__(self, inner: Rhash, count: int) -> None:
        self.name = inner.name
        self.digest_size = inner.digest_size
        self._inner = inner
        self._count = count

    def digest(self, data: bytes, length: int | None = None) -> bytes:
        return self._inner.digest(data, length)

    def mac(self, key: bytes, data: bytes) -> bytes:
        return bytes(self._count) + self._inner.mac(key, data)

    def verify_mac(self, key: bytes, data: bytes, mac: bytes) -> bool:
        return self._inner.verify_mac(key, data, mac[self._count :])


class _Cshake128Rhash(Rhash):
    """cSHAKE128 with KMAC128 (NIST SP 800-185), 256 bits each."""

    name = "cshake128"
    digest_size = 32
    _KMAC_KEY_MIN = 16
    """Octets; pycryptodome refuses shorter keys."""

    def digest(self, data: bytes, length: int | None = None) -> bytes:
        return cSHAKE128.new(data=data).read(self.digest_size if length is None else length)

    def mac(self, key: bytes, data: bytes) -> bytes:
        if len(key) < self._KMAC_KEY_MIN:
            raise IdentityError(f"a KMAC128 key has at least {self._KMAC_KEY_MIN} octets")
        return KMAC128.new(key=key, mac_len=self.digest_size, data=data).digest()


_BROKEN = {"md5", "sha1"}
"""Whose collisions are known; HMACs and puzzles do without that."""

MD5: Rhash = _FixedLengthRhash("md5")
"""For the MACs of two HIP suites of HIPv1 only (RFC 5201 §5.2.7)."""
SHA1: Rhash = _FixedLengthRhash("sha1")
"""The RHASH of HIPv1, and that of HIT suite 3."""

_RHASHES: dict[int, Rhash] = {
    HitSuite.RSA_DSA_SHA256: _FixedLengthRhash("sha256"),
    HitSuite.ECDSA_SHA384: _FixedLengthRhash("sha384"),
    HitSuite.ECDSA_LOW_SHA1: SHA1,
    HitSuite.EDDSA_CSHAKE128: _Cshake128Rhash(),
}


def rhash(suite: int) -> Rhash:
    """Return the RHASH of a HIT suite; IdentityError if the suite is unknown."""
    try:
        return _RHASHES[suite]
    except KeyError:
        raise IdentityError(f"HIT suite {suite} is not known") from None
