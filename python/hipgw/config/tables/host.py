"""`[host]`: the host role."""

from pydantic import Field

from hipgw.config.fields import Integer, InterfaceName, Lsi
from hipgw.config.tables.base import OCTETS, Table


class HostConfig(Table):
    """The host role: this machine is reachable by its HIT and LSI, and reaches peers by theirs.

    The table's presence turns the role on; `[host]` alone is enough.
    """

    interface: InterfaceName = Field(
        default="hip0", description="The TUN interface that carries HITs and LSIs."
    )
    lsi: Lsi | None = Field(
        default=None,
        title="LSI",
        description="Own Local Scope Identifier; default: derived from the own HIT.",
    )
    mtu: Integer | None = Field(
        default=None,
        ge=1280,
        le=65535,
        json_schema_extra=OCTETS,
        description="MTU of the interface; default: what fits the path without fragments.",
    )
