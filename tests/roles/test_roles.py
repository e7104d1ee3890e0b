"""What the roles decide, against a driver that only takes notes."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.effects import Closed, Established, Failed
from hipgw.protocol.path import Path
from hipgw.roles.backoff import FIRST_S, LONGEST_S, BackOff
from hipgw.roles.endbox import SEGMENT, EndboxRole

OWN = IPv6Address("2001:22::1")
PATH = Path(None, ip_address("192.0.2.2"))


def peer(number: int, *, reachable: bool = True) -> Peer:
    addresses = (ip_address(f"192.0.2.{number}"),) if reachable else ()
    hit = IPv6Address(int(IPv6Address("2001:21::")) + number)
    return Peer(f"p{number}", hit, addresses, True, 10500, IPv4Address(f"1.0.0.{number}"))


@dataclass
class Notes:
    """Takes the calls of a role."""

    connected: list[str] = field(default_factory=list)
    later: list[tuple[float, str]] = field(default_factory=list)

    def connect(self, peer: Peer) -> None:
        self.connected.append(peer.name)

    def call_later(self, delay_s: float, peer: Peer) -> None:
        self.later.append((delay_s, peer.name))

    def is_up(self, hit: IPv6Address) -> bool:
        return False


def zeros(count: int) -> bytes:
    return bytes(count)


def test_an_endbox_calls_everybody_that_it_can() -> None:
    notes = Notes()
    role = EndboxRole([peer(1), peer(2, reachable=False), peer(3)], notes, zeros)
    role.start()
    assert notes.connected == ["p1", "p3"]
    assert set(role.kept()) == {peer(1).hit, peer(2).hit, peer(3).hit}


def test_it_calls_again_for_ever_with_longer_and_longer_breaks() -> None:
    notes = Notes()
    role = EndboxRole([peer(1)], notes, zeros)
    for _ in range(10):
        role.handle_event(Failed(OWN, peer(1).hit, "no answer to I1"))
    delays = [delay for delay, _ in notes.later]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (FIRST_S, LONGEST_S)
    role.handle_event(Established(OWN, peer(1).hit, PATH, True, 0.01))
    role.handle_event(Closed(OWN, peer(1).hit, "the peer closed it"))
    assert notes.later[-1] == (FIRST_S, "p1")


def test_strangers_and_those_without_address_are_not_called() -> None:
    notes = Notes()
    role = EndboxRole([peer(2, reachable=False)], notes, zeros)
    role.handle_event(Failed(OWN, peer(2).hit, "x"))
    role.handle_event(Closed(OWN, peer(9).hit, "x"))
    role.handle_event(Failed(OWN, None, "x"))
    assert notes.later == []
    assert role.segment_of(peer(2).hit) == SEGMENT
    assert role.segment_of(peer(9).hit) == 0


def test_chance_shortens_breaks_by_a_quarter_at_most() -> None:
    backoff = BackOff(lambda count: b"\xff" * count)
    assert FIRST_S * 0.75 <= backoff.failed() < FIRST_S


def test_peers_are_found_by_everything_that_names_them() -> None:
    lsis = LsiTable()
    peers = [peer(1), peer(2)]
    for one in peers:
        lsis.assign(one.hit, one.lsi)
    directory = PeerDirectory(peers, lsis)
    for name in ("p2", str(peer(2).hit), str(peer(2).lsi)):
        assert directory.find(name) == peer(2)
    assert directory.find("p3") is None
    assert directory.find("1.9.9.9") is None
    stranger = IPv6Address("2001:21::99")
    assert directory.name_of(stranger) == str(stranger)
    assert directory.by_destination(directory.lsi_of(stranger)) is None


def test_the_alias_of_a_stranger_is_free_again_when_it_is_gone() -> None:
    lsis = LsiTable()
    lsis.assign(peer(1).hit, peer(1).lsi)
    directory = PeerDirectory([peer(1)], lsis)
    stranger = IPv6Address("2001:21::99")
    lsi = directory.lsi_of(stranger)
    assert directory.forget(stranger) == lsi
    assert directory.forget(stranger) is None
    assert directory.forget(peer(1).hit) is None
    assert len(lsis) == 1
