"""Parameters of hipgw's own, from the range for private use (RFC 7401 §5.2.1)."""

from dataclasses import dataclass

from hipgw.wire.parameters.base import DataParameter


@dataclass(frozen=True, slots=True)
class Padding(DataParameter):
    """Octets without a meaning, which give a packet the size that a path is probed with.

    Its type is even, so that a peer that does not know it skips it; and the answer need not
    carry it back, as it would have to with the data of an echo request.
    """

    TYPE = 33100
