"""Public keys as the Host Identity field carries them.

HIPv2: RFC 7401 §5.2.9, RFC 9374 §3.4.1. HIPv1: RFC 5201 §5.2.8 and §3.2, which has RSA and DSA only
and puts a header of key records in front; that one is `HostIdV1`'s business.
"""

from enum import IntEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hipgw.errors import IdentityError

PublicKey = (
    rsa.RSAPublicKey | dsa.DSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
)

RSA_BITS_MIN = 1024
"""Shorter RSA keys of peers are refused. hipgw itself makes none below 2048 (RFC 7401 §5.2.9)."""
RSA_BITS_MIN_WEAK = 512
"""What is refused even where weak keys are allowed."""
RSA_BITS_MAX = 8192
"""Longer ones are refused too: checking their signatures would cost too much."""
_RSA_EXPONENT_BITS_MAX = 64


class HiAlgorithm(IntEnum):
    """HI Algorithms, also used as SIG alg (RFC 7401 §5.2.9, §5.2.14; RFC 9374 §3.4.1)."""

    DSA = 3
    """HIPv1 only (RFC 5201 §5.2.8)."""
    RSA = 5
    ECDSA = 7
    EDDSA = 13


_ALGORITHMS: dict[int, frozenset[int]] = {
    1: frozenset({HiAlgorithm.RSA, HiAlgorithm.DSA}),
    2: frozenset({HiAlgorithm.RSA, HiAlgorithm.ECDSA, HiAlgorithm.EDDSA}),
}
"""By version of HIP."""

_DSA_ORDER_LENGTH = 20
_DSA_SIZE_MAX = 8
"""The size parameter T: P has 64 + 8 T octets (RFC 2536 §2)."""
_CURVE_ID_LENGTH = 2
_ECDSA_CURVES: dict[int, ec.EllipticCurve] = {1: ec.SECP256R1(), 2: ec.SECP384R1()}
_ECDSA_CURVE_IDS: dict[str, int] = {curve.name: id for id, curve in _ECDSA_CURVES.items()}
_EDDSA25519 = 1
_EDDSA_HEADER_LENGTH = 4
"""Curve label and the two NULL octets of RFC 9374 figure 2."""


def encode_public_key(key: PublicKey, version: int = 2) -> tuple[HiAlgorithm, bytes]:
    """Return the algorithm and the Host Identity field of a key; IdentityError if it has none."""
    algorithm, encoded = _encode(key)
    _check_algorithm(algorithm, version)
    return algorithm, encoded


def _check_algorithm(algorithm: int, version: int) -> None:
    if algorithm not in _ALGORITHMS[version]:
        place = "" if version == 2 else " in HIPv1"
        raise IdentityError(f"Host Identity algorithm {int(algorithm)} is not supported{place}")


