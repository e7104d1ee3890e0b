"""The Internet checksum, and the HIP checksum made of it."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hipgw._wire import checksum16, pseudo_header_checksum

__all__ = [
    "HIP_PROTOCOL",
    "IPAddress",
    "PseudoHeader",
    "checksum16",
    "hip_checksum",
    "pseudo_header_checksum",
]

HIP_PROTOCOL = 139
"""IP protocol number of HIP (RFC 7401 §4)."""

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class PseudoHeader:
    """The addresses of the IP header that carries a HIP packet (RFC 7401 §5.1.1)."""

    source: IPAddress
    destination: IPAddress

    def __post_init__(self) -> None:
        if self.source.version != self.destination.version:
            raise ValueError(f"{self.source} and {self.destination} are of different IP versions")


def hip_checksum(packet: bytes, pseudo: PseudoHeader) -> int:
    """Return the checksum of a whole HIP packet, or 0 if it holds the right one already.

    The pseudo-header's length is that of *packet* (RFC 7401 §5.1.1).
    """
    return pseudo_header_checksum(
        packet, pseudo.source.packed, pseudo.destination.packed, HIP_PROTOCOL
    )
