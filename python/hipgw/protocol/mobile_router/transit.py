"""A packet on its way through a mobile router."""

from dataclasses import dataclass

from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Transport


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a datagram."""

    address: IPAddress
    transport: Transport = Transport.RAW
    port: int = HIP_UDP_PORT
    """UDP only."""


@dataclass(frozen=True, slots=True)
class Transit:
    """Where a datagram comes from and where it goes to; neither need be this host."""

    source: Place
    destination: Place
