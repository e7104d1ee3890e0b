"""`[rvs]`: being a rendezvous server."""

from pydantic import Field

from hipgw.config.fields import Integer, Number
from hipgw.config.tables.base import SECONDS
from hipgw.config.tables.registrar import RegistrarTable


class RvsConfig(RegistrarTable):
    """The rendezvous server: whoever registers here is found by its HIT, wherever it moves.

    The table's presence turns the role on; `[rvs]` alone is enough, and `hipgw run --rvs` adds it.
    Calls for a client are passed on to where it is at that time (RFC 8004); everything else runs
    between the two directly. A machine without `[host]` and `[endbox]` keeps its silent clients in
    less than a kilobyte each.
    """

    min_lifetime_s: Number = Field(
        default=10.0,
        ge=1.0,
        le=15384774.0,
        json_schema_extra=SECONDS,
        description="Shortest lifetime of a registration (RFC 8003 §4.2).",
    )
    max_lifetime_s: Number = Field(
        default=3600.0,
        ge=10.0,
        le=15384774.0,
        json_schema_extra=SECONDS,
        description="Longest lifetime of a registration: so long calls go to where a machine was "
        "that has gone without a word.",
    )
    clients_max: Integer = Field(
        default=100000, ge=1, le=1000000, description="Most clients registered at once."
    )
    packets_per_source: Integer = Field(
        default=50,
        ge=1,
        le=1000000,
        json_schema_extra={"unit": "packets per second"},
        description="HIP packets that are relayed for one address.",
    )
    packets_per_client: Integer = Field(
        default=200,
        ge=1,
        le=1000000,
        json_schema_extra={"unit": "packets per second"},
        description="HIP packets that are relayed to one client.",
    )
