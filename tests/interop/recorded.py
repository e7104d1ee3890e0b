"""Base exchanges and traffic of other HIPv2 stacks, read from their captures.

Everything here is reading; what the packets mean is checked with hipgw itself by the tests.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from hipgw.wire.tlv import Tlv, scan

VECTORS = Path(__file__).parents[1] / "vectors"

HIP, ESP = 139, 50
I1, R1, I2, R2 = 1, 2, 3, 4

_ETHERNET_HEADER_LENGTH = 14
_ETHERTYPE_IPV4 = b"\x08\x00"
_IPV6_HEADER_LENGTH = 40
_HIP_HEADER_LENGTH = 40
_PCAP_HEADER_LENGTH, _PCAP_RECORD_HEADER_LENGTH = 24, 16


@dataclass(frozen=True)
class Datagram:
    """The payload of one IPv4 packet."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    data: bytes

    @property
    def ends(self) -> frozenset[IPv4Address]:
        return frozenset((self.source, self.destination))

    @property
    def packet_type(self) -> int:
        return self.data[2] & 0x7F

    @property
    def sender_hit(self) -> IPv6Address:
        return IPv6Address(self.data[8:24])

    @property
    def receiver_hit(self) -> IPv6Address:
        return IPv6Address(self.data[24:40])

    @property
    def spi(self) -> int:
        return int.from_bytes(self.data[:4], "big")

    def parameters(self) -> list[Tlv]:
        return scan(self.data, _HIP_HEADER_LENGTH, strict_order=False)

    def contents(self, parameter_type: int) -> bytes:
        """Contents of the only parameter of this type."""
        (found,) = (tlv for tlv in self.parameters() if tlv.type == parameter_type)
        return self.data[found.offset : found.offset + found.length]

    def has(self, parameter_type: int) -> bool:
        """Whether there is a parameter of this type."""
        return any(tlv.type == parameter_type for tlv in self.parameters())

    def whole(self, parameter_type: int) -> bytes:
        """The only parameter of this type with its header and padding."""
        (found,) = (tlv for tlv in self.parameters() if tlv.type == parameter_type)
        return self.data[found.start : found.end]


@dataclass(frozen=True)
class SecurityAssociation:
    """One direction of ESP as the recorded program printed it."""

    spi: int
    encryption_key: bytes
    authentication_key: bytes


@dataclass(frozen=True)
class Session:
    """What the recorded program printed of one base exchange."""

    salt: bytes
    """I | J."""
    shared_secret: bytes
    """Kij as the program used it: without leading zero octets."""
    keymat: bytes
    hip_cipher: int
    associations: tuple[SecurityAssociation, ...]


@dataclass(frozen=True)
class Exchange:
    """A base exchange and what followed on the association it made."""

    stack: str
    case: str
    number: int
    """Counts from 1 within the capture."""
    i1: Datagram
    r1: Datagram
    i2: Datagram
    r2: Datagram
    later: tuple[Datagram, ...]
    """UPDATE, CLOSE and CLOSE_ACK."""
    esp: tuple[Datagram, ...]
    session: Session

    def __str__(self) -> str:
        return f"{self.case}-{self.number}"

    @property
    def initiator_hit(self) -> IPv6Address:
        return self.i2.sender_hit

    @property
    def responder_hit(self) -> IPv6Address:
        return self.i2.receiver_hit

    @property
    def signed(self) -> tuple[Datagram, ...]:
        return (self.r1, self.i2, self.r2, *self.later)


def frames(file: Path) -> Iterator[bytes]:
    """The frames of a little-endian pcap file."""
    data = file.read_bytes()
    offset = _PCAP_HEADER_LENGTH
    while offset < len(data):
        _, _, length, _ = struct.unpack_from("<IIII", data, offset)
        offset += _PCAP_RECORD_HEADER_LENGTH
        yield data[offset : offset + length]
        offset += length


def datagrams(file: Path) -> list[Datagram]:
    """The IPv4 packets in a capture of Ethernet frames."""
    found = []
    for frame in frames(file):
        if frame[12:14] == _ETHERTYPE_IPV4:
            packet = frame[_ETHERNET_HEADER_LENGTH:]
            header_length = 4 * (packet[0] & 0xF)
            total_length = int.from_bytes(packet[2:4], "big")
            found.append(
                Datagram(
                    IPv4Address(packet[12:16]),
                    IPv4Address(packet[16:20]),
                    packet[9],
                    packet[header_length:total_length],
                )
            )
    return found


def exchanges(capture: Path, sessions: list[Session]) -> list[Exchange]:
    """The complete base exchanges in a capture, in the order of their I2 packets."""
    packets = datagrams(capture)
    starts = [n for n, packet in enumerate(packets) if _is_hip(packet, I2)]
    found = []
    for number, start in enumerate(starts, 1):
        i2 = packets[start]
        after = [packet for packet in packets[start + 1 :] if packet.ends == i2.ends]
        end = next((n for n, packet in enumerate(after) if _is_hip(packet, I2)), len(after))
        before = [packet for packet in packets[:start] if packet.ends == i2.ends]
        r2, *later = (packet for packet in after[:end] if packet.protocol == HIP)
        found.append(
            Exchange(
                stack=capture.parent.name,
                case=capture.name.split("-")[0],
                number=number,
                i1=[packet for packet in before if _is_hip(packet, I1)][-1],
                r1=[packet for packet in before if _is_hip(packet, R1)][-1],
                i2=i2,
                r2=r2,
                later=tuple(p for p in later if p.packet_type not in (I1, R1)),
                esp=tuple(packet for packet in after[:end] if packet.protocol == ESP),
                session=_session_of(i2, sessions),
            )
        )
    return found


def sessions(stack: str, case: str) -> list[Session]:
    """What the recorded programs printed in this case, in order."""
    printed = json.loads((VECTORS / stack / "sessions.json").read_text())[case]
    return [
        Session(
            bytes.fromhex(session["salt"]),
            bytes.fromhex(session["shared_secret"]),
            bytes.fromhex(session["keymat"]),
            session["hip_cipher"],
            tuple(
                SecurityAssociation(
                    int(association["spi"], 16),
                    bytes.fromhex(association["encryption_key"]),
                    bytes.fromhex(association["authentication_key"]),
                )
                for association in session["associations"]
            ),
        )
        for session in printed
    ]


def clear_ipv6(file: Path) -> set[tuple[IPv6Address, IPv6Address, int, bytes]]:
    """(source, destination, next header, payload) of the IPv6 packets in a capture without L2."""
    return {
        (
            IPv6Address(packet[8:24]),
            IPv6Address(packet[24:40]),
            packet[6],
            packet[_IPV6_HEADER_LENGTH:],
        )
        for packet in frames(file)
    }


def _is_hip(packet: Datagram, packet_type: int) -> bool:
    return packet.protocol == HIP and packet.packet_type == packet_type


def _session_of(i2: Datagram, sessions: list[Session]) -> Session:
    """The session whose I | J stand in the SOLUTION of this I2."""
    solution = i2.contents(321)
    return next(session for session in sessions if session.salt == solution[4:])
