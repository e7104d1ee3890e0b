"""How frames to and from each peer lie in ESP, by the implementation that it runs."""

from hipgw.config.schema import Config, PeerConfig
from hipgw.identity.esp_format import FrameFormat
from hipgw.protocol.compat import PROFILES, Compat


def frame_format(compat: Compat) -> FrameFormat:
    """How frames lie in ESP with a peer that deviates so."""
    if compat.bare_frames:
        return FrameFormat.ETHERNET
    return FrameFormat.ETHERIP if compat.etherip_whole else FrameFormat.ETHERIP_FRAGMENTS


def frame_formats(config: Config, peer: PeerConfig) -> frozenset[FrameFormat]:
    """The formats that a peer may have, in the versions of HIP that it is talked to in."""
    return frozenset(
        frame_format(PROFILES[config.compat_of(peer, version).value])
        for version in config.versions_of(peer)
    )
