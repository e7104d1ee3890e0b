"""How frames to and from each peer lie in ESP, by the implementation that it runs."""

from hipgw.config.schema import Config, PeerConfig
from hipgw.identity.esp_format import FrameFormat
from hipgw.protocol.compat import PROFILES
from hipgw.protocol.esp_formats import frame_format


def frame_formats(config: Config, peer: PeerConfig) -> frozenset[FrameFormat]:
    """The formats that a peer may have, in the versions of HIP that it is talked to in."""
    return frozenset(
        frame_format(PROFILES[config.compat_of(peer, version).value])
        for version in config.versions_of(peer)
    )
