"""`[naming]`: looking peers up."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hipgw.config.consistency import check_naming
from hipgw.config.fields import Integer, NoRepeats, Number, Switch
from hipgw.config.names import SourceName
from hipgw.config.tables.base import SECONDS, Table


class NamingConfig(Table):
    """Where names, and the addresses of peers, are looked up.

    Sources are asked one after another, in their order, until one knows; see docs/naming.md. What
    stands in the configuration always wins over what others say of the same name or HIT.
    """

    order: Annotated[tuple[SourceName, ...], NoRepeats] = Field(
        default=tuple(SourceName),
        min_length=1,
        description="The sources, in the order in which they are asked. `fleet` and `dht` are "
        "asked only if their tables are there. Without `dns`, nothing is asked of the DNS; "
        "without `last-known`, nobody is called where it was when it was last heard.",
    )
    timeout_s: Number = Field(
        default=3.0,
        ge=0.1,
        le=60,
        json_schema_extra=SECONDS,
        description="Longest wait for the answer of one source.",
    )
    ttl_min_s: Number = Field(
        default=5.0,
        ge=0,
        le=86400,
        json_schema_extra=SECONDS,
        description="Answers are used at least so long before the source is asked again.",
    )
    ttl_max_s: Number = Field(
        default=3600.0,
        ge=1,
        le=604800,
        json_schema_extra=SECONDS,
        description="Answers are used no longer, whatever they say.",
    )
    negative_ttl_s: Number = Field(
        default=30.0,
        ge=0,
        le=86400,
        json_schema_extra=SECONDS,
        description="How long it is believed that a source knows nothing of a name or HIT.",
    )
    cache_max: Integer = Field(
        default=10000, ge=16, le=1_000_000, description="Most answers that are remembered."
    )
    found_max: Integer = Field(
        default=4096,
        ge=16,
        le=32768,
        description="Most peers at a time that are known because they were looked up.",
    )
    keep_s: Number = Field(
        default=300.0,
        ge=10,
        le=86400,
        json_schema_extra=SECONDS,
        description="How long such a peer, and its LSI, stays after it was last used.",
    )
    unknown: Switch = Field(
        default=True,
        description="Look up where a HIT is that programs on this machine send packets to and that "
        "is no peer's. Off: only peers, and names, are looked up.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_naming(self)
        return self
