"""HIPv1 (RFC 5201)."""

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address

from hipgw.identity.ciphers import decrypt_parameters, encrypt_parameters
from hipgw.identity.dh import DhKeyPair, kij_octets
from hipgw.identity.hip_suites import hip_suite
from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.keymat import KEYMAT_V1_LIMIT, AnyKeymat, HipKeys, KeymatV1, draw_hip_keys
from hipgw.identity.rhash import SHA1, LeadingOctets, Rhash
from hipgw.protocol.compat import Compat
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.drops import DropReason
from hipgw.protocol.negotiation import OFFERS_MAX, choose_offer
from hipgw.protocol.registrar import Registrar
from hipgw.protocol.versions.base import Choice, Unacceptable, Version, required
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    DiffieHellman,
    DiffieHellmanV1,
    EspTransform,
    HipSignature2V1,
    HipSignatureV1,
    HipTransform,
    HostIdV1,
    Parameter,
    R1CounterV1,
)
from hipgw.wire.parameters.v1 import PUZZLE_LENGTH

PUBLIC_VALUES_MAX = 2
"""In one DIFFIE_HELLMAN (§5.2.6)."""
_MD5_PADDING = 4
"""Octets that make an HMAC-MD5 as long as an HMAC-SHA-1."""


class V1(Version):
    """HIPv1 (RFC 5201): the hash is SHA-1 throughout, and an I1 offers nothing."""

    number = 1

    def dh_groups(self, config: MachineConfig) -> tuple[int, ...]:
        return config.v1.dh_groups

    def i1_parameters(self, groups: tuple[int, ...]) -> tuple[Parameter, ...]:
        return ()

    def usual_groups(self, config: MachineConfig) -> list[tuple[int, ...]]:
        return [config.v1.dh_groups[:PUBLIC_VALUES_MAX]]

    def answer_groups(self, config: MachineConfig, packet: HipPacket) -> tuple[int, ...]:
        return config.v1.dh_groups[:PUBLIC_VALUES_MAX]

    def r1_offers(
        self, config: MachineConfig, compat: Compat, pairs: Sequence[DhKeyPair]
    ) -> list[Parameter]:
        first, *more = (DiffieHellman(pair.group, pair.public_value) for pair in pairs)
        return [
            DiffieHellmanV1(first.group, first.public_value, next(iter(more), None)),
            HipTransform(config.v1.hip_suites[:OFFERS_MAX]),
            EspTransform(config.v1.esp_suites[:OFFERS_MAX]),
        ]

    def r1_services(
        self, config: MachineConfig, compat: Compat, *, relayed: bool
    ) -> list[Parameter]:
        """Registration (RFC 5203 §4.2); NAT traversal is not negotiated here."""
        if config.registrar is None:
            return []
        offer = Registrar.offer(config.registrar, compat)
        return [offer] if offer.reg_types else []

    def puzzle_hash(self, responder_hit: IPv6Address) -> Rhash:
        return SHA1

    def puzzle_octets(self, responder_hit: IPv6Address) -> int:
        return PUZZLE_LENGTH

    def can_check(self, r1: HipPacket, local: LocalIdentity) -> bool:
        return True

    def public_value(self, r1: HipPacket, groups: tuple[int, ...]) -> DiffieHellman:
        """The strongest of the Responder's one or two values, as this host has it (§5.2.6)."""
        offered = required(r1, DiffieHellman)
        values = offered.values if isinstance(offered, DiffieHellmanV1) else (offered,)
        theirs = {value.group: value for value in values}
        best = next((group for group in groups if group in theirs), None)
        if best is None:
            raise Unacceptable(DropReason.NO_PROPOSAL)
        return theirs[best]

    def choose(self, config: MachineConfig, r1: HipPacket) -> Choice:
        cipher = choose_offer(config.v1.hip_suites, required(r1, HipTransform).suites)
        suite = choose_offer(config.v1.esp_suites, required(r1, EspTransform).suites)
        if cipher is None or suite is None:
            raise Unacceptable(DropReason.NO_PROPOSAL)
        return Choice(cipher, suite)

    def choice_parameters(self, choice: Choice) -> list[Parameter]:
        return [HipTransform((choice.cipher,)), EspTransform((choice.esp_suite,))]

    def chosen(self, config: MachineConfig, i2: HipPacket) -> Choice:
        suites = required(i2, HipTransform).suites
        if len(suites) != 1 or suites[0] not in config.v1.hip_suites:
            raise Unacceptable(DropReason.BAD_CHOICE, NotifyType.INVALID_HIP_CIPHER_CHOSEN)
        esp = required(i2, EspTransform).suites
        if len(esp) != 1 or esp[0] not in config.v1.esp_suites:
            raise Unacceptable(DropReason.BAD_CHOICE, NotifyType.INVALID_ESP_TRANSFORM_CHOSEN)
        return Choice(suites[0], esp[0])

    def encrypt(
        self, choice: Choice, key: bytes, parameters: bytes, random: Callable[[int], bytes]
    ) -> bytes:
        return encrypt_parameters(hip_suite(choice.cipher).cipher, key, parameters, random)

    def decrypt(self, choice: Choice, key: bytes, data: bytes) -> bytes:
        return decrypt_parameters(hip_suite(choice.cipher).cipher, key, data)

    def mac_hash(self, responder_hit: IPv6Address, choice: Choice, compat: Compat) -> Rhash:
        """HMAC of the suite (§5.2.7)."""
        own = hip_suite(choice.cipher).mac
        short = own.digest_size < SHA1.digest_size
        return LeadingOctets(own, _MD5_PADDING) if compat.md5_mac_padded and short else own

    def keymat(
        self,
        secret: bytes,
        salt: tuple[bytes, bytes],
        hits: tuple[IPv6Address, IPv6Address],
        puzzle_hash: Rhash,
        compat: Compat,
    ) -> AnyKeymat:
        limit = compat.keymat_octets or KEYMAT_V1_LIMIT
        return KeymatV1(
            kij_octets(secret, compat.kij_zeros), *salt, *hits, puzzle_hash, limit=limit
        )

    def hip_keys(
        self,
        keymat: AnyKeymat,
        local_hit: IPv6Address,
        peer_hit: IPv6Address,
        choice: Choice,
        mac: Rhash,
    ) -> HipKeys:
        return draw_hip_keys(keymat, local_hit, peer_hit, hip_suite(choice.cipher).cipher, mac)

    def diffie_hellman(self, pair: DhKeyPair) -> DiffieHellman:
        return DiffieHellmanV1(pair.group, pair.public_value)

    def host_id(self, identity: HostIdentity) -> HostIdV1:
        return HostIdV1(identity.algorithm, identity.encoded)

    def r1_counter(self, counter: int) -> R1CounterV1:
        return R1CounterV1(counter)

    def signature(self, signer: HostIdentity, signature: bytes) -> HipSignatureV1:
        return HipSignatureV1(signer.algorithm, signature)

    def signature_2(self, signer: HostIdentity, signature: bytes) -> HipSignature2V1:
        return HipSignature2V1(signer.algorithm, signature)
