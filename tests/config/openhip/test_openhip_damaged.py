"""Damaged and hostile files of OpenHIP do no worse than an error that names the file."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.config.openhip.conf import default_of
from hipgw.config.openhip.directory import OpenHipFiles, translate_files
from hipgw.config.openhip.mapping import TAGS
from hipgw.errors import ConfigError

HERE = Path(__file__).parent
SAMPLES = HERE.parents[1] / "vectors" / "openhip"
SOURCES = (
    HERE / "full-hip.conf",
    SAMPLES / "vpls-raw.E1.known.xml",
    SAMPLES / "vpls-raw.E1.my.xml",
)
replacements = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"", b"<", b"</", b"<x>", b"0", b"-1", b"9" * 30, b"&x;", b"\xff", b"::"]),
    st.sampled_from([b"<!DOCTYPE a>", b"2001:20::1", b"256.1.1.1", b"yes", b"<id>1</id>"]),
)


@settings(max_examples=60, deadline=None)
@given(
    which=st.sampled_from(range(3)),
    place=st.floats(0, 1),
    length=st.integers(0, 40),
    replacement=replacements,
)
def test_no_damage_does_worse_than_an_error(
    tmp_path_factory: pytest.TempPathFactory,
    which: int,
    place: float,
    length: int,
    replacement: bytes,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    files = []
    for number, source in enumerate(SOURCES):
        data = source.read_bytes()
        if number == which:
            at = int(place * len(data))
            data = data[:at] + replacement + data[at + length :]
        file = folder / f"damaged-{number}.xml"
        file.write_bytes(data)
        files.append(file)
    try:
        result = translate_files(OpenHipFiles(*files))
    except ConfigError as error:
        assert str(folder) in str(error)
    else:
        assert result.table["identity"]


@pytest.mark.parametrize("tag", TAGS)
@given(value=st.integers(0, 2**31 - 1))
def test_every_number_maps_to_one_that_hipgw_takes(tag: str, value: int) -> None:
    if not isinstance(default_of(tag), int) or tag in ("disable_udp", "dh_group"):
        return
    mapped = TAGS[tag]
    forward = mapped.forward(value)
    assert (mapped.loss(value) == "") == (forward == value)
    assert mapped.backward(forward) == forward
