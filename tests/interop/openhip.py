"""What OpenHIP was recorded sending, and the keys that it printed meanwhile (HIP version 1).

Everything here is reading; what the packets mean is checked with hipgw itself by the tests.
"""

import json
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.identity.host_identity import LocalIdentity, PrivateKey
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.packet import SUPPORTED_VERSIONS, HipPacket, PacketType
from interop.recorded import ESP, HIP, VECTORS, frames

OPENHIP = VECTORS / "openhip"
CAPTURES = sorted(OPENHIP.glob("*.pcap"))
UDP_PORT = 10500

_UDP = 17
_ETHERNET, _LINUX_COOKED_2 = 1, 276
_LINK_HEADERS = {_ETHERNET: (14, slice(12, 14)), _LINUX_COOKED_2: (20, slice(0, 2))}
"""Link type -> length of the header, and where in it the EtherType is."""
_MORE_FRAGMENTS, _FRAGMENT_OFFSET = 0x2000, 0x1FFF
_ALWAYS_IPV6_HEADER_LENGTH = 40


@dataclass(frozen=True)
class IpPacket:
    """The payload of an IP packet, put together again if it came in fragments."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    data: bytes
    fragments: int = 1


@dataclass(frozen=True)
class Packet:
    """A HIP or ESP packet, from UDP or from IP."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    """139 for HIP, 50 for ESP."""
    data: bytes
    ports: tuple[int, int] | None = None
    """Of UDP, if it came in that."""
    fragments: int = 1

    @property
    def pseudo(self) -> PseudoHeader | None:
        """What the checksum of a HIP packet covers; None in UDP, where it is zero."""
        return None if self.ports else PseudoHeader(self.source, self.destination)

    @cached_property
    def hip(self) -> HipPacket:
        return HipPacket.parse(
            self.data, self.pseudo, strict_order=False, versions=SUPPORTED_VERSIONS
        )

    @property
    def spi(self) -> int:
        return int.from_bytes(self.data[:4], "big")


@dataclass(frozen=True)
class PrintedEspKeys:
    """Keys of ESP, greater HIT first: encryption, authentication, encryption, authentication."""

    keymat_index: int
    suite: int
    keys: tuple[bytes, ...]


@dataclass
class PrintedKeymat:
    """One Diffie-Hellman secret and the ESP keys drawn from what it makes."""

    kij: bytes | None
    """None from the endboxes, which do not print it."""
    esp: list[PrintedEspKeys] = field(default_factory=list)


@dataclass
class PrintedAssociation:
    """What one node printed of one association."""

    node: str
    keymats: list[PrintedKeymat]
    hip_suite: int = 0
    """0 if it did not come so far."""
    hip_keys: tuple[bytes, ...] = ()
    """Greater HIT first: encryption, integrity, encryption, integrity."""
    spi_in: int = 0
    spi_out: int = 0
    proxy_key: tuple[int, bytes] | None = None
    """KEYMAT Index and key, lent to a mobile router."""


@dataclass(frozen=True)
class Node:
    """One of the hosts of a case."""

    name: str
    key: str
    hit: IPv6Address
    lsi: IPv4Address
    associations: tuple[PrintedAssociation, ...]


@dataclass(frozen=True)
class Exchange:
    """A base exchange that came as far as I2."""

    r1: Packet
    i2: Packet
    r2: Packet | None

    @property
    def initiator(self) -> IPv6Address:
        return self.i2.hip.sender_hit

    @property
    def responder(self) -> IPv6Address:
        return self.i2.hip.receiver_hit

    @property
    def hits(self) -> frozenset[IPv6Address]:
        return frozenset((self.initiator, self.responder))


def _is_ip(capture: Path, frame: bytes) -> bool:
    return frame[_LINK_HEADERS[_link_type(capture)][1]] in (b"\x08\x00", b"\x86\xdd")


def _link_type(capture: Path) -> int:
    (link_type,) = struct.unpack_from("<I", capture.read_bytes(), 20)
    return int(link_type)


def ip_packets(capture: Path) -> Iterator[IpPacket]:
    """The IP packets in a capture, whole. Fragments have to follow each other in order.

    What was recorded of a packet without its last fragment is left out: see `cut_off`.
    """
    length, ethertype = _LINK_HEADERS[_link_type(capture)]
    pending: dict[bytes, tuple[bytes, int]] = {}
    for frame in frames(capture):
        packet = frame[length:]
        if frame[ethertype] == b"\x86\xdd":
            end = _ALWAYS_IPV6_HEADER_LENGTH + int.from_bytes(packet[4:6], "big")
            ends = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
            yield IpPacket(*ends, packet[6], packet[_ALWAYS_IPV6_HEADER_LENGTH:end])
        elif frame[ethertype] == b"\x08\x00":
            header, total = 4 * (packet[0] & 0xF), int.from_bytes(packet[2:4], "big")
            fragment, data = int.from_bytes(packet[6:8], "big"), packet[header:total]
            name = packet[4:6] + packet[9:10] + packet[12:20]
            before, count = pending.pop(name, (b"", 0))
            assert len(before) == 8 * (fragment & _FRAGMENT_OFFSET)
            if fragment & _MORE_FRAGMENTS:
                pending[name] = before + data, count + 1
                continue
            ends = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
            yield IpPacket(*ends, packet[9], before + data, count + 1)


@cache
def packets(capture: Path) -> tuple[Packet, ...]:
    """The HIP and ESP packets in a capture, in order."""
    found = []
    for ip in ip_packets(capture):
        ends, data, ports, protocol = (ip.source, ip.destination), ip.data, None, ip.protocol
        if protocol == _UDP:
            ports = struct.unpack_from("!HH", data)
            if UDP_PORT not in ports:
                continue
            protocol = ESP if any(data[8:12]) else HIP
            data = data[8:] if protocol == ESP else data[12:]
        if protocol in (HIP, ESP):
            found.append(Packet(*ends, protocol, data, ports, ip.fragments))
    return tuple(found)


def cut_off(capture: Path) -> int:
    """How many packets were recorded without their last fragment, and cannot be read."""
    recorded = sum(ip.fragments for ip in ip_packets(capture))
    return sum(_is_ip(capture, frame) for frame in frames(capture)) - recorded


def hip_packets(capture: Path) -> list[Packet]:
    return [packet for packet in packets(capture) if packet.protocol == HIP]


def esp_packets(capture: Path) -> list[Packet]:
    return [packet for packet in packets(capture) if packet.protocol == ESP]


def exchanges(capture: Path) -> list[Exchange]:
    """The base exchanges in a capture, in the order of their I2 packets."""
    seen, found = hip_packets(capture), []
    for at, packet in enumerate(seen):
        if packet.hip.packet_type is not PacketType.I2:
            continue
        ends = packet.hip.receiver_hit, packet.hip.sender_hit
        r1 = [p for p in seen[:at] if _is(p, PacketType.R1, *ends)][-1]
        r2 = next((p for p in seen[at:] if _is(p, PacketType.R2, *ends)), None)
        found.append(Exchange(r1, packet, r2))
    return found


def case_of(capture: Path) -> str:
    """The case that a capture belongs to: some have several, of different places."""
    names = [name for name in _printed() if capture.stem == name or _is_place(capture.stem, name)]
    return max(names, key=len)


@cache
def nodes(case: str) -> tuple[Node, ...]:
    """The hosts of a case, with what they printed."""
    return tuple(
        Node(
            name,
            node["key"],
            IPv6Address(node["hit"]),
            IPv4Address(node["lsi"]),
            tuple(_associations(name, node["log"])),
        )
        for name, node in _printed()[case]["nodes"].items()
    )


@cache
def identities(case: str) -> dict[IPv6Address, LocalIdentity]:
    """The private keys in the my_host_identities.xml of each host of a case."""
    found = {}
    for file in sorted(OPENHIP.glob(f"{case}.*.my.xml")):
        for element in ElementTree.parse(file).getroot().iter("host_identity"):
            identity = LocalIdentity(_private_key(element), 1, weak_keys=True)
            assert ip_address(element.findtext("HIT", "")) == identity.hit, file
            found[identity.hit] = identity
    return found


def printed_associations(case: str) -> list[PrintedAssociation]:
    """Of all hosts, those that came as far as keys."""
    return [one for node in nodes(case) for one in node.associations if one.hip_suite]


def _is(packet: Packet, kind: PacketType, sender: IPv6Address, receiver: IPv6Address) -> bool:
    hip = packet.hip
    return (hip.packet_type, hip.sender_hit, hip.receiver_hit) == (kind, sender, receiver)


def _is_place(stem: str, name: str) -> bool:
    return stem.startswith(f"{name}-") and stem.removeprefix(f"{name}-") in ("l1", "l2", "mn", "cn")


@cache
def _printed() -> dict:  # type: ignore[type-arg]
    return json.loads((OPENHIP / "sessions.json").read_text())  # type: ignore[no-any-return]


def _associations(node: str, log: list[dict]) -> Iterator[PrintedAssociation]:  # type: ignore[type-arg]
    """Cut a node's log into associations: each begins with HIP keys, or with the Kij for them."""
    current = None
    for at, entry in enumerate(log):
        following = log[at + 1] if at + 1 < len(log) else {}
        if "kij" in entry and "esp_keys" not in following:
            current = PrintedAssociation(node, [PrintedKeymat(bytes.fromhex(entry["kij"]))])
            yield current
        elif "kij" in entry:
            current.keymats.append(PrintedKeymat(bytes.fromhex(entry["kij"])))
        elif "hip_keys" in entry:
            if current is None or current.hip_keys:
                current = PrintedAssociation(node, [PrintedKeymat(None)])
                yield current
            current.hip_suite = entry["suite"]
            current.hip_keys = tuple(map(bytes.fromhex, entry["hip_keys"]))
        elif "esp_keys" in entry:
            keys = tuple(map(bytes.fromhex, entry["esp_keys"]))
            printed = PrintedEspKeys(entry["keymat_index"], entry["suite"], keys)
            current.keymats[-1].esp.append(printed)
        elif "spi_in" in entry:
            current.spi_in, current.spi_out = int(entry["spi_in"], 16), int(entry["spi_out"], 16)
        elif "proxy_key" in entry:
            current.proxy_key = entry["keymat_index"], bytes.fromhex(entry["proxy_key"])


def _private_key(element: ElementTree.Element) -> PrivateKey:
    def number(tag: str) -> int:
        return int(element.findtext(tag, ""), 16)

    if element.get("alg") == "DSA":
        parameters = dsa.DSAParameterNumbers(number("P"), number("Q"), number("G"))
        public = dsa.DSAPublicNumbers(number("PUB"), parameters)
        return dsa.DSAPrivateNumbers(number("PRIV"), public).private_key()
    parts = map(number, ("P", "Q", "D", "dmp1", "dmq1", "iqmp"))
    return rsa.RSAPrivateNumbers(
        *parts, rsa.RSAPublicNumbers(number("E"), number("N"))
    ).private_key()
