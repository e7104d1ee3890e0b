"""What the tables of all services that this machine registers for have in common."""

from typing import Annotated

from pydantic import Field

from hipgw.config.fields import Number
from hipgw.config.tables.base import SECONDS

AskedLifetime = Annotated[
    Number,
    Field(
        ge=10.0,
        le=86400.0,
        json_schema_extra=SECONDS,
        description="Lifetime of a registration to ask for; it is renewed in time (RFC 8003 §5).",
    ),
]
"""Seconds."""
