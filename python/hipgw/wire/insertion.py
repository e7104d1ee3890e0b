"""Parameters that are put into a finished packet, behind its signature, or taken out again."""

from collections.abc import Collection, Iterable

from hipgw.wire import tlv
from hipgw.wire.errors import EmitError
from hipgw.wire.packet import HEADER_LENGTH, MAX_LENGTH
from hipgw.wire.parameters import Parameter

_LENGTH = 1
_CHECKSUM = slice(4, 6)


def with_parameters(raw: bytes, parameters: Iterable[Parameter]) -> bytes:
    """A packet with more parameters, each behind those of smaller or the same types.

    The checksum is zero then. What MACs and signatures cover stays the same as long as the types
    are greater than theirs. Raises EmitError if it becomes longer than a HIP packet can be.
    """
    packet = bytearray(raw)
    for parameter in parameters:
        entries = tlv.scan(bytes(packet), HEADER_LENGTH, strict_order=False)
        place = next((entry.start for entry in entries if entry.type > parameter.type), len(packet))
        packet[place:place] = tlv.build([(parameter.type, parameter.emit())])
    if len(packet) > MAX_LENGTH:
        raise EmitError(f"{len(packet)} octets are more than a HIP packet can have")
    packet[_LENGTH] = len(packet) // 8 - 1
    packet[_CHECKSUM] = bytes(2)
    return bytes(packet)


def without_types(raw: bytes, types: Collection[int]) -> bytes:
    """A packet without the parameters of some types, which nothing covers; the checksum is zero."""
    packet, end = bytearray(raw), len(raw)
    for entry in reversed(tlv.scan(raw, HEADER_LENGTH, strict_order=False)):
        if entry.type in types:
            del packet[entry.start : end]
        end = entry.start
    packet[_LENGTH] = len(packet) // 8 - 1
    packet[_CHECKSUM] = bytes(2)
    return bytes(packet)
