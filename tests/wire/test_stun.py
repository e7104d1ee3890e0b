"""STUN Binding messages (RFC 8489)."""

import hmac
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.wire.errors import PacketFormatError
from hipgw.wire.stun import (
    BindingAnswer,
    StunAttribute,
    StunType,
    binding_request,
    build,
    parse,
    parse_answer,
    parse_xor_address,
    xor_address,
)

PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
"""Of RFC 5769 §2."""
COOKIE = bytes.fromhex("2112a442")
addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
)
ids = st.binary(min_size=12, max_size=12)
ports = st.integers(0, 65535)


def attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + padding


def xor_mapped(address: IPv4Address | IPv6Address, port: int, transaction_id: bytes) -> bytes:
    family = 1 if address.version == 4 else 2
    key = (COOKIE + transaction_id)[: len(address.packed)]
    hidden = (int.from_bytes(address.packed, "big") ^ int.from_bytes(key, "big")).to_bytes(
        len(key), "big"
    )
    return attribute(0x20, bytes([0, family]) + (port ^ 0x2112).to_bytes(2, "big") + hidden)


def answer(transaction_id: bytes, *attributes: bytes, kind: int = 0x0101) -> bytes:
    body = b"".join(attributes)
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + COOKIE + transaction_id + body


def test_a_request() -> None:
    assert binding_request(bytes(range(12))) == (
        bytes.fromhex("000100002112a442") + bytes(range(12))
    )


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        (
            # RFC 5769 §2.2
            "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200008"
            "0001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96",
            (IPv4Address("192.0.2.1"), 32853),
        ),
        (
            # RFC 5769 §2.3
            "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200014"
            "0002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275"
            "bfe3ed4180280004c8fb0b4c",
            (IPv6Address("2001:db8:1234:5678:11:2233:4455:6677"), 32853),
        ),
    ],
)
def test_vectors_of_the_rfc(text: str, mapped: object) -> None:
    found = parse_answer(bytes.fromhex(text))
    assert found == BindingAnswer(bytes.fromhex("b7e7a701bc34d686fa87dfae"), mapped)  # type: ignore[arg-type]


@given(addresses, ports, ids, st.binary(max_size=40))
def test_a_mapped_address(
    address: IPv4Address | IPv6Address, port: int, transaction_id: bytes, software: bytes
) -> None:
    data = answer(
        transaction_id, attribute(0x8022, software), xor_mapped(address, port, transaction_id)
    )
    assert parse_answer(data) == BindingAnswer(transaction_id, (address, port))


@given(ids)
def test_answers_without_an_address(transaction_id: bytes) -> None:
    nothing = BindingAnswer(transaction_id, None)
    mapped = xor_mapped(IPv4Address("192.0.2.1"), 1, transaction_id)
    refused = attribute(0x09, bytes([0, 0, 4, 20]))
    assert parse_answer(answer(transaction_id)) == nothing
    assert parse_answer(answer(transaction_id, refused, kind=0x0111)) == nothing
    # Not understood, though it would have to be (§6.3.3).
    assert parse_answer(answer(transaction_id, mapped, attribute(0x7FFF, b""))) == nothing


@given(st.binary(max_size=80))
def test_anything_else_is_refused(data: bytes) -> None:
    for message in (data, answer(bytes(12), data)):
        try:
            parse_answer(message)
        except PacketFormatError:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        binding_request(bytes(12)),
        answer(bytes(12))[:-1],
        answer(bytes(12)) + bytes(4),
        answer(bytes(12)).replace(COOKIE, bytes(4)),
        answer(bytes(12), attribute(0x20, b"")),
        answer(bytes(12), attribute(0x20, bytes([0, 3]) + bytes(6))),
        answer(bytes(12), attribute(0x20, bytes([0, 2]) + bytes(6))),
        answer(bytes(12), b"\x00\x20\x00\x08"),
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(PacketFormatError):
        parse_answer(data)


def sha1(covered: bytes) -> bytes:
    return hmac.digest(PASSWORD, covered, "sha1")


def test_a_check_of_the_rfc() -> None:
    """RFC 5769 §2.1: what a connectivity check looks like."""
    text = (
        "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74"
        "002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020"
        "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
    )
    message = parse(bytes.fromhex(text))
    assert message.type == StunType.BINDING_REQUEST
    assert message.fingerprint
    assert message.mac == sha1(message.covered)
    assert message.get(StunAttribute.USERNAME) == b"evtj:h6vY"
    assert message.get(StunAttribute.PRIORITY) == bytes.fromhex("6e0001ff")
    assert message.get(StunAttribute.ICE_CONTROLLED) == bytes.fromhex("932ff9b151263b36")
    assert message.get(StunAttribute.USE_CANDIDATE) is None


attributes = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF).filter(
            lambda kind: kind not in {StunAttribute.MESSAGE_INTEGRITY, StunAttribute.FINGERPRINT}
        ),
        st.binary(max_size=40),
    ),
    max_size=6,
)


@given(st.sampled_from(list(StunType)), ids, attributes, st.booleans())
def test_what_is_built_is_parsed(
    kind: StunType, transaction_id: bytes, told: list[tuple[int, bytes]], signed: bool
) -> None:
    data = build(kind, transaction_id, told, sign=sha1 if signed else None)
    message = parse(data)
    assert (message.type, message.transaction_id) == (kind, transaction_id)
    assert list(message.attributes) == told
    assert message.fingerprint
    assert message.mac == (sha1(message.covered) if signed else None)
    for attribute, _ in told:
        assert message.get(attribute) == next(v for k, v in told if k == attribute)


@given(ids, attributes, st.data())
def test_a_changed_octet_shows(
    transaction_id: bytes, told: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    message = bytearray(build(StunType.BINDING_REQUEST, transaction_id, told, sign=sha1))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        parsed = parse(bytes(message))
    except PacketFormatError:
        return
    assert not parsed.fingerprint


def test_what_stands_behind_the_mac_does_not_count() -> None:
    """RFC 8489 §14.5: anybody could have added it."""
    inside = build(StunType.BINDING_REQUEST, bytes(12), [(0x24, bytes(4))], sign=sha1)[:-8]
    more = inside + attribute(0x25, b"")
    length = len(more) - 20
    message = parse(more[:2] + length.to_bytes(2, "big") + more[4:])
    assert message.mac == sha1(message.covered)
    assert message.get(StunAttribute.USE_CANDIDATE) is None
    assert not message.fingerprint


@given(addresses, ports, ids)
def test_addresses_there_and_back(
    address: IPv4Address | IPv6Address, port: int, transaction_id: bytes
) -> None:
    value = xor_address(address, port, transaction_id)
    assert parse_xor_address(value, transaction_id) == (address, port)
    assert attribute(0x20, value) == xor_mapped(address, port, transaction_id)
