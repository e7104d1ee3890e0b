"""Private keys in my_host_identities.xml: the numbers of RSA and DSA keys in hexadecimal.

The elements are N, E, D, P, Q, dmp1, dmq1 and iqmp (RSA), or P, Q, G, PUB and PRIV (DSA). A key is
shown to nobody but `private_key` and `elements`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.config.openhip.values import Place

RSA_ELEMENTS = ("N", "E", "D", "P", "Q", "dmp1", "dmq1", "iqmp")
DSA_ELEMENTS = ("P", "Q", "G", "PUB", "PRIV")


class Algorithm(IntEnum):
    """`alg_id`: the HI algorithms of RFC 5201 §5.2.8 that OpenHIP has."""

    DSA = 3
    RSA = 5


@dataclass(frozen=True, slots=True)
class KeyNumbers:
    """The numbers of one key, by the names of their elements."""

    algorithm: Algorithm
    numbers: Mapping[str, int] = field(repr=False)

    @classmethod
    def of(cls, key: rsa.RSAPrivateKey | dsa.DSAPrivateKey) -> "KeyNumbers":
        """The numbers of a private key."""
        if isinstance(key, rsa.RSAPrivateKey):
            private = key.private_numbers()
            public = private.public_numbers
            values = (
                *(public.n, public.e, private.d, private.p, private.q),
                *(private.dmp1, private.dmq1, private.iqmp),
            )
            return cls(Algorithm.RSA, dict(zip(RSA_ELEMENTS, values, strict=True)))
        numbers = key.private_numbers()
        parameters = numbers.public_numbers.parameter_numbers
        group = (parameters.p, parameters.q, parameters.g)
        return cls(
            Algorithm.DSA,
            dict(zip(DSA_ELEMENTS, (*group, numbers.public_numbers.y, numbers.x), strict=True)),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The elements of a key of this algorithm, in OpenHIP's order."""
        return RSA_ELEMENTS if self.algorithm is Algorithm.RSA else DSA_ELEMENTS

    def elements(self) -> dict[str, str]:
        """The key in hexadecimal, as OpenHIP writes it: capitals, whole octets."""
        return {
            name: _hexadecimal(self.numbers[name]) for name in self.names if name in self.numbers
        }

    def public_only(self) -> "KeyNumbers":
        """The same without what has to be kept secret."""
        kept = ("N", "E") if self.algorithm is Algorithm.RSA else ("P", "Q", "G", "PUB")
        return KeyNumbers(
            self.algorithm, {name: self.numbers[name] for name in kept if name in self.numbers}
        )

    def private_key(self, place: Place) -> rsa.RSAPrivateKey | dsa.DSAPrivateKey:
        """The private key, checked. Raises OpenHipFileError at `place` if it is none.

        P, Q and what follows from them may be missing from an RSA key.
        """
        needed = ("N", "E", "D") if self.algorithm is Algorithm.RSA else DSA_ELEMENTS
        missing = [name for name in needed if not self.numbers.get(name)]
        if missing:
            raise place.error(
                f"has no <{missing[0]}>, so there is no whole private key",
                "take the file from a backup, or make a new identity with hitgen",
            )
        try:
            return self._rsa() if self.algorithm is Algorithm.RSA else self._dsa()
        except (ValueError, UnsupportedAlgorithm, OverflowError):
            # The library's own text could quote numbers of the key.
            raise place.error(
                "its numbers are no private key", "the file is damaged; take it from a backup"
            ) from None

    def _rsa(self) -> rsa.RSAPrivateKey:
        n, e, d = (self.numbers[name] for name in ("N", "E", "D"))
        p, q = self.numbers.get("P", 0), self.numbers.get("Q", 0)
        if not p or not q:
            p, q = rsa.rsa_recover_prime_factors(n, e, d)
        return rsa.RSAPrivateNumbers(
            p=p,
            q=q,
            d=d,
            # Made anew: they follow from the others, and files with wrong ones work with OpenHIP.
            dmp1=rsa.rsa_crt_dmp1(d, p),
            dmq1=rsa.rsa_crt_dmq1(d, q),
            iqmp=rsa.rsa_crt_iqmp(p, q),
            public_numbers=rsa.RSAPublicNumbers(e, n),
        ).private_key()

    def _dsa(self) -> dsa.DSAPrivateKey:
        p, q, g, y, x = (self.numbers[name] for name in DSA_ELEMENTS)
        parameters = dsa.DSAParameterNumbers(p, q, g)
        return dsa.DSAPrivateNumbers(x, dsa.DSAPublicNumbers(y, parameters)).private_key()


def _hexadecimal(number: int) -> str:
    digits = f"{number:X}"
    return digits.rjust(len(digits) + len(digits) % 2, "0")
