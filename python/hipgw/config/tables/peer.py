"""`[[peer]]`: the machines to associate with."""

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Self

from pydantic import Field, model_validator

from hipgw.config.consistency import check_peer
from hipgw.config.fields import (
    Address,
    Hit,
    HitV1,
    Integer,
    LegacyNode,
    Lsi,
    NoRepeats,
    PeerName,
    Server,
    Switch,
)
from hipgw.config.names import CompatName, HipVersionName
from hipgw.config.tables.base import Table
from hipgw.identity.hit import hit_version
from hipgw.protocol.path import HIP_UDP_PORT, Transport


class PeerConfig(Table):
    """A machine to associate with; one `[[peer]]` table each."""

    name: PeerName = Field(description="What logs, tables and commands call it.")
    hit: Hit = Field(
        title="HIT",
        description="Its Host Identity Tag, as `hipgw id` shows it there. The HIT tells the "
        "version of HIP: those of version 2 begin with 2001:2, those of version 1 with 2001:1.",
    )
    hit_v1: HitV1 | None = Field(
        default=None,
        title="HIT",
        description="The HIT that the same peer has in version 1, if it speaks both.",
    )
    versions: Annotated[tuple[HipVersionName, ...], NoRepeats] | None = Field(
        default=None,
        min_length=1,
        description="Versions of HIP that it is talked to in, the preferred one first; default: "
        "those of `hip.versions` that it has a HIT for, or that of its only HIT.",
    )
    compat: CompatName | None = Field(
        default=None,
        description="The implementation that it runs, if that deviates from the RFCs so far that "
        'nothing else works; default: `hip.v1.compat` in version 1 and `"none"` in version 2. Only '
        "for a peer known to need it: deviations are weaknesses.",
    )
    addresses: Annotated[tuple[Address, ...], NoRepeats] = Field(
        default=(),
        max_length=16,
        description="Where it is found, the preferred address first. Without any, it is looked up, "
        "or this machine waits to be called; see docs/naming.md.",
    )
    transport: Transport | None = Field(
        default=None, description="How it is reached; default: `hip.transport`."
    )
    port: Integer = Field(
        default=HIP_UDP_PORT, ge=1, le=65535, description='Its UDP port (`transport = "udp"` only).'
    )
    relays: Annotated[tuple[PeerName, ...], NoRepeats] = Field(
        default=(),
        max_length=4,
        description="Names of peers that are relays where it is registered: it is called by them "
        "as well as by its own addresses (RFC 9028 §4.5).",
    )
    rvs: Annotated[tuple[Server, ...], NoRepeats] = Field(
        default=(),
        max_length=4,
        title="name, IPv4 address or IPv6 address",
        description="Rendezvous servers where it is registered, in order: names of peers, or "
        "addresses. It is called by them before `addresses` are tried (RFC 8005 §4), and found by "
        "them when both machines have moved (RFC 8046 §3.2.3).",
    )
    lsi: Lsi | None = Field(
        default=None,
        title="LSI",
        description="Its Local Scope Identifier, an alias in 1.0.0.0/8 for IPv4 programs on this "
        "machine; default: derived from its HIT.",
    )
    legacy_nodes: Annotated[tuple[LegacyNode, ...], NoRepeats] = Field(
        default=(),
        max_length=4096,
        title="IPv4 address",
        description="IPv4 addresses of the hosts on the LAN behind this endbox: what is for them "
        "goes to it, and nothing else that is for one host; see docs/endbox.md. `0.0.0.0` is the "
        "same as `default_endbox`. Without any, its hosts are learned, if it is no OpenHIP.",
    )
    default_endbox: Switch = Field(
        default=False,
        description="What is for IPv4 addresses that no endbox lists goes to this one, as if a "
        "router were behind it.",
    )

    @property
    def nodes(self) -> tuple[IPv4Address, ...]:
        """The hosts behind it that are listed."""
        return tuple(node for node in self.legacy_nodes if int(node))

    @property
    def is_default_endbox(self) -> bool:
        """Whether it takes what is for addresses that no endbox lists."""
        return self.default_endbox or len(self.nodes) < len(self.legacy_nodes)

    @property
    def hits(self) -> dict[HipVersionName, IPv6Address]:
        """Its HIT in each version that it has one for."""
        first = HipVersionName.V1 if hit_version(self.hit) == 1 else HipVersionName.V2
        hits = {first: self.hit}
        if self.hit_v1 is not None:
            hits[HipVersionName.V1] = self.hit_v1
        return hits

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_peer(self)
        return self
