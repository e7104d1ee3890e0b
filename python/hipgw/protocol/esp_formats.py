"""How the ESP packets to and from a peer look, by what was agreed and by what it deviates in."""

from hipgw.identity.esp_format import EspFormat, FrameFormat
from hipgw.protocol.compat import Compat
from hipgw.protocol.versions.base import Version


def esp_format(version: Version, compat: Compat) -> EspFormat:
    """The format of both security associations with a peer.

    ESP_TRANSFORM of HIPv1 has a bit that asks for extended sequence numbers (RFC 5202 §5.1.2); no
    stack is known to set it, and hipgw neither does, since the two ends could differ in it.
    """
    return EspFormat(
        esn=version.number > 1 and compat.esp_esn,
        icv_length=compat.esp_icv_octets or None,
        null_iv=compat.esp_null_iv,
        begins_by_lsi=compat.begins_by_lsi,
        frames=frame_format(compat),
    )


def frame_format(compat: Compat) -> FrameFormat:
    """How frames lie in ESP with a peer that deviates so."""
    if compat.bare_frames:
        return FrameFormat.ETHERNET
    return FrameFormat.ETHERIP if compat.etherip_whole else FrameFormat.ETHERIP_FRAGMENTS
