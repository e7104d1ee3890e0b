"""Name servers that are asked."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

PORT = 53


@dataclass(frozen=True, slots=True)
class NameServer:
    """Where a recursive name server is reached, by UDP and TCP."""

    address: IPv4Address | IPv6Address
    port: int = PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NameServers:
    """The servers to ask, in order, and how."""

    servers: tuple[NameServer, ...] = ()
    search: tuple[str, ...] = ()
    """Domains that names are completed with."""
    trusted: bool = False
    """Whether they, and the way to them, are trusted with the AD bit (RFC 4035 §4.9.3)."""
