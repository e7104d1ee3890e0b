"""What a check of `hipgw doctor` comes to."""

from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["good", "slow", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    name: str
    verdict: Verdict
    detail: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)
