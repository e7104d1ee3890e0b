"""HIPv2 (RFC 7401)."""

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address

from hipgw.identity.ciphers import decrypt_parameters, encrypt_parameters
from hipgw.identity.dh import DhKeyPair, kij_octets
from hipgw.identity.hit import hit_suite_of
from hipgw.identity.host_identity import SUPPORTED_HIT_SUITES, HostIdentity, LocalIdentity
from hipgw.identity.keymat import AnyKeymat, HipKeys, Keymat, draw_hip_keys
from hipgw.identity.rhash import Rhash, rhash
from hipgw.protocol.compat import Compat
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.drops import DropReason
from hipgw.protocol.nat.negotiation import r1_parameters
from hipgw.protocol.negotiation import ESP_FORMAT, OFFERS_MAX, choose_dh_group, choose_offer
from hipgw.protocol.versions.base import Choice, Unacceptable, Version, required
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    DhGroupList,
    DiffieHellman,
    EspTransform,
    HipCipher,
    HipSignature,
    HipSignature2,
    HitSuiteList,
    HostId,
    Parameter,
    R1Counter,
    TransportFormatList,
)

_RFC7401_HIT_SUITES = frozenset({1, 2, 3})
"""Those of its §5.2.10."""


class V2(Version):
    """HIPv2 (RFC 7401)."""

    number = 2

    def dh_groups(self, config: MachineConfig) -> tuple[int, ...]:
        return config.dh_groups

    def i1_parameters(self, groups: tuple[int, ...]) -> tuple[Parameter, ...]:
        return (DhGroupList(groups),)

    def usual_groups(self, config: MachineConfig) -> list[tuple[int, ...]]:
        return [(group,) for group in config.dh_groups[:2]]

    def answer_groups(self, config: MachineConfig, packet: HipPacket) -> tuple[int, ...]:
        if packet.packet_type is not PacketType.I1:
            return (required(packet, DiffieHellman).group,)
        offered = required(packet, DhGroupList).groups
        # Without a common group the R1 still carries the list, so that the peer can try again.
        return (choose_dh_group(config.dh_groups, offered) or config.dh_groups[0],)

    def r1_offers(
        self, config: MachineConfig, compat: Compat, pairs: Sequence[DhKeyPair]
    ) -> list[Parameter]:
        pair = pairs[0]
        groups, suites = config.dh_groups[:OFFERS_MAX], SUPPORTED_HIT_SUITES
        if compat.plain_r1:
            groups = (int(pair.group),)
            suites = tuple(suite for suite in suites if suite in _RFC7401_HIT_SUITES)
        return [
            DhGroupList(groups),
            self.diffie_hellman(pair),
            HipCipher(config.hip_ciphers[:OFFERS_MAX]),
            HitSuiteList(suites),
            TransportFormatList((ESP_FORMAT,)),
            EspTransform(config.esp_suites[:OFFERS_MAX]),
        ]

    def r1_services(
        self, config: MachineConfig, compat: Compat, *, relayed: bool
    ) -> list[Parameter]:
        return list(r1_parameters(config.nat, config.registrar, relayed=relayed))

    def puzzle_hash(self, responder_hit: IPv6Address) -> Rhash:
        return rhash(hit_suite_of(responder_hit))

    def puzzle_octets(self, responder_hit: IPv6Address) -> int:
        return self.puzzle_hash(responder_hit).digest_size

    def can_check(self, r1: HipPacket, local: LocalIdentity) -> bool:
        return local.public.hit_suite in required(r1, HitSuiteList).suites

    def public_value(self, r1: HipPacket, groups: tuple[int, ...]) -> DiffieHellman:
        """The group must be the Responder's first one that was offered to it (§4.1.7, §6.8)."""
        value = required(r1, DiffieHellman)
        best = choose_dh_group(required(r1, DhGroupList).groups, groups)
        if best is None:
            raise Unacceptable(DropReason.NO_PROPOSAL)
        if value.group != best:
            raise Unacceptable(DropReason.DOWNGRADE)
        return value

    def choose(self, config: MachineConfig, r1: HipPacket) -> Choice:
        formats = r1.get(TransportFormatList)
        cipher = choose_offer(config.hip_ciphers, required(r1, HipCipher).ciphers)
        suite = choose_offer(config.esp_suites, required(r1, EspTransform).suites)
        if (
            cipher is None
            or suite is None
            or (formats is not None and ESP_FORMAT not in formats.formats)
        ):
            raise Unacceptable(DropReason.NO_PROPOSAL)
        return Choice(cipher, suite)

    def choice_parameters(self, choice: Choice) -> list[Parameter]:
        return [
            HipCipher((choice.cipher,)),
            TransportFormatList((ESP_FORMAT,)),
            EspTransform((choice.esp_suite,)),
        ]

    def chosen(self, config: MachineConfig, i2: HipPacket) -> Choice:
        if hit_suite_of(i2.sender_hit) not in SUPPORTED_HIT_SUITES:
            raise Unacceptable(DropReason.NO_PROPOSAL, NotifyType.UNSUPPORTED_HIT_SUITE)
        formats = i2.get(TransportFormatList)
        if formats is not None and formats.formats != (ESP_FORMAT,):
            raise Unacceptable(DropReason.BAD_CHOICE, NotifyType.NO_ESP_PROPOSAL_CHOSEN)
        ciphers = required(i2, HipCipher).ciphers
        if len(ciphers) != 1 or ciphers[0] not in config.hip_ciphers:
            raise Unacceptable(DropReason.BAD_CHOICE, NotifyType.INVALID_HIP_CIPHER_CHOSEN)
        suites = required(i2, EspTransform).suites
        if len(suites) != 1 or suites[0] not in config.esp_suites:
            raise Unacceptable(DropReason.BAD_CHOICE, NotifyType.INVALID_ESP_TRANSFORM_CHOSEN)
        return Choice(ciphers[0], suites[0])

    def encrypt(
        self, choice: Choice, key: bytes, parameters: bytes, random: Callable[[int], bytes]
    ) -> bytes:
        return encrypt_parameters(choice.cipher, key, parameters, random)

    def decrypt(self, choice: Choice, key: bytes, data: bytes) -> bytes:
        return decrypt_parameters(choice.cipher, key, data)

    def mac_hash(self, responder_hit: IPv6Address, choice: Choice, compat: Compat) -> Rhash:
        return self.puzzle_hash(responder_hit)

    def keymat(
        self,
        secret: bytes,
        salt: tuple[bytes, bytes],
        hits: tuple[IPv6Address, IPv6Address],
        puzzle_hash: Rhash,
        compat: Compat,
    ) -> AnyKeymat:
        return Keymat(kij_octets(secret, compat.kij_zeros), *salt, *hits, puzzle_hash)

    def hip_keys(
        self,
        keymat: AnyKeymat,
        local_hit: IPv6Address,
        peer_hit: IPv6Address,
        choice: Choice,
        mac: Rhash,
    ) -> HipKeys:
        return draw_hip_keys(keymat, local_hit, peer_hit, choice.cipher, mac)

    def diffie_hellman(self, pair: DhKeyPair) -> DiffieHellman:
        return DiffieHellman(pair.group, pair.public_value)

    def host_id(self, identity: HostIdentity) -> HostId:
        return HostId(identity.algorithm, identity.encoded)

    def r1_counter(self, counter: int) -> R1Counter:
        return R1Counter(counter)

    def signature(self, signer: HostIdentity, signature: bytes) -> HipSignature:
        return HipSignature(signer.algorithm, signature)

    def signature_2(self, signer: HostIdentity, signature: bytes) -> HipSignature2:
        return HipSignature2(signer.algorithm, signature)
