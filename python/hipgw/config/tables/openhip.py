"""`[openhip]`: what OpenHIP's files say and hipgw has no key for."""

from ipaddress import IPv4Address, IPv6Address

from pydantic import Field

from hipgw.config.fields import FilePath, HitV1, Integer, Switch
from hipgw.config.tables.base import OCTETS, Table


class OpenHipHostConfig(Table):
    """What OpenHIP's files say about one host, and nothing else here does."""

    hit: HitV1 = Field(title="HIT", description="Whose: the HIT of a peer, or of this machine.")
    name: str | None = Field(
        default=None,
        max_length=255,
        description="Its name there, if that is not the name of the peer.",
    )
    key_file: FilePath | None = Field(
        default=None, description="The private key, for an identity of this machine."
    )
    listed: Switch = Field(
        default=True,
        description="Whether it is among the known hosts; identities of this machine need not be.",
    )
    algorithm: Integer = Field(
        default=5, ge=0, le=255, description="`alg_id`: 3 for DSA, 5 for RSA."
    )
    length: Integer = Field(
        default=128, ge=0, le=65535, json_schema_extra=OCTETS, description="Of its key."
    )
    anonymous: Switch = Field(default=False, description="`anon`.")
    incoming: Switch = Field(default=True, description="`incoming`, which OpenHIP never looks at.")
    check_address: Switch = Field(
        default=True, description="`addrcheck`; hipgw verifies new addresses in any case."
    )
    r1_count: Integer = Field(default=0, ge=0, le=2**64 - 1, description="`r1count`.")
    lsi: IPv4Address | None = Field(
        default=None, description="Its LSI, if that is none that hipgw can use."
    )
    addresses: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(),
        max_length=256,
        description="Those of this machine, or those of a peer that hipgw cannot use.",
    )
    rendezvous: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(),
        max_length=256,
        description="`RVS`: addresses of rendezvous servers that hipgw cannot use; see `peer.rvs`.",
    )


class OpenHipConfig(Table):
    """What OpenHIP's files say and hipgw has no use for: `hipgw export openhip` writes it again.

    `hipgw import openhip` makes this table. It changes nothing that hipgw does.
    """

    conf: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description="The tags of hip.conf with their values, those that keys of this file have "
        "taken over included; where such a key was changed since, that counts.",
    )
    multicast_key: FilePath | None = Field(
        default=None,
        description="File with `multicast_key` of hip.conf, if that is not `endbox.multicast_key`.",
    )
    host: tuple[OpenHipHostConfig, ...] = Field(
        default=(), max_length=65536, description="A table for each host."
    )
