"""What an endbox tells a data plane about its LAN beyond frames: owners, an election, its pulse."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol

GROUP_HIT = IPv6Address("ff0e::e000:0")
"""Stands for the static multicast group where a security association needs a peer's HIT; it is the
HIT of nobody."""


@dataclass(frozen=True, slots=True)
class StaticPeer:
    """A peer that gets IPv4 and ARP for its own addresses, and nothing else for one host."""

    hits: tuple[IPv6Address, ...]
    """One for each version of HIP that it may be associated in."""
    addresses: tuple[IPv4Address, ...] = ()
    default: bool = False
    """Whether it takes what is for addresses that nobody owns."""


@dataclass(frozen=True, slots=True)
class HelloSettings:
    """How a segment takes part in the election on its LAN."""

    hit: IPv6Address
    """To stand with: the smallest delivers."""
    interval_s: int
    standby: bool
    """Whether the loser leaves everything of learning peers to the winner, not just delivering
    multicast and broadcast."""


@dataclass(frozen=True, slots=True)
class LanSettings:
    """Whom the IPv4 addresses of a LAN belong to, and who delivers to it."""

    local: tuple[IPv4Address, ...] = ()
    """Addresses of hosts here; without any, hosts here may have all that nobody owns."""
    local_default: bool = False
    peers: tuple[StaticPeer, ...] = ()
    all_static: bool = False
    """Whether peers that are not listed are static as well, and own nothing."""
    source_filter: bool = True
    """Whether what comes from peers has to have a source address that may be theirs."""
    group: bool = False
    """Whether IPv4 multicast for static peers goes to the group (`GROUP_HIT`)."""
    hello: HelloSettings | None = None


class ElectionState(NamedTuple):
    """How an election stands."""

    passive: bool
    """Another endbox delivers, or this one is still listening for one."""
    winner: IPv6Address | None
    """Who has won over this endbox last."""
    heard: int
    """Hellos of others so far."""


class Pulse(NamedTuple):
    """Which directions of the data path have taken a turn since last asked."""

    output: bool
    input: bool


class LanDataPlane(Protocol):
    """What takes part in an election and shows its pulse. Every method raises DataPlaneError."""

    def say_hello(self, segment: int) -> None:
        """Say hello on the LAN of a segment with an election."""

    def announce_macs(self, segment: int) -> int:
        """Have the switches of the LAN find here what was learned from peers.

        Returns how many addresses that are.
        """

    def election(self, segment: int) -> ElectionState:
        """How the election on a segment stands."""

    def pulse(self) -> Pulse:
        """Who was alive since the last call; and have them show it until the next one."""
