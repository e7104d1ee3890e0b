"""The fixed header, the order of parameters, the checksum, and what errors tell."""

from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.wire import pure, tlv
from hipgw.wire.checksum import PseudoHeader, checksum16, hip_checksum, pseudo_header_checksum
from hipgw.wire.coverage import (
    mac2_coverage,
    mac_coverage,
    rvs_hmac_coverage,
    signature2_coverage,
    signature_coverage,
)
from hipgw.wire.errors import (
    ChecksumError,
    EmitError,
    MalformedError,
    PacketFormatError,
    TruncatedError,
    UnknownCriticalParameterError,
    UnknownPacketTypeError,
    UnsupportedVersionError,
)
from hipgw.wire.packet import HipPacket, PacketType, set_checksum
from hipgw.wire.parameters import (
    DhGroupList,
    EspInfo,
    HipMac,
    HipMac2,
    HipSignature,
    HipSignature2,
    Puzzle,
    RvsHmac,
    Seq,
    UnknownParameter,
    ViaRvs,
)

ONE, TWO = IPv6Address("2001:20::1"), IPv6Address("2001:20::2")
I1 = HipPacket(PacketType.I1, ONE, TWO, (DhGroupList((3, 4, 8)),))


@pytest.mark.parametrize(
    ("source", "destination", "checksum"),
    [
        ("2001:db8::1", "2001:db8::2", 0x1A5E),  # RFC 7401 appendix C.1
        ("192.0.2.1", "192.0.2.2", 0xF1CE),  # appendix C.2
    ],
)
def test_checksums_of_the_rfc(source: str, destination: str, checksum: int) -> None:
    pseudo = PseudoHeader(ip_address(source), ip_address(destination))
    packet = I1.emit(pseudo)
    assert int.from_bytes(packet[4:6], "big") == checksum
    assert packet[:4] == bytes.fromhex("3b050121")
    assert packet[40:] == bytes.fromhex("01ff000303040800")
    assert hip_checksum(packet, pseudo) == 0
    assert HipPacket.parse(packet, pseudo) == I1
    assert set_checksum(I1.emit(), pseudo) == packet


def test_tcp_checksum_of_the_rfc() -> None:
    """RFC 7401 appendix C.3: a SYN under HITs."""
    segment = bytes.fromhex("ffdc001600000001000000005002ffff00000000")
    assert pseudo_header_checksum(segment, ONE.packed, TWO.packed, 6) == 0x6FAA


def test_inside_udp_the_checksum_is_zero() -> None:
    assert I1.emit()[4:6] == bytes(2)


def test_addresses_of_two_families() -> None:
    with pytest.raises(ValueError, match="IP versions"):
        PseudoHeader(ip_address("192.0.2.1"), ip_address("::1"))


def test_a_wrong_checksum() -> None:
    pseudo = PseudoHeader(ip_address("192.0.2.1"), ip_address("192.0.2.2"))
    elsewhere = PseudoHeader(ip_address("192.0.2.1"), ip_address("192.0.2.3"))
    with pytest.raises(ChecksumError):
        HipPacket.parse(I1.emit(pseudo), elsewhere)


def test_fixed_bits_are_sent_and_not_looked_at() -> None:
    packet = bytearray(I1.emit())
    packet[2] |= 0x80
    packet[3] = 0x2E
    assert HipPacket.parse(bytes(packet)) == I1


@pytest.mark.parametrize(
    ("offset", "octet", "error"),
    [
        (3, 0x11, UnsupportedVersionError),
        (2, 9, UnknownPacketTypeError),
        (1, 6, TruncatedError),
        (1, 0, MalformedError),
        (40, 0x7F, PacketFormatError),
        (43, 200, TruncatedError),
    ],
)
def test_headers_that_do_not_hold(offset: int, octet: int, error: type[PacketFormatError]) -> None:
    packet = bytearray(I1.emit())
    packet[offset] = octet
    with pytest.raises(error) as caught:
        HipPacket.parse(bytes(packet))
    assert f"octet {caught.value.offset}" in str(caught.value)


def test_what_follows_the_packet_is_ignored() -> None:
    """RFC 7401 §5.1: the payload of a next header that is not implemented."""
    assert HipPacket.parse(I1.emit() + b"payload") == I1
    assert HipPacket.parse(I1.emit() + b"payload").raw == I1.emit()


def test_a_header_that_is_cut_off() -> None:
    with pytest.raises(TruncatedError):
        HipPacket.parse(I1.emit()[:39])


def test_unknown_parameters_by_their_lowest_bit() -> None:
    kept = HipPacket(PacketType.I1, ONE, TWO, (UnknownParameter(40000, b"kept"),))
    assert HipPacket.parse(kept.emit()).parameters == (UnknownParameter(40000, b"kept"),)
    critical = HipPacket(PacketType.I1, ONE, TWO, (UnknownParameter(40001, b""),)).emit()
    with pytest.raises(UnknownCriticalParameterError) as caught:
        HipPacket.parse(critical)
    assert caught.value.type == 40001
    assert caught.value.packet == "I1"


