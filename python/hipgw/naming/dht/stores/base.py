"""What a gateway asks of a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Protocol

from hipgw.errors import NamingError
from hipgw.naming.dht.keys import sha1


class StoreFullError(NamingError):
    """There is no more room (over capacity, RFC 6537 §2)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One value under a key, as a client has put it."""

    application: str
    value: bytes
    expires: int
    """When its time to live is over, in seconds since 1970."""
    secret_hash: bytes
    """SHA-1 of what an rm has to show; empty if nobody may remove it."""

    @property
    def value_hash(self) -> bytes:
        """What an rm names it by."""
        return sha1(self.value)

    def opened_by(self, secret: bytes) -> bool:
        """Whether this is the secret that it was put with."""
        return bool(self.secret_hash) and compare_digest(self.secret_hash, sha1(secret))


@dataclass(frozen=True, slots=True)
class Holding:
    """What a store has under one key."""

    stored: Sequence[Stored] = ()
    removed: Sequence[bytes] = ()
    """Values that were removed before they expired, as far as they are known for that."""


class Store(Protocol):
    """Values by key. Who stores has verified them; who reads verifies them again."""

    async def put(self, key: bytes, stored: Stored, replaced: Sequence[Stored] = ()) -> None:
        """Keep a value until it expires, and drop those that it takes the place of.

        Raises StoreFullError, or NamingError if the store does not answer now.
        """

    async def get(self, key: bytes, application: str) -> Holding:
        """What has not expired, in no order; NamingError if the store does not answer now."""

    async def remove(self, key: bytes, stored: Stored, secret: bytes) -> None:
        """Drop a value that the secret has opened; NamingError if the store does not answer."""

    async def close(self) -> None:
        """Give up files and connections."""
