"""XML-RPC bodies: those of OpenHIP octet for octet, and garbage that does nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.naming.dht.calls import Get, Put, Remove
from hipgw.naming.dht.limits import BODY_LENGTH
from hipgw.naming.dht.xmlrpc import (
    XmlRpcError,
    XmlRpcFaultError,
    emit_answer,
    emit_call,
    emit_fault,
    parse_answer,
    parse_call,
)

KEY = bytes(range(20))
plain = (
    st.integers(-(2**31), 2**31 - 1)
    | st.binary(max_size=200)
    | st.text(st.characters(min_codepoint=32, max_codepoint=0xFF), max_size=40)
)
values = plain | st.lists(plain | st.lists(plain, max_size=4), max_size=4)


@given(st.lists(values, max_size=6))
def test_what_is_written_can_be_read(parameters: list) -> None:
    assert parse_call(emit_call("get", parameters)) == ("get", tuple(parameters))
    assert parse_answer(emit_answer(parameters)) == parameters


@pytest.mark.parametrize(
    "call",
    [
        Put(KEY, b"value", bytes(20), 604800, "hip-addr"),
        Put(KEY, b"value", b"", 0, "hip-name-hit"),
        Get(KEY, 10, b"", "hip-addr"),
        Remove(KEY, bytes(20), bytes(40), 3, "hip-addr"),
    ],
)
def test_calls(call: Put | Get | Remove) -> None:
    method, parameters = parse_call(emit_call(call.METHOD, call.parameters))
    assert method == call.METHOD
    assert type(call).parse(parameters) == call
    for count in range(len(parameters)):
        with pytest.raises(XmlRpcError):
            type(call).parse(parameters[:count])
        for wrong in (None, True, 1.5, [], {}, "x" * 300, b"x" * 1025):
            spoiled = (*parameters[:count], wrong, *parameters[count + 1 :])
            with pytest.raises(XmlRpcError):
                type(call).parse(spoiled)


def test_faults() -> None:
    with pytest.raises(XmlRpcFaultError, match="no <such>"):
        parse_answer(emit_fault(1, "no <such> method"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<methodCall>",
        b"<?xml version='1.0'?><methodCall><params/></methodCall>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><methodCall><methodName>&b;</methodName></methodCall>',
        b"<methodCall>" * 20 + b"</methodCall>" * 20,
        b"<methodCall><methodName>get</methodName>" + b" " * BODY_LENGTH + b"</methodCall>",
        b"<methodCall><methodName>get</methodName><params><param><value><bigdecimal>x"
        b"</bigdecimal></value></param></params></methodCall>",
        b"<methodCall><methodName>get</methodName><params><param><value><int>"
        + b"9" * 5000
        + b"</int></value></param></params></methodCall>",
        b"<methodCall><methodName>get</methodName><params><param><value><dateTime.iso8601>x"
        b"</dateTime.iso8601></value></param></params></methodCall>",
    ],
)
def test_bodies_that_are_refused(body: bytes) -> None:
    with pytest.raises(XmlRpcError):
        parse_call(body)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_nothing_is_hidden_by_an_encoding(encoding: str) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 7))
    body = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE l [<!ENTITY a0 "aaaaaaaaaa">'
        f"{entities}]><methodCall><methodName>&a6;</methodName></methodCall>"
    )
    with pytest.raises(XmlRpcError, match="zero octet"):
        parse_call(body.encode(encoding))


PIECES = [
    *("<value>", "</value>", "<int>", "</int>", "<base64>", "</base64>", "<array>", "<data>"),
    *("</data>", "</array>", "<struct>", "<member>", "<name>", "</name>", "</member>", "1"),
    *("</struct>", "<param>", "</param>", "<params>", "</params>", "<fault>", "</fault>", "x"),
    *("<nil/>", "<boolean>", "</boolean>", "<dateTime.iso8601>", "</dateTime.iso8601>", "&"),
    *("<double>", "</double>", "<methodName>", "</methodName>", "<biginteger>", "</biginteger>"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=24))
def test_odd_bodies_raise_nothing_else(pieces: list[str]) -> None:
    for body in ("".join(pieces), f"<methodResponse>{''.join(pieces)}</methodResponse>"):
        for read in (parse_call, parse_answer):
            try:
                read(body.encode())
            except (XmlRpcError, XmlRpcFaultError):
                continue
