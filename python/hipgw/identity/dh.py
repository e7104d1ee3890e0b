"""Diffie-Hellman groups, with fixed-length values and validated peers.

Those of HIPv2 are in RFC 7401 §5.2.7, those of HIPv1 in RFC 5201 §5.2.6.

RFC 7401 gives no group id to Curve25519 and no later RFC does (a group 13 stands only in expired
drafts), so hipgw does not have it: an id of its own would be one that no other stack shares, and
P-256 to P-521 do the same work.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, IntEnum

from Crypto.Math.Numbers import Integer
from cryptography.hazmat.primitives.asymmetric import ec

from hipgw.errors import IdentityError
from hipgw.identity.modp import (
    MODP_384,
    MODP_768,
    MODP_1536,
    MODP_2048,
    MODP_3072,
    MODP_6144,
    MODP_8192,
    ModpParameters,
)

RandomBytes = Callable[[int], bytes]


class DhGroup(IntEnum):
    """Group IDs on the wire (RFC 7401 §5.2.7, RFC 5201 §5.2.6), without SECP160R1 (10)."""

    MODP_384 = 1
    """HIPv1 only, and no protection: for tests and where a peer has nothing else."""
    MODP_768 = 2
    """HIPv1 only (its OAKLEY well-known group 1), and weak."""
    MODP_1536 = 3
    """Mandatory to implement."""
    MODP_3072 = 4
    MODP_6144 = 5
    """HIPv1 only."""
    MODP_8192 = 6
    """HIPv1 only."""
    P_256 = 7
    P_384 = 8
    P_521 = 9
    MODP_2048 = 11

    @property
    def label(self) -> str:
        """The name in hipgw.toml: "P-384", "MODP-3072"."""
        return self.name.replace("_", "-")

    @classmethod
    def by_label(cls, label: str) -> "DhGroup":
        """Return a group by its name in hipgw.toml; IdentityError if there is none."""
        for group in cls:
            if group.label == label:
                return group
        labels = ", ".join(group.label for group in cls)
        raise IdentityError(
            f"there is no Diffie-Hellman group {label!r}", hint=f"known groups: {labels}"
        )


class KijZeros(Enum):
    """What becomes of Kij's leading zero octets before KEYMAT is made of it."""

    KEPT = "kept"
    """It has the full length of the group, as the RFCs have it."""
    STRIPPED = "stripped"
    """They are left out, as cutehip and hip-vpls do."""
    MOVED_BEHIND = "moved-behind"
    """They are put behind the rest, as OpenHIP does."""


def kij_octets(shared_secret: bytes, zeros: KijZeros = KijZeros.KEPT) -> bytes:
    """Return Kij as it goes into KEYMAT; *zeros* is other than KEPT for stacks that deviate."""
    if zeros is KijZeros.KEPT:
        return shared_secret
    stripped = shared_secret.lstrip(b"\0")
    return stripped if zeros is KijZeros.STRIPPED else stripped.ljust(len(shared_secret), b"\0")


class DhKeyPair(ABC):
    """An ephemeral Diffie-Hellman key pair; make one with `generate`."""

    group: DhGroup
    public_value: bytes
    """As DIFFIE_HELLMAN carries it, always the full length of the group."""

    @staticmethod
    def generate(group: int, random: RandomBytes | None = None) -> "DhKeyPair":
        """Make a key pair.

        `random` yields the private value (for reproducible tests); None leaves that to the
        cryptographic libraries. Raises IdentityError for a group hipgw does not have.
        """
        try:
            known = DhGroup(group)
        except ValueError:
            raise IdentityError(f"Diffie-Hellman group {group} is not supported") from None
        if known in _MODP_GROUPS:
            return _ModpKeyPair(known, _MODP_GROUPS[known], random)
        return _EcdhKeyPair(known, _CURVES[known], random)

    @abstractmethod
    def shared_secret(self, peer_public: bytes) -> bytes:
        """Return Kij, always the full length of the group (RFC 7401 §6.5).

        Raises IdentityError for a public value that is out of range or not in the group.
        """

    @property
    @abstractmethod
    def private(self) -> bytes:
        """What `generate` makes this key pair of, if its `random` yields it."""

    def __repr__(self) -> str:
        return f"<DhKeyPair {self.group.label}>"


class StoredKeyPair(DhKeyPair):
    """A key pair kept as octets, and made anew if it is used: that costs what making one costs."""

    def __init__(self, group: int, private: bytes, public_value: bytes) -> None:
        """*private*: as `DhKeyPair.private` has it."""
        self.group = DhGroup(group)
        self.public_value = public_value
        self._private = private

    @classmethod
    def of(cls, pair: DhKeyPair) -> "StoredKeyPair":
        """The octets of a key pair."""
        return cls(pair.group, pair.private, pair.public_value)

    @property
    def private(self) -> bytes:
        return self._private

    def shared_secret(self, peer_public: bytes) -> bytes:
        pair = DhKeyPair.generate(self.group, lambda _length: self._private)
        return pair.shared_secret(peer_public)


