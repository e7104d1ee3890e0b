"""What can be set on the HIP machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.identity.ciphers import DEFAULT_HIP_CIPHERS
from hipgw.identity.dh import DhGroup
from hipgw.identity.esp_suites import DEFAULT_ESP_SUITES
from hipgw.protocol.compat import CompatOf, conforms
from hipgw.protocol.nat.config import NatConfig, RegistrarConfig
from hipgw.protocol.path import IPAddress
from hipgw.protocol.registration import Wanted


def _anybody(_hit: IPv6Address) -> bool:
    return True


def _no_servers(_hit: IPv6Address) -> Sequence[tuple[IPAddress, int]]:
    return ()


def _nothing(_hit: IPv6Address) -> Wanted | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class V1Config:
    """What a `HipMachine` offers and takes in HIPv1, best first."""

    dh_groups: tuple[int, ...] = (DhGroup.MODP_1536, DhGroup.MODP_3072)
    """An R1 has public values of the first two (RFC 5201 §5.2.6)."""
    hip_suites: tuple[int, ...] = (1,)
    """Of HIP_TRANSFORM (RFC 5201 §5.2.7)."""
    esp_suites: tuple[int, ...] = (1,)
    """Of ESP_TRANSFORM (RFC 5202 §5.1.2)."""
    weak_keys: bool = False
    """Whether RSA keys of less than 1024 bits are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """Settings of a `HipMachine`; all times in seconds."""

    dh_groups: tuple[int, ...] = (
        DhGroup.P_384,
        DhGroup.P_256,
        DhGroup.MODP_3072,
        DhGroup.MODP_1536,
    )
    """Offered and accepted, best first (RFC 7401 §5.2.6)."""
    hip_ciphers: tuple[int, ...] = DEFAULT_HIP_CIPHERS
    esp_suites: tuple[int, ...] = DEFAULT_ESP_SUITES
    accept: Callable[[IPv6Address], bool] = _anybody
    """Whether base exchanges of this peer are answered."""
    opportunistic: bool = False
    """Whether an I1 without the receiver's HIT is sent and answered (RFC 7401 §4.1.8)."""
    encrypt_host_id: bool = True
    """Whether the own Host Identity is hidden in I2 (RFC 7401 §5.3.3)."""

    puzzle_difficulty: int = 10
    """K while the load is low."""
    puzzle_difficulty_max: int = 20
    puzzle_lifetime: int = 37
    """As on the wire: 2^(value - 32) seconds (RFC 7401 §5.2.4)."""
    puzzle_load_threshold: int = 50
    """I1 a second at which K begins to rise; each doubling adds one."""
    solve_difficulty_max: int = 26
    """Harder puzzles of others are refused."""
    r1_lifetime_s: float = 120.0
    """How long a generation of R1, its secret and its Diffie-Hellman keys are given out."""
    r1_counter_start: int = 1
    """First R1 generation; greater than any used before a restart (RFC 7401 §4.1.4)."""
    i1_per_source: int = 20
    """I1 a second that are answered to one source."""

    retransmit_s: float = 0.5
    """Before the first retransmission; doubles each time."""
    retransmit_max_s: float = 10.0
    retries: int = 5
    """Retransmissions before giving up (I1_RETRIES_MAX, I2_RETRIES_MAX)."""
    ual_s: float = 900.0
    """Unused Association Lifetime (RFC 7401 §4.4.4)."""
    msl_s: float = 10.0
    """Maximum segment lifetime; how long a closed association is remembered is twice this."""
    failed_s: float = 1.0
    """How long E-FAILED lasts."""

    rekey_s: float = 3600.0
    """Lifetime of ESP keys; 0 for ever."""
    rekey_packets: int = 1 << 32
    """Packets in one direction after which keys are renewed; 0 for any number."""
    rekey_octets: int = 1 << 40
    """The same in octets: far below where collisions of 128-bit cipher blocks begin to tell."""
    rekey_dh: bool = True
    """Whether new keys come from a new Diffie-Hellman exchange (RFC 7402 §6.8)."""
    keepalive_s: float = 15.0
    """Silence after which a NAT on the way is reminded (RFC 9028 §4.10); 0 for never."""
    announce_all: bool = True
    """Whether peers are told of all own addresses, or of the one in use alone."""
    router_check_s: float = 5.0
    """How often a mobile router where this host is registered is asked whether it is there; 0 for
    never."""
    return_s: float = 30.0
    """How often a better path than the one in use is tried."""

    compat: CompatOf = conforms
    """What is known to deviate in a peer."""
    v1: V1Config = field(default_factory=lambda: V1Config())
    """What is offered in HIPv1, if there is an own identity for it."""

    nat: NatConfig = field(default_factory=NatConfig)
    registrar: RegistrarConfig | None = None
    """Services that are offered to peers."""
    rendezvous_of: Callable[[IPv6Address], Sequence[tuple[IPAddress, int]]] = _no_servers
    """Addresses and UDP ports of a peer's rendezvous servers, for when both ends have moved
    (RFC 8046 §3.2.3)."""
    automatic: Callable[[IPv6Address], Wanted | None] = _nothing
    """What is asked for when a peer offers it, though nobody has wanted it (RFC 8003 §3.2)."""

    associations_max: int = 65536

    @property
    def exchange_complete_s(self) -> float:
        """EC: when R2-SENT counts as ESTABLISHED without any sign of the peer (§4.4.4)."""
        return self.retransmit_s * (self.retries + 1)
