"""`[mobility]`: own addresses."""

from typing import Annotated

from pydantic import Field

from hipgw.config.fields import Integer, InterfacePattern, Network, NoRepeats, Switch
from hipgw.config.names import Announce
from hipgw.config.tables.base import Table


class MobilityConfig(Table):
    """Own addresses: which are used and told to peers, and what happens when they change.

    Associations survive a change of addresses, of interfaces and of the IP version (RFC 8046), and
    use another address when one stops working (RFC 8047). Interfaces are named by patterns as in a
    shell, such as `wwan*`. The interfaces of `[host]` and `[endbox]` never count.
    """

    enabled: Switch = Field(
        default=True,
        description="Watch the own addresses and move associations when they change. Off: "
        "associations stay where they are made, and no address is told to peers.",
    )
    announce: Announce = Field(
        default=Announce.ALL,
        description="Which addresses peers are told: `all` usable ones, so that they know where "
        "to go when the one in use fails, or the `current` one alone, so that they know no more "
        "than they see.",
    )
    interfaces: Annotated[tuple[InterfacePattern, ...], NoRepeats] = Field(
        default=("*",),
        min_length=1,
        max_length=64,
        description="Interfaces whose addresses may be used.",
    )
    ignored_interfaces: Annotated[tuple[InterfacePattern, ...], NoRepeats] = Field(
        default=(
            *("docker*", "podman*", "lxcbr*", "lxdbr*", "virbr*", "vmnet*", "vboxnet*"),
            *("veth*", "vnet*", "cni*", "cali*", "flannel*", "kube*"),
        ),
        max_length=64,
        description="Interfaces whose addresses are not used after all. The default passes over "
        "those of containers and virtual machines.",
    )
    preferred_interfaces: Annotated[tuple[InterfacePattern, ...], NoRepeats] = Field(
        default=(),
        max_length=64,
        description='Interfaces to prefer, the best first: `["eth*", "wlan*", "wwan*"]`. All '
        "others come after them. Otherwise the metrics of the default routes decide, then IPv6 "
        "before IPv4.",
    )
    ignored_addresses: Annotated[tuple[Network, ...], NoRepeats] = Field(
        default=(),
        max_length=64,
        title="network",
        description="Networks of which no own address is used or told, such as `10.0.0.0/8`.",
    )
    source_routes: Switch = Field(
        default=True,
        description="With several uplinks, have hipgw's own packets leave by the interface that "
        "has their source address, by rules and routing tables of its own. Off: only what Linux "
        "does by itself, which is not enough for IPv6 with several default routes.",
    )
    route_table: Integer = Field(
        default=10500,
        ge=256,
        le=32000,
        description="First of the 64 routing tables that `source_routes` may use; the rules have "
        "the same numbers as priorities. Tables that others use are passed over.",
    )
