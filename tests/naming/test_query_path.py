"""The compiled loops of the interceptor: against their twins in Python, and on sockets."""

import errno
import select
import socket
import struct
import time
from collections.abc import Iterator

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw import _dns
from hipgw.naming.dns import octets
from hipgw.naming.dns.forwarder import DnsStatistics

SUFFIX = octets.suffix_octets("hip")
PATIENCE_S = 20.0
DEADLINE_S = 30.0


def query(name: str, number: int = 1) -> bytes:
    return dns.message.make_query(name, "A", id=number).to_wire()


def answer_to(asked: bytes) -> bytes:
    return dns.message.make_response(dns.message.from_wire(asked)).to_wire()


# -- what is looked at -----------------------------------------------------------------------------

labels = st.sampled_from(
    [b"\x03hip", b"\x03HiP", b"\x01a", b"\x03www", b"\xc0\x0c", b"\x02a\0", b"@x"]
)
messages = st.builds(
    lambda flags, rcode, count, name, rest: (
        b"\x12\x34" + bytes([flags, rcode, 0, count]) + bytes(6) + name + rest
    ),
    st.sampled_from([0, 1, 0x80, 0x81, 0x28]),
    st.sampled_from([0, 0x80, 5]),
    st.integers(0, 2),
    st.lists(labels, max_size=4).map(b"".join),
    st.sampled_from([b"", b"\0", b"\0\0\x01\0", b"\0\0\x01\0\x01", b"\0\0\x1c\0\x01more"]),
)
datagrams = st.one_of(st.binary(max_size=40), messages)


@given(datagrams, st.sampled_from([SUFFIX, octets.suffix_octets("hosts.example"), b"\0"]))
def test_names_below_a_suffix_are_those_of_the_python_twin(data: bytes, suffix: bytes) -> None:
    assert _dns.asks_below(data, suffix) == octets.asks_below(data, suffix)


@given(datagrams, datagrams.filter(lambda data: len(data) >= octets.HEADER_LENGTH))
def test_answers_are_those_of_the_python_twin(data: bytes, asked: bytes) -> None:
    assert _dns.answers(data, asked) == octets.answers(data, octets.question_of(asked))


@given(st.data())
def test_an_answer_with_any_octet_changed(data: st.DataObject) -> None:
    asked = query("Www.example")
    answer = bytearray(answer_to(asked))
    place = data.draw(st.integers(0, len(answer) - 1))
    answer[place] ^= data.draw(st.integers(1, 255))
    changed = bytes(answer)
    assert _dns.answers(changed, asked) == octets.answers(changed, octets.question_of(asked))


def test_a_query_without_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="header"):
        _dns.answers(b"", b"short")
    with pytest.raises(ValueError, match="header"):
        _dns.Pending(b"short", b"", 0.0)


def test_hosts_of_socket_addresses() -> None:
    four = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", 53, bytes([192, 0, 2, 1]))
    assert _dns.host_of(four) == "192.0.2.1"
    six = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", 53, 0)
    six += socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(4)
    assert _dns.host_of(six) == "2001:db8::7"
    for other in (b"", four[:7], six[:20], struct.pack("=H", socket.AF_UNIX) + b"/x"):
        assert _dns.host_of(other) == ""


# -- on sockets ------------------------------------------------------------------------------------


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(DEADLINE_S)
    return sock


def client_octets(sock: socket.socket) -> bytes:
    host, port = sock.getsockname()
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(host))


def wait(sock: socket.socket, what: str) -> None:
    """Even on the loopback, datagrams come later where the machine is busy."""
    assert select.select([sock], [], [], DEADLINE_S)[0], f"nothing comes any more: {what}"


class Place:
    """A path with one port, a client and a name server, all of them sockets here."""

    def __init__(self) -> None:
        self.client, self.server, self.listening = bound(), bound(), bound()
        self.listening.setblocking(False)
        self.client.connect(self.listening.getsockname())
        self.statistics = DnsStatistics()
        self.below: list[bytes] = []
        self.passed_up: list[bytes] = []
        self.preferred: list[int] = []
        self.refused: list[tuple[_dns.Port | None, int]] = []
        self.path = _dns.QueryPath(
            self.listening,
            SUFFIX,
            None,
            self.statistics,
            lambda host: False,
            lambda query, client: self.below.append(query),
        )
        self.path.forward_by(
            lambda query, client: self.passed_up.append(query),
            self.preferred.append,
            lambda port, error: self.refused.append((port, error)),
            1,
            100,
            PATIENCE_S,
        )
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.setblocking(False)
        own.connect(self.server.getsockname())
        self.port = _dns.Port(own, 0, time.monotonic() + 60, 1000)
        self.path.ports = [self.port]

    def ask(self, *queries: bytes, ignored: int = 0) -> None:
        """Queries reach the path, and all but so many that it ignores are seen to have done so."""
        wanted = self.handled() + len(queries) - ignored
        for one in queries:
            self.client.send(one)
        while self.handled() < wanted:
            wait(self.listening, f"{self.handled()} of {wanted} queries")
            self.path.receive_queries()
        assert self.handled() == wanted

    def handled(self) -> int:
        return self.statistics.forwarded + len(self.below) + len(self.passed_up)

    def read(self, count: int) -> None:
        """So many datagrams come from the server."""
        wanted = self.seen() + count
        while self.seen() < wanted:
            wait(self.port.sock, f"{self.seen()} of {wanted} answers")
            self.path.receive_answers(self.port)
        assert self.seen() == wanted

    def seen(self) -> int:
        return self.statistics.answered + self.statistics.not_asked_for

    def close(self) -> None:
        self.path.close()
        self.port.close()
        for sock in (self.client, self.server):
            sock.close()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def test_there_and_back_with_another_id(place: Place) -> None:
    asked = [query(f"n{n}.example", n) for n in range(50)]
    place.ask(*asked)
    seen = [place.server.recvfrom(65535) for _ in asked]
    # Mostly in the order of their coming, but nobody promises that.
    assert sorted(data[2:] for data, _ in seen) == sorted(one[2:] for one in asked)
    assert {data[:2] for data, _ in seen} == {n.to_bytes(2, "big") for n in place.port.pending}
    assert place.path.waiting == len(place.port.pending) == 50
    # Nobody can foretell the ids.
    assert len({data[:2] for data, _ in seen} - {one[:2] for one in asked}) > 40
    answers = [answer_to(data) for data, _ in seen]
    for answer in answers:
        place.server.sendto(answer, seen[0][1])
    place.read(50)
    got = sorted(place.client.recv(65535) for _ in asked)
    assert got == sorted(one[:2] + answer_to(one)[2:] for one in asked)
    assert place.path.waiting == len(place.port.pending) == 0
    assert (place.statistics.forwarded, place.statistics.answered) == (50, 50)
    assert not place.preferred


