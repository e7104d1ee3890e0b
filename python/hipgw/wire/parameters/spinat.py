"""Parameters between a mobile router, its clients and their correspondents.

None is in an RFC. Types and layouts are those of OpenHIP's mobile router, except that keys and MACs
are as long as the hash of the association has them, and two that are hipgw's own.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import ClassVar, Self

from hipgw.wire.errors import EmitError, MalformedError
from hipgw.wire.parameters.base import Parameter, at_least, exactly, pack

_HITS = 32
_RIGHTS = 8
_MAC_OCTETS = range(16, 65)
UNTOLD_MAX = 64
"""HITs in one `UntoldPeers`."""


@dataclass(frozen=True, slots=True)
class EspInfoNoSig(Parameter):
    """The SPI that a mobile router lends, added behind the signature of I2, R2 or UPDATE.

    Laid out as ESP_INFO, but no ESP_INFO: nothing authenticates it. Its type is odd: who does not
    know it has to drop the packet.
    """

    TYPE: ClassVar[int] = 62565
    keymat_index: int
    old_spi: int
    new_spi: int
    reserved: int = 0

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        exactly(contents, 12)
        reserved, index, old, new = struct.unpack("!HHII", contents)
        return cls(index, old, new, reserved)

    def emit(self) -> bytes:
        return pack("HHII", self.reserved, self.keymat_index, self.old_spi, self.new_spi)


class EspInfoNoSigOptional(EspInfoNoSig):
    """The same for correspondents that may know nothing of mobile routers: its type is even."""

    __slots__ = ()
    TYPE: ClassVar[int] = 62566


@dataclass(frozen=True, slots=True)
class ProxyTicket(Parameter):
    """What a client gives its mobile router, to speak to a correspondent in its name."""

    TYPE: ClassVar[int] = 812
    mobile_hit: IPv6Address
    peer_hit: IPv6Address
    key: bytes
    """Of the MACs that the router makes; 16 to 64 octets, as many as `mac`."""
    key_index: int
    """OpenHIP: where in the KEYMAT of client and correspondent. hipgw: number of the ticket."""
    transform: int
    """OpenHIP: the HIP suite. hipgw: that in HIPv1, the HIT suite of the hash in HIPv2."""
    action: int
    lifetime: int
    """See `hipgw.protocol.mobile_router.tickets`; 0 for no end."""
    mac: bytes

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, _HITS + _RIGHTS + 2 * _MAC_OCTETS.start)
        size, odd = divmod(len(contents) - _HITS - _RIGHTS, 2)
        if odd or size not in _MAC_OCTETS:
            raise MalformedError("key and MAC of a ticket are of different lengths")
        rights = _HITS + size
        index, transform, action, lifetime = struct.unpack_from("!HHHH", contents, rights)
        return cls(
            IPv6Address(contents[:16]),
            IPv6Address(contents[16:32]),
            contents[32:rights],
            index,
            transform,
            action,
            lifetime,
            contents[rights + _RIGHTS :],
        )

    def emit(self) -> bytes:
        if len(self.key) != len(self.mac):
            raise EmitError("key and MAC of a ticket are of the same length")
        return self.mobile_hit.packed + self.peer_hit.packed + self.key + self.shown.emit()

    @property
    def shown(self) -> "AuthTicket":
        """What of it a router shows to the correspondent."""
        return AuthTicket(self.key_index, self.transform, self.action, self.lifetime, self.mac)

    def __repr__(self) -> str:
        return f"ProxyTicket({self.mobile_hit}, {self.peer_hit}, key_index={self.key_index})"


@dataclass(frozen=True, slots=True)
class AuthTicket(Parameter):
    """The right of a mobile router to send an UPDATE in a client's name."""

    TYPE: ClassVar[int] = 822
    key_index: int
    """This and the next three as in `ProxyTicket`."""
    transform: int
    action: int
    lifetime: int
    mac: bytes
    """16 to 64 octets."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        at_least(contents, _RIGHTS + _MAC_OCTETS.start)
        if len(contents) - _RIGHTS not in _MAC_OCTETS:
            raise MalformedError("the MAC of a ticket is longer than any")
        index, transform, action, lifetime = struct.unpack_from("!HHHH", contents)
        return cls(index, transform, action, lifetime, contents[_RIGHTS:])

    def emit(self) -> bytes:
        if len(self.mac) not in _MAC_OCTETS:
            raise EmitError(f"the MAC of a ticket has 16 to 64 octets, not {len(self.mac)}")
        return self.rights + self.mac

    @property
    def rights(self) -> bytes:
        """What its MAC covers."""
        return pack("HHHH", self.key_index, self.transform, self.action, self.lifetime)


@dataclass(frozen=True, slots=True)
class UntoldPeers(Parameter):
    """Correspondents that a mobile router cannot tell where it is by now: the client has to.

    From the range for private use; even, so that other clients skip it.
    """

    TYPE: ClassVar[int] = 33102
    hits: tuple[IPv6Address, ...]
    """At most `UNTOLD_MAX`."""

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        if len(contents) % 16 or len(contents) > 16 * UNTOLD_MAX:
            raise MalformedError(f"{len(contents)} octets are no list of HITs")
        return cls(tuple(IPv6Address(contents[at : at + 16]) for at in range(0, len(contents), 16)))

    def emit(self) -> bytes:
        if len(self.hits) > UNTOLD_MAX:
            raise EmitError(f"{len(self.hits)} HITs are more than the {UNTOLD_MAX} of one list")
        return b"".join(hit.packed for hit in self.hits)
