"""`[rendezvous]`: being found by servers that stay where they are."""

from typing import Annotated

from pydantic import Field

from hipgw.config.fields import NoRepeats, PeerName, Switch
from hipgw.config.tables.base import Table
from hipgw.config.tables.registration import AskedLifetime


class RendezvousConfig(Table):
    """Being found while this machine moves: who calls it asks a rendezvous server (RFC 8004).

    The server need not be named to those who find it in the DNS or a DHT; else see `peer.rvs`.
    """

    servers: Annotated[tuple[PeerName, ...], NoRepeats] = Field(
        default=(),
        max_length=4,
        description="Names of peers that are rendezvous servers: this machine registers with each "
        "of them, stays so, and tells them of every move.",
    )
    lifetime_s: AskedLifetime = 600.0
    automatic: Switch = Field(
        default=True,
        description="Whether this machine also registers with every other peer that it talks to "
        "and that offers rendezvous, for as long as they are associated.",
    )
