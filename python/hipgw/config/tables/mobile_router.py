"""`[mobile_router]` and `[mobile_node]`: a network that moves, and the machines in it."""

from typing import Annotated

from pydantic import Field

from hipgw.config.fields import Integer, InterfacePattern, NoRepeats, Number, PeerName, Switch
from hipgw.config.names import CarrierOutside, RouterPath
from hipgw.config.tables.base import SECONDS, Table
from hipgw.config.tables.registrar import RegistrarTable
from hipgw.config.tables.registration import AskedLifetime


class MobileRouterConfig(RegistrarTable):
    """The mobile router: machines behind this one stay reachable, and do not notice that it moves.

    The table's presence turns the role on, and `hipgw run --mr` adds it; besides it, only who may
    register has to be said, by `[[peer]]` tables or `hip.accept = "any"`. Machines that register
    here exchange HIP and ESP with everybody by this one, which rewrites addresses and SPIs on the
    way, and tells their correspondents wherever it goes.
    """

    external_interfaces: Annotated[tuple[InterfacePattern, ...], NoRepeats] = Field(
        default=(),
        max_length=64,
        description="Interfaces that lead outside; clients are behind all others. Default: "
        "`mobility.preferred_interfaces`, and without these the ones with a default route.",
    )
    clients_max: Integer = Field(
        default=1024, ge=1, le=65536, description="Most clients registered at once."
    )
    correspondents_per_client: Integer = Field(
        default=1024,
        ge=1,
        le=65536,
        description="Most machines that one client talks to at once.",
    )
    flows_max: Integer = Field(
        default=20000,
        ge=1,
        le=100000,
        description="Most pairs of a client and a machine that it talks to; each takes about a "
        "kilobyte.",
    )
    carrier_outside: CarrierOutside = Field(
        default=CarrierOutside.SAME,
        description="What carries clients' packets outside: the `same` as inside, always `udp`, "
        "which gets through NATs, or `plain` IP protocols 139 and 50.",
    )
    tickets: Switch = Field(
        default=True,
        description="Take clients' tickets, with which this machine tells their correspondents of "
        "a move by itself. Off: clients tell them, at one more round trip inside.",
    )
    path: RouterPath = Field(
        default=RouterPath.AUTO,
        description="How data passes: `auto` has the kernel rewrite what it can by itself (eBPF), "
        "`nfqueue` takes everything to this program.",
    )
    queue: Integer = Field(
        default=10500,
        ge=0,
        le=65535,
        description="Number of the kernel's queue (NFQUEUE) that packets are taken from; no other "
        "program may use it.",
    )


class MobileNodeConfig(Table):
    """Being behind a mobile router, which tells others where this machine is as it moves."""

    routers: Annotated[tuple[PeerName, ...], NoRepeats] = Field(
        default=(),
        max_length=4,
        description="Names of peers that are mobile routers: this machine registers with each of "
        "them, and stays so.",
    )
    lifetime_s: AskedLifetime = 120.0
    check_s: Number = Field(
        default=5.0,
        ge=0.0,
        le=3600.0,
        json_schema_extra=SECONDS,
        description="How often routers are asked whether they are still there, so that one that "
        "was restarted is registered with again soon; 0 for never.",
    )
    automatic: Switch = Field(
        default=True,
        description="Whether this machine also registers with every other peer that it talks to "
        "and that offers to be its mobile router, for as long as they are associated.",
    )
