"""Recorded conversations of two hosts: all that went between them on one association, and its keys.

They come from OpenHIP, cutehip and hip-vpls alike, for `interop.replay`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address
from pathlib import Path
from unittest.mock import patch

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hipgw.identity import host_identity
from hipgw.identity.host_identity import LocalIdentity
from hipgw.protocol.compat import CUTEHIP, HIP_VPLS, OPENHIP, Compat
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import (
    DiffieHellman,
    EspInfo,
    EspInfoNoSig,
    EspTransform,
    HostId,
    Solution,
)
from interop import openhip, recorded
from interop.openhip import Packet
from interop.openhip_checks import printed_of
from interop.recorded import HIP, VECTORS

DirectionKeys = tuple[bytes, bytes]
"""Of ESP: encryption and authentication."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversation:
    """Two hosts, from the I1 of one of them to the last CLOSE_ACK."""

    capture: str
    number: int
    """Counts from 1 within the capture."""
    compat: Compat
    """Of the stack that both hosts are."""
    packets: tuple[Packet, ...]
    """HIP and ESP, in order."""
    initiator: IPv6Address
    responder: IPv6Address
    names: dict[IPv6Address, str]
    """What the hosts are called in the recording."""
    identities: dict[IPv6Address, LocalIdentity]
    secrets: dict[frozenset[bytes], bytes]
    """Kij, by the two public values that it is made of."""
    material: bytes
    """KEYMAT, where Kij is not known; else empty."""
    hip_keys: tuple[bytes, ...]
    """Greater HIT first: encryption, integrity, encryption, integrity. Empty where not printed."""
    esp_keys: tuple[dict[IPv6Address, DirectionKeys], ...]
    """By sender, for each pair of security associations in order."""
    esp_suite: int
    host_ids: dict[IPv6Address, HostId]
    """As each host sends it: with a name that hipgw has no use for."""

    def __str__(self) -> str:
        return self.capture if self.number == 1 else f"{self.capture} ({self.number})"

    def peer_of(self, hit: IPv6Address) -> IPv6Address:
        return self.responder if hit == self.initiator else self.initiator

    def first(self, kind: PacketType) -> Packet | None:
        """The first packet of a kind, an I2 being that of the exchange."""
        found = (p for p in self.packets if p.protocol == HIP and p.hip.packet_type is kind)
        return next(found, None)

    def spis(self, hit: IPv6Address) -> list[int]:
        """What a host wants to be sent ESP with, each new one in turn."""
        found = [
            info.new_spi
            for packet in self.packets
            if packet.protocol == HIP and packet.hip.sender_hit == hit
            for info in packet.hip.all(EspInfo)
            if not isinstance(info, EspInfoNoSig) and info.new_spi != info.old_spi
        ]
        return list(dict.fromkeys(found))

    def addresses(self, hit: IPv6Address) -> list[openhip.IPv4Address | openhip.IPv6Address]:
        """Where a host has sent from, in order; an I1 may come from elsewhere, by a relay."""
        sources = [
            packet.source
            for packet in self.packets
            if packet.protocol == HIP
            and packet.hip.sender_hit == hit
            and packet.hip.packet_type is not PacketType.I1
        ]
        return list(dict.fromkeys(sources))


def openhip_conversations(capture: Path) -> Iterator[Conversation]:
    """What OpenHIP said in a capture, without what did not come as far as I2."""
    seen = openhip.packets(capture)
    case = openhip.case_of(capture)
    for number, exchange in enumerate(openhip.exchanges(capture), 1):
        hits = exchange.initiator, exchange.responder
        printed = max(printed_of(capture, exchange), key=lambda one: _pairs_of_keys(one.keymats))
        greater, lower = sorted(hits, reverse=True)
        packets = _cut(seen, exchange.i2, hits)
        secrets, material = {}, b""
        if not printed.keymats[0].esp:
            continue  # nobody has keys of an exchange that nobody answered
        if printed.keymats[0].kij is None:
            material = b"".join((*printed.hip_keys, *printed.keymats[0].esp[0].keys))
        else:
            values = _public_values(packets, hits)
            secrets = {
                pair: keymat.kij
                for pair, keymat in zip(values, printed.keymats, strict=True)
                if keymat.kij is not None
            }
        yield Conversation(
            capture=capture.stem,
            number=number,
            compat=OPENHIP,
            packets=packets,
            initiator=hits[0],
            responder=hits[1],
            names={node.hit: node.name for node in openhip.nodes(case)},
            identities=openhip.identities(case),
            secrets=secrets,
            material=material,
            hip_keys=printed.hip_keys,
            esp_keys=tuple(
                {greater: keys.keys[:2], lower: keys.keys[2:]}
                for keymat in printed.keymats
                for keys in keymat.esp
            ),
            esp_suite=printed.keymats[0].esp[0].suite,
            host_ids=_host_ids(capture.stem, case, exchange, packets),
        )


