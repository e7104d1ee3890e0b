"""`[dns]`: names under `.hip` for this machine's programs, and which name servers are asked."""

from ipaddress import IPv4Address
from typing import Annotated

from pydantic import Field

from hipgw.config.fields import (
    Domain,
    Integer,
    ListenAddress,
    NameServerAddress,
    NoRepeats,
    Switch,
)
from hipgw.config.names import DnssecName, ResolverIntegration
from hipgw.config.tables.base import SECONDS, Table


class DnsConfig(Table):
    """Names of HIP hosts for the programs of this machine, and the DNS as a source of peers.

    With this table, in the host role, `NAME.hip` is answered with the peer's LSI (A) and HIT
    (AAAA); all other queries go to the real name servers as they are. Without it nothing is
    answered; the DNS is asked for peers all the same, if `naming.order` has it.
    """

    intercept: Switch = Field(
        default=True,
        description="Whether names are answered. `false` leaves the table's other keys to the "
        "look-up of peers.",
    )
    suffix: Domain = Field(
        default="hip",
        description="The domain of the names that are answered, such as `hip` in `plant-b.hip`. "
        "What stands in front of it is the name of a peer here, or one in the DNS that has a HIP "
        "record.",
    )
    listen: ListenAddress = Field(
        default=IPv4Address("127.0.0.139"),
        title="IPv4 address or IPv6 address",
        description="Where queries of this machine are answered, by UDP and TCP.",
    )
    port: Integer = Field(
        default=53,
        ge=1,
        le=65535,
        description="The port there. Resolvers of libc ask at 53 only.",
    )
    resolver: ResolverIntegration = Field(
        default=ResolverIntegration.AUTO,
        description="How the machine's programs get to ask here. `systemd-resolved`: it sends "
        "names of the suffix, and no others. `resolv.conf`: the address goes in front of the name "
        "servers in /etc/resolv.conf, and is taken out again when hipgw ends, however it ends. "
        "`auto`: the first if it is what resolv.conf leads to, else the second. `off`: not at all.",
    )
    servers: Annotated[tuple[NameServerAddress, ...], NoRepeats] = Field(
        default=(),
        max_length=8,
        title="IPv4 address or IPv6 address, with a port or without (53)",
        description='Recursive name servers to ask, in order, such as `"192.0.2.53"` or '
        '`"[2001:db8::53]:5353"`; default: those in /etc/resolv.conf, as they change.',
    )
    search: Annotated[tuple[Domain, ...], NoRepeats] | None = Field(
        default=None,
        max_length=6,
        description="Domains in which names of one word are looked up; default: those in "
        "/etc/resolv.conf.",
    )
    dnssec: DnssecName = Field(
        default=DnssecName.AUTO,
        description="Whether the servers' word is believed that they have validated an answer "
        "(the AD bit). `auto`: if they are on this machine, or /etc/resolv.conf says `trust-ad`. "
        "`trust`: yes. `require`: yes, and HIP records that they have not validated are not used. "
        "`ignore`: no.",
    )
    ttl_s: Integer = Field(
        default=60,
        ge=0,
        le=86400,
        json_schema_extra=SECONDS,
        description="How long a program may remember an LSI or HIT that it was told. A peer keeps "
        "its LSI at least as long.",
    )
    cache_max: Integer = Field(
        default=10000,
        ge=0,
        le=1000000,
        description="Most answers of the real name servers that are kept, as long as their TTLs "
        "say; 0 passes every query on.",
    )
