"""An independent dissector reads what hipgw sends."""

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hipgw.lab import Lab
from hipgw.lab.topologies import Family, TransportName, endbox_pair, host_pair

pytestmark = pytest.mark.system

HOST_ID_COMPLAINTS = ("Trailing stray characters", "Unknown algorithm type")
"""Wireshark reads HOST_ID as HIPv1 has it, so it stumbles over every one of HIPv2."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("tshark") as lab:
        yield lab


def program() -> str:
    found = shutil.which("tshark")
    assert found, "tshark is missing: tools/setup.sh test installs it"
    return found


@functools.cache
def guessing_protocols() -> list[str]:
    """Protocols that tshark recognizes in UDP by their look: ciphertext looks like any of them."""
    done = subprocess.run(
        [program(), "-G", "heuristic-decodes"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    protocols = sorted({row[1] for row in rows if row[0] == "udp"})
    assert protocols, done.stdout
    return protocols


def tshark(file: Path, *options: str) -> list[str]:
    command = [program(), "-n", "-r", str(file), "-o", "ip.check_checksum:TRUE", *options]
    # HIP in UDP is at a port that tshark knows; ESP in UDP is not decoded below its SPI.
    for protocol in guessing_protocols():
        command += ["--disable-protocol", protocol]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


@pytest.mark.parametrize(("family", "transport"), [(4, "udp"), (4, "raw"), (6, "udp"), (6, "raw")])
@pytest.mark.parametrize("kind", ["rsa2048", "ecdsa-p384"])
def test_nothing_is_malformed(
    lab: Lab, family: Family, transport: TransportName, kind: str
) -> None:
    network = endbox_pair(lab, family=family, transport=transport, key_kind=kind)
    capture = network.sites[0].gateway.capture("wan0")
    network.start()
    one, two = network.sites
    assert one.lan.ping(two.lan4, count=3, size=1472).received == 3
    one.daemon.request("ping", peer=two.gateway.name, count=2, interval_s=0.05)
    one.daemon.stop()
    capture.stop()
    assert tshark(capture.file, "-Y", "_ws.malformed") == []
    seen = tshark(capture.file, "-Y", "hip", "-T", "fields", "-e", "hip.packet_type")
    assert {1, 2, 3, 4, 16, 18, 19} <= {int(kind) for kind in seen}
    wrong = tshark(capture.file, "-Y", "hip.checksum.status == 0 || ip.checksum.status == 0")
    assert wrong == []
    notes = tshark(
        capture.file, "-Y", "hip && _ws.expert", "-T", "fields", "-e", "_ws.expert.message"
    )
    for note in notes:
        for message in note.split(","):
            assert any(known in message for known in HOST_ID_COMPLAINTS), message


def test_no_ip_fragments_on_the_underlay(lab: Lab) -> None:
    """Frames are fragmented inside ESP, so the untrusted network sees whole packets only."""
    network = host_pair(lab)
    network.start()
    one, two = network.sites
    capture = one.gateway.capture("wan0")
    assert one.gateway.ping(str(two.daemon.hit), count=3, size=1200).received == 3
    capture.stop()
    assert tshark(capture.file, "-Y", "ip.flags.mf == 1 || ip.frag_offset > 0") == []
