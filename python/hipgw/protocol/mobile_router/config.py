"""What can be set about a mobile router."""

from dataclasses import dataclass

from hipgw.protocol.path import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileRouterConfig:
    """Settings of a `MobileRouter`; all times in seconds. Who may register, the registrar says."""

    flows_max: int = 100_000
    """Pairs of a client and a correspondent."""
    flows_per_client: int = 1024
    begun_per_client: int = 64
    """Of those, pairs whose base exchange is not over; a new one displaces the oldest."""
    begun_s: float = 120.0
    """How long a base exchange may take."""
    unused_s: float = 960.0
    """Silence after which a pair is forgotten: the unused association lifetime and a grace."""
    retired_s: float = 60.0
    """How long the mapping of a replaced SPI stays."""
    callers_per_s: int = 50
    """Packets a second of a source outside that are passed on to clients without being known."""
    outside: Transport | None = None
    """What carries clients' packets outside; None for what carries them inside, or UDP where
    nothing else gets through."""
    nested: bool = True
    """Whether a client that is a mobile router may have its own clients' packets passed on."""
    tickets: bool = True
    """Whether clients' tickets are taken."""
