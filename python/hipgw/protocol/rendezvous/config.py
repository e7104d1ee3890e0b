"""What can be set about the rendezvous server."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address


def _nobody(_hit: IPv6Address) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class RendezvousConfig:
    """Settings of a rendezvous server; all times in seconds."""

    allow: Callable[[IPv6Address], bool] = _nobody
    """Who may register."""
    min_lifetime_s: float = 10.0
    max_lifetime_s: float = 3600.0
    clients_max: int = 100_000
    packets_per_source: int = 50
    """HIP packets a second that are relayed for one address."""
    packets_per_client: int = 200
    """HIP packets a second that are relayed to one client."""
    compact: bool = False
    """Whether clients with nothing under way are kept in a compact form.

    Only for a host that carries no data: the security associations of such a client are gone.
    """
    awake_max: int = 2048
    """Clients that are not in compact form, if they can be: those heard longest ago go first."""
    rest_s: float = 15.0
    """Quiet time before a client is put into compact form.

    Longer than a peer sends an I2 or an UPDATE again: the answers are forgotten with it.
    """
