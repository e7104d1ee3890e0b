"""The ports of a data relay: who has which, and what may pass (RFC 9028 §4.12.1)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from hipgw.protocol.path import IPAddress, Path

PERMISSION_S = 300.0
"""Lifetime of a permission (RFC 9028 §4.12.1)."""


class PermissionKey(NamedTuple):
    """Names a permission: what of it must match for it to be the same one."""

    peer: IPAddress
    peer_port: int
    outbound_spi: int
    """Of the client: in packets to the peer."""
    inbound_spi: int
    """Of the client: in packets from the peer."""


@dataclass(slots=True)
class Permission:
    """Data may pass between a client and one peer."""

    expires: float
    client: Path
    """Where the client was when it was installed."""


@dataclass(slots=True, eq=False)
class RelayedPort:
    """A UDP port that is lent to one client."""

    slot: tuple[IPAddress, int]
    """Its place in the pool."""
    address: IPAddress
    """As the client and its peers know it."""
    port: int
    permissions: dict[PermissionKey, Permission] = field(default_factory=dict)

    @property
    def relayed(self) -> tuple[IPAddress, int]:
        """The transport address that peers send to."""
        return self.address, self.port


class PortPool:
    """Transport addresses to lend; one is given to one client at a time (RFC 9028 §7.5)."""

    def __init__(
        self, addresses: Iterable[tuple[IPAddress, int]], random: Callable[[int], bytes]
    ) -> None:
        """An unspecified address stands for whichever own one the client has reached."""
        self._free = list(dict.fromkeys(addresses))
        self._random = random

    @property
    def free(self) -> int:
        """How many are left."""
        return len(self._free)

    def take(self, reached: IPAddress) -> RelayedPort | None:
        """Lend one of the family that the client came by; None if there is none.

        Which one is left to chance, so that a port is seldom used again soon.
        """
        fitting = [slot for slot in self._free if slot[0].version == reached.version]
        if not fitting:
            return None
        slot = fitting[int.from_bytes(self._random(4), "big") % len(fitting)]
        self._free.remove(slot)
        address, port = slot
        return RelayedPort(slot, reached if address.is_unspecified else address, port)

    def give_back(self, port: RelayedPort) -> None:
        """The client has no use for it any more."""
        self._free.append(port.slot)
