"""Engines that speak ESP as other stacks do, between namespaces with real devices."""

from collections.abc import Iterator

import pytest

from hipgw.identity.esp_format import EspFormat, FrameFormat
from hipgw.lab import Lab
from system.engines import copy, pair_of

pytestmark = pytest.mark.system

PATHS = [(4, True), (4, False), (6, True), (6, False)]
"""Family of the underlay, and whether ESP is in UDP."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("formats") as lab:
        yield lab


@pytest.mark.parametrize("frames", [FrameFormat.ETHERIP, FrameFormat.ETHERNET])
@pytest.mark.parametrize("vnet_hdr", [True, False], ids=["offload", "plain"])
def test_full_frames_leave_in_fragments_of_ip(
    lab: Lab, frames: FrameFormat, vnet_hdr: bool
) -> None:
    """Also where all else leaves with "don't fragment", as it does unless told otherwise."""
    form = EspFormat(esn=False, frames=frames)
    with pair_of(lab, vnet_hdr=vnet_hdr, mss_clamp=False, dont_fragment=True) as pair:
        host, peer = pair.one.host, pair.two.host
        for family, udp in PATHS:
            pair.connect(1, family, udp, form)
            for target in (pair.two.lan, "fd09::2"):
                full = host.ping(target, size=1450, dont_fragment=True, count=3)
                assert full.received == 3, (family, udp, target)
                copy(host, peer, target, 1_000_000)
        for gateway in (pair.one, pair.two):
            assert gateway.counter("fragments_sent") == 0
            assert gateway.dataplane.statistics().drops["send_failed"] == 0


@pytest.mark.parametrize("suite", [1, 2, 3, 4, 5, 6])
def test_suites_of_hipv1_carry_bulk(lab: Lab, suite: int) -> None:
    form = EspFormat(esn=False, frames=FrameFormat.ETHERNET)
    with pair_of(lab) as pair:
        pair.connect(suite, 4, True, form)
        copy(pair.one.host, pair.two.host, pair.two.lan, 5_000_000)
        copy(pair.one.host, pair.two.host, str(pair.two.hit), 5_000_000)
        assert pair.two.dataplane.statistics().drops["auth_failed"] == 0
