"""Where a datagram came from or goes to."""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address

HIP_UDP_PORT = 10500
"""Server-side UDP port of HIP and UDP-encapsulated ESP (RFC 9028 §4.1)."""


class Transport(Enum):
    """What carries HIP control packets and ESP."""

    UDP = "udp"
    """HIP and ESP inside UDP (RFC 9028 §5.1, §5.11); the HIP checksum field is zero."""
    RAW = "raw"
    """IP protocols 139 (HIP) and 50 (ESP)."""


@dataclass(frozen=True, slots=True)
class Path:
    """An address pair and what carries the packets between them."""

    local: IPAddress | None
    """Own address; None lets the operating system choose (outbound only)."""
    remote: IPAddress
    transport: Transport = Transport.UDP
    local_port: int = HIP_UDP_PORT
    """UDP only."""
    remote_port: int = HIP_UDP_PORT
    """UDP only."""
    relay_to: tuple[IPAddress, int] | None = None
    """The peer's address and port, for a path by a relay of this host, which `remote` is then.

    None: the peer is at `remote`, or behind a relay of its own.
    """
    by_rendezvous: bool = False
    """`remote` is a rendezvous server of the peer, which passes on what may go that way alone."""
    via: IPAddress | None = None
    """The rendezvous server that has passed a packet on; what answers it goes straight to `remote`
    and names the server (RFC 8004 §4.3.3)."""

    @property
    def origin(self) -> IPAddress:
        """Where the peer is, or whose place a relay of the peer takes."""
        return self.relay_to[0] if self.relay_to else self.remote

    @property
    def locator_port(self) -> int:
        """The remote UDP port, 0 for plain IP."""
        return self.remote_port if self.transport is Transport.UDP else 0