class _ModpKeyPair(DhKeyPair):
    """Modular exponentiation by pycryptodome, in constant time.

    `cryptography` has declared finite-field Diffie-Hellman deprecated and means to remove it; HIP
    cannot do without, as group 3 is the mandatory one.
    """

    def __init__(
        self, group: DhGroup, parameters: ModpParameters, random: RandomBytes | None
    ) -> None:
        self.group = group
        self._prime = Integer(parameters.prime)
        self._length = parameters.length
        bits = parameters.exponent_bits
        if random is None:
            self._private = Integer.random(exact_bits=bits)
        else:
            value = int.from_bytes(random(bits // 8), "big")
            self._private = Integer(value | 1 << bits - 1)
        public = pow(Integer(parameters.generator), self._private, self._prime)
        self.public_value = public.to_bytes(self._length)
        self._bits = bits

    @property
    def private(self) -> bytes:
        return self._private.to_bytes(self._bits // 8)

    def shared_secret(self, peer_public: bytes) -> bytes:
        # Some stacks strip leading zeros from their value; it still names one number.
        if not 0 < len(peer_public) <= self._length:
            raise IdentityError(
                f"a {self.group.label} public value has {self._length} octets, "
                f"not {len(peer_public)}"
            )
        peer = Integer.from_bytes(peer_public)
        if not 1 < peer < self._prime - 1:
            raise IdentityError(f"the {self.group.label} public value is out of range")
        # The generator is a square modulo these safe primes, and the squares are the subgroup of
        # prime order. What is not a square would give away a bit of the private value.
        if Integer.jacobi_symbol(peer, self._prime) != 1:
            raise IdentityError(f"the {self.group.label} public value is not in the subgroup")
        return pow(peer, self._private, self._prime).to_bytes(self._length)


class _EcdhKeyPair(DhKeyPair):
    """NIST curves: public value x | y, shared secret x (RFC 5903 §7)."""

    def __init__(self, group: DhGroup, curve: ec.EllipticCurve, random: RandomBytes | None) -> None:
        self.group = group
        self._curve = curve
        self._coordinate_length = (curve.key_size + 7) // 8
        if random is None:
            self._private = ec.generate_private_key(curve)
        else:
            # 64 bits more than the order, so that the reduction leaves no bias worth the name.
            value = int.from_bytes(random(self._coordinate_length + 8), "big")
            self._private = ec.derive_private_key(value % (curve.group_order - 1) + 1, curve)
        numbers = self._private.public_key().public_numbers()
        self.public_value = numbers.x.to_bytes(self._coordinate_length, "big") + numbers.y.to_bytes(
            self._coordinate_length, "big"
        )

    @property
    def private(self) -> bytes:
        value = self._private.private_numbers().private_value - 1
        return value.to_bytes(self._coordinate_length + 8, "big")

    def shared_secret(self, peer_public: bytes) -> bytes:
        if len(peer_public) != 2 * self._coordinate_length:
            raise IdentityError(
                f"a {self.group.label} public value has {2 * self._coordinate_length} octets, "
                f"not {len(peer_public)}"
            )
        try:
            # Checks that the point is on the curve; the cofactor is 1.
            peer = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, b"\x04" + peer_public)
            return self._private.exchange(ec.ECDH(), peer)
        except ValueError:
            raise IdentityError(
                f"the {self.group.label} public value is not a point of the curve"
            ) from None


_MODP_GROUPS: dict[DhGroup, ModpParameters] = {
    DhGroup.MODP_384: MODP_384,
    DhGroup.MODP_768: MODP_768,
    DhGroup.MODP_1536: MODP_1536,
    DhGroup.MODP_3072: MODP_3072,
    DhGroup.MODP_6144: MODP_6144,
    DhGroup.MODP_8192: MODP_8192,
    DhGroup.MODP_2048: MODP_2048,
}

_CURVES: dict[DhGroup, ec.EllipticCurve] = {
    DhGroup.P_256: ec.SECP256R1(),
    DhGroup.P_384: ec.SECP384R1(),
    DhGroup.P_521: ec.SECP521R1(),
}

DEFAULT_DH_GROUPS: tuple[int, ...] = (
    DhGroup.P_384,
    DhGroup.P_256,
    DhGroup.MODP_3072,
    DhGroup.MODP_1536,
)
"""Offered unless configured otherwise, best first."""
