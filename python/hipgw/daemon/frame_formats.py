"""How frames to and from each peer lie in ESP, by the implementation that it runs."""

from hipgw.config.names import CompatName
from hipgw.config.schema import Config, PeerConfig
from hipgw.identity.esp_format import FrameFormat

_FORMATS = {
    CompatName.OPENHIP: FrameFormat.ETHERNET,
    CompatName.HIP_VPLS: FrameFormat.ETHERIP,
}


def frame_formats(config: Config, peer: PeerConfig) -> frozenset[FrameFormat]:
    """The formats that a peer may have, in the versions of HIP that it is talked to in."""
    versions = config.versions_of(peer)
    return frozenset(
        _FORMATS.get(config.compat_of(peer, version), FrameFormat.ETHERIP_FRAGMENTS)
        for version in versions
    )
