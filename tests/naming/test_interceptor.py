"""Names under `.hip` are answered here, everything else by the real server, octet for octet."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
import uvloop

from hipgw.errors import NamingError
from hipgw.naming.dns import forwarder, tcp_server
from hipgw.naming.dns.hip_answers import LocalName
from hipgw.naming.dns.interceptor import Interceptor, InterceptorSettings
from hipgw.naming.dns.servers import NameServer
from naming.name_server import Records, ask_tcp, ask_udp, name_server

LSI, HIT = IPv4Address("1.2.3.4"), IPv6Address("2001:21::1")


def query(name: str, kind: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()  # type: ignore[arg-type]


async def known(name: str) -> LocalName | None:
    if name == "slow":
        await asyncio.sleep(0.2)
    if name == "trouble":
        raise NamingError("nobody can be asked")
    return LocalName(LSI, HIT, 30) if name in ("b", "b.example.com", "slow") else None


@contextlib.asynccontextmanager
async def interceptor(
    *servers: NameServer, cache_max: int = 0, address: str = "127.0.0.1"
) -> AsyncIterator[Interceptor]:
    # The port is chosen by the kernel, for UDP and then the same for TCP.
    for _ in range(20):
        reader = await asyncio.start_server(lambda *_: None, address, 0)
        port = reader.sockets[0].getsockname()[1]
        reader.close()
        settings = InterceptorSettings(ip_address(address), port, cache_max=cache_max)
        with contextlib.suppress(NamingError):
            running = Interceptor(settings, known)
            break
    running.use(servers)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


def place(running: Interceptor) -> NameServer:
    return NameServer(running.settings.address, running.settings.port)


async def response(running: Interceptor, data: bytes) -> dns.message.Message:
    return dns.message.from_wire(await ask_udp(data, place(running)))


async def test_names_are_answered_with_lsi_and_hit() -> None:
    async with interceptor() as running:
        for name in ("b.hip", "B.HIP", "b.Example.com.hip"):
            a = await response(running, query(name, use_edns=0))
            assert a.answer[0].to_text() == f"{name}. 30 IN A 1.2.3.4"
            assert a.flags & dns.flags.AA
            assert a.flags & dns.flags.RA
            assert a.edns == 0
            aaaa = await response(running, query(name, "AAAA"))
            assert aaaa.answer[0].to_text() == f"{name}. 30 IN AAAA 2001:21::1"
            assert aaaa.edns == -1


async def test_names_that_nobody_has_and_other_types() -> None:
    async with interceptor() as running:
        nobody = await response(running, query("c.hip"))
        assert nobody.rcode() == dns.rcode.NXDOMAIN
        assert nobody.authority[0].rdtype == dns.rdatatype.SOA
        for name, kind in (("b.hip", "MX"), ("b.hip", "HTTPS"), ("hip", "A")):
            nothing = await response(running, query(name, kind))
            assert nothing.rcode() == dns.rcode.NOERROR
            assert not nothing.answer
            assert nothing.authority[0].rdtype == dns.rdatatype.SOA
        trouble = await response(running, query("trouble.hip"))
        assert trouble.rcode() == dns.rcode.SERVFAIL


async def test_a_slow_look_up_keeps_nobody_waiting() -> None:
    async with interceptor() as running:
        slow = asyncio.ensure_future(response(running, query("slow.hip")))
        await asyncio.gather(*(response(running, query("b.hip")) for _ in range(20)))
        assert not slow.done()
        assert (await slow).answer


async def test_everything_else_is_passed_on_octet_for_octet() -> None:
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1")
    records.add("long.example.", 60, "TXT", *(f'"{n}{"x" * 200}"' for n in range(20)))
    queries = [
        query("www.example"),
        query("WwW.example", use_edns=0, payload=1400, want_dnssec=True),
        query("nobody.example"),
        query("nobody.example", "HIP", use_edns=0),
        query("long.example", "TXT"),
    ]
    async with name_server(records) as server, interceptor(server) as running:
        for data in queries:
            answer = await ask_udp(data, place(running))
            assert records.asked[-1][2:] == data[2:]
            assert answer == data[:2] + records.answers[-1][2:]
        assert dns.message.from_wire(answer).flags & dns.flags.TC
        answers = await ask_tcp(queries, place(running))
        assert [one[2:] for one in records.asked[-5:]] == [one[2:] for one in queries]
        assert answers == records.answers[-5:]
        (whole,) = dns.message.from_wire(answers[-1]).answer
        assert len(whole) == 20


async def test_both_kinds_of_names_by_one_tcp_connection() -> None:
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1")
    async with name_server(records) as server, interceptor(server) as running:
        asked = [query("b.hip"), query("www.example"), query("b.hip", "AAAA")]
        answers = await ask_tcp(asked, place(running))
        texts = {
            dns.message.from_wire(data).answer[0][0].to_text()  # type: ignore[no-untyped-call]
            for data in answers
        }
        assert texts == {"1.2.3.4", "192.0.2.1", "2001:21::1"}
        assert len(records.asked) == 1


async def test_many_at_once_get_their_own_answers() -> None:
    records = Records()
    for n in range(200):
        records.add(f"n{n}.example.", 60, "A", f"192.0.2.{n}")
    async with name_server(records) as server, interceptor(server) as running:
        answers = await asyncio.gather(
            *(response(running, query(f"n{n}.example")) for n in range(200))
        )
        got = [str(answer.answer[0][0]) for answer in answers]
        assert got == [f"192.0.2.{n}" for n in range(200)]
        # Nobody can foretell the ids.
        assert len({data[:2] for data in records.asked}) > 150


async def test_no_port_is_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "_QUERIES_PER_SOCKET", 5)
    records = Records()
    async with name_server(records) as server, interceptor(server) as running:
        for _ in range(10):
            await asyncio.gather(*(response(running, query("www.example")) for _ in range(12)))
        counts = Counter(records.ports)
        # More, where the machine is so busy that a query is tried again.
        assert sum(counts.values()) >= 120, counts
        assert max(counts.values()) <= 5, counts
        assert running.statistics.forwarded == running.statistics.answered == 120
        assert running._path.waiting == 0


async def test_the_same_question_is_answered_from_the_cache() -> None:
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1")
    async with name_server(records) as server, interceptor(server, cache_max=10) as running:
        for _ in range(3):
            data = query("www.example")
            assert await ask_udp(data, place(running)) == data[:2] + records.answers[0][2:]
        assert len(records.asked) == 1
        assert running.statistics.cached == 2


async def test_the_next_server_answers_when_one_is_gone_or_mute() -> None:
    records, mute = Records(), Records(mute=True)
    records.add("www.example.", 60, "A", "192.0.2.1")
    async with name_server(records) as server, name_server(mute) as silent:
        async with name_server(Records()) as gone:
            pass
        async with interceptor(gone, server) as running:
            assert (await response(running, query("www.example"))).answer
            assert (await ask_tcp([query("www.example")], place(running)))[0]
        async with interceptor(silent, server) as running:
            assert (await response(running, query("www.example"))).answer
            # From now on the one that answered is asked first.
            assert (await response(running, query("www.example"))).answer
            assert running.statistics.retried == 1


def test_a_server_that_was_away_is_heard_again_at_once() -> None:
    """On the daemon's own loop, which watches a socket no longer after an ICMP error."""
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1")

    async def run() -> list[str]:
        async with name_server(records) as server:
            pass
        async with interceptor(server) as running:
            # All sockets are there, and each of them has been refused.
            for _ in range(4 * forwarder._SOCKETS):
                told = await response(running, query("www.example"))
                assert told.rcode() == dns.rcode.SERVFAIL
            async with name_server(records, server.port):
                answers = [await response(running, query("www.example")) for _ in range(12)]
                return [dns.rcode.to_text(answer.rcode()) for answer in answers]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == ["NOERROR"] * 12