def test_order_is_a_rule_that_can_be_waived() -> None:
    wrong = I1.emit()[:40] + tlv.build([(Seq.TYPE, bytes(4)), (EspInfo.TYPE, bytes(12))])
    packet = wrong[:1] + bytes([len(wrong) // 8 - 1]) + wrong[2:]
    with pytest.raises(MalformedError, match="ascend"):
        HipPacket.parse(packet)
    assert len(HipPacket.parse(packet, strict_order=False).parameters) == 2


def test_an_error_names_packet_parameter_and_place() -> None:
    packet = I1.emit()[:40] + tlv.build([(EspInfo.TYPE, bytes(10))])
    packet = packet[:1] + bytes([len(packet) // 8 - 1]) + packet[2:]
    with pytest.raises(TruncatedError) as caught:
        HipPacket.parse(packet)
    assert str(caught.value).startswith("I1 EspInfo, octet 44")


def test_a_packet_longer_than_its_length_field_can_say() -> None:
    with pytest.raises(EmitError, match="2048"):
        HipPacket(PacketType.R1, ONE, TWO, (UnknownParameter(40000, bytes(2010)),)).emit()


@given(noise=st.binary(max_size=300))
def test_no_octets_do_harm(noise: bytes) -> None:
    for data in (noise, I1.emit()[:40] + noise):
        try:
            HipPacket.parse(data)
        except PacketFormatError as error:
            assert str(error)


# -- what MACs and signatures cover ---------------------------------------------------------------

FULL = HipPacket(
    PacketType.R1,
    ONE,
    TWO,
    (
        EspInfo(1, 2, 3),
        Puzzle(10, 37, b"op", bytes(range(32))),
        HipMac(b"m" * 32),
        HipMac2(b"n" * 32),
        HipSignature2(5, b"t" * 64),
        HipSignature(5, b"s" * 64),
        RvsHmac(b"r" * 32),
        ViaRvs((ip_address("192.0.2.1"),)),
    ),
)
RAW = FULL.emit(PseudoHeader(ip_address("192.0.2.1"), ip_address("192.0.2.2")))


def _types(covered: bytes) -> list[int]:
    return [entry.type for entry in tlv.scan(covered, 40, strict_order=False)]


def test_coverage_ends_before_the_parameter_itself() -> None:
    head = [EspInfo.TYPE, Puzzle.TYPE]
    assert _types(mac_coverage(RAW)) == head
    assert _types(signature2_coverage(RAW)) == [*head, HipMac.TYPE, HipMac2.TYPE]
    expected = [*head, HipMac.TYPE, HipMac2.TYPE, HipSignature2.TYPE]
    assert _types(signature_coverage(RAW)) == expected
    assert _types(rvs_hmac_coverage(RAW)) == [*expected, HipSignature.TYPE]
    host_id = tlv.build([(705, b"identity")])
    covered = mac2_coverage(RAW, host_id)
    assert _types(covered) == [*head, HipMac.TYPE, 705]
    for octets in (covered, mac_coverage(RAW), signature_coverage(RAW), signature2_coverage(RAW)):
        assert octets[1] == len(octets) // 8 - 1
        assert octets[4:6] == bytes(2)


def test_r1_is_signed_without_what_differs() -> None:
    covered = signature2_coverage(RAW)
    assert covered[24:40] == bytes(16)
    puzzle = next(e for e in tlv.scan(covered, 40) if e.type == Puzzle.TYPE)
    contents = covered[puzzle.offset : puzzle.offset + puzzle.length]
    assert contents == bytes([10, 37]) + bytes(34)
    assert signature_coverage(RAW)[24:40] == TWO.packed


# -- the compiled loops against their twins -------------------------------------------------------


@given(data=st.binary(max_size=300), initial=st.integers(0, 2**40))
def test_checksum_twins(data: bytes, initial: int) -> None:
    assert checksum16(data, initial) == pure.checksum16(data, initial)


@given(
    data=st.binary(max_size=300),
    ends=st.sampled_from([4, 16]).flatmap(
        lambda n: st.tuples(*[st.binary(min_size=n, max_size=n)] * 2)
    ),
    protocol=st.integers(0, 255),
)
def test_pseudo_header_twins(data: bytes, ends: tuple[bytes, bytes], protocol: int) -> None:
    expected = pure.pseudo_header_checksum(data, *ends, protocol)
    assert pseudo_header_checksum(data, *ends, protocol) == expected


pieces = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8)


@given(parameters=pieces, noise=st.binary(max_size=20), strict=st.booleans())
def test_scan_and_build_twins(
    parameters: list[tuple[int, bytes]], noise: bytes, strict: bool
) -> None:
    from hipgw import _wire

    built = pure.build_tlvs(parameters)
    assert _wire.build_tlvs(parameters) == built
    for data in (built, built + noise, noise):
        expected = pure.scan_tlvs(data, 0, len(data), strict)
        assert _wire.scan_tlvs(data, 0, len(data), strict) == expected
    found, fault, _ = pure.scan_tlvs(built, 0, len(built), False)
    assert fault == 0
    assert [(kind, built[at : at + n]) for kind, at, n in found] == parameters


@pytest.mark.parametrize("length", range(20))
def test_padding(length: int) -> None:
    assert len(tlv.build([(1, bytes(length))])) == tlv.padded_length(length)
    assert tlv.padded_length(length) % 8 == 0
    assert 4 + length <= tlv.padded_length(length) < 4 + length + 8
