"""How peers that are not what the RFCs say differ from them: one table of named deviations.

A profile is chosen for a peer by the configuration alone, never by what the peer does. Everything
that deviates asks the profile; with `RFC` nothing does.

Evidence is given for each deviation: "recorded" in tests/vectors, "seen running" but not on those
packets, or only "read" in the program's source.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from ipaddress import IPv6Address

from hipgw.identity.dh import KijZeros
from hipgw.identity.puzzle import PuzzleBits
from hipgw.protocol.path import IPAddress
from hipgw.protocol.registration import ServiceType

_IPV4 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Compat:
    """The deviations of one kind of peer; the defaults are those of a peer that conforms."""

    name: str
    """As in hipgw.toml."""

    # -- base exchange -----------------------------------------------------------------------
    puzzle_bits: PuzzleBits = PuzzleBits.LOWEST
    """Which bits of the hash have to be zero. OpenHIP tests those of its octets 12 to 19 in the
    order of its own machine (recorded, in all 38 exchanges)."""
    puzzle_responder_first: bool = False
    """The puzzle hashes HIT-R before HIT-I: cutehip and hip-vpls (recorded, in all 19
    exchanges)."""
    r1_counter: bool = True
    """Whether R1 may carry R1_COUNTER: cutehip sends none (recorded), and crashes if it gets one
    (seen running)."""
    r1_counter_first: bool = False
    """I2 begins with R1_COUNTER, in front of ESP_INFO: hip-vpls (recorded), and it wants it so
    (read)."""
    disordered: bool = False
    """Parameters may come in any order: OpenHIP puts an echo's response behind its request
    (recorded), and hip-vpls as above."""
    plain_r1: bool = False
    """R1 and I2 have nothing beyond RFC 7401's own parameters and HIT suites, and DH_GROUP_LIST one
    group: cutehip and hip-vpls check MACs and signatures over what they know (read)."""
    clear_host_id: bool = False
    """HOST_ID in I2 is not encrypted: cutehip and hip-vpls (recorded), and they take no other
    (read)."""
    r2_signature_2: bool = False
    """R2 is signed by HIP_SIGNATURE_2 instead of HIP_SIGNATURE: cutehip and hip-vpls (recorded)."""
    swapped_exchange_macs: bool = False
    """The MACs of I2 and R2 are made by the other host's integrity key: cutehip (recorded)."""

    # -- keys --------------------------------------------------------------------------------
    kij_zeros: KijZeros = KijZeros.KEPT
    """Leading zeros of Kij do not go into KEYMAT: cutehip and hip-vpls (read, and seen running
    once). They are moved behind it: OpenHIP (read). No recorded Kij begins with one."""
    md5_mac_padded: bool = False
    """An HMAC-MD5 stands behind four octets of anything: OpenHIP (recorded)."""
    swapped_esp_keys: bool = False
    """Both directions' ESP keys are swapped: hip-vpls (recorded)."""

    keymat_octets: int = 0
    """Where KEYMAT ends, 0 for where the RFC has it: OpenHIP, 38 hashes (read; in the recording it
    begins a new one just where the rest would not do)."""

    # -- UPDATE ------------------------------------------------------------------------------
    bare_updates: bool = False
    """UPDATE is SEQ and ACK and nothing else: no rekeying, no locators, no echoes. cutehip and
    hip-vpls (recorded), which drop all others (read)."""
    short_ack: bool = False
    """ACK has the low octet of the Update ID alone: cutehip and hip-vpls (read)."""
    unsigned_echo_octets: int = 0
    """Addresses are checked by ECHO_REQUEST_UNSIGNED of this many octets instead of a signed one of
    any length: OpenHIP, 4 (recorded)."""
    moves_with_rekey: bool = False
    """An announced address comes with new SPIs: OpenHIP reuses sequence numbers otherwise (read;
    that its moves do is recorded)."""
    echo_acknowledges: bool = False
    """An ECHO_RESPONSE acknowledges the UPDATE that its request was in: OpenHIP that has gone over
    to IPv6 answers without ACK (recorded once)."""
    unnumbered_locators: bool = False
    """The first UPDATE may list addresses without SEQ: OpenHIP with several (recorded once)."""
    one_locator: bool = False
    """Only the preferred address is announced: OpenHIP answers to one that it has not verified
    (recorded), to the last of several and nowhere else (read), which may lead nowhere."""
    keepalive_notify: bool = True
    """Whether NATs are kept in mind by NOTIFY with NAT_KEEPALIVE (RFC 5770 §5.3): OpenHIP means
    loss of packets by that number (read)."""
    probes: bool = True
    """Whether padded UPDATEs may be sent to find the path's MTU: a precaution, with no evidence."""

    # -- registration ------------------------------------------------------------------------
    mobile_router_type: int = ServiceType.MOBILE_ROUTER
    """Registration type of the mobile router: OpenHIP's 3 (recorded), which is the data relay's."""
    lends_keymat: bool = False
    """A mobile router is given a key that both ends draw from KEYMAT behind the ESP keys; its
    tickets are in the clear and it numbers nothing: OpenHIP (recorded)."""
    registers_once: bool = False
    """No registration is renewed, so the longest lifetime is asked for: OpenHIP's registrar takes
    no second request (read); its client asks for the longest one (recorded)."""

    rendezvous_ports: bool = True
    """Whether a client of a rendezvous server is told ports: REG_FROM when it registers, RELAY_FROM
    beside FROM with what is relayed. OpenHIP knows FROM alone (recorded)."""

    # -- underlay ----------------------------------------------------------------------------
    udp_over_ipv6: bool = True
    """Whether there can be UDP between IPv6 addresses: OpenHIP has it for IPv4 alone (read, and
    seen running)."""

    # -- ESP ---------------------------------------------------------------------------------
    esp_icv_octets: int = 0
    """Of the ICV; 0 for those of the suite. cutehip and hip-vpls send all 32 (recorded)."""
    esp_esn: bool = True
    """Whether the high half of the sequence number is in the ICV (RFC 7402 §3.3.6); cutehip and
    hip-vpls know 32 bits (recorded). HIPv1 never has it."""
    esp_null_iv: bool = False
    """16 octets in front of a payload that is not encrypted: cutehip (recorded)."""
    etherip_whole: bool = False
    """Frames in EtherIP are never cut into fragments inside ESP: hip-vpls (recorded whole; read
    that there is nothing else)."""
    begins_by_lsi: bool = False
    """A TCP or UDP flow that the peer begins is by LSI, since nothing on the wire tells: OpenHIP
    takes all new flows so, and its users have LSIs in their configurations (seen running)."""
    bare_frames: bool = False
    """Frames stand in ESP without EtherIP, next header 0: OpenHIP (recorded)."""

    def shared_services(self, services: tuple[int, ...]) -> tuple[int, ...]:
        """Those of some registration types whose numbers mean nothing else to the peer."""
        own, theirs = ServiceType.MOBILE_ROUTER, self.mobile_router_type
        foreign = {theirs} if theirs == own else {theirs, ServiceType.MOBILE_NETWORK}
        return tuple(kind for kind in services if kind == own or kind not in foreign)

    def named(self, services: tuple[int, ...]) -> tuple[int, ...]:
        """The numbers that registration types have on the wire."""
        own, theirs = ServiceType.MOBILE_ROUTER, self.mobile_router_type
        return tuple(theirs if kind == own else kind for kind in services)

    def meant(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The registration types that numbers on the wire stand for."""
        own, theirs = ServiceType.MOBILE_ROUTER, self.mobile_router_type
        return tuple(own if number == theirs else number for number in numbers)

    def takes_udp(self, address: IPAddress) -> bool:
        """Whether HIP and ESP can go to an address inside UDP."""
        return self.udp_over_ipv6 or address.version == _IPV4

    def deviations(self) -> tuple[str, ...]:
        """Names of what deviates, for people."""
        return tuple(
            field.name
            for field in fields(self)
            if field.name != "name" and getattr(self, field.name) != getattr(RFC, field.name)
        )


RFC = Compat(name="none")
"""A peer that does what the RFCs say."""

OPENHIP = Compat(
    name="openhip",
    puzzle_bits=PuzzleBits.OPENHIP,
    disordered=True,
    kij_zeros=KijZeros.MOVED_BEHIND,
    md5_mac_padded=True,
    unsigned_echo_octets=4,
    moves_with_rekey=True,
    echo_acknowledges=True,
    unnumbered_locators=True,
    one_locator=True,
    keepalive_notify=False,
    keymat_octets=760,
    probes=False,
    mobile_router_type=3,
    lends_keymat=True,
    registers_once=True,
    rendezvous_ports=False,
    udp_over_ipv6=False,
    begins_by_lsi=True,
    bare_frames=True,
)

CUTEHIP = Compat(
    name="cutehip",
    puzzle_responder_first=True,
    r1_counter=False,
    plain_r1=True,
    clear_host_id=True,
    r2_signature_2=True,
    swapped_exchange_macs=True,
    kij_zeros=KijZeros.STRIPPED,
    bare_updates=True,
    short_ack=True,
    probes=False,
    esp_icv_octets=32,
    esp_esn=False,
    esp_null_iv=True,
)

HIP_VPLS = Compat(
    name="hip-vpls",
    puzzle_responder_first=True,
    r1_counter_first=True,
    disordered=True,
    plain_r1=True,
    clear_host_id=True,
    r2_signature_2=True,
    kij_zeros=KijZeros.STRIPPED,
    swapped_esp_keys=True,
    bare_updates=True,
    short_ack=True,
    probes=False,
    esp_icv_octets=32,
    esp_esn=False,
    etherip_whole=True,
)

PROFILES: dict[str, Compat] = {
    profile.name: profile for profile in (RFC, OPENHIP, CUTEHIP, HIP_VPLS)
}
"""By name."""

CompatOf = Callable[[IPv6Address], Compat]


def conforms(_peer_hit: IPv6Address) -> Compat:
    """The profile of a peer that nothing is known about."""
    return RFC
