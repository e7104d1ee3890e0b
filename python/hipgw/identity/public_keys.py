"""Public keys as the Host Identity field carries them (RFC 7401 §5.2.9, RFC 9374 §3.4.1)."""

from enum import IntEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hipgw.errors import IdentityError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

RSA_BITS_MIN = 1024
"""Shorter RSA keys of peers are refused. hipgw itself makes none below 2048 (RFC 7401 §5.2.9)."""
RSA_BITS_MAX = 8192
"""Longer ones are refused too: checking their signatures would cost too much."""
_RSA_EXPONENT_BITS_MAX = 64


class HiAlgorithm(IntEnum):
    """HI Algorithms, also used as SIG alg (RFC 7401 §5.2.9, §5.2.14; RFC 9374 §3.4.1)."""

    RSA = 5
    ECDSA = 7
    EDDSA = 13


_CURVE_ID_LENGTH = 2
_ECDSA_CURVES: dict[int, ec.EllipticCurve] = {1: ec.SECP256R1(), 2: ec.SECP384R1()}
_ECDSA_CURVE_IDS: dict[str, int] = {curve.name: id for id, curve in _ECDSA_CURVES.items()}
_EDDSA25519 = 1
_EDDSA_HEADER_LENGTH = 4
"""Curve label and the two NULL octets of RFC 9374 figure 2."""


def encode_public_key(key: PublicKey) -> tuple[HiAlgorithm, bytes]:
    """Return the algorithm and the Host Identity field of a key; IdentityError if it has none."""
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


def decode_public_key(algorithm: int, encoded: bytes) -> PublicKey:
    """Return the key in a Host Identity field; IdentityError if there is no usable one."""
    try:
        if algorithm == HiAlgorithm.RSA:
            return _decode_rsa(encoded)
        if algorithm == HiAlgorithm.ECDSA:
            return _decode_ecdsa(encoded)
        if algorithm == HiAlgorithm.EDDSA:
            return _decode_eddsa(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"unusable {HiAlgorithm(algorithm).name} public key: {error}") from None
    raise IdentityError(f"Host Identity algorithm {algorithm} is not supported")


def _encode_rsa(key: rsa.RSAPublicKey) -> bytes:
    """RFC 3110 §2: exponent length (one octet, or zero and two), exponent, modulus."""
    numbers = key.public_numbers()
    exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    length = len(exponent)
    header = bytes([length]) if length < 256 else b"\0" + length.to_bytes(2, "big")
    return header + exponent + modulus


def _decode_rsa(encoded: bytes) -> rsa.RSAPublicKey:
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
    if not RSA_BITS_MIN <= n.bit_length() <= RSA_BITS_MAX:
        raise ValueError(f"{n.bit_length()} bits, not {RSA_BITS_MIN} to {RSA_BITS_MAX}")
    if n % 2 == 0:
        raise ValueError("the modulus is even")
    if e.bit_length() > _RSA_EXPONENT_BITS_MAX:
        raise ValueError(f"the exponent has more than {_RSA_EXPONENT_BITS_MAX} bits")
    return rsa.RSAPublicNumbers(e, n).public_key()


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
