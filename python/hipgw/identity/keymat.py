"""KEYMAT and the keys drawn from it (RFC 7401 §6.5, RFC 7402 §7; RFC 5201 §6.5, RFC 5202 §7)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Self

from hipgw.errors import IdentityError
from hipgw.identity.ciphers import HipCipher, hip_cipher
from hipgw.identity.esp_suites import esp_suite
from hipgw.identity.rhash import Rhash

KEYMAT_V1_LIMIT = 0xFFFF
"""Octets. RFC 5201 §6.5 names no end, but KEYMAT Index has 16 bits (RFC 5202 §5.1.1)."""


class AnyKeymat(ABC):
    """The keying material of one association, drawn from octet 0 on."""

    __slots__ = ("_limit", "_material", "_rhash", "index")

    index: int
    """The next octet to draw; ESP_INFO's KEYMAT Index once the HIP keys are drawn."""

    def __init__(self, rhash: Rhash, limit: int) -> None:
        self._rhash = rhash
        self._limit = limit
        self._material = b""
        self.index = 0

    @property
    def limit(self) -> int:
        """Octets that there are in all."""
        return self._limit

    def draw(self, length: int) -> bytes:
        """Return the next `length` octets; IdentityError once KEYMAT is used up."""
        drawn = self.at(self.index, length)
        self.index += length
        return drawn

    def at(self, index: int, length: int) -> bytes:
        """Return `length` octets from `index` on without drawing; IdentityError past the end."""
        end = index + length
        if index < 0 or length < 0 or end > self._limit:
            raise IdentityError(
                f"KEYMAT ends at octet {self._limit}, octet {end} was asked for",
                hint="a new Diffie-Hellman exchange starts a new KEYMAT",
            )
        if end > len(self._material):
            # Rekeying comes back for a little more each time: expand generously.
            wanted = min(self._limit, max(8 * self._rhash.digest_size, 2 * end))
            self._material = self._expand(wanted)
        return self._material[index:end]

    @property
    @abstractmethod
    def secret(self) -> bytes:
        """What everything is expanded from, to be kept as carefully as the keys."""

    @abstractmethod
    def resumed(self, secret: bytes, index: int) -> Self:
        """Make it the keying material of a `secret` that was kept; returns itself."""

    @abstractmethod
    def _expand(self, length: int) -> bytes:
        """Return at least the first `length` octets."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._rhash.name} index={self.index}>"


class Keymat(AnyKeymat):
    """That of HIPv2 (RFC 7401 §6.5).

    HKDF with RHASH: salt is I | J, the input Kij, info the two HITs, smaller one first.
    """

    __slots__ = ("_info", "_pseudorandom_key")

    def __init__(
        self,
        shared_secret: bytes,
        i: bytes,
        j: bytes,
        hit_a: IPv6Address,
        hit_b: IPv6Address,
        rhash: Rhash,
    ) -> None:
        super().__init__(rhash, rhash.hkdf_limit)
        self._pseudorandom_key = rhash.hkdf_extract(i + j, shared_secret)
        self._info = b"".join(hit.packed for hit in sorted((hit_a, hit_b)))

    @property
    def secret(self) -> bytes:
        return self._pseudorandom_key

    def resumed(self, secret: bytes, index: int) -> Self:
        self._pseudorandom_key, self._material, self.index = secret, b"", index
        return self

    def _expand(self, length: int) -> bytes:
        return self._rhash.hkdf_expand(self._pseudorandom_key, self._info, length)


class KeymatV1(AnyKeymat):
    """That of HIPv1 (RFC 5201 §6.5).

    K1 | K2 | …, each the RHASH of Kij, of what comes before it, and of its number in one octet.
    `limit` is where it ends, for peers that have an end of their own.
    """

    __slots__ = ("_first", "_shared_secret")

    def __init__(
        self,
        shared_secret: bytes,
        i: bytes,
        j: bytes,
        hit_a: IPv6Address,
        hit_b: IPv6Address,
        rhash: Rhash,
        *,
        limit: int = KEYMAT_V1_LIMIT,
    ) -> None:
        super().__init__(rhash, limit)
        self._shared_secret = shared_secret
        self._first = b"".join(hit.packed for hit in sorted((hit_a, hit_b))) + i + j

    @property
    def secret(self) -> bytes:
        return self._shared_secret

    def resumed(self, secret: bytes, index: int) -> Self:
        self._shared_secret, self._material, self.index = secret, b"", index
        return self

    def _expand(self, length: int) -> bytes:
        size = self._rhash.digest_size
        blocks = [self._material[at : at + size] for at in range(0, len(self._material), size)]
        while size * len(blocks) < length:
            before = blocks[-1] if blocks else self._first
            number = (len(blocks) + 1) % 256
            blocks.append(self._rhash.digest(self._shared_secret + before + bytes([number])))
        return b"".join(blocks)


@dataclass(frozen=True, slots=True)
class HipKeys:
    """The keys that protect HIP packets (RFC 7401 §6.5)."""

    outgoing_encryption: bytes = field(repr=False)
    """For the ENCRYPTED parameters that this host sends."""
    outgoing_integrity: bytes = field(repr=False)
    """For the MACs of the packets that this host sends."""
    incoming_encryption: bytes = field(repr=False)
    incoming_integrity: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EspKeys:
    """The keys of a pair of ESP security associations (RFC 7402 §7)."""

    outgoing_encryption: bytes = field(repr=False)
    """For AEAD suites the key followed by its salt."""
    outgoing_authentication: bytes = field(repr=False)
    """Empty for AEAD suites."""
    incoming_encryption: bytes = field(repr=False)
    incoming_authentication: bytes = field(repr=False)


def draw_hip_keys(
    keymat: AnyKeymat,
    local_hit: IPv6Address,
    peer_hit: IPv6Address,
    cipher: int | HipCipher,
    rhash: Rhash,
) -> HipKeys:
    """Draw the four HIP keys, those of the host with the greater HIT first (RFC 7401 §6.5).

    In HIPv1 `cipher` and `rhash` are those of the HIP suite (RFC 5201 §5.2.7).
    """
    return HipKeys(
        *_draw_pairs(keymat, local_hit, peer_hit, hip_cipher(cipher).key_length, rhash.digest_size)
    )


def draw_esp_keys(
    keymat: AnyKeymat,
    local_hit: IPv6Address,
    peer_hit: IPv6Address,
    suite: int,
    *,
    lower_first: bool = False,
) -> EspKeys:
    """Draw the four ESP keys, those of the host with the greater HIT first (RFC 7402 §7).

    With *lower_first* the keys of the lower HIT come first, as hip-vpls has them.
    """
    lengths = esp_suite(suite)
    own, own_integrity, peers, peers_integrity = _draw_pairs(
        keymat,
        local_hit,
        peer_hit,
        lengths.encryption_key_length,
        lengths.authentication_key_length,
    )
    if lower_first:
        return EspKeys(peers, peers_integrity, own, own_integrity)
    return EspKeys(own, own_integrity, peers, peers_integrity)


def _draw_pairs(
    keymat: AnyKeymat,
    local_hit: IPv6Address,
    peer_hit: IPv6Address,
    encryption_length: int,
    integrity_length: int,
) -> tuple[bytes, bytes, bytes, bytes]:
    """Return (own encryption, own integrity, peer's encryption, peer's integrity)."""
    if local_hit == peer_hit:
        raise IdentityError(f"both ends of an association have the HIT {local_hit}")
    greater = keymat.draw(encryption_length), keymat.draw(integrity_length)
    lower = keymat.draw(encryption_length), keymat.draw(integrity_length)
    return (*greater, *lower) if local_hit > peer_hit else (*lower, *greater)
