"""The ESP transform suites and their key lengths (RFC 5202 §5.1.2, RFC 7402 §5.1.2)."""

from dataclasses import dataclass

from hipgw.errors import IdentityError

CHACHA20_POLY1305 = 0xFF01
"""hipgw's own suite id for ChaCha20-Poly1305 (RFC 7634).

No published number exists. hipgw offers this one, 65281, to every peer; one that does not know it
chooses another, as RFC 7402 §5.1.2 has it. Two hipgw take it to mean RFC 7634 with the 64-bit ESN
of RFC 7402 in the additional data.
"""


@dataclass(frozen=True, slots=True)
class EspSuite:
    """One ESP transform suite."""

    id: int
    """On the wire, in ESP_TRANSFORM."""
    name: str
    """As in hipgw.toml."""
    encryption_key_length: int
    """Octets drawn from KEYMAT; for AEAD suites key and salt (RFC 4106 §8.1, 4309 §7.1)."""
    authentication_key_length: int
    """Octets drawn from KEYMAT; 0 for AEAD suites."""
    iv_length: int
    """Octets in front of the ciphertext."""
    icv_length: int
    """Octets behind it."""
    mac_length: int = 0
    """Octets of the whole MAC, of which the ICV is the front; 0 for AEAD suites."""
    confidential: bool = True
    """False for suites that only authenticate: used only if configured (RFC 7402 §3.3.5)."""


ESP_SUITES: dict[int, EspSuite] = {
    suite.id: suite
    for suite in (
        EspSuite(7, "NULL-SHA256", 0, 32, 0, 16, 32, confidential=False),
        EspSuite(8, "AES-128-CBC-SHA256", 16, 32, 16, 16, 32),
        EspSuite(9, "AES-256-CBC-SHA256", 32, 32, 16, 16, 32),
        EspSuite(10, "AES-128-CCM-8", 16 + 3, 0, 8, 8),
        EspSuite(11, "AES-128-CCM-16", 16 + 3, 0, 8, 16),
        EspSuite(12, "AES-128-GCM-8", 16 + 4, 0, 8, 8),
        EspSuite(13, "AES-128-GCM-16", 16 + 4, 0, 8, 16),
        EspSuite(CHACHA20_POLY1305, "ChaCha20-Poly1305", 32 + 4, 0, 8, 16),
    )
}

V1_ESP_SUITES: dict[int, EspSuite] = {
    suite.id: suite
    for suite in (
        EspSuite(1, "AES-128-CBC-SHA1", 16, 20, 16, 12, 20),
        EspSuite(2, "3DES-SHA1", 24, 20, 8, 12, 20),
        EspSuite(3, "3DES-MD5", 24, 16, 8, 12, 16),
        EspSuite(4, "BLOWFISH-SHA1", 16, 20, 8, 12, 20),
        EspSuite(5, "NULL-SHA1", 0, 20, 0, 12, 20, confidential=False),
        EspSuite(6, "NULL-MD5", 0, 16, 0, 12, 16, confidential=False),
    )
}
"""Those of HIPv1 (RFC 5202 §5.1.2; their keys: RFC 5201 §6.5). In HIPv2 they are offered to nobody:
2 to 6 are deprecated there (RFC 7402 §5.1.2)."""

DEFAULT_ESP_SUITES: tuple[int, ...] = (13, CHACHA20_POLY1305, 9, 8)
"""Offered unless configured otherwise, best first. 8 is the mandatory one (RFC 7402 §5.1.2)."""


def esp_suite(suite: int) -> EspSuite:
    """Return a suite of either version by its id; IdentityError if hipgw does not have it."""
    found = ESP_SUITES.get(suite) or V1_ESP_SUITES.get(suite)
    if found is None:
        raise IdentityError(f"ESP suite {suite} is not supported")
    return found


def esp_suite_by_name(name: str) -> EspSuite:
    """Return a suite of either version by its name; IdentityError if there is none."""
    suites = (*ESP_SUITES.values(), *V1_ESP_SUITES.values())
    for suite in suites:
        if suite.name == name:
            return suite
    names = ", ".join(suite.name for suite in suites)
    raise IdentityError(f"there is no ESP suite {name!r}", hint=f"known suites: {names}")
