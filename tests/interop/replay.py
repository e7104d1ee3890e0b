"""A `HipMachine` takes the place of one host of a recorded conversation.

It is fed what the other host sent, and what it sends is held against what the recorded host did.
All that a host is free to choose is given to it as it was recorded: its random source (SPIs, IVs,
nonces), its Diffie-Hellman key pairs with their public value and Kij, I, J, the opaque data, the
first Update ID, and the name in its HOST_ID. When somebody has to act first, it is told to:
connect, move, renew keys, close. Nothing else is.
"""

import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from ipaddress import IPv6Address
from typing import Self
from unittest.mock import patch

from hipgw.errors import IdentityError, LocalProtocolError
from hipgw.identity.dh import DhGroup, DhKeyPair
from hipgw.identity.esp_suites import esp_suite
from hipgw.identity.hip_suites import HIP_SUITES, hip_suite
from hipgw.identity.keymat import AnyKeymat, HipKeys
from hipgw.identity.puzzle import search
from hipgw.identity.rhash import MD5, SHA1
from hipgw.protocol import protection
from hipgw.protocol.compat import RFC
from hipgw.protocol.config import MachineConfig, V1Config
from hipgw.protocol.effects import (
    Direction,
    Effect,
    InstallSA,
    PacketTrace,
    SendDatagram,
    SolvePuzzle,
)
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.r1_pool import R1Pool
from hipgw.protocol.registration import ServiceType, lifetime_s
from hipgw.protocol.versions.registry import VERSIONS
from hipgw.wire.packet import SUPPORTED_VERSIONS, HipPacket, PacketType, set_checksum
from hipgw.wire.parameters import (
    Ack,
    DhGroupList,
    DiffieHellman,
    EchoRequestSigned,
    EchoRequestUnsigned,
    Encrypted,
    EspInfo,
    EspTransform,
    HipCipher,
    HipMac,
    HipMac2,
    HipSignature,
    HipSignature2,
    HipTransform,
    LocatorSet,
    Parameter,
    Puzzle,
    R1Counter,
    RegInfo,
    RegRequest,
    Seq,
)
from interop.conversations import Conversation, salt_of
from interop.openhip import Packet
from interop.openhip_checks import without_garbage
from interop.recorded import ESP, HIP
from interop.registered import passed_on, register

STEP_S = 0.01
"""Between two packets."""
_PROTECTION = (HipMac, HipMac2, HipSignature, HipSignature2)
_SPI, _ECHO = 4, 4
_CLOSE_NONCE = 16
"""Octets of randomness that the machine asks for where OpenHIP has taken four."""


@dataclass
class Outcome:
    """What came of a replay."""

    taken: int = 0
    """HIP packets of the other host that were accepted."""
    refused: Counter[str] = field(default_factory=Counter)
    """Packet and reason of others."""
    whole: int = 0
    """Packets sent that equal the recorded ones, octet for octet."""
    unsigned: int = 0
    """The same without the signature, which differs each time it is made."""
    differing: int = 0
    """Other packets sent; MAC and signature hold in all of them."""
    differences: Counter[str] = field(default_factory=Counter)
    """Packet and parameter: "+" is sent and "-" is not sent, against the recording."""
    unsent: Counter[str] = field(default_factory=Counter)
    """Recorded packets that the machine had no reason to send."""
    unasked: Counter[str] = field(default_factory=Counter)
    """Packets that it sent and the recorded host did not."""
    unacknowledged: int = 0
    """UPDATEs that the machine would have gone on to send again, when the first CLOSE came."""
    associations: int = 0
    """Security associations whose SPI, suite and keys are the recorded ones."""


class RecordedRandom:
    """The recorded randomness, by how much of it is asked for; then made up, the same each time."""

    def __init__(self) -> None:
        self._made_up = random.Random(5)
        self.recorded: dict[int, deque[bytes]] = {}

    def __call__(self, octets: int) -> bytes:
        queue = self.recorded.get(octets)
        return queue.popleft() if queue else self._made_up.randbytes(octets)


