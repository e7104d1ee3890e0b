"""HIP packets: the fixed header and the parameters behind it (RFC 7401 §5.1, RFC 5201 §5.1)."""

import struct
from collections.abc import Container
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv6Address
from typing import Self, TypeVar

from hipgw.wire import tlv
from hipgw.wire.checksum import PseudoHeader, hip_checksum
from hipgw.wire.errors import (
    ChecksumError,
    EmitError,
    MalformedError,
    PacketFormatError,
    TruncatedError,
    UnknownPacketTypeError,
    UnsupportedVersionError,
)
from hipgw.wire.parameters import Parameter, name_of, parse_parameter

HEADER_LENGTH = 40
"""Octets."""
MAX_LENGTH = 256 * 8
"""Octets of the longest packet: Header Length is one octet."""
NO_NEXT_HEADER = 59
SUPPORTED_VERSIONS = frozenset({1, 2})
"""Versions of HIP that can be read and written."""
DEFAULT_VERSIONS = frozenset({2})
"""Versions that are read unless others are asked for."""

_HEADER = struct.Struct("!BBBBHH16s16s")
_CHECKSUM = slice(4, 6)

Wanted = TypeVar("Wanted", bound=Parameter)


class PacketType(IntEnum):
    """Packet types (RFC 7401 §5.3; RFC 6537 and RFC 6078 for the last two)."""

    I1 = 1
    R1 = 2
    I2 = 3
    R2 = 4
    UPDATE = 16
    NOTIFY = 17
    CLOSE = 18
    CLOSE_ACK = 19
    HDRR = 20
    DATA = 32


_PACKET_TYPES = {int(kind): kind for kind in PacketType}


@dataclass(frozen=True, slots=True)
class HipPacket:
    """One HIP control packet."""

    packet_type: PacketType
    sender_hit: IPv6Address
    receiver_hit: IPv6Address
    """Zero in an opportunistic I1 (RFC 7401 §4.1.8)."""
    parameters: tuple[Parameter, ...] = ()
    controls: int = 0
    version: int = 2
    raw: bytes = field(default=b"", repr=False, compare=False)
    """The octets it was parsed from: what MACs and signatures cover. Empty if it was not."""

    @classmethod
    def parse(
        cls,
        data: bytes,
        pseudo: PseudoHeader | None = None,
        *,
        strict_order: bool = True,
        versions: Container[int] = DEFAULT_VERSIONS,
    ) -> Self:
        """Read a packet that came between the addresses of *pseudo*, or inside UDP if None.

        Inside UDP the checksum field is zero on sending and not looked at on receipt (RFC 9028
        §5.1). With *strict_order* off, parameters may be out of order, as one known peer sends
        them. A version that is not among *versions* raises UnsupportedVersionError.
        Raises a PacketFormatError, which names packet, parameter and offset.
        """
        if len(data) < HEADER_LENGTH:
            raise TruncatedError(f"{len(data)} octets where a header has {HEADER_LENGTH}")
        _, units, kind, version, _, controls, sender, receiver = _HEADER.unpack_from(data)
        version >>= 4
        if version not in versions or version not in SUPPORTED_VERSIONS:
            raise UnsupportedVersionError(version)
        packet_type = _PACKET_TYPES.get(kind & 0x7F)
        if packet_type is None:
            raise UnknownPacketTypeError(kind & 0x7F)
        length = 8 * (units + 1)
        if length < HEADER_LENGTH or length > len(data):
            error = MalformedError if length < HEADER_LENGTH else TruncatedError
            raise error(
                f"Header Length says {length} octets, {len(data)} came",
                packet=packet_type.name,
                offset=1,
            )
        # What follows belongs to a next header that is not implemented: to be ignored (§5.1).
        data = data[:length]
        if pseudo is not None and hip_checksum(data, pseudo):
            raise ChecksumError("wrong checksum", packet=packet_type.name, offset=4)
        parameters = _parse_all(data, HEADER_LENGTH, version, packet_type.name, strict_order)
        return cls(
            packet_type,
            IPv6Address(sender),
            IPv6Address(receiver),
            parameters,
            controls,
            version,
            data,
        )

    def emit(self, pseudo: PseudoHeader | None = None, *, keep_order: bool = False) -> bytes:
        """The octets, parameters sorted by type; checksum for *pseudo*, zero without (UDP).

        With *keep_order* they stand as they are given, which RFC 7401 §5.2.1 calls malformed: some
        peers want it so. Raises EmitError if it is longer than a HIP packet can be.
        """
        ordered = self.parameters
        if not keep_order:
            ordered = tuple(sorted(ordered, key=lambda parameter: parameter.type))
        body = tlv.build((parameter.type, parameter.emit()) for parameter in ordered)
        length = HEADER_LENGTH + len(body)
        if length > MAX_LENGTH:
            raise EmitError(
                f"{length} octets are more than the {MAX_LENGTH} of a HIP packet",
                packet=self.packet_type.name,
            )
        header = _HEADER.pack(
            NO_NEXT_HEADER,
            length // 8 - 1,
            self.packet_type,
            self.version << 4 | 1,
            0,
            self.controls,
            self.sender_hit.packed,
            self.receiver_hit.packed,
        )
        packet = header + body
        return packet if pseudo is None else set_checksum(packet, pseudo)

    def get(self, kind: type[Wanted]) -> Wanted | None:
        """The first parameter of a class."""
        for parameter in self.parameters:
            if isinstance(parameter, kind):
                return parameter
        return None

    def all(self, kind: type[Wanted]) -> list[Wanted]:
        """Every parameter of a class, in order."""
        return [parameter for parameter in self.parameters if isinstance(parameter, kind)]


def name_of_type(octet: int) -> str:
    """The name of a packet type, by the third octet of a header; "?" if it has none."""
    kind = _PACKET_TYPES.get(octet & 0x7F)
    return kind.name if kind is not None else "?"


def set_checksum(packet: bytes, pseudo: PseudoHeader) -> bytes:
    """A finished packet with its checksum for other addresses (RFC 7401 §5.1.1)."""
    blank = bytearray(packet)
    blank[_CHECKSUM] = bytes(2)
    blank[_CHECKSUM] = hip_checksum(bytes(blank), pseudo).to_bytes(2, "big")
    return bytes(blank)


def parse_parameters(data: bytes, version: int = 2) -> tuple[Parameter, ...]:
    """Read parameters without a packet around them, as ENCRYPTED has them.

    Raises a PacketFormatError.
    """
    return _parse_all(data, 0, version, "", strict_order=True)


def _parse_all(
    data: bytes, start: int, version: int, packet: str, strict_order: bool
) -> tuple[Parameter, ...]:
    try:
        entries = tlv.scan(data, start, strict_order=strict_order)
    except PacketFormatError as error:
        raise error.located(packet, "", 0) from None
    parameters = []
    for entry in entries:
        try:
            contents = data[entry.offset : entry.offset + entry.length]
            parameters.append(parse_parameter(version, entry.type, contents))
        except PacketFormatError as error:
            raise error.located(packet, name_of(version, entry.type), entry.offset) from None
    return tuple(parameters)
