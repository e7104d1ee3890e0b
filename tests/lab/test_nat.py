"""NATs map and filter as their kinds say: tables of who can reach whom, asked with UDP sockets."""

import itertools
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hipgw.errors import LabError
from hipgw.lab import Host, Lab, Nat, NatKind

pytestmark = pytest.mark.system

FULL, ADDRESS, PORT, SYMMETRIC = NatKind
Endpoint = tuple[str, int]
PATIENCE_S, SILENCE_S = 5.0, 0.3
SERVER, OTHER = "198.51.100.1", "198.51.100.2"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("nat") as lab:
        yield lab


class Udp:
    """A UDP socket of a host."""

    def __init__(self, host: Host, port: int, address: str = "") -> None:
        def opened() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((address, port))
            return sock

        self.socket = host.call(opened)

    def send(self, to: Endpoint, data: bytes = b"x") -> None:
        self.socket.sendto(data, to)

    def receive(self, timeout_s: float = PATIENCE_S) -> Endpoint | None:
        """Where the next datagram comes from."""
        self.socket.settimeout(timeout_s)
        try:
            source: Endpoint = self.socket.recvfrom(100)[1]
        except TimeoutError:
            return None
        return source

    def hears(self, other: "Udp", at: Endpoint, *, likely: bool = True) -> bool:
        """Whether a datagram of *other* to an endpoint comes in here; waited for if *likely*."""
        other.send(at)
        return self.receive(PATIENCE_S if likely else SILENCE_S) is not None


