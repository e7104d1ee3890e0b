"""The surface of a version of HIP."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TypeVar

from hipgw.identity.dh import DhKeyPair
from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.keymat import AnyKeymat, HipKeys
from hipgw.identity.rhash import Rhash
from hipgw.protocol.compat import Compat
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.drops import DropReason
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    DiffieHellman,
    HipSignature,
    HipSignature2,
    HostId,
    Parameter,
    R1Counter,
)

Required = TypeVar("Required", bound=Parameter)


@dataclass(frozen=True, slots=True)
class Choice:
    """What an Initiator takes of what a Responder offers."""

    cipher: int
    """HIP_CIPHER (RFC 7401 §5.2.8), or suite of HIP_TRANSFORM (RFC 5201 §5.2.7)."""
    esp_suite: int


class Unacceptable(Exception):  # noqa: N818 - an outcome, not an error
    """An offer or a choice that cannot be taken; *notify* is what the peer may be told."""

    def __init__(self, reason: DropReason, notify: NotifyType | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.notify = notify


class Version(ABC):
    """What is not the same in all versions of HIP; everything else is common."""

    number: int
    """In the header of its packets."""

    # -- I1 ----------------------------------------------------------------------------------

    @abstractmethod
    def dh_groups(self, config: MachineConfig) -> tuple[int, ...]:
        """Diffie-Hellman groups of this host, best first."""

    @abstractmethod
    def i1_parameters(self, groups: tuple[int, ...]) -> tuple[Parameter, ...]:
        """What an I1 has besides its header."""

    # -- R1 ----------------------------------------------------------------------------------

    @abstractmethod
    def usual_groups(self, config: MachineConfig) -> list[tuple[int, ...]]:
        """For which groups R1s are most likely to be asked."""

    @abstractmethod
    def answer_groups(self, config: MachineConfig, packet: HipPacket) -> tuple[int, ...]:
        """Groups of the public values in the R1 to an I1, or that an I2 has an answer to.

        Raises Unacceptable.
        """

    @abstractmethod
    def r1_offers(
        self, config: MachineConfig, compat: Compat, pairs: Sequence[DhKeyPair]
    ) -> list[Parameter]:
        """Public values, ciphers and suites, as an R1 has them."""

    @abstractmethod
    def r1_services(
        self, config: MachineConfig, compat: Compat, *, relayed: bool
    ) -> list[Parameter]:
        """What else an R1 offers; *relayed*: by way of a relay."""

    @abstractmethod
    def puzzle_hash(self, responder_hit: IPv6Address) -> Rhash:
        """The hash of a Responder's puzzles and KEYMAT."""

    @abstractmethod
    def puzzle_octets(self, responder_hit: IPv6Address) -> int:
        """Octets of I, and of J."""

    @abstractmethod
    def can_check(self, r1: HipPacket, local: LocalIdentity) -> bool:
        """Whether a Responder can check an identity of this kind. Raises Unacceptable."""

    @abstractmethod
    def public_value(self, r1: HipPacket, groups: tuple[int, ...]) -> DiffieHellman:
        """The Responder's public value to be answered; *groups*: own ones. Raises Unacceptable."""

    @abstractmethod
    def choose(self, config: MachineConfig, r1: HipPacket) -> Choice:
        """The own choice of what a Responder offers. Raises Unacceptable."""

    # -- I2 ----------------------------------------------------------------------------------

    @abstractmethod
    def choice_parameters(self, choice: Choice) -> list[Parameter]:
        """How an I2 says what was chosen."""

    @abstractmethod
    def chosen(self, config: MachineConfig, i2: HipPacket) -> Choice:
        """What an I2 says was chosen, if it had been offered. Raises Unacceptable."""

    @abstractmethod
    def encrypt(
        self, choice: Choice, key: bytes, parameters: bytes, random: Callable[[int], bytes]
    ) -> bytes:
        """Contents of ENCRYPTED: IV and ciphertext."""

    @abstractmethod
    def decrypt(self, choice: Choice, key: bytes, data: bytes) -> bytes:
        """The parameters inside of it; raises IdentityError for a length that cannot be."""

    # -- keys --------------------------------------------------------------------------------

    @abstractmethod
    def mac_hash(self, responder_hit: IPv6Address, choice: Choice, compat: Compat) -> Rhash:
        """What MACs are made with."""

    @abstractmethod
    def keymat(
        self,
        secret: bytes,
        salt: tuple[bytes, bytes],
        hits: tuple[IPv6Address, IPv6Address],
        puzzle_hash: Rhash,
        compat: Compat,
    ) -> AnyKeymat:
        """A new KEYMAT of Kij; *salt* is I and J."""

    @abstractmethod
    def hip_keys(
        self,
        keymat: AnyKeymat,
        local_hit: IPv6Address,
        peer_hit: IPv6Address,
        choice: Choice,
        mac: Rhash,
    ) -> HipKeys:
        """Draw the keys that protect HIP packets."""

    # -- parameters that are not written alike -----------------------------------------------

    @abstractmethod
    def diffie_hellman(self, pair: DhKeyPair) -> DiffieHellman:
        """One own public value."""

    @abstractmethod
    def host_id(self, identity: HostIdentity) -> HostId:
        """An identity as a packet carries it."""

    @abstractmethod
    def r1_counter(self, counter: int) -> R1Counter:
        """R1_COUNTER."""

    @abstractmethod
    def signature(self, signer: HostIdentity, signature: bytes) -> HipSignature:
        """HIP_SIGNATURE."""

    @abstractmethod
    def signature_2(self, signer: HostIdentity, signature: bytes) -> HipSignature2:
        """HIP_SIGNATURE_2."""


def required(packet: HipPacket, kind: type[Required]) -> Required:
    """A parameter that a packet must have. Raises Unacceptable."""
    found = packet.get(kind)
    if found is None:
        raise Unacceptable(DropReason.MISSING_PARAMETER)
    return found