def test_what_is_forged_is_counted_and_goes_nowhere(place: Place) -> None:
    place.ask(query("www.example"))
    data, where = place.server.recvfrom(65535)
    answer = answer_to(data)
    number = int.from_bytes(data[:2], "big")
    forged = [
        (number ^ 1).to_bytes(2, "big") + answer[2:],
        answer[:13] + b"x" + answer[14:],
        answer[:-2] + b"\0\x03",
        answer[:2] + b"\0" + answer[3:],
        answer[:11],
        b"",
    ]
    for one in forged:
        place.server.sendto(one, where)
    # The right answer, but from a port that nobody was asked at.
    with bound() as other:
        other.sendto(answer, where)
    place.read(len(forged))
    assert place.statistics.not_asked_for == len(forged)
    assert place.path.waiting == 1
    # In letters of another case it is the same question.
    place.server.sendto(answer[:12] + answer[12:].upper(), where)
    place.read(1)
    assert place.client.recv(65535)[2:] == answer[2:12] + answer[12:].upper()
    # And no second time.
    place.server.sendto(answer, where)
    place.read(1)
    assert place.statistics.not_asked_for == len(forged) + 1
    assert place.path.waiting == 0


def test_what_is_not_ordinary_is_handed_up(place: Place) -> None:
    place.ask(answer_to(query("www.example")), b"x", query("b.hip"), ignored=2)
    assert place.below == [query("b.hip")]
    # A port that has had its share, ports that are missing, too many under way.
    place.port.left = 1
    place.ask(query("one.example"))
    place.port.left, place.path.ports = 10, []
    place.ask(query("two.example"))
    place.path.ports, place.path.waiting = [place.port], 100
    place.ask(query("three.example"))
    place.path.waiting = 0
    assert place.passed_up == [query(f"{n}.example") for n in ("one", "two", "three")]
    assert place.statistics == DnsStatistics()
    # Nobody is there any more: the kernel says so at the next query, which is tried again.
    place.server.close()
    place.ask(query("four.example"))
    wait(place.port.sock, "an ICMP error")
    place.ask(query("five.example"))
    assert place.passed_up[3:] == [query("five.example")]
    place.path.receive_answers(place.port)
    assert not place.refused


def test_nobody_is_there_is_told_with_the_port(place: Place) -> None:
    place.server.close()
    place.ask(query("www.example"))
    wait(place.port.sock, "an ICMP error")
    place.path.receive_answers(place.port)
    assert place.refused == [(place.port, errno.ECONNREFUSED)]
    (waiting,) = place.port.pending.values()
    assert waiting.query == query("www.example")


def test_a_server_that_answers_at_a_second_try_is_preferred(place: Place) -> None:
    pending = _dns.Pending(query("www.example"), client_octets(place.client), 0.0)
    pending.attempt = 1
    place.port.pending[7] = pending
    place.path.waiting = 1
    place.server.sendto(
        b"\0\7" + answer_to(query("www.example"))[2:], place.port.sock.getsockname()
    )
    place.read(1)
    assert place.preferred == [0]
    assert place.client.recv(65535)[:2] == b"\0\1"


def test_a_client_that_cannot_be_answered_keeps_nobody_waiting(place: Place) -> None:
    good = client_octets(place.client)
    # The kernel sends nothing to port 0.
    bad = good[:2] + b"\0\0" + good[4:]
    assert place.path.reply(bad, b"answer") != 0
    for round in range(6):
        clients = [good, bad, bad, good, good, bad]
        for number, client in enumerate(clients):
            asked = query(f"n{number}.example", 100 + number)
            place.port.pending[number] = _dns.Pending(asked, client, 0.0)
            place.server.sendto(
                number.to_bytes(2, "big") + answer_to(asked)[2:], place.port.sock.getsockname()
            )
        place.path.waiting = 6
        place.read(6)
        assert place.path.waiting == 0
        got = {int.from_bytes(place.client.recv(65535)[:2], "big") for _ in range(3)}
        assert got == {100, 103, 104}, round


def test_after_the_end_nothing_is_read_or_sent(place: Place) -> None:
    place.close()
    place.path.receive_queries()
    place.path.receive_answers(place.port)
    assert place.refused == [(None, errno.EBADF), (place.port, errno.EBADF)]
    assert place.path.reply(client_octets(bound()), b"answer") != 0