async def test_without_any_server_the_answer_is_a_failure() -> None:
    async with interceptor() as running:
        answer = await response(running, query("www.example"))
        assert answer.rcode() == dns.rcode.SERVFAIL
        (data,) = await ask_tcp([query("www.example")], place(running))
        assert dns.message.from_wire(data).rcode() == dns.rcode.SERVFAIL
        assert (await response(running, query("b.hip"))).answer


async def test_itself_is_not_asked() -> None:
    async with interceptor() as running:
        running.use([place(running)])
        assert (await response(running, query("www.example"))).rcode() == dns.rcode.SERVFAIL


async def test_what_nobody_asked_for_is_not_passed_on() -> None:
    """Forged answers: another question, or another id, at the right port."""

    class Forger(Records):
        def answer(self, data: bytes, *, tcp: bool = False) -> bytes:
            other = bytearray(super().answer(data, tcp=tcp))
            if len(self.asked) == 1:
                other[13] ^= 1
            return bytes(other)

    records = Forger()
    records.add("www.example.", 60, "A", "192.0.2.1")
    async with name_server(records) as server, interceptor(server) as running:
        with pytest.raises(TimeoutError):
            await ask_udp(query("www.example"), place(running), timeout_s=0.3)
        assert running.statistics.not_asked_for == 1
        assert (await response(running, query("www.example"))).answer


async def test_only_this_machine_may_ask() -> None:
    async with interceptor() as running:
        assert running._allowed("127.0.0.1")
        assert running._allowed("::1")
        assert not running._allowed("1.2.3.5")
        assert not running._allowed("192.0.2.1")


async def test_a_port_that_is_taken_is_said() -> None:
    async with interceptor() as running:
        with pytest.raises(NamingError, match="port"):
            Interceptor(running.settings, known)


async def test_garbage_is_not_answered() -> None:
    records = Records()
    async with name_server(records) as server, interceptor(server) as running:
        for data in (b"", b"x", query("b.hip")[:-3], b"\0" * 12):
            with contextlib.suppress(TimeoutError, dns.exception.DNSException):
                await ask_udp(data, place(running), timeout_s=0.05)
        assert (await response(running, query("b.hip"))).answer


async def test_by_ipv6_as_well() -> None:
    records = Records()
    records.add("www.example.", 60, "A", "192.0.2.1")
    async with name_server(records) as server, interceptor(server, address="::1") as running:
        for ask in (query("b.hip"), query("www.example")):
            answer = dns.message.from_wire(await ask_udp(ask, place(running), source="::1"))
            assert answer.answer
            assert await ask_tcp([ask], place(running))


async def test_who_holds_connections_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_server, "_CONNECTIONS_MAX", 2)
    async with interceptor() as running, contextlib.AsyncExitStack() as stack:
        where = (str(running.settings.address), running.settings.port)
        idle = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*where)
            stack.callback(writer.close)
            idle.append((reader, writer))
        await asyncio.sleep(0.05)
        # The first one asks something, so the second one has to go.
        message = query("b.hip")
        idle[0][1].write(len(message).to_bytes(2, "big") + message)
        await idle[0][0].readexactly(2)
        reader, writer = await asyncio.open_connection(*where)
        stack.callback(writer.close)
        writer.write(len(message).to_bytes(2, "big") + message)
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = dns.message.from_wire(await reader.readexactly(length))
        assert answer.answer[0][0].to_text() == str(LSI)  # type: ignore[no-untyped-call]
        assert await idle[1][0].read() == b""
