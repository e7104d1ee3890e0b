"""What a rendezvous server asks of a data plane: to pass calls for silent clients on (RFC 8004)."""

from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

IPAddress = IPv4Address | IPv6Address

MACS = frozenset({"sha1", "sha256", "sha384"})
"""Hashes of the HMACs that a data plane can make."""


class RendezvousDataPlane(Protocol):
    """Passes I1 and UPDATE on that came over UDP for clients that are reached over UDP.

    Whatever is out of the ordinary still becomes `ControlReceived`.
    """

    def set_rendezvous(self, *, per_source: int, per_client: int) -> None:
        """Do so, for so many packets a second; before `start`. Raises DataPlaneError."""

    def add_rendezvous_client(
        self,
        *,
        hit: IPv6Address,
        local: IPAddress,
        local_port: int,
        remote: IPAddress,
        remote_port: int,
        mac: str,
        key: bytes,
        tells_ports: bool,
        remaining_s: float,
    ) -> None:
        """Pass on what comes for a client from now on; *mac* is one of `MACS`.

        *tells_ports*: it knows RELAY_FROM, not FROM alone. Raises DataPlaneError.
        """

    def remove_rendezvous_client(self, hit: IPv6Address) -> None:
        """Leave what comes for a client to the HIP machine; nothing happens if it is not there."""
