"""Packets that wait for a security association are few, small and soon forgotten."""

from ipaddress import IPv6Address

from hipgw.dataplane.held_packets import (
    MAX_DESTINATIONS,
    MAX_OCTETS,
    MAX_PACKETS,
    REMIND_S,
    TIMEOUT_S,
    HeldPackets,
)

ONE = IPv6Address("2001:21::1")


def test_packets_are_handed_out_in_order_and_once() -> None:
    held = HeldPackets()
    assert held.hold(ONE, b"a", 0.0)
    assert not held.hold(ONE, b"b", 0.1)
    assert held.hold(ONE, b"c", REMIND_S)
    assert len(held) == 3
    assert held.take(ONE, 1.0) == [b"a", b"b", b"c"]
    assert held.take(ONE, 1.0) == []
    assert held.hold(ONE, b"d", 1.0)
    assert held.drop(ONE) == 1
    assert held.drop(ONE) == 0


def test_bounds() -> None:
    held = HeldPackets()
    for _ in range(MAX_PACKETS + 5):
        held.hold(ONE, b"x", 0.0)
    assert (len(held), held.overflows) == (MAX_PACKETS, 5)
    held = HeldPackets()
    held.hold(ONE, bytes(MAX_OCTETS), 0.0)
    held.hold(ONE, b"x", 0.0)
    assert (len(held), held.overflows) == (1, 1)
    for n in range(1, MAX_DESTINATIONS + 5):
        held.hold(IPv6Address(int(ONE) + n), b"x", 0.0)
    assert len(held) == MAX_DESTINATIONS
    # Room comes with time, without anybody asking for it.
    assert held.hold(IPv6Address("2001:21::ffff"), b"x", TIMEOUT_S + 1)


def test_what_waits_too_long_is_forgotten() -> None:
    held = HeldPackets()
    held.hold(ONE, b"old", 0.0)
    held.hold(ONE, b"new", TIMEOUT_S)
    assert held.take(ONE, TIMEOUT_S + 1) == [b"new"]
    assert held.expired == 1
    held.hold(ONE, b"old", 0.0)
    held.forget_old(TIMEOUT_S + 1)
    assert len(held) == 0
