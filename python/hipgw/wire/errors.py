"""What can be wrong with the bytes of a HIP packet."""

from typing import Self

from hipgw.errors import WireError


class PacketFormatError(WireError):
    """Base of the errors below; says which packet, which parameter and where.

    `offset` counts octets from the start of the HIP header, or from the start of the parsed
    bytes when no packet is known. `packet` and `parameter` are empty where none is known.
    """

    def __init__(
        self, message: str, *, packet: str = "", parameter: str = "", offset: int = 0
    ) -> None:
        super().__init__(message)
        self.reason = message
        self.packet = packet
        self.parameter = parameter
        self.offset = offset

    def located(self, packet: str, parameter: str, offset: int) -> Self:
        """Return itself, placed: *offset* is where the bytes that were parsed start."""
        self.packet = packet
        self.parameter = self.parameter or parameter
        self.offset += offset
        return self

    def __str__(self) -> str:
        place = " ".join(name for name in (self.packet, self.parameter) if name)
        where = f"{place}, octet {self.offset}" if place else f"octet {self.offset}"
        return f"{where}: {self.reason}"


class TruncatedError(PacketFormatError):
    """Bytes end before a header, a field or a parameter does."""


class MalformedError(PacketFormatError):
    """Order, length or structure breaks a rule of the format."""


class UnsupportedVersionError(PacketFormatError):
    """The packet has another HIP version; `version` says which (RFC 7401 §5.4.1)."""

    def __init__(self, version: int) -> None:
        super().__init__(f"HIP version {version} is not spoken here", offset=3)
        self.version = version


class UnknownPacketTypeError(PacketFormatError):
    """The packet type is none of those known; it must be dropped (RFC 7401 §5.1)."""

    def __init__(self, packet_type: int) -> None:
        super().__init__(f"unknown packet type {packet_type}", offset=2)
        self.type = packet_type


class ChecksumError(PacketFormatError):
    """The HIP checksum does not hold (RFC 7401 §5.1.1)."""


class UnknownCriticalParameterError(PacketFormatError):
    """An odd parameter type that is not known: nothing of the packet may be used.

    RFC 7401 §5.2.1; `type` goes into a NOTIFY (§5.2.19).
    """

    def __init__(self, parameter_type: int, *, packet: str = "", offset: int = 0) -> None:
        super().__init__(
            f"unknown critical parameter {parameter_type}", packet=packet, offset=offset
        )
        self.type = parameter_type


class EmitError(PacketFormatError):
    """Values that have no encoding: a number too large, a packet too long."""
