"""pcap files are read as far as they are written."""

import struct
from pathlib import Path

import pytest

from hipgw.errors import LabError
from hipgw.lab import Frame, read_pcap


def pcap(magic: int, order: str = "<") -> bytes:
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    return header + struct.pack(f"{order}IIII", 7, 500_000, 3, 3) + b"abc"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "time"), [(0xA1B2C3D4, 7.5), (0xA1B23C4D, 7.0005)])
def test_both_orders_and_resolutions(tmp_path: Path, order: str, magic: int, time: float) -> None:
    file = tmp_path / "x.pcap"
    file.write_bytes(pcap(magic, order))
    assert list(read_pcap(file)) == [Frame(pytest.approx(time), b"abc")]


def test_any_beginning_of_a_file_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "x.pcap"
    whole = pcap(0xA1B2C3D4)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert list(read_pcap(file)) == []


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pcap"
    file.write_bytes(b"this is a letter to a friend")
    with pytest.raises(LabError, match=r"x\.pcap"):
        list(read_pcap(file))
