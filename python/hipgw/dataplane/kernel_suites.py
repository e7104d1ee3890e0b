"""What the kernel's XFRM calls the ESP suites, and how much of a path they leave to packets."""

from hipgw.errors import DataPlaneError
from hipgw.identity.esp_suites import CHACHA20_POLY1305, ESP_SUITES
from hipgw.platform.xfrm_features import features
from hipgw.platform.xfrm_values import Algorithms

_HMAC_SHA256 = "hmac(sha256)"
_CBC = "cbc(aes)"
_CCM = "rfc4309(ccm(aes))"
_GCM = "rfc4106(gcm(aes))"

_NAMES: dict[int, tuple[str, str]] = {
    7: ("ecb(cipher_null)", _HMAC_SHA256),
    8: (_CBC, _HMAC_SHA256),
    9: (_CBC, _HMAC_SHA256),
    10: (_CCM, ""),
    11: (_CCM, ""),
    12: (_GCM, ""),
    13: (_GCM, ""),
    CHACHA20_POLY1305: ("rfc7539esp(chacha20,poly1305)", ""),
}
"""Encryption and authentication, by suite id, as in the kernel's crypto API."""
_BLOCKS = {_CBC: 16}
"""Octets that the cipher text is a multiple of, where that is more than ESP's own 4."""

_IPV6_HEADER, _IPV4_HEADER, _UDP_HEADER = 40, 20, 8
_SPI_AND_SEQUENCE = 8
_PAD_LENGTH_AND_NEXT_HEADER = 2
_IPV6_MTU_MIN = 1280


def algorithms(suite: int, encryption_key: bytes, authentication_key: bytes) -> Algorithms:
    """A suite (RFC 7402 §5.1.2) with its keys as the kernel wants it. Raises DataPlaneError."""
    known = ESP_SUITES.get(suite)
    if known is None:
        raise DataPlaneError(
            f"the kernel does not get ESP suite {suite}",
            hint='suites of HIPv1 need `esp.backend = "engine"`',
        )
    lengths = (known.encryption_key_length, known.authentication_key_length)
    if (len(encryption_key), len(authentication_key)) != lengths:
        raise DataPlaneError(f"keys of a wrong length for {known.name}")
    encryption, authentication = _NAMES[suite]
    return Algorithms(
        encryption, encryption_key, known.icv_length * 8, authentication, authentication_key
    )


def kernel_suites() -> frozenset[int]:
    """The suites that this kernel has for BEET mode, by trying them. Raises PlatformError."""
    found = features(trials())
    return frozenset(suite.id for suite in ESP_SUITES.values() if found.algorithms[suite.name])


def trials() -> dict[str, Algorithms]:
    """Every suite with keys that mean nothing, by its name, for `xfrm_features.features`."""
    return {
        suite.name: algorithms(
            suite.id,
            # CCM and GCM take any key, but none of zeros looks like one that was left out.
            b"\x01" * suite.encryption_key_length,
            b"\x01" * suite.authentication_key_length,
        )
        for suite in ESP_SUITES.values()
    }


def inner_mtu(path_mtu: int, suite: int, *, version: int, udp: bool) -> int:
    """Octets of the largest packet between HITs that fits a path in one piece.

    Its own IPv6 header is not sent (BEET), the outer one of *version* is. At least 1280, which
    IPv6 asks of every link (RFC 8200 §5); what then does not fit is cut outside.
    """
    known = ESP_SUITES[suite]
    block = _BLOCKS.get(_NAMES[suite][0], 4)
    outer = (_IPV4_HEADER if version == 4 else _IPV6_HEADER) + (_UDP_HEADER if udp else 0)
    room = path_mtu - outer - _SPI_AND_SEQUENCE - known.iv_length - known.icv_length
    payload = room // block * block - _PAD_LENGTH_AND_NEXT_HEADER
    return max(payload + _IPV6_HEADER, _IPV6_MTU_MIN)
