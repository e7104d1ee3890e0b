"""The host: packets to peers, to those that have to be found first, and to nobody."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import cast

from hipgw.dataplane.backend import DataPlane
from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.effects import Failed
from hipgw.roles.host import HostRole
from naming_sources import HIT, OTHER, configured


@dataclass
class Notes:
    """Takes the calls of the role, to the driver, the data plane and the finder."""

    connected: list[Peer] = field(default_factory=list)
    dropped: list[IPv4Address | IPv6Address] = field(default_factory=list)
    lsis: dict[IPv4Address, IPv6Address] = field(default_factory=dict)
    sought: list[IPv6Address] = field(default_factory=list)
    found: Peer | None = None

    def connect(self, peer: Peer) -> None:
        self.connected.append(peer)

    def call_later(self, delay_s: float, peer: Peer) -> None:
        raise AssertionError

    def is_up(self, hit: IPv6Address) -> bool:
        return False

    def set_lsi(self, lsi: IPv4Address, hit: IPv6Address) -> None:
        self.lsis[lsi] = hit

    def remove_lsi(self, lsi: IPv4Address) -> None:
        del self.lsis[lsi]

    def drop_held(self, destination: IPv4Address | IPv6Address) -> None:
        self.dropped.append(destination)

    def find(self, hit: IPv6Address, then: Callable[[Peer | None], None]) -> None:
        self.sought.append(hit)
        then(self.found)


def host(notes: Notes, *peers: Peer, finds: bool = True) -> tuple[HostRole, PeerDirectory]:
    directory = PeerDirectory([], LsiTable())
    for peer in peers:
        directory.add(peer)
    role = HostRole(directory, cast(DataPlane, notes), notes, notes if finds else None)
    role.start()
    return role, directory


def test_a_packet_to_a_peer_calls_it_by_hit_and_by_lsi() -> None:
    notes, peer = Notes(), configured(HIT, "b", "192.0.2.1")
    role, _ = host(notes, peer)
    assert role.acquire(HIT)
    assert role.acquire(peer.lsi)
    assert notes.connected == [peer, peer]
    assert not notes.sought


def test_a_packet_to_an_unknown_hit_waits_until_it_is_found() -> None:
    notes = Notes(found=configured(OTHER, "c", "192.0.2.3"))
    role, _ = host(notes)
    assert role.acquire(OTHER)
    assert notes.connected == [notes.found]
    notes.found = None
    assert role.acquire(HIT)
    assert notes.dropped == [HIT]
    assert notes.sought == [OTHER, HIT]


def test_unknown_hits_are_dropped_where_they_are_not_to_be_looked_up() -> None:
    notes = Notes()
    role, _ = host(notes, finds=False)
    assert role.acquire(OTHER)
    assert notes.dropped == [OTHER]


def test_an_unknown_lsi_is_nobody() -> None:
    notes = Notes()
    role, _ = host(notes)
    assert role.acquire(IPv4Address("1.2.3.4"))
    assert notes.dropped == [IPv4Address("1.2.3.4")]


def test_a_peer_without_a_place_is_called_as_somebody_may_know_one() -> None:
    notes, peer = Notes(), configured(HIT, "b")
    role, _ = host(notes, peer)
    assert role.acquire(HIT)
    assert notes.connected == [peer]
    assert not notes.dropped
    role.handle_event(Failed(OTHER, HIT, "nobody knows its address"))
    assert notes.dropped == [HIT, peer.lsi]


def test_the_data_plane_knows_the_lsis_of_peers_that_come_and_go() -> None:
    notes = Notes()
    _, directory = host(notes, configured(HIT, "b", lsi="1.0.0.1"))
    peer = configured(OTHER, "c", lsi="1.0.0.2")
    directory.add(peer)
    assert notes.lsis == {IPv4Address("1.0.0.1"): HIT, IPv4Address("1.0.0.2"): OTHER}
    directory.add(replace(peer, addresses=(ip_address("192.0.2.1"),)))
    directory.add(replace(peer, lsi=IPv4Address("1.0.0.3")))
    directory.remove(HIT)
    assert notes.lsis == {IPv4Address("1.0.0.3"): OTHER}
