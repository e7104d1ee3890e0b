"""What records are stored under (RFC 6537 §4.1, §4.2)."""

import hashlib
from ipaddress import IPv6Address

from hipgw.naming.dht.limits import KEY_LENGTH

_HASHED_BITS = 100
"""Of a HIT: all but the prefix of 28 bits, which all HITs of a version share."""


def hit_key(hit: IPv6Address) -> bytes:
    """HIT_KEY: the last 100 bits of a HIT, followed by 60 zero bits; 20 octets (§4.2)."""
    hashed = int(hit) & (1 << _HASHED_BITS) - 1
    return (hashed << 8 * KEY_LENGTH - _HASHED_BITS).to_bytes(KEY_LENGTH, "big")


def name_key(name: str) -> bytes:
    """The SHA-1 hash of a name as it is given, without a final dot or NUL; 20 octets (§4.1)."""
    return sha1(name.encode())


def sha1(data: bytes) -> bytes:
    """What the interface calls value_hash, secret_hash and the key of a name; 20 octets."""
    # No choice: the interface prescribes it (RFC 6537 §7).
    return hashlib.sha1(data, usedforsecurity=False).digest()