class RecordedDh(DhKeyPair):
    """A key pair whose private value was not recorded, but what it makes was."""

    def __init__(self, group: int, public_value: bytes, secrets: dict[frozenset[bytes], bytes]):
        self.group = DhGroup(group)
        self.public_value = public_value
        self._secrets = secrets

    @property
    def private(self) -> bytes:
        return b"not recorded"

    def shared_secret(self, peer_public: bytes) -> bytes:
        secret = self._secrets.get(frozenset((self.public_value, peer_public)))
        if secret is None:
            raise IdentityError("nobody has recorded that secret")
        return secret


class RecordedKeymat(AnyKeymat):
    """A KEYMAT of which only the beginning is known."""

    __slots__ = ()

    def __init__(self, material: bytes) -> None:
        super().__init__(SHA1, len(material))
        self._material = material

    @property
    def secret(self) -> bytes:
        return self._material

    def resumed(self, secret: bytes, index: int) -> Self:
        self._material, self.index = secret, index
        return self

    def _expand(self, length: int) -> bytes:
        return self._material


class Replay:
    """One role in a conversation."""

    def __init__(self, conversation: Conversation, local_hit: IPv6Address) -> None:
        self.conversation = conversation
        self.local = conversation.identities[local_hit]
        self.local_hit, self.peer_hit = local_hit, conversation.peer_of(local_hit)
        self.outcome = Outcome()
        self.random = RecordedRandom()
        self.now = 1000.0
        self._where = conversation.addresses(local_hit)
        self._present = list(self._where)
        """Own addresses at the moment."""
        self._hip_keys: HipKeys | None = None
        self._packets = [packet for packet in conversation.packets if self._is_seen(packet)]
        self._sent: deque[SendDatagram] = deque()
        self._installed: dict[Direction, list[InstallSA]] = {way: [] for way in Direction}
        self._heard: dict[int, Path] = {}
        self._group, self._public = self._next_public_value(0)
        self._numbered = False

    def run(self) -> Outcome:
        with self._liberties():
            self._begin()
            for at, packet in enumerate(self._packets):
                self.now += STEP_S
                self._script(at)
                self._look_at_updates(packet)
                while (due := self.machine.next_timer()) is not None and due <= self.now:
                    self._perform(self.machine.timer_expired(self.now))
                if packet.protocol == ESP:
                    self._data(packet)
                elif packet.hip.sender_hit == self.local_hit:
                    self._expect(packet)
                else:
                    self._feed(packet)
            self._leave_unasked()
        self._check_associations()
        return self.outcome

    # -- what is given ---------------------------------------------------------------------------

    @contextmanager
    def _liberties(self) -> Iterator[None]:
        solution, version = salt_of(self.conversation), VERSIONS[self.local.version]
        with ExitStack() as stack:

            def put(where: object, name: str, double: object) -> None:
                stack.enter_context(patch.object(where, name, double))

            put(DhKeyPair, "generate", staticmethod(self._key_pair))
            put(R1Pool, "_i", staticmethod(lambda *_: solution.i))
            put(R1Pool, "_opaque", staticmethod(lambda *_: solution.opaque))
            # A name, which hipgw does not tell.
            put(type(version), "host_id", lambda *_: self.conversation.host_ids[self.local_hit])
            if self.conversation.material:
                material = self.conversation.material
                put(type(version), "keymat", lambda *_: RecordedKeymat(material))
            yield

    def _key_pair(self, group: int, *_: object) -> DhKeyPair:
        if self.conversation.material:
            # The endboxes did not print Kij: what KEYMAT is made of does not matter then.
            values = frozenset((self._public, self._next_public_value(0, own=False)[1]))
            return RecordedDh(group, self._public, {values: b"?"})
        return RecordedDh(group, self._public, self.conversation.secrets)

    def _next_public_value(self, at: int, *, own: bool = True) -> tuple[int, bytes]:
        """The next one that a host sends, from a packet on; (0, b"") for none."""
        for packet in self._packets[at:]:
            if packet.protocol == HIP and (packet.hip.sender_hit == self.local_hit) is own:
                value = packet.hip.get(DiffieHellman)
                if value is not None:
                    return value.group, value.public_value
        return 0, b""

    def _script(self, at: int) -> None:
        """Give the randomness of the packets that are to be sent before the next one comes."""
        known = {sa.spi for sa in self._installed[Direction.INBOUND]}
        octets: dict[int, list[bytes]] = {}
        first = at if self._is_own(self._packets[at]) else at + 1
        for number, packet in enumerate(self._packets[first:], first):
            if packet.protocol == ESP:
                continue
            if not self._is_own(packet):
                break
            hip = packet.hip
            for info in hip.all(EspInfo):
                if info.new_spi not in known:
                    octets.setdefault(_SPI, []).append(info.new_spi.to_bytes(4, "big"))
            if (encrypted := hip.get(Encrypted)) is not None:
                length = self._iv_octets()
                octets.setdefault(length, []).append(encrypted.data[:length])
            for echo in hip.all(EchoRequestUnsigned):
                octets.setdefault(_ECHO, []).append(echo.data)
            for echo in hip.all(EchoRequestSigned):
                octets.setdefault(_CLOSE_NONCE, []).append(echo.data)
            value = hip.get(DiffieHellman)
            if value is not None and hip.packet_type is PacketType.UPDATE:
                self._public = self._next_public_value(number)[1]
        self.random.recorded = {size: deque(data) for size, data in octets.items()}

    def _iv_octets(self) -> int:
        i2 = self.conversation.first(PacketType.I2)
        assert i2 is not None
        transform = i2.hip.get(HipTransform)
        return hip_suite(transform.suites[0]).cipher.iv_length if transform else 16

    # -- the machine -----------------------------------------------------------------------------

    def _begin(self) -> None:
        self.machine = HipMachine(self._config(), [self.local], self.random, self.now)
        moves = any(
            packet.hip.get(LocatorSet) and packet.hip.get(EspInfo)
            for packet in self._packets
            if packet.protocol == HIP and self._is_own(packet)
        )
        # A host that goes over to the other IP version has had both.
        first = self._where[0]
        self._present = [
            one for one in self._where if not moves or one == first or one.version != first.version
        ]
        self.machine.addresses_changed(self._present, self.now)
        i1 = passed_on(self.conversation)
        if i1 is not None and i1.destination in self._where:
            register(self.machine, self.conversation, self.local_hit, self._arrival(i1), self.now)
        request = self._asked()
        if request is not None and self._packets[0].hip.sender_hit == self.local_hit:
            wanted = self.conversation.compat.meant(request.reg_types)
            self.machine.register(self.peer_hit, wanted, 600.0, self.now)

    def _config(self) -> MachineConfig:
        r1, i1 = self.conversation.first(PacketType.R1), self.conversation.first(PacketType.I1)
        assert r1 is not None and i1 is not None
        puzzle, counter, offer = r1.hip.get(Puzzle), r1.hip.get(R1Counter), r1.hip.get(RegInfo)
        assert puzzle is not None
        transform, ciphers = r1.hip.get(HipTransform), r1.hip.get(HipCipher)
        esp = r1.hip.get(EspTransform)
        assert esp is not None
        groups = i1.hip.get(DhGroupList) if self.local_hit == self.conversation.initiator else None
        registrar = None
        if offer is not None and self.local_hit == self.conversation.responder:
            services = self.conversation.compat.meant(offer.reg_types)
            registrar = RegistrarConfig(
                services=services,
                mobile_router=MobileRouterConfig()
                if ServiceType.MOBILE_ROUTER in services
                else None,
                allow=lambda _hit: True,
                # Rounded up to the next code.
                min_lifetime_s=lifetime_s(offer.min_lifetime - 1) * 1.01,
                max_lifetime_s=lifetime_s(offer.max_lifetime) * 1.01,
            )
        suites = tuple(suite for suite in esp.suites if _is_esp_suite(suite))
        return MachineConfig(
            dh_groups=_known_groups(groups.groups) if groups else (self._group,),
            hip_ciphers=ciphers.ciphers if ciphers else (2,),
            esp_suites=suites,
            opportunistic=not int(i1.hip.receiver_hit),
            puzzle_difficulty=puzzle.k,
            puzzle_lifetime=puzzle.lifetime,
            r1_counter_start=counter.counter if counter else 1,
            rekey_s=0.0,
            keepalive_s=0.0,
            compat=lambda hit: self.conversation.compat if hit == self.peer_hit else RFC,
            v1=V1Config(
                dh_groups=(self._group,),
                hip_suites=transform.suites if transform else tuple(HIP_SUITES),
                esp_suites=suites,
                weak_keys=True,
            ),
            registrar=registrar,
        )

    def _asked(self) -> RegRequest | None:
        i2 = self.conversation.first(PacketType.I2)
        return i2.hip.get(RegRequest) if i2 is not None else None

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendDatagram():
                    self._sent.append(effect)
                case InstallSA(direction=way):
                    self._installed[way].append(effect)
                    session = self._session()
                    self._hip_keys = session.hip_keys if session is not None else None
                case SolvePuzzle():
                    self._solve(effect)
                case _:
                    pass

    def _solve(self, puzzle: SolvePuzzle) -> None:
        """Answer with the recorded J, if it solves what the machine wants to have solved."""
        j = salt_of(self.conversation).j
        assert puzzle.length == len(j)
        assert j == search(
            *(puzzle.hash_name, puzzle.prefix, len(j), puzzle.difficulty, j, 1), bits=puzzle.bits
        )
        self._perform(self.machine.puzzle_solved(puzzle.request, j, self.now))

    # -- what comes in ---------------------------------------------------------------------------

    def _feed(self, packet: Packet) -> None:
        effects = self.machine.datagram_received(packet.data, self._arrival(packet), self.now)
        # Its own: what an effect leads to may be traced behind it.
        trace = next(
            effect
            for effect in effects
            if isinstance(effect, PacketTrace) and effect.direction is Direction.INBOUND
        )
        if trace.dropped:
            self.outcome.refused[f"{_named(packet.hip)}: {trace.dropped}"] += 1
        else:
            self.outcome.taken += 1
        self._perform(effects)

    def _data(self, packet: Packet) -> None:
        """An ESP packet came: the data plane tells of the first one, and of one from elsewhere."""
        inbound = {sa.spi: sa.path for sa in self._installed[Direction.INBOUND]}
        if packet.destination not in self._present or packet.spi not in inbound:
            return
        arrival = self._arrival(packet)
        if packet.spi not in self._heard:
            self._perform(self.machine.data_received(packet.spi, self.now))
        if self._heard.get(packet.spi, inbound[packet.spi]) != arrival:
            self._perform(self.machine.source_changed(packet.spi, arrival, self.now))
        self._heard[packet.spi] = arrival

    # -- what goes out ---------------------------------------------------------------------------

    def _expect(self, packet: Packet) -> None:
        self._number(packet)
        effect = self._alike(packet)
        if effect is None:
            with suppress(LocalProtocolError):
                self._act(packet)
            effect = self._alike(packet) or self._of_its_kind(packet)
        if effect is None:
            self.outcome.unsent[_named(packet.hip)] += 1
            return
        self._sent.remove(effect)
        ours, theirs = effect.data, _without_garbage(packet)
        if replace(effect.path, via=None) != self._departure(packet):
            self.outcome.differences[f"{packet.hip.packet_type.name} elsewhere"] += 1
        if ours == theirs:
            self.outcome.whole += 1
            return
        sent = _parse(ours)
        self._check_protection(sent)
        found = list(_differences(sent, packet.hip))
        if found:
            self.outcome.differing += 1
            for difference in found:
                self.outcome.differences[f"{packet.hip.packet_type.name} {difference}"] += 1
        else:
            self.outcome.unsigned += 1

    def _alike(self, packet: Packet) -> SendDatagram | None:
        """The first packet sent that has the parameters of a recorded one."""
        wanted = _named(packet.hip)
        return next((sent for sent in self._sent if _named(_parse(sent.data)) == wanted), None)

    def _of_its_kind(self, packet: Packet) -> SendDatagram | None:
        """The first packet sent that may stand for a recorded one, though not quite alike."""
        for sent in self._sent:
            ours, theirs = _parse(sent.data), packet.hip
            asks = [packet.get(Seq) is not None for packet in (ours, theirs)]
            if ours.packet_type is theirs.packet_type and asks[0] is asks[1]:
                return sent
        return None

    def _act(self, packet: Packet) -> None:
        """Have the machine do what made the recorded host send a packet."""
        hip, machine, now = packet.hip, self.machine, self.now
        seq, info = hip.get(Seq), hip.get(EspInfo)
        match hip.packet_type:
            case PacketType.I1:
                asked = self.peer_hit if int(hip.receiver_hit) else None
                self._perform(machine.connect(asked, self._ways(packet), now))
            case PacketType.CLOSE:
                self._perform(machine.close(self.peer_hit, now))
            case PacketType.UPDATE if hip.get(LocatorSet) and info:
                self._present = [packet.source]
                self._perform(machine.addresses_changed(self._present, now))
            case PacketType.UPDATE if info is not None and hip.get(Ack) is None:
                self._perform(machine.rekey(self.peer_hit, now, dh=False))
            case PacketType.UPDATE if seq is not None and len(hip.parameters) == 3:
                self._perform(machine.ping(self.peer_hit, now)[1])
            case _:
                pass

    def _number(self, packet: Packet) -> None:
        """Begin with the recorded host's first Update ID: RFC 7401 has zero, but not all do."""
        seq, session = packet.hip.get(Seq), self._session()
        if seq is None or self._numbered or session is None:
            return
        self._numbered = True
        if not session.next_update_id:
            session.next_update_id = seq.update_id

    def _leave_unasked(self) -> None:
        while self._sent:
            self.outcome.unasked[_named(_parse(self._sent.popleft().data))] += 1

    # -- checks ----------------------------------------------------------------------------------

    def _check_protection(self, sent: HipPacket) -> None:
        """MAC and signature of a packet that is not quite the recorded one."""
        session = self._session()
        signatures = [*sent.all(HipSignature), *sent.all(HipSignature2)]
        if sent.packet_type is PacketType.R1:
            return  # checked by whoever gets it
        for signature in signatures:
            kind = type(signature)
            assert protection.signature_holds(
                sent, self.local.public, signature_2=issubclass(kind, HipSignature2)
            )
        if session is None or sent.get(HipMac) is None:
            return
        keys = session.hip_keys
        swapped = (
            sent.packet_type is PacketType.I2 and self.conversation.compat.swapped_exchange_macs
        )
        key = keys.incoming_integrity if swapped else keys.outgoing_integrity
        assert protection.mac_holds(sent, session.rhash, key)

    def _look_at_updates(self, packet: Packet) -> None:
        if packet.protocol == HIP and packet.hip.packet_type is PacketType.CLOSE:
            association = self.machine._core.find(self.local_hit, self.peer_hit)
            if association is not None and association.updates:
                self.outcome.unacknowledged = len(association.updates)

    def _check_associations(self) -> None:
        """Security associations, in the order in which they were made, and the keys of HIP."""
        conversation = self.conversation
        if conversation.hip_keys:
            assert self._hip_keys is not None
            own = 0 if self.local_hit > self.peer_hit else 2
            assert conversation.hip_keys[own : own + 2] == (
                self._hip_keys.outgoing_encryption,
                self._hip_keys.outgoing_integrity,
            )
            assert conversation.hip_keys[2 - own : 4 - own] == (
                self._hip_keys.incoming_encryption,
                self._hip_keys.incoming_integrity,
            )
        spis = {
            Direction.INBOUND: conversation.spis(self.local_hit),
            Direction.OUTBOUND: conversation.spis(self.peer_hit),
        }
        senders = {Direction.INBOUND: self.peer_hit, Direction.OUTBOUND: self.local_hit}
        for way, installed in self._installed.items():
            for sa, spi, keys in zip(installed, spis[way], conversation.esp_keys, strict=False):
                assert sa.spi == spi, (way, hex(sa.spi), hex(spi))
                assert sa.suite == conversation.esp_suite
                assert (sa.encryption_key, sa.authentication_key) == keys[senders[way]]
                self.outcome.associations += 1

    def _session(self):  # type: ignore[no-untyped-def]
        association = self.machine._core.find(self.local_hit, self.peer_hit)
        if association is None:
            return None
        exchange = association.initiating
        return association.session or (exchange.session if exchange is not None else None)

    # -- paths -----------------------------------------------------------------------------------

    def _ways(self, i1: Packet) -> list[Path]:
        """Where the peer is called: also where else it is known to be, if it never says so."""
        first = self._departure(i1)
        others = [
            Path(local, address, first.transport)
            for address in self.conversation.addresses(self.peer_hit)
            for local in self._present
            if address.version == local.version != first.remote.version
        ]
        return [first, *others]

    def _is_own(self, packet: Packet) -> bool:
        return packet.protocol == HIP and packet.hip.sender_hit == self.local_hit

    def _is_seen(self, packet: Packet) -> bool:
        """Whether the packet was sent or received by this host, not somewhere on its way."""
        where = packet.source if self._is_own(packet) else packet.destination
        return where in self._where

    def _arrival(self, packet: Packet) -> Path:
        if packet.ports is None:
            return Path(packet.destination, packet.source, Transport.RAW)
        source, destination = packet.ports
        return Path(packet.destination, packet.source, Transport.UDP, destination, source)

    def _departure(self, packet: Packet) -> Path:
        if packet.ports is None:
            return Path(packet.source, packet.destination, Transport.RAW)
        return Path(packet.source, packet.destination, Transport.UDP, *packet.ports)


