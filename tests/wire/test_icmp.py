"""ICMP messages about packets that are too large."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.wire.checksum import checksum16
from hipgw.wire.icmp import TooBig, parse_v4, parse_v6

v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def message_v4(too_big: TooBig, *, options: bytes = b"", fragment: int = 0x4000) -> bytes:
    header = bytes([0x45 + len(options) // 4, 0]) + (1500).to_bytes(2, "big") + bytes(2)
    header += fragment.to_bytes(2, "big") + bytes([64, too_big.protocol, 0, 0])
    header += too_big.source.packed + too_big.destination.packed + options
    body = bytes([3, 4, 0, 0, 0, 0]) + too_big.mtu.to_bytes(2, "big") + header + too_big.payload
    return body[:2] + checksum16(body).to_bytes(2, "big") + body[4:]


def message_v6(too_big: TooBig) -> bytes:
    header = bytes([0x60, 0, 0, 0]) + (1460).to_bytes(2, "big") + bytes([too_big.protocol, 64])
    header += too_big.source.packed + too_big.destination.packed
    return bytes([2, 0, 0, 0]) + too_big.mtu.to_bytes(4, "big") + header + too_big.payload


@given(
    st.builds(TooBig, st.integers(0, 65535), v4, v4, st.integers(0, 255), st.binary(max_size=60)),
    st.integers(0, 10).map(lambda words: bytes(4 * words)),
)
def test_ipv4_there_and_back(too_big: TooBig, options: bytes) -> None:
    assert parse_v4(message_v4(too_big, options=options)) == too_big


@given(
    st.builds(
        TooBig, st.integers(0, 2**32 - 1), v6, v6, st.integers(0, 255), st.binary(max_size=60)
    )
)
def test_ipv6_there_and_back(too_big: TooBig) -> None:
    assert parse_v6(message_v6(too_big)) == too_big


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    for kind in (b"", b"\x03\x04", b"\x02\x00"):
        parse_v4(kind + data)
        parse_v6(kind + data)


EXAMPLE = TooBig(1400, IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), 17, bytes(8))


@pytest.mark.parametrize("fragment", [0x2000, 0x0001])
def test_a_quoted_fragment_is_none_of_ours(fragment: int) -> None:
    assert parse_v4(message_v4(EXAMPLE, fragment=fragment)) is None


def test_a_wrong_checksum_or_kind() -> None:
    good = message_v4(EXAMPLE)
    assert parse_v4(good[:-1] + b"\x01") is None
    assert parse_v4(b"\x03\x03" + good[2:]) is None
