"""Keys of those who run a fleet: Ed25519 (RFC 8032), by which entries of its directory are signed.

An operator's key is no Host Identity: nobody associates with it, and it has no HIT.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from hipgw.errors import IdentityError

PREFIX = "ed25519:"
"""What the text of a public key begins with."""
KEY_OCTETS = 32
SIGNATURE_OCTETS = 64
_ID_OCTETS = 8


@dataclass(frozen=True, slots=True)
class OperatorPublicKey:
    """The public half: what every machine of the fleet is configured with."""

    octets: bytes
    """32 octets (RFC 8032 §5.1.5)."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ed25519:` and base64, as `str` writes it. Raises IdentityError."""
        if not text.startswith(PREFIX):
            raise IdentityError(f"a public key of an operator begins with {PREFIX}")
        try:
            octets = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise IdentityError("the public key is not written in base64") from None
        if len(octets) != KEY_OCTETS:
            raise IdentityError(
                f"the public key has {len(octets)} octets, and {KEY_OCTETS} are needed"
            )
        return cls(octets)

    @property
    def id(self) -> str:
        """What entries name their signer by: 16 hexadecimal digits of the key's SHA-256."""
        return hashlib.sha256(self.octets).digest()[:_ID_OCTETS].hex()

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether the private half has signed *data*."""
        try:
            Ed25519PublicKey.from_public_bytes(self.octets).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __str__(self) -> str:
        return PREFIX + base64.b64encode(self.octets).decode()


class OperatorKey:
    """The private half. It belongs on no machine of the fleet."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = OperatorPublicKey(raw)

    @classmethod
    def generate(cls) -> Self:
        """Make a new one."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Read PKCS #8 in PEM. Raises IdentityError, which quotes nothing of it."""
        try:
            key = load_pem_private_key(data, None)
        except (ValueError, TypeError) as error:
            reason = "it is encrypted" if isinstance(error, TypeError) else "it is no PEM file"
            raise IdentityError(f"the operator's key cannot be read: {reason}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise IdentityError(
                "the operator's key is not of Ed25519", hint="`hipgw fleet keygen` makes one"
            )
        return cls(key)

    def to_pem(self) -> bytes:
        """PKCS #8 in PEM, not encrypted: for a file that its owner alone can read."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, data: bytes) -> bytes:
        """The signature of *data*, 64 octets."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"OperatorKey({self.public.id})"
