"""A name server for tests, on this machine's loopback, made of dnspython's parts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from hipgw.naming.dns.servers import NameServer

ADDRESS = "127.0.0.1"


@dataclass
class Records:
    """What a server answers, and what it was asked."""

    rrsets: list[dns.rrset.RRset] = field(default_factory=list)
    validated: bool = False
    failing: bool = False
    """SERVFAIL to everything."""
    mute: bool = False
    asked: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    """Where queries came from by UDP."""

    def add(self, name: str, ttl: int, kind: str, *values: str) -> None:
        """Add records of one name and type."""
        self.rrsets.append(dns.rrset.from_text(name, ttl, "IN", kind, *values))

    def answer(self, data: bytes, *, tcp: bool = False) -> bytes:
        """The answer to a query."""
        self.asked.append(data)
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        if self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif question.name not in {rrset.name for rrset in self.rrsets}:
            response.set_rcode(dns.rcode.NXDOMAIN)
            soa = f"{question.name} {question.name} 1 2 3 4 60"
            response.authority.append(dns.rrset.from_text(question.name, 60, "IN", "SOA", soa))
        name = question.name
        for rrset in self.rrsets * 2 if not self.failing else ():
            if rrset.name == name and rrset not in response.answer:
                if rrset.rdtype == question.rdtype:
                    response.answer.append(rrset)
                elif rrset.rdtype == dns.rdatatype.CNAME:
                    response.answer.append(rrset)
                    name = rrset[0].target
        if self.validated:
            response.flags |= dns.flags.AD
        limit = 65535 if tcp or (query.edns >= 0 and query.payload > 512) else 512
        try:
            wire = response.to_wire(max_size=limit if tcp else min(limit, 1232))
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        self.answers.append(wire)
        return wire


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, records: Records) -> None:
        self._records = records
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._records.ports.append(addr[1])
        answer = self._records.answer(data)
        if not self._records.mute and self._transport is not None:
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def name_server(records: Records, port: int = 0) -> AsyncIterator[NameServer]:
    """Serve records by UDP and TCP, at any port unless one is given."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                answer = records.answer(await reader.readexactly(length), tcp=True)
                writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(serve, ADDRESS, port)
    port = server.sockets[0].getsockname()[1]
    udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(records), local_addr=(ADDRESS, port))
    try:
        yield NameServer(IPv4Address(ADDRESS), port)
    finally:
        udp.close()
        server.close()


async def ask_udp(
    data: bytes, server: NameServer, *, timeout_s: float = 30.0, source: str = ADDRESS
) -> bytes:
    """Send a query and return the answer to it."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            del addr
            if not answered.done():
                answered.set_result(data)

    where = (str(server.address), server.port)
    transport, _ = await loop.create_datagram_endpoint(
        Client, remote_addr=where, local_addr=(source, 0)
    )
    try:
        transport.sendto(data)
        return await asyncio.wait_for(answered, timeout_s)
    finally:
        transport.close()


async def ask_tcp(queries: list[bytes], server: NameServer) -> list[bytes]:
    """Send queries on one connection and return as many answers."""
    reader, writer = await asyncio.open_connection(str(server.address), server.port)
    for data in queries:
        writer.write(len(data).to_bytes(2, "big") + data)
    answers = []
    for _ in queries:
        length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 30.0), "big")
        answers.append(await reader.readexactly(length))
    writer.close()
    return answers
