"""What a relay and its clients decide, against a driver and a data plane that only take notes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any

from hipgw.protocol.effects import (
    Closed,
    CloseRelayedPort,
    Established,
    Failed,
    OpenRelayedPort,
    PermitPeer,
    RegistrationChanged,
    RevokePeer,
)
from hipgw.protocol.path import Path
from hipgw.roles.relay import RelayRole
from hipgw.roles.relay_client import RelayClientRole
from roles.test_roles import OWN, PATH, Notes, peer, zeros

V4 = ip_address("0.0.0.0")
CLIENT = Path(ip_address("203.0.113.1"), ip_address("198.51.100.1"), remote_port=20000)
PEER = ip_address("198.51.100.2")


@dataclass
class RegisteringNotes(Notes):
    registered: list[tuple[IPv6Address, tuple[int, ...], float]] = field(default_factory=list)
    off: list[IPv6Address] = field(default_factory=list)

    def register(self, hit: IPv6Address, reg_types: Sequence[int], lifetime_s: float) -> None:
        self.registered.append((hit, tuple(reg_types), lifetime_s))

    def unregister(self, hit: IPv6Address) -> None:
        self.registered = [one for one in self.registered if one[0] != hit]

    def call_off(self, hit: IPv6Address) -> None:
        self.off.append(hit)


class Calls:
    """A data plane that notes what it is asked for."""

    def __init__(self) -> None:
        self.made: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda **arguments: self.made.append((name, arguments))


def test_a_client_registers_and_calls_again_when_a_relay_is_lost() -> None:
    notes = RegisteringNotes()
    role = RelayClientRole([peer(1)], notes, zeros, services=(2, 3), lifetime_s=60)
    role.start()
    assert notes.registered == [(peer(1).hit, (2, 3), 60)]
    assert notes.connected == ["p1"]
    role.handle_event(Established(OWN, peer(1).hit, PATH, True, 0.1))
    role.handle_event(Closed(OWN, peer(1).hit, "the peer closed it"))
    role.handle_event(Failed(OWN, peer(1).hit, "no answer to I1"))
    role.handle_event(Failed(OWN, peer(2).hit, "somebody else"))
    assert [name for _, name in notes.later] == ["p1", "p1"]
    assert set(role.kept()) == {peer(1).hit}
    assert not role.acquire(peer(1).hit)


def test_relays_come_and_go() -> None:
    notes = RegisteringNotes()
    role = RelayClientRole([], notes, zeros, services=(2, 3), lifetime_s=60)
    role.start()
    role.change([peer(1), peer(2)])
    assert notes.registered == [(peer(n).hit, (2, 3), 60) for n in (1, 2)]
    assert notes.connected == ["p1", "p2"]
    role.handle_event(Failed(OWN, peer(2).hit, "no answer to I1"))
    assert [name for _, name in notes.later] == ["p2"]
    role.change([peer(2)])
    assert notes.off == [peer(1).hit]
    assert [hit for hit, _, _ in notes.registered] == [peer(2).hit]
    assert notes.connected == ["p1", "p2"], "who stays is not called anew"
    role.handle_event(Closed(OWN, peer(1).hit, "it has left"))
    assert [name for _, name in notes.later] == ["p2"]
    assert set(role.kept()) == {peer(2).hit}


def test_registrations_are_logged_once(caplog: Any) -> None:
    role = RelayClientRole([peer(1)], RegisteringNotes(), zeros, services=(2,), lifetime_s=60)
    with caplog.at_level("INFO"):
        for reason, lifetime in (("granted", 60.0), ("renewed", 60.0), ("expired", 0.0)):
            role.handle_event(RegistrationChanged(OWN, peer(1).hit, False, 2, lifetime, reason))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_a_relay_hands_on_what_was_granted() -> None:
    calls = Calls()
    role = RelayRole(calls)
    role.start()
    rule = (V4, 30000, CLIENT, PEER, 1000, 0x1000, 0x2000)
    for event in (
        OpenRelayedPort(V4, 30000, OWN, 5000),
        PermitPeer(*rule),
        RevokePeer(*rule),
        CloseRelayedPort(V4, 30000),
    ):
        role.handle_event(event)
    permission = {
        "port": 30000,
        "local": CLIENT.local,
        "client": CLIENT.remote,
        "client_port": 20000,
        "peer": PEER,
        "peer_port": 1000,
        "outbound_spi": 0x1000,
        "inbound_spi": 0x2000,
    }
    assert calls.made == [
        ("open_relay_port", {"version": 4, "port": 30000, "octets_per_s": 5000}),
        ("permit_peer", permission),
        ("revoke_peer", permission),
        ("close_relay_port", {"version": 4, "port": 30000}),
    ]
    assert not list(role.kept())
    assert not role.acquire(OWN)
