"""STUN Binding messages (RFC 8489)."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.wire.errors import PacketFormatError
from hipgw.wire.stun import BindingAnswer, binding_request, parse_answer

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
