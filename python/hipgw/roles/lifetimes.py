"""Finds the security associations that have carried enough, so that their keys are replaced.

What is enough, the HIP machine decides in the end (`rekeying.used`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hipgw.dataplane.backend import SecurityAssociation
from hipgw.protocol.rekeying import SHORT_SEQUENCE_PACKETS


@dataclass(frozen=True, slots=True)
class Limits:
    """What one security association may carry; 0 for any amount.

    Whatever is set: with 32-bit sequence numbers, half of them have to be enough.
    """

    packets: int
    octets: int


def worn(
    associations: Iterable[SecurityAssociation], limits: Limits
) -> Iterator[SecurityAssociation]:
    """Those that have reached a limit. Each is found again until it is replaced."""
    for entry in associations:
        if (
            (limits.packets and entry.packets >= limits.packets)
            or (limits.octets and entry.bytes >= limits.octets)
            or entry.packets >= SHORT_SEQUENCE_PACKETS
        ):
            yield entry
