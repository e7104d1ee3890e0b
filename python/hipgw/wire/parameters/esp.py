"""Parameters of the ESP transport (RFC 7402 §5.1)."""

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from hipgw.wire.parameters.base import Parameter, at_least, emit_words, exactly, pack, word_list


@dataclass(frozen=True, slots=True)
class EspInfo(Parameter):
    """SPIs of the sender's inbound traffic and where its keys begin (RFC 7402 §5.1.1)."""

    TYPE: ClassVar[int] = 65
    keymat_index: int
    """Octets from the start of KEYMAT."""
    old_spi: int
    new_spi: int
    reserved: int = 0

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 12)
        reserved, index, old, new = struct.unpack("!HHII", contents)
        return cls(index, old, new, reserved)

    def emit(self) -> bytes:
        return pack("HHII", self.reserved, self.keymat_index, self.old_spi, self.new_spi)


@dataclass(frozen=True, slots=True)
class EspTransform(Parameter):
    """ESP suites, the preferred one first (RFC 7402 §5.1.2)."""

    TYPE: ClassVar[int] = 4095
    suites: tuple[int, ...]
    reserved: int = 0

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, 2)
        return cls(word_list(contents[2:]), int.from_bytes(contents[:2], "big"))

    def emit(self) -> bytes:
        return pack("H", self.reserved) + emit_words(self.suites)
