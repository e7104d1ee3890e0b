"""What encrypts the ENCRYPTED parameter (RFC 7401 §5.2.8, §5.2.18; RFC 5201 §5.2.7, §5.2.15)."""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import Blowfish, TripleDES
from cryptography.hazmat.primitives.ciphers import (
    Cipher,
    CipherAlgorithm,
    algorithms,
    modes,
)

from hipgw.errors import IdentityError

AES_BLOCK_LENGTH = 16
_TLV_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class HipCipher:
    """One HIP_CIPHER, or the cipher of a HIP suite of HIPv1."""

    id: int
    """On the wire, in HIP_CIPHER; 0 for those that HIPv2 does not have."""
    name: str
    """As in hipgw.toml."""
    key_length: int
    """Octets drawn from KEYMAT."""
    iv_length: int
    """Octets in front of the ciphertext: a block of the cipher, or none for NULL."""


NULL_ENCRYPTION = HipCipher(1, "NULL", 0, 0)
AES_128_CBC = HipCipher(2, "AES-128-CBC", 16, AES_BLOCK_LENGTH)
TRIPLE_DES_CBC = HipCipher(0, "3DES-CBC", 24, 8)
"""HIPv1 only."""
BLOWFISH_CBC = HipCipher(0, "BLOWFISH-CBC", 16, 8)
"""HIPv1 only."""

_ALGORITHMS: dict[str, Callable[[bytes], CipherAlgorithm]] = {
    "AES-128-CBC": algorithms.AES,
    "AES-256-CBC": algorithms.AES,
    "3DES-CBC": TripleDES,
    "BLOWFISH-CBC": Blowfish,
}

HIP_CIPHERS: dict[int, HipCipher] = {
    cipher.id: cipher
    for cipher in (
        NULL_ENCRYPTION,
        AES_128_CBC,
        HipCipher(4, "AES-256-CBC", 32, AES_BLOCK_LENGTH),
    )
}

DEFAULT_HIP_CIPHERS: tuple[int, ...] = (4, 2)
"""Offered unless configured otherwise. NULL only if configured (RFC 7401 §5.2.8)."""


def hip_cipher(cipher: int | HipCipher) -> HipCipher:
    """Return a cipher by its id in HIPv2; IdentityError if hipgw does not have it."""
    if isinstance(cipher, HipCipher):
        return cipher
    try:
        return HIP_CIPHERS[cipher]
    except KeyError:
        raise IdentityError(f"HIP cipher {cipher} is not supported") from None


def hip_cipher_by_name(name: str) -> HipCipher:
    """Return a cipher by its name in hipgw.toml; IdentityError if there is none."""
    for cipher in HIP_CIPHERS.values():
        if cipher.name == name:
            return cipher
    names = ", ".join(cipher.name for cipher in HIP_CIPHERS.values())
    raise IdentityError(f"there is no HIP cipher {name!r}", hint=f"known ciphers: {names}")


def encrypt_parameters(
    cipher: int | HipCipher, key: bytes, parameters: bytes, random: Callable[[int], bytes]
) -> bytes:
    """Return IV | ciphertext of some parameters, each padded to 8 octets already.

    Fills up to the cipher's block as PKCS5 does, but adds nothing where nothing is missing: RFC
    7401 §5.2.18 speaks of the octets "to fill the block", and deployed stacks read it so.
    """
    suite = hip_cipher(cipher)
    if suite.iv_length == 0:
        return parameters
    missing = -len(parameters) % suite.iv_length
    iv = random(suite.iv_length)
    encryptor = Cipher(_algorithm(suite, key), modes.CBC(iv)).encryptor()
    data = parameters + bytes([missing]) * missing
    return iv + encryptor.update(data) + encryptor.finalize()


def decrypt_parameters(cipher: int | HipCipher, key: bytes, data: bytes) -> bytes:
    """Return the parameters inside IV | ciphertext, without the fill behind them.

    With a wrong key the result is garbage, which the parameter parser refuses. Raises
    IdentityError if the length cannot be right.
    """
    suite = hip_cipher(cipher)
    if suite.iv_length == 0:
        return data
    iv, ciphertext = data[: suite.iv_length], data[suite.iv_length :]
    if not ciphertext or len(ciphertext) % suite.iv_length:
        raise IdentityError(
            f"an {suite.name} ciphertext is whole blocks after its IV, not {len(data)} octets"
        )
    decryptor = Cipher(_algorithm(suite, key), modes.CBC(iv)).decryptor()
    return _without_fill(decryptor.update(ciphertext) + decryptor.finalize(), suite.iv_length)


def _algorithm(suite: HipCipher, key: bytes) -> CipherAlgorithm:
    if len(key) != suite.key_length:
        raise IdentityError(f"an {suite.name} key has {suite.key_length} octets, not {len(key)}")
    return _ALGORITHMS[suite.name](key)


def _without_fill(plaintext: bytes, block_length: int) -> bytes:
    """Cut what follows the last parameter, whatever octets the sender filled up with.

    The fill is at most a block and cannot be a parameter of its own: either it is too short for
    the length it would announce, or its type would step back, which no packet may do.
    """
    offset = previous_type = 0
    while offset < len(plaintext):
        rest = len(plaintext) - offset
        kind = int.from_bytes(plaintext[offset : offset + 2], "big")
        length = int.from_bytes(plaintext[offset + 2 : offset + 4], "big")
        size = -(-(4 + length) // _TLV_ALIGNMENT) * _TLV_ALIGNMENT
        if rest <= block_length and (size > rest or kind == 0 or kind < previous_type):
            return plaintext[:offset]
        if size > rest:
            # Too much for fill: let the parameter parser name what is wrong.
            break
        previous_type = kind
        offset += size
    return plaintext