def other_conversations(stack: str, case: str) -> Iterator[Conversation]:
    """What cutehip or hip-vpls said in a case."""
    cutehip = stack == "cutehip"
    capture = VECTORS / stack / f"{case}-{'outer' if cutehip else 'core'}.pcap"
    seen = tuple(
        Packet(one.source, one.destination, one.protocol, one.data)
        for one in recorded.datagrams(capture)
    )
    identities = _identities(stack, case)
    for exchange in recorded.exchanges(capture, recorded.sessions(stack, case)):
        hits = exchange.initiator_hit, exchange.responder_hit
        i2 = next(packet for packet in seen if packet.data == exchange.i2.data)
        packets = _cut(seen, i2, hits)
        keys = {
            one.spi: (one.encryption_key, one.authentication_key)
            for one in exchange.session.associations
        }
        to_initiator = EspInfo.parse(exchange.i2.contents(EspInfo.TYPE)).new_spi
        to_responder = EspInfo.parse(exchange.r2.contents(EspInfo.TYPE)).new_spi
        values = _public_values(packets, hits)
        yield Conversation(
            capture=capture.stem,
            number=exchange.number,
            compat=CUTEHIP if cutehip else HIP_VPLS,
            packets=packets,
            initiator=hits[0],
            responder=hits[1],
            names={hit: name for hit, (name, _) in identities.items()},
            identities={hit: identity for hit, (_, identity) in identities.items()},
            secrets={values[0]: exchange.session.shared_secret},
            material=b"",
            hip_keys=(),
            esp_keys=({hits[0]: keys[to_responder], hits[1]: keys[to_initiator]},),
            esp_suite=EspTransform.parse(exchange.i2.contents(EspTransform.TYPE)).suites[0],
            host_ids={
                packet.sender_hit: HostId.parse(packet.contents(HostId.TYPE))
                for packet in (exchange.r1, exchange.i2)
            },
        )


@cache
def _identities(stack: str, case: str) -> dict[IPv6Address, tuple[str, LocalIdentity]]:
    found = {}
    for file in sorted((VECTORS / stack).glob(f"{case}-*-private.pem")):
        key = load_pem_private_key(file.read_bytes(), None)
        with patch.object(host_identity, "_RSA_BITS_MIN_OWN", 1024):
            # Too short for hipgw to have one of its own.
            identity = LocalIdentity(key)  # type: ignore[arg-type]
        found[identity.hit] = file.name.split("-")[1], identity
    return found


def _cut(
    seen: Sequence[Packet], i2: Packet, hits: tuple[IPv6Address, IPv6Address]
) -> tuple[Packet, ...]:
    """What belongs to the exchange of an I2: from its I1 to the one of the next exchange."""
    at = next(number for number, packet in enumerate(seen) if packet is i2)
    opening = [
        number
        for number, packet in enumerate(seen)
        if packet.protocol == HIP
        and packet.hip.packet_type is PacketType.I1
        and packet.hip.sender_hit in hits
        and (packet.hip.receiver_hit in hits or not int(packet.hip.receiver_hit))
    ]
    before = [number for number in opening if number < at]
    # An I1 that was relayed is there twice.
    own = [number for number in before if seen[number].source == i2.source]
    start = (own or before)[-1]
    end = next((number for number in opening if number > at), len(seen))
    ends = {hits[0], hits[1], IPv6Address(0)}
    return tuple(
        packet
        for packet in seen[start:end]
        if packet.protocol != HIP or {packet.hip.sender_hit, packet.hip.receiver_hit} <= ends
    )


def _public_values(
    packets: Iterable[Packet], hits: tuple[IPv6Address, IPv6Address]
) -> list[frozenset[bytes]]:
    """The pairs of public values that secrets were made of, in order."""
    newest: dict[IPv6Address, bytes] = {}
    pairs: list[frozenset[bytes]] = []
    for packet in packets:
        if packet.protocol == HIP and (value := packet.hip.get(DiffieHellman)) is not None:
            newest[packet.hip.sender_hit] = value.public_value
            if len(newest) == len(hits):
                pairs.append(frozenset(newest.values()))
    return list(dict.fromkeys(pairs))


def _pairs_of_keys(keymats: Iterable[openhip.PrintedKeymat]) -> int:
    return sum(len(keymat.esp) for keymat in keymats)


def _host_ids(
    stem: str, case: str, exchange: openhip.Exchange, packets: Iterable[Packet]
) -> dict[IPv6Address, HostId]:
    """That of the Responder as it is in R1, that of the Initiator (which is hidden) made alike."""
    shown = exchange.r1.hip.get(HostId)
    assert shown is not None, (stem, packets)
    (node,) = (one for one in openhip.nodes(case) if one.hit == exchange.initiator)
    public = openhip.identities(case)[exchange.initiator].public
    name = f"{node.name}-{node.key.split('-')[1]}".encode()
    hidden = type(shown)(public.algorithm, public.encoded, 1, name)
    return {exchange.responder: shown, exchange.initiator: hidden}


def salt_of(conversation: Conversation) -> Solution:
    """I and J."""
    i2 = conversation.first(PacketType.I2)
    assert i2 is not None
    solution = i2.hip.get(Solution)
    assert solution is not None
    return solution
