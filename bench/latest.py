"""Reading build/bench/latest.json."""

import json
from pathlib import Path
from typing import Any

from figures import Figure

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "bench" / "latest.json"


class NoRunError(Exception):
    """There is no latest run."""


class Latest:
    """The latest run of `bench/run.py`."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self._results: dict[str, dict[str, Any]] = {
            result["name"]: result for result in content["results"]
        }

    @classmethod
    def read(cls) -> "Latest":
        """From its file; NoRunError if there is none."""
        try:
            return cls(json.loads(PLACE.read_text()))
        except FileNotFoundError:
            raise NoRunError(
                f"There is no {PLACE.relative_to(ROOT)}. `make bench` makes it."
            ) from None

    @property
    def results(self) -> list[dict[str, Any]]:
        """All results, in the order they were taken."""
        return list(self._results.values())

    @property
    def contestants(self) -> list[str]:
        """With their prefix: "e2e.endbox", "peer.fastd"; in the order they were measured."""
        names = (name.rpartition(".")[0] for name in self._results)
        return list(dict.fromkeys(name for name in names if name.startswith(("e2e.", "peer."))))

    def result(self, contestant: str, figure: Figure) -> dict[str, Any] | None:
        """One contestant's result, if it has one."""
        return self._results.get(f"{contestant}.{figure.key}")

    def value(self, contestant: str, figure: Figure) -> float | None:
        """The median of one contestant's runs, if it has any."""
        result = self.result(contestant, figure)
        return None if result is None else float(result["value"])

    def micro(self, name: str) -> float | None:
        """The value of a result that is no contestant's, by its full name."""
        result = self._results.get(name)
        return None if result is None else float(result["value"])

    def best_peer(self, figure: Figure) -> float | None:
        """The best that a peer with encryption reaches."""
        values = [
            value
            for peer in self.contestants
            if peer.startswith("peer.") and short(peer) not in self.content["unencrypted"]
            if (value := self.value(peer, figure)) is not None
        ]
        return (max if figure.more_is_better else min)(values, default=None)


def short(contestant: str) -> str:
    """The name without its prefix."""
    return contestant.partition(".")[2]


def is_hipgw(contestant: str) -> bool:
    """Whether it is neither a peer nor the plain path."""
    return contestant.startswith("e2e.") and not short(contestant).startswith("plain")


def plain_of(contestant: str) -> str:
    """The plain path it is held against: what is measured between gateways, against that there."""
    between_gateways = short(contestant) == "host" or contestant.endswith("-host")
    return "e2e.plain-host" if between_gateways else "e2e.plain"
