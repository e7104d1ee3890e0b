"""What the tables of all services that peers register for have in common."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hipgw.config.consistency import check_lifetime_range
from hipgw.config.fields import NoRepeats, Number, PeerName
from hipgw.config.tables.base import SECONDS, Table


class RegistrarTable(Table):
    """A service, who may register for it, and for how long."""

    clients: Annotated[tuple[PeerName, ...], NoRepeats] | None = Field(
        default=None,
        description="Names of the peers that may register; default: every machine whose base "
        "exchanges are answered (`hip.accept`).",
    )
    min_lifetime_s: Number = Field(
        default=10.0,
        ge=1.0,
        le=86400.0,
        json_schema_extra=SECONDS,
        description="Shortest lifetime of a registration (RFC 8003 §4.2).",
    )
    max_lifetime_s: Number = Field(
        default=600.0,
        ge=10.0,
        le=86400.0,
        json_schema_extra=SECONDS,
        description="Longest lifetime of a registration.",
    )

    @model_validator(mode="after")
    def _lifetimes(self) -> Self:
        check_lifetime_range(self)
        return self
