"""Endboxes of a segment come and go while it runs."""

import os
from ipaddress import IPv4Address, IPv6Address

from hipgw.naming.peers import Peer
from hipgw.protocol.effects import Closed, Failed
from hipgw.roles.endbox import SEGMENT, EndboxRole

OWN = IPv6Address("2001:21::1")


class Calls:
    """Notes who is called."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.later: list[str] = []

    def connect(self, peer: Peer) -> None:
        self.called.append(peer.name)

    def call_later(self, _delay_s: float, peer: Peer) -> None:
        self.later.append(f"{peer.name} at {peer.addresses[0]}")

    def is_up(self, _hit: IPv6Address) -> bool:
        return False


def peer(number: int, address: str | None = "192.0.2.1") -> Peer:
    addresses = () if address is None else (IPv4Address(address),)
    hit = IPv6Address(f"2001:21::{number:x}")
    return Peer(f"p{number}", hit, addresses, True, 10500, IPv4Address(0x01000000 + number))


def test_only_new_and_moved_ones_are_called() -> None:
    calls = Calls()
    role = EndboxRole([peer(2), peer(3)], calls, os.urandom)
    role.start()
    assert calls.called == ["p2", "p3"]
    gone = role.change([peer(3, "192.0.2.33"), peer(4), peer(5, None)])
    assert [one.name for one in gone] == ["p2"]
    assert calls.called == ["p2", "p3", "p3", "p4"]
    assert role.segment_of(peer(2).hit) == 0
    assert role.segment_of(peer(4).hit) == SEGMENT
    assert set(role.kept()) == {peer(3).hit, peer(4).hit, peer(5).hit}
    # Whoever has left is not called again, and others are where they are now.
    role.handle_event(Closed(OWN, peer(2).hit, "gone"))
    role.handle_event(Failed(OWN, peer(3).hit, "no answer"))
    role.handle_event(Failed(OWN, peer(5).hit, "no answer"))
    assert calls.later == ["p3 at 192.0.2.33"]
    assert role.change([]) == [peer(3, "192.0.2.33"), peer(4), peer(5, None)]
    assert not set(role.kept())
