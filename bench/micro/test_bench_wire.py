"""What reading and writing HIP packets costs, and what the compiled loops gain over Python.

Run with: pytest --benchmark-enable bench/micro/test_bench_wire.py
"""

from ipaddress import IPv6Address, ip_address
from types import ModuleType

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hipgw import _wire
from hipgw.wire import pure
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.coverage import (
    mac2_coverage,
    mac_coverage,
    signature2_coverage,
    signature_coverage,
)
from hipgw.wire.packet import HEADER_LENGTH, HipPacket, PacketType, set_checksum
from hipgw.wire.parameters import (
    DhGroupList,
    DiffieHellman,
    Encrypted,
    EspInfo,
    EspTransform,
    HipCipher,
    HipMac,
    HipMac2,
    HipSignature,
    HipSignature2,
    HitSuiteList,
    HostId,
    Puzzle,
    R1Counter,
    Solution,
    TransportFormatList,
)

INITIATOR, RESPONDER = IPv6Address("2001:21::1"), IPv6Address("2001:21::2")
PSEUDO = {
    4: PseudoHeader(ip_address("192.0.2.1"), ip_address("192.0.2.2")),
    6: PseudoHeader(ip_address("2001:db8::1"), ip_address("2001:db8::2")),
}
HOST_ID = HostId(5, b"\x03\x01\x00\x01" + bytes(range(256)))
"""RSA-2048."""
P384_VALUE = bytes(range(96))

PACKETS = {
    "I1": HipPacket(PacketType.I1, INITIATOR, RESPONDER, (DhGroupList((8, 7, 4, 3)),)),
    "R1": HipPacket(
        PacketType.R1,
        RESPONDER,
        INITIATOR,
        (
            R1Counter(7),
            Puzzle(10, 37, b"ab", bytes(range(32))),
            DhGroupList((8, 7, 4, 3)),
            DiffieHellman(8, P384_VALUE),
            HipCipher((4, 2)),
            HOST_ID,
            HitSuiteList((1, 2, 5)),
            TransportFormatList((4095,)),
            EspTransform((13, 65281, 9, 8)),
            HipSignature2(5, bytes(256)),
        ),
    ),
    "I2": HipPacket(
        PacketType.I2,
        INITIATOR,
        RESPONDER,
        (
            EspInfo(128, 0, 0x12345678),
            R1Counter(7),
            Solution(10, b"ab", bytes(range(32)), bytes(range(32))),
            DiffieHellman(8, P384_VALUE),
            HipCipher((4,)),
            Encrypted(bytes(16 + 288)),
            TransportFormatList((4095,)),
            EspTransform((13,)),
            HipMac(bytes(32)),
            HipSignature(5, bytes(256)),
        ),
    ),
    "R2": HipPacket(
        PacketType.R2,
        RESPONDER,
        INITIATOR,
        (EspInfo(128, 0, 0x9ABCDEF0), HipMac2(bytes(32)), HipSignature(5, bytes(256))),
    ),
}

COVERAGES = {
    "HIP_SIGNATURE_2 of R1": lambda: signature2_coverage(R1),
    "HIP_MAC of I2": lambda: mac_coverage(I2),
    "HIP_SIGNATURE of I2": lambda: signature_coverage(I2),
    "HIP_MAC_2 of R2": lambda: mac2_coverage(R2, HOST_ID_TLV),
}
R1, I2, R2 = (PACKETS[name].emit() for name in ("R1", "I2", "R2"))
HOST_ID_TLV = _wire.build_tlvs([(HostId.TYPE, HOST_ID.emit())])
LOOPS = {"Cython": _wire, "Python": pure}

every_packet = pytest.mark.parametrize("name", PACKETS)
every_loop = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)


@every_packet
def test_parse(benchmark: BenchmarkFixture, name: str) -> None:
    packet = PACKETS[name]
    assert benchmark(HipPacket.parse, packet.emit(PSEUDO[6]), PSEUDO[6]) == packet


@every_packet
def test_emit(benchmark: BenchmarkFixture, name: str) -> None:
    packet = PACKETS[name]
    assert HipPacket.parse(benchmark(packet.emit, PSEUDO[6]), PSEUDO[6]) == packet


@pytest.mark.parametrize("name", COVERAGES)
def test_coverage(benchmark: BenchmarkFixture, name: str) -> None:
    covered = benchmark(COVERAGES[name])
    assert covered[1] == len(covered) // 8 - 1


@pytest.mark.parametrize("version", PSEUDO)
def test_set_checksum(benchmark: BenchmarkFixture, version: int) -> None:
    """What sending the same packet over another path costs."""
    assert benchmark(set_checksum, R1, PSEUDO[version]) == PACKETS["R1"].emit(PSEUDO[version])


@every_loop
def test_checksum_of_r1(benchmark: BenchmarkFixture, loop: ModuleType) -> None:
    ends = PSEUDO[6].source.packed, PSEUDO[6].destination.packed
    packet = PACKETS["R1"].emit(PSEUDO[6])
    assert benchmark(loop.pseudo_header_checksum, packet, *ends, 139) == 0


@every_loop
def test_scan_of_i2(benchmark: BenchmarkFixture, loop: ModuleType) -> None:
    found, fault, _ = benchmark(loop.scan_tlvs, I2, HEADER_LENGTH, len(I2), True)
    assert fault == pure.ScanFault.NONE
    assert len(found) == len(PACKETS["I2"].parameters)


@every_loop
def test_build_of_i2(benchmark: BenchmarkFixture, loop: ModuleType) -> None:
    parameters = [(one.type, one.emit()) for one in PACKETS["I2"].parameters]
    assert benchmark(loop.build_tlvs, parameters) == I2[HEADER_LENGTH:]
