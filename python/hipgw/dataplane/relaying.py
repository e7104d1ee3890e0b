"""What a data relay asks of a data plane (RFC 9028 §4.12)."""

from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

IPAddress = IPv4Address | IPv6Address


class RelayDataPlane(Protocol):
    """Passes ESP on between clients of relayed ports and their peers, without opening it.

    Every method raises DataPlaneError for what cannot be done.
    """

    def add_relay_socket(self, fd: int) -> None:
        """Have a port to lend: a UDP socket that is bound to it; before `start`.

        The data plane duplicates the descriptor.
        """

    def open_relay_port(self, *, version: int, port: int, octets_per_s: int = 0) -> None:
        """Lend a port: take in what comes to it. HIP packets become `ControlReceived`."""

    def close_relay_port(self, *, version: int, port: int) -> None:
        """Take a port back, with all its permissions."""

    def permit_peer(
        self,
        *,
        port: int,
        local: IPAddress,
        client: IPAddress,
        client_port: int,
        peer: IPAddress,
        peer_port: int,
        outbound_spi: int,
        inbound_spi: int,
    ) -> None:
        """Let data pass. *local*: the own address that the client knows.

        From the client, of several permissions with one outbound SPI the last one counts.
        """

    def revoke_peer(
        self,
        *,
        port: int,
        local: IPAddress,
        client: IPAddress,
        client_port: int,
        peer: IPAddress,
        peer_port: int,
        outbound_spi: int,
        inbound_spi: int,
    ) -> None:
        """Let nothing pass any more; nothing happens if it is not there."""
