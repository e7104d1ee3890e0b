"""What a mobile router does to the ESP of its clients, among 100,000 associations.

A round is `PACKETS` packets of as many associations, others than those of the round before, after
the whole table has been looked at once; `extra_info` has packets a second.
Run with: pytest --benchmark-enable bench/micro/test_bench_spinat.py
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import cycle

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hipgw._esp_core import Spinat, SpinatBatch
from hipgw.wire.checksum import checksum16

ASSOCIATIONS = 100_000
PACKETS = 1024
BATCHES = 24
CLIENTS = 250
ROUTER = IPv4Address("192.0.2.1")
ROUTER6, PEER6 = IPv6Address("2001:db8:1::1"), IPv6Address("2001:db8:2::1")
PORT = 10500
ROUNDS = 120


def client(number: int) -> IPv4Address:
    """The client that has an association."""
    return IPv4Address("10.0.0.1") + number % CLIENTS


def peer(number: int) -> IPv4Address:
    """Its correspondent."""
    return IPv4Address("198.18.0.0") + number


def spi(number: int) -> int:
    """An SPI that is like a random one; no two are the same."""
    return (number * 0x9E3779B1 + 0x101) & 0xFFFFFFFF


def packet(source: IPv4Address, destination: IPv4Address, spi: int, octets: int) -> bytes:
    """A plain ESP packet of IPv4 whose ESP has so many octets."""
    start = struct.pack("!BBHHHBB", 0x45, 0, 20 + octets, 0, 0x4000, 64, 50)
    ends = source.packed + destination.packed
    checksum = checksum16(start + bytes(2) + ends).to_bytes(2, "big")
    return start + checksum + ends + spi.to_bytes(4, "big") + bytes(octets - 4)


def table(*, to_ipv6: bool) -> Spinat:
    """A router's ways, two for each association."""
    spinat = Spinat(2 * ASSOCIATIONS)
    for number in range(ASSOCIATIONS):
        spinat.insert(
            spi=spi(number),
            source=peer(number).packed,
            destination=client(number).packed,
            new_spi=number + 256,
            now_s=0,
        )
        spinat.insert(
            spi=spi(number),
            client=client(number).packed,
            correspondent=peer(number).packed,
            source=(ROUTER6 if to_ipv6 else ROUTER).packed,
            destination=(PEER6 if to_ipv6 else peer(number)).packed,
            source_port=PORT if to_ipv6 else 0,
            destination_port=PORT if to_ipv6 else 0,
            new_spi=spi(number),
            now_s=0,
        )
    assert len(spinat) == 2 * ASSOCIATIONS
    return spinat


def batches(octets: int, *, inward: bool) -> Iterator[SpinatBatch]:
    """Batches of packets, each of another association, far from the one before."""
    for start in range(0, BATCHES * PACKETS, PACKETS):
        numbers = [n * 7919 % ASSOCIATIONS for n in range(start, start + PACKETS)]
        yield SpinatBatch(
            [
                packet(peer(n), ROUTER, spi(n), octets)
                if inward
                else packet(client(n), peer(n), spi(n), octets)
                for n in numbers
            ]
        )


@pytest.mark.parametrize("octets", [64, 1400])
@pytest.mark.parametrize("way", ["inward", "outward", "outward_to_udp_ipv6"])
def test_spinat(benchmark: BenchmarkFixture, way: str, octets: int) -> None:
    inward = way == "inward"
    spinat = table(to_ipv6=way == "outward_to_udp_ipv6")
    turns = cycle(list(batches(octets, inward=inward)))

    def setup() -> tuple[tuple[SpinatBatch], dict[str, object]]:
        batch = next(turns)
        assert spinat.idle(now_s=1, idle_s=10) == []
        batch.reset()
        return (batch,), {}

    def rewrite(batch: SpinatBatch) -> int:
        return spinat.rewrite(batch, inward=inward, now_s=1)

    assert benchmark.pedantic(rewrite, setup=setup, rounds=ROUNDS) == PACKETS
    if benchmark.stats is not None:
        benchmark.extra_info["packets_per_s"] = round(PACKETS / benchmark.stats["median"])
