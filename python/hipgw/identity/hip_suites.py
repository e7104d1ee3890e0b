"""HIP suites: the cipher and the hash of the MACs of a HIPv1 association (RFC 5201 §5.2.7)."""

from dataclasses import dataclass

from hipgw.errors import IdentityError
from hipgw.identity.ciphers import (
    AES_128_CBC,
    BLOWFISH_CBC,
    NULL_ENCRYPTION,
    TRIPLE_DES_CBC,
    HipCipher,
)
from hipgw.identity.rhash import MD5, SHA1, Rhash


@dataclass(frozen=True, slots=True)
class HipSuite:
    """One HIP suite."""

    id: int
    """On the wire, in HIP_TRANSFORM."""
    name: str
    """As in hipgw.toml."""
    cipher: HipCipher
    """Of the ENCRYPTED parameter."""
    mac: Rhash
    """Of HMAC and HMAC_2. Puzzle and KEYMAT use SHA-1 in all suites (RFC 5201 §3.2, §6.3, §6.5)."""


HIP_SUITES: dict[int, HipSuite] = {
    suite.id: suite
    for suite in (
        HipSuite(1, "AES-128-CBC-SHA1", AES_128_CBC, SHA1),
        HipSuite(2, "3DES-SHA1", TRIPLE_DES_CBC, SHA1),
        HipSuite(3, "3DES-MD5", TRIPLE_DES_CBC, MD5),
        HipSuite(4, "BLOWFISH-SHA1", BLOWFISH_CBC, SHA1),
        HipSuite(5, "NULL-SHA1", NULL_ENCRYPTION, SHA1),
        HipSuite(6, "NULL-MD5", NULL_ENCRYPTION, MD5),
    )
}

DEFAULT_HIP_SUITES: tuple[int, ...] = (1,)
"""Offered unless configured otherwise: the others are weak."""

HIP_SUITES_MAX = 6
"""As many a HIP_TRANSFORM may list, and as many of them are looked at (RFC 5201 §5.2.7)."""


def hip_suite(suite: int) -> HipSuite:
    """Return a suite by its id; IdentityError if there is none."""
    try:
        return HIP_SUITES[suite]
    except KeyError:
        raise IdentityError(f"HIP suite {suite} is not supported") from None


def hip_suite_by_name(name: str) -> HipSuite:
    """Return a suite by its name in hipgw.toml; IdentityError if there is none."""
    for suite in HIP_SUITES.values():
        if suite.name == name:
            return suite
    names = ", ".join(suite.name for suite in HIP_SUITES.values())
    raise IdentityError(f"there is no HIP suite {name!r}", hint=f"known suites: {names}")
