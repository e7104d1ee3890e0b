"""Host Identity Tags: ORCHID addresses of Host Identities.

HIPv2 uses ORCHIDv2 (RFC 7343, RFC 7401 §3.2), HIPv1 the older ORCHID (RFC 4843, RFC 5201 §3.2).
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

from hipgw.errors import IdentityError
from hipgw.identity.rhash import SHA1, HitSuite, rhash

HIT_PREFIX = IPv6Network("2001:20::/28")
"""The ORCHIDv2 prefix (RFC 7343 §2, §6)."""

HIT_PREFIX_V1 = IPv6Network("2001:10::/28")
"""The ORCHID prefix of HIPv1 (RFC 4843 §2, §6)."""

CONTEXT_ID = bytes.fromhex("F0EFF02FBFF43D0FE7930C3C6E6174EA")
"""What sets HITs apart from other ORCHIDs (RFC 7401 §3.2; the same in RFC 5201 §3.2)."""

_HASH_LENGTH = 12
"""Octets of the hash in an ORCHID: 96 bits (RFC 7343 §2)."""
_HASH_BITS_V1 = 100
"""Of the hash in an ORCHID of HIPv1, the lowest bits of it (RFC 4843 §2)."""


def derive_hit(suite: int, host_identity: bytes) -> IPv6Address:
    """Return the HIT of an encoded Host Identity.

    The hash covers the Context ID and the Host Identity field of HOST_ID, octet for octet
    (RFC 7401 §3.2); the middle 96 bits of it are kept (RFC 7343 §2, Encode_96), or the 96 bits
    that a variable-length hash is asked for (RFC 9374 §3.5.2.1).

    Raises IdentityError for an unknown suite.
    """
    function = rhash(suite)
    data = CONTEXT_ID + host_identity
    if suite == HitSuite.EDDSA_CSHAKE128:
        hashed = function.digest(data, _HASH_LENGTH)
    else:
        skip = (function.digest_size - _HASH_LENGTH) // 2
        hashed = function.digest(data)[skip : skip + _HASH_LENGTH]
    first = int(HIT_PREFIX.network_address) | suite << 96
    return IPv6Address(first | int.from_bytes(hashed, "big"))


def derive_hit_v1(host_identity: bytes) -> IPv6Address:
    """Return the HIPv1 HIT of an encoded public key (RFC 5201 §3.2).

    The SHA-1 hash covers the Context ID and the key alone, without what HOST_ID puts in front of
    it; the middle 100 of its 160 bits are kept (RFC 4843 §2, Encode_100).
    """
    digest = SHA1.digest(CONTEXT_ID + host_identity)
    skip = (8 * SHA1.digest_size - _HASH_BITS_V1) // 2
    hashed = int.from_bytes(digest, "big") >> skip & (1 << _HASH_BITS_V1) - 1
    return IPv6Address(int(HIT_PREFIX_V1.network_address) | hashed)


def is_hit(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address lies in the prefix of either version."""
    return isinstance(address, IPv6Address) and (address in HIT_PREFIX or address in HIT_PREFIX_V1)


def hit_version(hit: IPv6Address) -> int:
    """Return the version of HIP that a HIT belongs to, 1 or 2.

    Raises IdentityError if the address is no HIT.
    """
    if hit in HIT_PREFIX:
        return 2
    if hit in HIT_PREFIX_V1:
        return 1
    raise IdentityError(
        f"{hit} is not a Host Identity Tag",
        hint=f"HITs begin with {HIT_PREFIX}, those of HIP version 1 with {HIT_PREFIX_V1}",
    )


def prefix_of(hit: IPv6Address) -> IPv6Network:
    """Return the prefix of all HITs of the same version; raises IdentityError for no HIT."""
    return HIT_PREFIX if hit_version(hit) == 2 else HIT_PREFIX_V1


def hit_suite_of(hit: IPv6Address) -> int:
    """Return the HIT Suite ID inside a HIT (the OGA ID, RFC 7343 §2).

    The suite need not be a known one. HITs of HIPv1 have none: 0, which RFC 7401 §5.2.10 reserves.
    Raises IdentityError if the address is no HIT.
    """
    return int(hit) >> 96 & 0xF if hit_version(hit) == 2 else 0
