"""The rewriting of a mobile router's ESP through its Python face (draft-melen-spinat-01 §4.2).

What every packet becomes is tested beside the code, in rust/esp_core/src/spinat/tests.rs.
"""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from hipgw._esp_core import Spinat, SpinatBatch
from hipgw.errors import DataPlaneError
from hipgw.wire.checksum import checksum16

CLIENT, ROUTER, PEER = (IPv4Address(text) for text in ("10.0.0.10", "192.0.2.4", "198.51.100.7"))
ROUTER6, PEER6 = IPv6Address("2001:db8:1::4"), IPv6Address("2001:db8:2::7")
SPI, PUBLIC_SPI, PEER_SPI = 3030, 1212, 4545
ESP = bytes(range(80))


def packet(source: IPv4Address, destination: IPv4Address, spi: int, protocol: int = 50) -> bytes:
    """A plain ESP packet of IPv4."""
    start = struct.pack("!BBHHHBB", 0x45, 0, 24 + len(ESP), 0, 0x4000, 64, protocol)
    ends = source.packed + destination.packed
    checksum = checksum16(start + bytes(2) + ends)
    return start + checksum.to_bytes(2, "big") + ends + spi.to_bytes(4, "big") + ESP


def rewritten(spinat: Spinat, data: bytes, *, inward: bool, now_s: int = 1) -> tuple[str, bytes]:
    """What became of one packet, and what it is then."""
    batch = SpinatBatch([data])
    spinat.rewrite(batch, inward=inward, now_s=now_s)
    return batch.verdicts()[0], batch.packets()[0]


def inward_way(spinat: Spinat, spi: int = PUBLIC_SPI) -> int:
    """The way of what a correspondent that uses the public SPI sends to the client."""
    return spinat.insert(
        spi=spi, source=PEER.packed, destination=CLIENT.packed, new_spi=SPI, now_s=0
    )


def test_the_client_gets_its_own_spi_back() -> None:
    spinat = Spinat(10)
    way = inward_way(spinat)

    got = rewritten(spinat, packet(PEER, ROUTER, PUBLIC_SPI), inward=True, now_s=7)

    assert got == ("rewritten", packet(PEER, CLIENT, SPI))
    assert spinat.counts(way) == (1, 4 + len(ESP), 7)
    assert spinat.idle(now_s=16, idle_s=10) == []
    assert spinat.idle(now_s=17, idle_s=10) == [way]


def test_a_move_of_the_router_aims_the_way_anew() -> None:
    spinat = Spinat(10)
    way = spinat.insert(
        spi=PEER_SPI,
        client=CLIENT.packed,
        correspondent=PEER.packed,
        source=ROUTER.packed,
        destination=PEER.packed,
        new_spi=PEER_SPI,
        now_s=0,
    )
    sent = packet(CLIENT, PEER, PEER_SPI)
    assert rewritten(spinat, sent, inward=False) == ("rewritten", packet(ROUTER, PEER, PEER_SPI))

    assert spinat.aim(
        way,
        source=ROUTER6.packed,
        destination=PEER6.packed,
        source_port=10500,
        destination_port=10500,
        new_spi=PEER_SPI,
    )

    verdict, data = rewritten(spinat, sent, inward=False)
    assert (verdict, data[0] >> 4, data[6]) == ("rewritten", 6, 17)
    assert (data[8:24], data[24:40]) == (ROUTER6.packed, PEER6.packed)
    assert data[48:] == sent[20:]


def test_only_the_client_itself_is_rewritten() -> None:
    spinat = Spinat(10)
    inward_way(spinat)
    for data, inward, verdict in (
        (packet(PEER, ROUTER, SPI), True, "unknown"),
        (packet(PEER, ROUTER, PUBLIC_SPI), False, "unknown"),
        (packet(PEER, ROUTER, PUBLIC_SPI, protocol=139), True, "control"),
        (packet(PEER, ROUTER, PUBLIC_SPI, protocol=6), True, "malformed"),
        (b"", True, "malformed"),
    ):
        assert rewritten(spinat, data, inward=inward) == (verdict, data)


def test_a_full_table_and_a_taken_spi_are_refused() -> None:
    spinat = Spinat(2)
    memory = spinat.memory()
    first = inward_way(spinat)
    with pytest.raises(DataPlaneError, match="have a way already"):
        inward_way(spinat)
    inward_way(spinat, 1213)
    with pytest.raises(DataPlaneError, match="as many ways as there may be"):
        inward_way(spinat, 1214)

    assert spinat.remove(first) == (0, 0, 0)
    assert spinat.remove(first) is None
    assert inward_way(spinat) != first
    assert (len(spinat), spinat.memory()) == (2, memory)


@pytest.mark.parametrize(
    "ends",
    [(PEER.packed, ROUTER6.packed), (b"", CLIENT.packed)],
    ids=["two families", "no address"],
)
def test_impossible_ways_are_refused(ends: tuple[bytes, bytes]) -> None:
    with pytest.raises(DataPlaneError):
        Spinat(1).insert(spi=300, source=ends[0], destination=ends[1], new_spi=300, now_s=0)
    with pytest.raises(DataPlaneError, match="at most"):
        Spinat(1 << 30)


def test_a_client_is_told_by_its_correspondent_too() -> None:
    with pytest.raises(DataPlaneError, match="correspondent"):
        Spinat(1).insert(
            spi=300,
            client=CLIENT.packed,
            source=ROUTER.packed,
            destination=ip_address("192.0.2.9").packed,
            new_spi=300,
            now_s=0,
        )
