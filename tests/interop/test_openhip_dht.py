"""OpenHIP's calls of a DHT as they were recorded: hipgw writes the same, and serves them."""

import asyncio
import re
import xml.etree.ElementTree as ElementTree
from ipaddress import IPv6Address, ip_address

import pytest

from hipgw.naming.dht.calls import Get, Put, Remove
from hipgw.naming.dht.client import Server
from hipgw.naming.dht.hdrr import (
    locator_for,
    make_address_record,
    make_name_record,
    read_address_record,
    read_name_record,
)
from hipgw.naming.dht.keys import hit_key, name_key, sha1
from hipgw.naming.dht.limits import ReturnCode
from hipgw.naming.dht.server import GatewayServer
from hipgw.naming.dht.xmlrpc import emit_answer, emit_call, parse_answer, parse_call
from interop.openhip import CAPTURES, ip_packets
from naming.dht.dht_world import World

A = IPv6Address("2001:10:5fe:6c8f:c2db:34c5:e293:640f")
B = IPv6Address("2001:1a:5072:beec:f56a:c32c:98d2:fe8f")
(CAPTURE,) = (file for file in CAPTURES if file.stem == "dht")
_TCP = 6
CALLS = {call.METHOD: call for call in (Put, Get, Remove)}


def streams() -> list[tuple[bytes, bytes]]:
    """What went either way, request and answer, of each TCP connection in order."""
    said: dict[tuple[int, bool], bytes] = {}
    for ip in ip_packets(CAPTURE):
        if ip.protocol != _TCP:
            continue
        source, destination = (int.from_bytes(ip.data[i : i + 2], "big") for i in (0, 2))
        request = destination == 5851
        port = source if request else destination
        payload = ip.data[4 * (ip.data[12] >> 4) :]
        said[port, request] = said.get((port, request), b"") + payload
    ports = dict.fromkeys(port for port, _ in said)
    return [(said[port, True], said[port, False]) for port in ports]


def body(message: bytes) -> bytes:
    """Without the line end. OpenHIP's requests have a NUL behind all that their length counts."""
    head, octets = message.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
    assert octets[length:] == (b"\0" if message.startswith(b"POST") else b"")
    return octets[:length].removesuffix(b"\n")


@pytest.mark.parametrize("stream", streams())
def test_calls_are_written_as_openhip_writes_them(stream: tuple[bytes, bytes]) -> None:
    request, answer = stream
    method, parameters = parse_call(body(request))
    call = CALLS[method].parse(parameters)
    assert emit_call(call.METHOD, call.parameters) == body(request)
    value = parse_answer(body(answer))
    written = emit_answer(value)
    # The stand-in that was recorded writes an empty value in the long form.
    assert written.replace(b"<base64/>", b"<base64></base64>") == body(answer)


def test_what_openhip_stores_is_read_and_can_be_written_again() -> None:
    puts = [
        Put.parse(parameters)
        for method, parameters in (parse_call(body(request)) for request, _ in streams())
        if method == Put.METHOD
    ]
    address, name = puts
    record = read_address_record(address.value, hit_key(A))
    assert address.key == hit_key(A)
    assert (record.hit, record.sequence, record.lifetime_s) == (A, 0, 1800)
    assert record.addresses == (ip_address("10.77.0.1"),)
    key = ElementTree.parse(CAPTURE.with_name("dht.A.my.xml")).getroot()
    names = {element.text for element in key.iter("name")}
    assert name.key in {name_key(one) for one in names if one}
    assert read_name_record(name.value).hit == A
    assert make_name_record(A) == name.value


def test_a_record_of_our_own_has_the_same_layout() -> None:
    from hipgw.identity.host_identity import LocalIdentity
    from hipgw.wire.packet import HipPacket

    request, _ = streams()[0]
    theirs = HipPacket.parse(Put.parse(parse_call(body(request))[1]).value, versions={1})
    own = LocalIdentity.generate("rsa2048").in_version(1)
    value = make_address_record(
        own, [locator_for(ip_address("10.77.0.1"), 1800, preferred=True)], 0
    )
    ours = HipPacket.parse(value, versions={1})
    assert [type(one) for one in ours.parameters] == [type(one) for one in theirs.parameters]
    assert ours.parameters[:2] == theirs.parameters[:2]
    assert (ours.raw[0], ours.raw[2:8]) == (theirs.raw[0], theirs.raw[2:8])


def test_the_recorded_client_is_served() -> None:
    """Its own requests, octet for octet, in a connection each."""

    async def serve() -> None:
        world = World()
        server = GatewayServer(world.gateway, [(ip_address("127.0.0.1"), 0)])
        await server.start()
        (port,) = server.ports
        there = Server(ip_address("127.0.0.1"), port)
        recorded = streams()
        # B's record, which the recorded server had, in an answer of its own.
        (values, _) = parse_answer(body(recorded[2][1]))
        put = Put(hit_key(B), values[0], sha1(b"b"), 600, "hip-addr")
        assert await world.gateway.call(put.METHOD, put.parameters, there.address) == 0
        for number, (request, answer) in enumerate(recorded):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            got = await reader.read()
            writer.close()
            assert got.startswith(b"HTTP/1.0 200 OK\r\n")
            assert re.search(rb"(?i)\r\ncontent-type: text/xml\r\n", got)
            assert parse_answer(body(got)) == parse_answer(body(answer))
            if number == 1:
                assert len(await world.get(A)) == len(await world.named("A-1024")) == 1
        assert await world.get(A) == await world.named("A-1024") == []
        await server.stop()

    asyncio.run(asyncio.wait_for(serve(), 20))


def test_the_stand_in_forgot_nothing() -> None:
    assert [parse_call(body(request))[0] for request, _ in streams()] == [
        *("put_removable", "put_removable", "get", "rm", "rm")
    ]
    assert ReturnCode.SUCCESS == 0