def _encode(key: PublicKey) -> tuple[HiAlgorithm, bytes]:
    if isinstance(key, dsa.DSAPublicKey):
        return HiAlgorithm.DSA, _encode_dsa(key)
    if isinstance(key, rsa.RSAPublicKey):
        return HiAlgorithm.RSA, _encode_rsa(key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _ECDSA_CURVE_IDS:
            raise IdentityError(
                f"HIP has no number for the curve {key.curve.name}", hint="use P-256 or P-384"
            )
        # RFC 7401 says "octet-string format [RFC6090]", and RFC 6090 §6 knows integers only, not
        # points. The HIPv2 stacks seen send SEC 1's uncompressed form with its leading 4.
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        label = _ECDSA_CURVE_IDS[key.curve.name].to_bytes(_CURVE_ID_LENGTH, "big")
        return HiAlgorithm.ECDSA, label + point
    label = _EDDSA25519.to_bytes(_CURVE_ID_LENGTH, "big").ljust(_EDDSA_HEADER_LENGTH, b"\0")
    return HiAlgorithm.EDDSA, label + key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def decode_public_key(
    algorithm: int, encoded: bytes, version: int = 2, *, weak_keys: bool = False
) -> PublicKey:
    """Return the key in a Host Identity field; IdentityError if there is no usable one.

    *weak_keys* allows RSA keys from 512 bits on instead of 1024.
    """
    _check_algorithm(algorithm, version)
    try:
        if algorithm == HiAlgorithm.RSA:
            return _decode_rsa(encoded, RSA_BITS_MIN_WEAK if weak_keys else RSA_BITS_MIN)
        if algorithm == HiAlgorithm.DSA:
            return _decode_dsa(encoded)
        if algorithm == HiAlgorithm.ECDSA:
            return _decode_ecdsa(encoded)
        return _decode_eddsa(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"unusable {HiAlgorithm(algorithm).name} public key: {error}") from None


def _encode_rsa(key: rsa.RSAPublicKey) -> bytes:
    """RFC 3110 §2: exponent length (one octet, or zero and two), exponent, modulus."""
    numbers = key.public_numbers()
    exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    length = len(exponent)
    header = bytes([length]) if length < 256 else b"\0" + length.to_bytes(2, "big")
    return header + exponent + modulus


def _decode_rsa(encoded: bytes, bits_min: int) -> rsa.RSAPublicKey:
    header_length = 1
    length = int.from_bytes(encoded[:1], "big")
    if length == 0:
        header_length = 3
        length = int.from_bytes(encoded[1:3], "big")
    exponent = encoded[header_length : header_length + length]
    modulus = encoded[header_length + length :]
    if not modulus or not exponent or exponent[0] == 0 or modulus[0] == 0:
        raise ValueError("RFC 3110 wants an exponent and a modulus without leading zeros")
    n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    if not bits_min <= n.bit_length() <= RSA_BITS_MAX:
        raise ValueError(f"{n.bit_length()} bits, not {bits_min} to {RSA_BITS_MAX}")
    if n % 2 == 0:
        raise ValueError("the modulus is even")
    if e.bit_length() > _RSA_EXPONENT_BITS_MAX:
        raise ValueError(f"the exponent has more than {_RSA_EXPONENT_BITS_MAX} bits")
    return rsa.RSAPublicNumbers(e, n).public_key()


def _encode_dsa(key: dsa.DSAPublicKey) -> bytes:
    """RFC 2536 §2: T, Q, P, G, Y, with the least T that P fits in (RFC 5201 §3.2)."""
    numbers = key.public_numbers()
    group = numbers.parameter_numbers
    size = max(0, -(-(group.p.bit_length() - 512) // 64))
    if size > _DSA_SIZE_MAX or group.q.bit_length() != 8 * _DSA_ORDER_LENGTH:
        raise IdentityError(
            f"HIP has no encoding for a DSA key of {key.key_size} bits",
            hint="DSA keys have 1024 bits and an order of 160",
        )
    length = 64 + 8 * size
    values = (value.to_bytes(length, "big") for value in (group.p, group.g, numbers.y))
    return bytes([size]) + group.q.to_bytes(_DSA_ORDER_LENGTH, "big") + b"".join(values)


def _decode_dsa(encoded: bytes) -> dsa.DSAPublicKey:
    size = int.from_bytes(encoded[:1], "big")
    length = 64 + 8 * size
    start = 1 + _DSA_ORDER_LENGTH
    if size > _DSA_SIZE_MAX or len(encoded) != start + 3 * length:
        raise ValueError(f"{len(encoded)} octets are no DSA key of RFC 2536 with T = {size}")
    q = int.from_bytes(encoded[1:start], "big")
    p, g, y = (
        int.from_bytes(encoded[at : at + length], "big")
        for at in range(start, start + 3 * length, length)
    )
    if p % 2 == 0 or q % 2 == 0:
        raise ValueError("an even number in the place of a prime")
    if not (1 < g < p and 1 < y < p):
        raise ValueError("a number out of the range of the prime")
    return dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key()


def _decode_ecdsa(encoded: bytes) -> ec.EllipticCurvePublicKey:
    label = int.from_bytes(encoded[:_CURVE_ID_LENGTH], "big")
    point = encoded[_CURVE_ID_LENGTH:]
    if label not in _ECDSA_CURVES:
        raise ValueError(f"curve {label} is not supported")
    curve = _ECDSA_CURVES[label]
    coordinates_length = 2 * ((curve.key_size + 7) // 8)
    if len(point) == coordinates_length:
        point = b"\x04" + point
    if len(point) != 1 + coordinates_length:
        raise ValueError(f"{len(point)} octets are no point of {curve.name}")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)


def _decode_eddsa(encoded: bytes) -> ed25519.Ed25519PublicKey:
    label = int.from_bytes(encoded[:_CURVE_ID_LENGTH], "big")
    if label != _EDDSA25519:
        raise ValueError(f"curve {label} is not supported")
    return ed25519.Ed25519PublicKey.from_public_bytes(encoded[_EDDSA_HEADER_LENGTH:])
