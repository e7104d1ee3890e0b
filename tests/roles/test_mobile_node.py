"""Registering with mobile routers, against a driver that only takes notes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from hipgw.naming.peers import Peer
from hipgw.protocol.effects import Closed
from hipgw.protocol.registration import ServiceType
from hipgw.roles.mobile_node import MobileNodeRole

OWN = IPv6Address("2001:21::9")
V2, V1 = IPv6Address("2001:21::1"), IPv6Address("2001:11::1")


@dataclass
class Notes:
    """Takes the calls of the role."""

    connected: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    registered: list[tuple[IPv6Address, tuple[int, ...], float]] = field(default_factory=list)
    each: dict[str, tuple[IPv6Address, ...]] = field(default_factory=dict)
    ended: list[IPv6Address] = field(default_factory=list)

    def connect(self, peer: Peer) -> None:
        self.connected.append(peer.name)

    def call_later(self, _delay_s: float, peer: Peer) -> None:
        self.later.append(peer.name)

    def is_up(self, _hit: IPv6Address) -> bool:
        return False

    def register(self, hit: IPv6Address, reg_types: Sequence[int], lifetime_s: float) -> None:
        self.registered.append((hit, tuple(reg_types), lifetime_s))

    def unregister(self, hit: IPv6Address) -> None:
        self.ended.append(hit)

    def call_off(self, hit: IPv6Address) -> None:
        self.ended.append(hit)

    def connect_in_each_version(self, peer: Peer, hits: Sequence[IPv6Address]) -> None:
        self.each[peer.name] = tuple(hits)


def router(*hits: IPv6Address) -> Peer:
    lsi = IPv4Address("1.0.0.1")
    address = ip_address("10.1.0.1")
    return Peer("m", hits[0], (address,), True, 10500, lsi, other_hits=tuple(hits[1:]))


def role(notes: Notes, peer: Peer, *versions: int) -> MobileNodeRole:
    return MobileNodeRole([peer], notes, bytes, versions=versions, lifetime_s=60.0)


def test_it_registers_in_each_version_that_both_speak() -> None:
    notes = Notes()
    started = role(notes, router(V2, V1), 2, 1)
    started.start()
    assert notes.each == {"m": (V2, V1)}
    services = (ServiceType.MOBILE_ROUTER,)
    assert notes.registered == [(V2, services, 60.0), (V1, services, 60.0)]
    assert set(started.kept()) == {V2, V1}
    started.handle_event(Closed(OWN, V1, "it was restarted"))
    assert notes.later == ["m"]
    assert notes.ended == []


def test_one_version_is_enough_if_one_is_spoken() -> None:
    notes = Notes()
    role(notes, router(V2, V1), 2).start()
    role(notes, router(V2), 2, 1).start()
    assert notes.each == {}
    assert notes.connected == ["m", "m"]
