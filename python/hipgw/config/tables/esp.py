"""`[esp]`: the data path."""

from pydantic import Field

from hipgw.config.fields import Integer, Number, Switch
from hipgw.config.names import EspBackend
from hipgw.config.tables.base import OCTETS, SECONDS, Table


class EspConfig(Table):
    """The data path (RFC 7402)."""

    backend: EspBackend = Field(
        default=EspBackend.ENGINE,
        description="Who carries the packets: hipgw's own `engine`, or the ESP of the Linux "
        "`kernel` (host role only, without LSIs; see docs/kernel-esp.md).",
    )
    replay_window: Integer = Field(
        default=8192,
        ge=64,
        le=1048576,
        multiple_of=64,
        json_schema_extra={"unit": "packets"},
        description="How far a packet may come late and still be accepted (RFC 6479). The kernel's "
        "ESP has at most 4096.",
    )
    path_mtu: Integer = Field(
        default=0,
        ge=0,
        le=65535,
        json_schema_extra=OCTETS,
        description="Largest IP packet on the way to the peers; 0 takes it from the route, and "
        "from `path_mtu_discovery`. Otherwise at least 576.",
    )
    busy_poll_us: Integer = Field(
        default=0,
        ge=0,
        le=1000000,
        json_schema_extra={"unit": "microseconds"},
        description="How long a data thread looks for more packets before it sleeps. Waking up is "
        "most of a tunnel's latency; this takes it away, for a CPU kept busy. For machines with "
        "more cores than the daemon needs.",
    )
    realtime: Switch = Field(
        default=True,
        description="Let the data threads run before ordinary programs (SCHED_RR, priority 1), as "
        "the kernel does with packets, if the system allows it: otherwise packets queue while "
        "others have their turns. They take turns nevertheless where nobody waits for a CPU, where "
        "both together would use more of the CPUs than their share among all who want them, when "
        "busy all the time, and with many small packets. Without effect if `busy_poll_us` is set.",
    )
    path_mtu_discovery: Switch = Field(
        default=True,
        description="Find out by probes, and by what routers say, how large packets to each peer "
        "may be (RFC 8899). Data packets are then never fragmented on the way. Off, they may be, "
        "and the route is believed. Without effect if `path_mtu` is set.",
    )
    copy_dscp: Switch = Field(
        default=True,
        description="Give outer headers the DSCP of the packets inside, so that the network on the "
        "way can treat them alike; it also shows there (RFC 2983). Off: 0, and packets of the host "
        "role arrive with 0, as their own header does not travel.",
    )
    ecn: Switch = Field(
        default=True,
        description="Give outer headers the ECN field of the packets inside, so that routers on "
        "the way can mark congestion instead of dropping (RFC 6040 normal mode). Off: Not-ECT "
        "(compatibility mode). Marks that come in are handed on in any case.",
    )
    rekey_s: Number = Field(
        default=3600.0,
        ge=0.0,
        le=2592000.0,
        json_schema_extra=SECONDS,
        description="Age at which security associations are replaced by new ones with new keys "
        "(RFC 7402 §6.8); 0: never. Else at least 1. The side that reaches it first does it.",
    )
    rekey_bytes: Integer = Field(
        default=1 << 40,
        ge=0,
        le=1 << 60,
        json_schema_extra=OCTETS,
        description="Octets that one security association carries until it is replaced; 0: any "
        "number. Else at least 65536.",
    )
    rekey_packets: Integer = Field(
        default=1 << 32,
        ge=0,
        le=1 << 60,
        json_schema_extra={"unit": "packets"},
        description="Packets that one security association carries until it is replaced; 0: any "
        "number. Else at least 1000.",
    )
    rekey_dh: Switch = Field(
        default=True,
        description="Make a new Diffie-Hellman exchange for each rekeying, so that who learns one "
        "key learns no other. Off, new keys are drawn from the old KEYMAT while it lasts "
        "(RFC 7402 §6.9).",
    )

    @property
    def discovers_path_mtu(self) -> bool:
        """Whether the MTU of each path is looked for."""
        return self.path_mtu_discovery and not self.path_mtu
