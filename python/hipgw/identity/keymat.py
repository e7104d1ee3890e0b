"""KEYMAT and the keys drawn from it (RFC 7401 §6.5, RFC 7402 §7)."""

from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.errors import IdentityError
from hipgw.identity.ciphers import hip_cipher
from hipgw.identity.esp_suites import esp_suite
from hipgw.identity.rhash import Rhash


class Keymat:
    """The keying material of one association, drawn from octet 0 on.

    HKDF with RHASH: salt is I | J, the input Kij, info the two HITs, smaller one first.
    """

    __slots__ = ("_info", "_limit", "_material", "_pseudorandom_key", "_rhash", "index")

    index: int
    """The next octet to draw; ESP_INFO's KEYMAT Index once the HIP keys are drawn."""

    def __init__(
        self,
        shared_secret: bytes,
        i: bytes,
        j: bytes,
        hit_a: IPv6Address,
        hit_b: IPv6Address,
        rhash: Rhash,
    ) -> None:
        self._rhash = rhash
        self._pseudorandom_key = rhash.hkdf_extract(i + j, shared_secret)
        self._info = b"".join(hit.packed for hit in sorted((hit_a, hit_b)))
        self._limit = rhash.hkdf_limit
        self._material = b""
        self.index = 0

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
            self._material = self._rhash.hkdf_expand(self._pseudorandom_key, self._info, wanted)
        return self._material[index:end]

    def __repr__(self) -> str:
        return f"<Keymat {self._rhash.name} index={self.index}>"


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
    keymat: Keymat,
    local_hit: IPv6Address,
    peer_hit: IPv6Address,
    cipher: int,
    rhash: Rhash,
) -> HipKeys:
    """Draw the four HIP keys, those of the host with the greater HIT first (RFC 7401 §6.5)."""
    return HipKeys(
        *_draw_pairs(keymat, local_hit, peer_hit, hip_cipher(cipher).key_length, rhash.digest_size)
    )


def draw_esp_keys(
    keymat: Keymat, local_hit: IPv6Address, peer_hit: IPv6Address, suite: int
) -> EspKeys:
    """Draw the four ESP keys, those of the host with the greater HIT first (RFC 7402 §7)."""
    lengths = esp_suite(suite)
    return EspKeys(
        *_draw_pairs(
            keymat,
            local_hit,
            peer_hit,
            lengths.encryption_key_length,
            lengths.authentication_key_length,
        )
    )


def _draw_pairs(
    keymat: Keymat,
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