def _parse(data: bytes) -> HipPacket:
    return HipPacket.parse(data, strict_order=False, versions=SUPPORTED_VERSIONS)


def _without_garbage(packet: Packet) -> bytes:
    """The packet with zeros as padding, and the checksum that it has then."""
    cleaned = without_garbage(packet)
    if cleaned == packet.data or packet.pseudo is None:
        return cleaned
    return set_checksum(cleaned[:4] + bytes(2) + cleaned[6:], packet.pseudo)


def _differences(sent: HipPacket, wanted: HipPacket) -> Iterator[str]:
    """How parameters differ, apart from MACs and signatures: those follow from the others."""
    ours, theirs = _by_name(sent), _by_name(wanted)
    same = True
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name, []), theirs.get(name, [])
        if [parameter.emit() for parameter in one] == [parameter.emit() for parameter in other]:
            continue
        same = False
        if not other:
            yield f"+{name}"
        elif not one:
            yield f"-{name}"
        elif len(one) == len(other) == 1:
            yield from _unlike(one[0], other[0], name)
        else:
            yield name
    for kind in (HipMac, HipMac2):
        macs = [packet.get(kind) for packet in (sent, wanted)]
        if same and macs[0] is not None and macs[1] is not None and macs[0].mac != macs[1].mac:
            assert macs[0].mac[-MD5.digest_size :] == macs[1].mac[-MD5.digest_size :]
            yield "MAC's first octets"


