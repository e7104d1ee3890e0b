"""Whom a STUN message is for: by username, or by the transaction that it answers."""

from ipaddress import IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from hipgw.protocol.nat.checklist import Pair

if TYPE_CHECKING:
    from hipgw.protocol.association import Association

SAME_NAME_MAX = 4
"""Associations of one username that a request is tried with: 32 bits of a HIT can be made alike."""


class Transaction(NamedTuple):
    """A check that is under way."""

    association: "Association"
    pair: Pair


def fragment(hit: IPv6Address) -> str:
    """The username fragment of a host (RFC 5770 §5.2): the last 32 bits of its HIT."""
    return f"{int(hit) & 0xFFFFFFFF:08x}"


def username(receiver: IPv6Address, sender: IPv6Address) -> bytes:
    """The USERNAME of a request (RFC 8445 §7.2.2)."""
    return f"{fragment(receiver)}:{fragment(sender)}".encode()


class StunTable:
    """All associations that are checked by STUN, and all checks that are under way."""

    def __init__(self) -> None:
        self._by_name: dict[bytes, list[Association]] = {}
        """By the username of what the peer sends."""
        self.transactions: dict[bytes, Transaction] = {}
        """By transaction ID; as many as there are pairs at most."""

    def add(self, association: "Association") -> None:
        """Requests of this peer are to be expected."""
        named = self._by_name.setdefault(_name(association), [])
        if association not in named:
            named.append(association)

    def remove(self, association: "Association") -> None:
        """The association is over."""
        named = self._by_name.get(_name(association), [])
        if association in named:
            named.remove(association)
            if not named:
                del self._by_name[_name(association)]

    def named(self, name: bytes) -> "list[Association]":
        """Those that a request with this username may be of, the newest first."""
        return self._by_name.get(name, [])[: -SAME_NAME_MAX - 1 : -1]

    def __len__(self) -> int:
        return sum(len(named) for named in self._by_name.values())


def _name(association: "Association") -> bytes:
    return username(association.local_hit, association.peer_hit)
