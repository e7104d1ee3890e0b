"""Parameters put into finished packets: order, length, and what MACs cover."""

from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.wire.coverage import mac_coverage, relay_hmac_coverage, signature_coverage
from hipgw.wire.errors import EmitError
from hipgw.wire.insertion import with_parameters
from hipgw.wire.packet import MAX_LENGTH, HipPacket, PacketType
from hipgw.wire.parameters import (
    EchoRequestUnsigned,
    EchoResponseUnsigned,
    HipMac,
    HipSignature,
    RelayFrom,
    RelayHmac,
    RelayTo,
    RvsHmac,
    Seq,
)

A, B = IPv6Address("2001:22::1"), IPv6Address("2001:22::2")
ADDRESS = ip_address("192.0.2.1")
OTHERS = (
    Seq(7),
    HipMac(bytes(32)),
    HipSignature(5, bytes(64)),
    EchoResponseUnsigned(b"x"),
    EchoRequestUnsigned(b"y" * 9),
    RvsHmac(bytes(20)),
)
ADDED = (RelayFrom(ADDRESS, 1), RelayTo(ADDRESS, 2), RelayHmac(bytes(48)))


@given(st.sets(st.sampled_from(OTHERS)), st.permutations(ADDED))
def test_what_is_added_stands_in_order_and_changes_nothing_else(
    others: set[object], added: list[object]
) -> None:
    raw = HipPacket(PacketType.UPDATE, A, B, tuple(others)).emit()  # type: ignore[arg-type]
    longer = with_parameters(raw, added)  # type: ignore[arg-type]
    packet = HipPacket.parse(longer)
    assert (
        packet.parameters
        == HipPacket(
            PacketType.UPDATE,
            A,
            B,
            tuple(sorted([*others, *added], key=lambda one: one.type)),  # type: ignore[attr-defined]
        ).parameters
    )
    assert len(packet.raw) == len(longer)
    if HipMac(bytes(32)) in others:
        assert mac_coverage(longer) == mac_coverage(raw)
        assert signature_coverage(longer) == signature_coverage(raw)


def test_relay_hmac_covers_what_was_there_before_it() -> None:
    raw = HipPacket(PacketType.I1, A, B, (Seq(1),)).emit()
    before = with_parameters(raw, [RelayFrom(ADDRESS, 1)])
    after = with_parameters(before, [RelayHmac(bytes(32))])
    assert relay_hmac_coverage(after) == relay_hmac_coverage(before) == before


def test_a_packet_cannot_become_too_long() -> None:
    raw = HipPacket(PacketType.I1, A, B, (EchoRequestUnsigned(bytes(MAX_LENGTH - 48)),)).emit()
    with pytest.raises(EmitError):
        with_parameters(raw, [RelayFrom(ADDRESS, 1)])