def _unlike(ours: object, theirs: object, name: str) -> Iterator[str]:
    """Which fields differ."""
    if is_dataclass(ours) and type(ours) is type(theirs):
        for one in fields(ours):
            yield from _unlike(
                getattr(ours, one.name), getattr(theirs, one.name), f"{name}.{one.name}"
            )
    elif isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        for pair in zip(ours, theirs, strict=True):
            yield from _unlike(*pair, name)
    elif ours != theirs:
        yield name


def _by_name(packet: HipPacket) -> dict[str, list[Parameter]]:
    found: dict[str, list[Parameter]] = {}
    for parameter in packet.parameters:
        if not isinstance(parameter, _PROTECTION):
            found.setdefault(_name(parameter), []).append(parameter)
    return found


def _name(parameter: Parameter) -> str:
    return type(parameter).__name__.removesuffix("V1")


def _named(packet: HipPacket) -> str:
    shown = [_name(one) for one in packet.parameters if not isinstance(one, _PROTECTION)]
    kind = packet.packet_type.name
    return f"{kind}({', '.join(shown)})" if packet.packet_type is PacketType.UPDATE else kind


def _is_esp_suite(suite: int) -> bool:
    try:
        esp_suite(suite)
    except IdentityError:
        return False
    return True


def _known_groups(groups: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(group for group in groups if group in set(DhGroup))
