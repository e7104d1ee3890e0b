"""Security associations, policies and events of the kernel's ESP, as values."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Algorithms:
    """The kernel's names of a transform, with its keys."""

    encryption: str
    """Of its crypto API: an AEAD algorithm if `authentication` is empty, else a cipher."""
    encryption_key: bytes = field(repr=False)
    """For AEAD with the salt behind it."""
    icv_bits: int
    authentication: str = ""
    authentication_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Sequence:
    """Where a security association stands: sequence numbers and the replay window."""

    sent: int = 0
    """The last one sent, 64 bits."""
    received: int = 0
    """The highest one received, 64 bits."""
    bitmap: bytes = b""
    """As the kernel keeps it; empty for none received."""


@dataclass(frozen=True, slots=True)
class State:
    """One security association as the kernel has it; named by `remote`'s or own address and SPI."""

    source: IPAddress
    """Outer addresses."""
    destination: IPAddress
    spi: int
    inner_source: IPAddress
    inner_destination: IPAddress
    reqid: int
    """Joins security associations and policies of a peer."""
    algorithms: Algorithms
    ports: tuple[int, int] | None = None
    """Source and destination port of ESP in UDP (RFC 3948); None for plain ESP."""
    replay_window: int = 0
    """Packets, at most `XFRM_REPLAY_WINDOW_MAX`; 0 for outbound ones."""
    inbound: bool = False
    """Whether events are to tell of its second packet (`Expired`) and of a new source (`Mapped`),
    the latter at most once a second."""
    copy_dscp: bool = True
    ecn: bool = True
    sequence: Sequence = Sequence()


@dataclass(frozen=True, slots=True)
class Counters:
    """What a security association has carried."""

    destination: bytes
    """The outer destination as in the kernel, 16 octets."""
    spi: int
    reqid: int
    octets: int
    packets: int
    replayed: int
    auth_failed: int
    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Acquired:
    """A packet met a policy without a security association."""

    destination: IPAddress


@dataclass(frozen=True, slots=True)
class Expired:
    """A limit of a security association was reached."""

    spi: int
    reqid: int
    hard: bool
    """Whether it is gone."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Authentic ESP in UDP came from elsewhere than it used to (the kernel goes on as before)."""

    spi: int
    reqid: int
    remote: IPAddress
    remote_port: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What is to be done with packets from one address (or network) to another."""

    direction: int
    """XFRM_POLICY_IN or XFRM_POLICY_OUT."""
    source: IPAddress | IPv6Network
    destination: IPAddress | IPv6Network
    priority: int
    """The least goes first."""
    block: bool = False
    reqid: int = 0
    """Only by security associations of this; 0 if none is asked for."""
    spi: int = 0
    """And of this SPI; 0 for any."""
    outer: tuple[IPAddress, IPAddress] | None = None
    """And of these outer addresses, from and to; None for any."""


Event = Acquired | Expired | Mapped
