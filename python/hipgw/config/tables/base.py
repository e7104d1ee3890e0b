"""What every table of hipgw.toml has in common."""

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

SECONDS: JsonDict = {"unit": "seconds"}
OCTETS: JsonDict = {"unit": "octets"}


class Table(BaseModel):
    """A table of the file: immutable, and a key that is not listed is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
