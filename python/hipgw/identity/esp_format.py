"""What of an ESP packet may differ beside its suite (RFC 4303, RFC 5202 §3, RFC 7402 §3).

The default is what the RFCs say; everything else is for peers that do it otherwise.
"""

from dataclasses import dataclass
from enum import Enum

from hipgw.errors import IdentityError
from hipgw.identity.esp_suites import EspSuite


class FrameFormat(Enum):
    """How Ethernet frames lie in ESP; host traffic (BEET) has no part in it."""

    ETHERIP_FRAGMENTS = "etherip-fragments"
    """EtherIP (RFC 3378), next header 97. What is longer than the path is cut inside ESP by IPv6
    fragment headers, next header 44. hipgw's own."""
    ETHERIP = "etherip"
    """EtherIP, next header 97, always whole: IP cuts what is too long. As hip-vpls does it."""
    ETHERNET = "ethernet"
    """The frame alone, next header 0, always whole: IP cuts what is too long. OpenHIP's."""


_SEQUENCE_LIMITS = {False: (1 << 32) - 1, True: (1 << 64) - 1}


@dataclass(frozen=True, slots=True)
class EspFormat:
    """How the packets of a security association look, apart from its suite.

    Both directions of an association have the same.
    """

    esn: bool = True
    """64-bit sequence numbers (RFC 7402 §3.3.6, and RFC 5202 §3.3.6 alike). Without, they have 32
    bits, none of which comes again, and the ICV covers no more than what travels."""
    icv_length: int | None = None
    """Octets of the ICV; None for those of the suite (see `icv_octets`)."""
    null_iv: bool = False
    """Sixteen octets without meaning in front of the payload, if the suite has no cipher."""
    alignment: int | None = None
    """What payload, padding and trailer together are a multiple of: a power of two up to 16; None
    for what the suite asks for (RFC 4303 §2.4)."""
    frames: FrameFormat = FrameFormat.ETHERIP_FRAGMENTS
    begins_by_lsi: bool = False
    """Host traffic only: TCP and UDP of a flow that the peer began is for an LSI rather than a HIT,
    where nothing in the packet tells."""
    replay: bool = True
    """Whether each sequence number is taken once only. Not for several senders with one key, whose
    numbers are their own; needs `esn` to be False, as nothing tells the high half then."""

    @property
    def last_sequence(self) -> int:
        """The last sequence number that there is: rekey long before it."""
        return _SEQUENCE_LIMITS[self.esn]

    def icv_octets(self, suite: EspSuite) -> int:
        """Octets of the ICV in this format; IdentityError if the suite's has not so many.

        A MAC of the older kind (suites 1 to 9) may be sent whole or cut to 12 octets or more
        (RFC 2404 §2.1, RFC 4868 §2.1.1); that of an AEAD suite is what it is.
        """
        length = self.icv_length
        if length is None or length == suite.icv_length:
            return suite.icv_length
        if not _SHORTEST_ICV <= length <= suite.mac_length:
            raise IdentityError(f"{suite.name} has no ICV of {length} octets")
        return length

    def __post_init__(self) -> None:
        if self.esn and not self.replay:
            raise IdentityError("extended sequence numbers need a replay window")


_SHORTEST_ICV = 12

DEFAULT_ESP_FORMAT = EspFormat()
"""What the RFCs say."""
