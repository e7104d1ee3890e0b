"""The names of algorithms and modes in hipgw.toml, with the numbers that travel on the wire."""

from enum import StrEnum
from typing import Self


class _NumberedName(StrEnum):
    """A name as it stands in the file, with the id of its registry as `wire_id`."""

    wire_id: int

    def __new__(cls, name: str, wire_id: int) -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.wire_id = wire_id
        return member


class DhGroupName(_NumberedName):
    """Diffie-Hellman groups (RFC 7401 §5.2.7)."""

    P_256 = ("P-256", 7)
    P_384 = ("P-384", 8)
    P_521 = ("P-521", 9)
    MODP_1536 = ("MODP-1536", 3)
    MODP_2048 = ("MODP-2048", 11)
    MODP_3072 = ("MODP-3072", 4)


class HipCipherName(_NumberedName):
    """Ciphers of the ENCRYPTED parameter (RFC 7401 §5.2.8)."""

    AES_256_CBC = ("AES-256-CBC", 4)
    AES_128_CBC = ("AES-128-CBC", 2)
    NULL = ("NULL", 1)


class EspSuiteName(_NumberedName):
    """ESP suites (RFC 7402 §5.1.2); ChaCha20-Poly1305 has a private id between hipgw peers."""

    AES_128_GCM_16 = ("AES-128-GCM-16", 13)
    AES_128_GCM_8 = ("AES-128-GCM-8", 12)
    AES_128_CCM_16 = ("AES-128-CCM-16", 11)
    AES_128_CCM_8 = ("AES-128-CCM-8", 10)
    CHACHA20_POLY1305 = ("ChaCha20-Poly1305", 65281)
    AES_256_CBC_SHA256 = ("AES-256-CBC-SHA256", 9)
    AES_128_CBC_SHA256 = ("AES-128-CBC-SHA256", 8)
    NULL_SHA256 = ("NULL-SHA256", 7)


class HipVersionName(_NumberedName):
    """Versions of HIP (RFC 7401, RFC 5201)."""

    V2 = ("v2", 2)
    V1 = ("v1", 1)


class V1SuiteName(_NumberedName):
    """Suites of HIPv1, for its own packets (RFC 5201 §5.2.7) and for ESP (RFC 5202 §5.1.2)."""

    AES_128_CBC_SHA1 = ("AES-128-CBC-SHA1", 1)
    TRIPLE_DES_SHA1 = ("3DES-SHA1", 2)
    TRIPLE_DES_MD5 = ("3DES-MD5", 3)
    BLOWFISH_SHA1 = ("BLOWFISH-SHA1", 4)
    NULL_SHA1 = ("NULL-SHA1", 5)
    NULL_MD5 = ("NULL-MD5", 6)


class V1DhGroupName(_NumberedName):
    """Diffie-Hellman groups of HIPv1 (RFC 5201 §5.2.6)."""

    MODP_384 = ("MODP-384", 1)
    MODP_768 = ("MODP-768", 2)
    MODP_1536 = ("MODP-1536", 3)
    MODP_3072 = ("MODP-3072", 4)
    MODP_6144 = ("MODP-6144", 5)
    MODP_8192 = ("MODP-8192", 6)


class CompatName(StrEnum):
    """Implementations whose deviations from the RFCs are gone along with."""

    NONE = "none"
    OPENHIP = "openhip"
    CUTEHIP = "cutehip"
    HIP_VPLS = "hip-vpls"

    @property
    def version(self) -> HipVersionName | None:
        """The version of HIP that the implementation speaks; None for `none`, which is any."""
        if self is CompatName.NONE:
            return None
        return HipVersionName.V1 if self is CompatName.OPENHIP else HipVersionName.V2


class EspBackend(StrEnum):
    """Who seals and opens the packets."""

    ENGINE = "engine"
    KERNEL = "kernel"


class Accept(StrEnum):
    """Whose base exchanges are answered."""

    PEERS = "peers"
    ANY = "any"


class NatModeName(_NumberedName):
    """NAT traversal modes (RFC 9028 §5.4)."""

    UDP_ENCAPSULATION = ("UDP-ENCAPSULATION", 1)
    ICE_HIP_UDP = ("ICE-HIP-UDP", 3)
    ICE_STUN_UDP = ("ICE-STUN-UDP", 2)


class RelayServiceName(_NumberedName):
    """What a relay carries (RFC 9028 §5.9)."""

    CONTROL = ("control", 2)
    DATA = ("data", 3)


class LogFormat(StrEnum):
    """How log records are written."""

    AUTO = "auto"
    HUMAN = "human"
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe records that are written."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


class Announce(StrEnum):
    """Which own addresses peers are told."""

    ALL = "all"
    CURRENT = "current"


class EndboxMode(StrEnum):
    """How an endbox knows where the hosts of its LAN are."""

    LEARNING = "learning"
    STATIC = "static"


class CarrierOutside(StrEnum):
    """What carries packets of a mobile router's clients outside."""

    SAME = "same"
    UDP = "udp"
    PLAIN = "plain"


class RouterPath(StrEnum):
    """How data passes a mobile router."""

    AUTO = "auto"
    NFQUEUE = "nfqueue"


class ElectionExtent(StrEnum):
    """What an endbox leaves to another one on the same LAN that was elected."""

    MULTICAST = "multicast"
    EVERYTHING = "everything"


class ResolverIntegration(StrEnum):
    """How the machine's programs get to ask for names under `.hip`."""

    AUTO = "auto"
    RESOLVED = "systemd-resolved"
    RESOLV_CONF = "resolv.conf"
    OFF = "off"


class DnssecName(StrEnum):
    """What is thought of answers that a name server has validated, or has not."""

    AUTO = "auto"
    TRUST = "trust"
    REQUIRE = "require"
    IGNORE = "ignore"


class SourceName(StrEnum):
    """Where peers are looked up."""

    CONFIGURED = "configured"
    FLEET = "fleet"
    DNS = "dns"
    DHT = "dht"
    LAST_KNOWN = "last-known"


class DhtStoreName(StrEnum):
    """Where a DHT gateway keeps records."""

    EMBEDDED = "embedded"
    OPENDHT = "opendht"


class UnsequencedName(StrEnum):
    """What a DHT gateway does with records whose Update ID stays 0."""

    REFUSE = "refuse"
    NEW = "new"
    ANY = "any"