class Net:
    """Servers in the middle, and inside hosts behind one NAT or several in a row each."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.switch = lab.switch("net")
        self.server = lab.host("server")
        lab.link(self.server, "eth0", self.switch)
        self.server.address("eth0", f"{SERVER}/24", f"{OTHER}/24")
        self._numbers = itertools.count(1)

    def inside(self, *kinds: NatKind) -> tuple[Host, list[Nat]]:
        """A host and the NATs in front of it, the nearest first."""
        n = next(self._numbers)
        nats = []
        before = host = self.lab.host(f"inside{n}")
        for level in range(len(kinds)):
            nat = self.lab.nat(f"nat{n}-{level}")
            self.lab.link(before, "up", nat, "lan")
            before.address("up", f"10.{n}.{level}.2/24")
            nat.address("lan", f"10.{n}.{level}.1/24")
            before.route("default", f"10.{n}.{level}.1")
            nats.append(nat)
            before = nat
        self.lab.link(before, "up", self.switch)
        before.address("up", f"198.51.100.{100 + n}/24")
        for nat, kind in zip(nats, kinds, strict=True):
            nat.hide("up", kind=kind)
        return host, nats


@pytest.mark.parametrize(
    ("kinds", "same_port", "from_same", "from_other_port", "from_other_address"),
    [
        # Who is let in once the inside host has sent to one endpoint of the server:
        ((FULL,), True, True, True, True),
        ((ADDRESS,), True, True, True, False),
        ((PORT,), True, True, False, False),
        ((SYMMETRIC,), False, True, False, False),
        # Of two in a row the stricter one counts.
        ((FULL, FULL), True, True, True, True),
        ((FULL, ADDRESS), True, True, True, False),
        ((PORT, FULL), True, True, False, False),
        ((FULL, SYMMETRIC), False, True, False, False),
        ((SYMMETRIC, FULL), False, True, False, False),
        ((SYMMETRIC, SYMMETRIC), False, True, False, False),
    ],
    ids=lambda value: "-".join(kind.name for kind in value) if isinstance(value, tuple) else None,
)
def test_mapping_and_filtering(
    lab: Lab,
    kinds: tuple[NatKind, ...],
    same_port: bool,
    from_same: bool,
    from_other_port: bool,
    from_other_address: bool,
) -> None:
    net = Net(lab)
    host, _ = net.inside(*kinds)
    inside = Udp(host, 4000)
    contacted = Udp(net.server, 5000, SERVER)
    other_port, other_address = Udp(net.server, 5001, SERVER), Udp(net.server, 5000, OTHER)
    inside.send((SERVER, 5000))
    mapped = contacted.receive()
    assert mapped is not None
    assert mapped[0] == "198.51.100.101"
    for sender, let_in in (
        (contacted, from_same),
        (other_port, from_other_port),
        (other_address, from_other_address),
    ):
        assert inside.hears(sender, mapped, likely=let_in) == let_in
    # Ports that nobody inside has used lead nowhere, whatever the kind.
    assert not inside.hears(contacted, (mapped[0], mapped[1] + 1), likely=False)
    # Now to the others: does the inside socket look the same to all of them?
    inside.send((SERVER, 5001))
    inside.send((OTHER, 5000))
    assert (other_port.receive() == mapped) == same_port
    assert (other_address.receive() == mapped) == same_port
    # A second inside socket never gets the same outside port.
    second = Udp(host, 4001)
    second.send((SERVER, 5000))
    assert contacted.receive() not in (mapped, None)


@pytest.mark.parametrize("kind", NatKind, ids=lambda kind: kind.name)
def test_two_hosts_with_the_same_port(lab: Lab, kind: NatKind) -> None:
    net = Net(lab)
    host, (nat,) = net.inside(kind)
    neighbour = lab.host("neighbour")
    lab.link(neighbour, "up", nat, "lan2")
    neighbour.address("up", "10.200.0.2/24")
    nat.address("lan2", "10.200.0.1/24")
    neighbour.route("default", "10.200.0.1")
    server = Udp(net.server, 5000, SERVER)
    one, two = Udp(host, 4000), Udp(neighbour, 4000)
    one.send((SERVER, 5000))
    first = server.receive()
    two.send((SERVER, 5000))
    second = server.receive()
    assert first is not None and second is not None and first != second
    assert one.hears(server, first) and two.hears(server, second)


PUNCHED = {
    # By RFC 5128 §3.3: a symmetric NAT's new port is only found by a NAT that does not look at it.
    (SYMMETRIC, PORT): False,
    (SYMMETRIC, SYMMETRIC): False,
}


def test_holes_can_be_punched_as_the_kinds_allow(lab: Lab) -> None:
    net = Net(lab)
    sides = {(kind, n): net.inside(kind)[0] for kind in NatKind for n in (0, 1)}
    server = Udp(net.server, 5000, SERVER)
    ports = itertools.count(4000)
    for one, other in itertools.combinations_with_replacement(reversed(NatKind), 2):
        port = next(ports)
        a, b = Udp(sides[one, 0], port), Udp(sides[other, 1], port)
        seen: list[Any] = []
        for socket_ in (a, b):
            socket_.send((SERVER, 5000))
            seen.append(server.receive())
        expected = PUNCHED.get((one, other), True)
        opened = False
        for _ in range(50 if expected else 5):
            a.send(seen[1])
            b.send(seen[0])
            readable = select.select([a.socket, b.socket], [], [], 0.1)[0]
            opened = bool(readable)
            if opened:
                break
        assert opened == expected, f"{one.value} with {other.value}"
        # Whoever hears something answers where it came from.
        for here, there in ((a, b), (b, a)):
            if here.socket in readable and (source := here.receive()) is not None:
                assert there.hears(here, source), f"{one.value} with {other.value}"


@pytest.mark.parametrize("kind", NatKind, ids=lambda kind: kind.name)
def test_rebinding_changes_the_port_in_mid_flow(lab: Lab, kind: NatKind) -> None:
    net = Net(lab)
    host, (nat,) = net.inside(kind)
    inside, server = Udp(host, 4000), Udp(net.server, 5000, SERVER)
    known: list[Endpoint] = []
    for attempt in range(4):
        if attempt == 3:
            nat.rebind(address="198.51.100.200")
        elif attempt:
            nat.rebind()
        inside.send((SERVER, 5000))
        seen = server.receive()
        assert seen is not None
        assert seen not in known
        assert seen[0] == ("198.51.100.200" if attempt == 3 else "198.51.100.101")
        assert inside.hears(server, seen)
        assert not any(inside.hears(server, old, likely=False) for old in known)
        known.append(seen)
        inside.send((SERVER, 5000))
        assert server.receive() == seen, "and then it stays"


def test_a_stream_of_tcp_and_pings_cross(lab: Lab) -> None:
    net = Net(lab)
    host, (nat,) = net.inside(FULL)
    assert host.ping(SERVER)
    nat.rebind()
    assert host.ping(SERVER)

    def listen() -> socket.socket:
        return socket.create_server((SERVER, 6000))

    with net.server.call(listen) as listener:
        client = host.call(socket.create_connection, (SERVER, 6000), 5.0)
        with client, listener.accept()[0] as accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def test_mappings_time_out(lab: Lab) -> None:
    net = Net(lab)
    host, (nat,) = net.inside(SYMMETRIC)
    nat.udp_timeout(1)
    inside, server = Udp(host, 4000), Udp(net.server, 5000, SERVER)
    inside.send((SERVER, 5000))
    mapped = server.receive()
    assert mapped is not None
    assert inside.hears(server, mapped)
    time.sleep(2.0)  # silence is what it takes
    assert not inside.hears(server, mapped, likely=False)


def test_a_nat_hides_once(lab: Lab) -> None:
    net = Net(lab)
    _, (nat,) = net.inside(PORT)
    with pytest.raises(LabError, match="already"):
        nat.hide("up")
