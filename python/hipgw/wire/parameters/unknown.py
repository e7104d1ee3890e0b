"""A parameter that is not known here."""

from dataclasses import dataclass

from hipgw.wire.parameters.base import Parameter


@dataclass(frozen=True, slots=True)
class UnknownParameter(Parameter):
    """Kept as it came, and skipped (RFC 7401 §5.2.1); its type is even."""

    number: int
    contents: bytes

    @property
    def type(self) -> int:
        return self.number

    def emit(self) -> bytes:
        return self.contents
