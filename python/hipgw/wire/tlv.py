"""Parameters as type, length and contents, not yet understood (RFC 7401 §5.2.1)."""

from collections.abc import Iterable
from typing import NamedTuple

from hipgw._wire import build_tlvs, scan_tlvs
from hipgw.wire.errors import EmitError, MalformedError, PacketFormatError, TruncatedError
from hipgw.wire.pure import TLV_HEADER_LENGTH, ScanFault, padded_length

__all__ = ["TLV_HEADER_LENGTH", "Tlv", "build", "padded_length", "scan"]


class Tlv(NamedTuple):
    """Where a parameter lies in the bytes that were scanned."""

    type: int
    offset: int
    """Of the contents."""
    length: int
    """Of the contents, in octets."""

    @property
    def start(self) -> int:
        """Offset of the Type field."""
        return self.offset - TLV_HEADER_LENGTH

    @property
    def end(self) -> int:
        """Offset behind the padding."""
        return self.start + padded_length(self.length)


_FAULTS: dict[int, tuple[type[PacketFormatError], str]] = {
    ScanFault.SHORT_HEADER: (TruncatedError, "the parameters end within a parameter's header"),
    ScanFault.SHORT_CONTENTS: (TruncatedError, "the parameter is longer than what is left"),
    ScanFault.ORDER: (MalformedError, "the parameter types do not ascend"),
    ScanFault.SHORT_PADDING: (TruncatedError, "the parameters end within padding"),
}


def scan(
    data: bytes, start: int = 0, end: int | None = None, *, strict_order: bool = True
) -> list[Tlv]:
    """Return where the parameters of *data*[*start*:*end*] lie.

    Raises TruncatedError, and MalformedError if types descend, unless *strict_order* is off
    (for peers known to misorder: RFC 7401 §5.2.1 wants such a packet discarded).
    """
    found, fault, offset = scan_tlvs(data, start, len(data) if end is None else end, strict_order)
    if fault:
        error, message = _FAULTS[fault]
        raise error(message, offset=offset)
    return [Tlv(*entry) for entry in found]


def build(parameters: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the octets of (type, contents) pairs in the order given, each padded with zeros.

    Raises EmitError for a type or length that needs more than 16 bits.
    """
    try:
        return build_tlvs(list(parameters))
    except ValueError as error:
        raise EmitError(str(error)) from error
