"""All that OpenHIP was recorded sending holds by hipgw's reading of HIP version 1."""

from collections import Counter
from pathlib import Path

import pytest

from hipgw.identity.dh import DhGroup
from hipgw.identity.hip_suites import HIP_SUITES
from hipgw.wire.errors import (
    ChecksumError,
    MalformedError,
    PacketFormatError,
    UnsupportedVersionError,
)
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import DiffieHellmanV1
from interop.openhip import CAPTURES, Packet, case_of, hip_packets, identities, nodes
from interop.openhip_checks import CHECKS, OUT_OF_ORDER
from interop.openhip_table import FILE, table

WITHOUT_HIP = {"dht", "dns"}
"""Recorded for the HIP packets and records inside other protocols."""
every_capture = pytest.mark.parametrize("capture", CAPTURES, ids=lambda file: file.stem)


@every_capture
def test_what_was_recorded_holds(capture: Path) -> None:
    for check in CHECKS.values():
        check(capture)


def test_nothing_is_left_out() -> None:
    assert FILE.read_text() == table()


def test_the_recordings_are_complete() -> None:
    packets = [packet for capture in CAPTURES for packet in hip_packets(capture)]
    counted = Counter(packet.hip.packet_type for packet in packets)
    assert set(counted) == set(PacketType) - {PacketType.HDRR, PacketType.DATA}
    assert counted[PacketType.I2] == 38
    assert counted[PacketType.R2] == 37
    groups = {value.group for packet in packets for value in packet.hip.all(DiffieHellmanV1)}
    assert groups == {1, 2, 3, 4, 6}
    assert groups < set(DhGroup)
    printed = {one.hip_suite for capture in CAPTURES for one in associations(capture)}
    assert printed - {0} == set(HIP_SUITES)
    for capture in CAPTURES:
        # Captures of the LANs behind endboxes have none.
        lan = capture.stem.endswith(("-l1", "-l2"))
        assert bool(hip_packets(capture)) is not (lan or capture.stem in WITHOUT_HIP)


def associations(capture: Path):  # type: ignore[no-untyped-def]
    return [one for node in nodes(case_of(capture)) for one in node.associations]


@every_capture
def test_keys_in_the_files_are_those_of_the_hosts(capture: Path) -> None:
    case = case_of(capture)
    assert set(identities(case)) == {node.hit for node in nodes(case)}
    for node in nodes(case):
        assert identities(case)[node.hit].public.describe() == node.key


@every_capture
def test_packets_of_v1_are_read_only_where_they_are_asked_for(capture: Path) -> None:
    for packet in hip_packets(capture):
        with pytest.raises(UnsupportedVersionError):
            HipPacket.parse(packet.data, packet.pseudo, strict_order=False)


@pytest.mark.parametrize("case", OUT_OF_ORDER)
def test_packets_out_of_order_are_read_only_where_it_is_asked_for(case: str) -> None:
    (capture,) = (file for file in CAPTURES if file.stem == case)
    refused = 0
    for packet in hip_packets(capture):
        try:
            HipPacket.parse(packet.data, packet.pseudo, versions={1})
        except MalformedError:
            refused += 1
    assert refused == OUT_OF_ORDER[case]


def test_a_checksum_holds_for_its_addresses_only() -> None:
    for capture in CAPTURES:
        for packet in hip_packets(capture):
            if packet.ports is None:
                pseudo = type(packet.pseudo)(packet.source, packet.source)
                with pytest.raises(ChecksumError):
                    HipPacket.parse(packet.data, pseudo, strict_order=False, versions={1})


def one_of_each() -> list[Packet]:
    """For each packet type, the one with the most kinds of parameters."""
    found: dict[PacketType, Packet] = {}
    for capture in CAPTURES:
        for packet in hip_packets(capture):
            kind = packet.hip.packet_type
            if kind not in found or len(packet.hip.parameters) > len(found[kind].hip.parameters):
                found[kind] = packet
    return list(found.values())


@pytest.mark.parametrize("packet", one_of_each(), ids=lambda packet: packet.hip.packet_type.name)
def test_packets_with_damage_are_read_or_refused(packet: Packet) -> None:
    """Cut off everywhere, and with every octet turned over."""
    for end in range(len(packet.data)):
        with pytest.raises(PacketFormatError):
            HipPacket.parse(packet.data[:end], strict_order=False, versions={1})
    for at in range(len(packet.data)):
        damaged = bytearray(packet.data)
        damaged[at] ^= 0xFF
        try:
            HipPacket.parse(bytes(damaged), strict_order=False, versions={1})
        except PacketFormatError as error:
            assert 0 <= error.offset <= len(packet.data)
