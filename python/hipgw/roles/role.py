"""What every role offers the daemon, and what the daemon offers every role."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from hipgw.naming.peers import Peer
from hipgw.protocol.effects import Effect


class Associations(Protocol):
    """How a role asks for associations; the daemon's driver of the HIP machine offers it."""

    def connect(self, peer: Peer) -> None:
        """Begin a base exchange, unless one is under way or done."""

    def call_later(self, delay_s: float, peer: Peer) -> None:
        """Connect after a delay; a newer call for the same peer replaces the older one."""

    def is_up(self, hit: IPv6Address) -> bool:
        """Whether data can flow to this peer now."""


class Finder(Protocol):
    """How a role has a HIT looked up that is no peer's."""

    def find(self, hit: IPv6Address, then: Callable[[Peer | None], None]) -> None:
        """Call *then* with the peer when it was found, or with None."""


class Role(Protocol):
    """One of the things that a daemon is to its user."""

    name: str

    def start(self) -> None:
        """The data plane runs and associations can be asked for."""

    def handle_event(self, event: Effect) -> None:
        """Something happened to an association (StateChanged, Established, Closed, Failed, …)."""

    def kept(self) -> Iterable[IPv6Address]:
        """Peers whose associations are not to be closed for want of traffic."""

    def acquire(self, destination: IPv4Address | IPv6Address, /) -> bool:
        """A packet for a HIT or LSI waits; True if this role looks after it."""
