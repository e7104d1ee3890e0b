"""`[dht]`: names and addresses in a distributed hash table (RFC 6537)."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hipgw.config.consistency import check_dht
from hipgw.config.fields import (
    DHT_PORT,
    DhtListener,
    DhtProxyAddress,
    DhtServerAddress,
    Endpoint,
    Integer,
    Network,
    NoRepeats,
    PrintableText,
    Switch,
)
from hipgw.config.names import DhtStoreName, UnsequencedName
from hipgw.config.tables.base import SECONDS, Table


class DhtConfig(Table):
    """A distributed hash table (RFC 6537): where hosts say, signed, at which addresses they are.

    The table's presence turns it on: peers are looked up at `servers`, and this machine is
    published there. With `gateway`, this machine is such a server. See docs/dht.md.
    """

    servers: Annotated[tuple[DhtServerAddress, ...], NoRepeats] = Field(
        default=(),
        max_length=4,
        title=f"IPv4 address or IPv6 address, with a TCP port or without ({DHT_PORT})",
        description="Servers of OpenDHT's XML-RPC interface. All are asked, and this machine is "
        "published at each. Default: this machine's own gateway, if it is one.",
    )
    publish: Switch = Field(
        default=True,
        description="Say where this machine is: at the start, when its addresses change, and again "
        "before that expires. What was said is removed on stop.",
    )
    name: PrintableText = Field(
        default="",
        max_length=255,
        title="text without white space",
        description="Also say that this name is this machine's. Nothing protects names in a DHT: "
        "anybody may say the same. Default: no name.",
    )
    ttl_s: Integer = Field(
        default=3600,
        ge=60,
        le=604800,
        json_schema_extra=SECONDS,
        description="How long what is published lives; it is renewed after half of that.",
    )
    private_addresses: Switch = Field(
        default=False,
        description="Publish addresses that not everybody can reach, such as 10.0.0.1 "
        "(RFC 6537 §5 says not to). For networks that are private as a whole.",
    )
    gateway: Annotated[tuple[DhtListener, ...], NoRepeats] = Field(
        default=(),
        max_length=8,
        title=f"IPv4 address or IPv6 address, with a TCP port or without ({DHT_PORT})",
        description="Be a server of this interface, at these addresses of this machine; "
        '`"0.0.0.0"` and `"::"` are all of a family. Records are verified before they are stored.',
    )
    clients: Annotated[tuple[Network, ...], NoRepeats] = Field(
        default=(),
        max_length=256,
        description="Networks that may use the gateway; default: everybody who can reach it.",
    )
    store: DhtStoreName = Field(
        default=DhtStoreName.EMBEDDED,
        description="Where the gateway keeps records: on this machine alone, in a file of "
        "`daemon.state_dir`, or in a ring of OpenDHT nodes.",
    )
    proxies: Annotated[tuple[DhtProxyAddress, ...], NoRepeats] = Field(
        default=(),
        max_length=16,
        title="IPv4 address or IPv6 address, with a TCP port or without (8080)",
        description="HTTP proxies of nodes of the ring (`dhtnode --proxyserver`). One that answers "
        "is enough; it belongs on this machine, or on a network that is trusted.",
    )
    records_max: Integer = Field(
        default=100_000, ge=16, le=10_000_000, description="Most records that the gateway keeps."
    )
    puts_per_source: Integer = Field(
        default=60,
        ge=1,
        le=1_000_000,
        json_schema_extra={"unit": "calls per minute"},
        description="Records that the gateway takes or removes for one address.",
    )
    puts_total: Integer = Field(
        default=6000,
        ge=1,
        le=10_000_000,
        json_schema_extra={"unit": "calls per minute"},
        description="Records that the gateway takes or removes for all.",
    )
    unsequenced: UnsequencedName = Field(
        default=UnsequencedName.NEW,
        description="What the gateway does with hosts of HIP version 1 that do not number their "
        "records, as OpenHIP: take no second record (`refuse`), none that another has taken the "
        "place of within a week (`new`), or any (`any`), though it may be a replay.",
    )

    @property
    def asked(self) -> tuple[Endpoint, ...]:
        """The servers that this machine is a client of."""
        if self.servers:
            return self.servers
        return tuple(endpoint.reached for endpoint in self.gateway[:1])

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_dht(self)
        return self
