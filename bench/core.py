"""What the micro benches say about the core, in the terms of its bars."""

from dataclasses import dataclass
from typing import Any

SIZES = (64, 512, 1400, 9000)
FAST = "AES-128-GCM-16"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure has to reach."""

    limit: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether *value* is on the right side."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"


BARS = {
    **{f"core.of_raw_aead.{size}": Bar(0.9) for size in SIZES},
    "core.seal64_mpps": Bar(5.0),
    "core.open64_mpps": Bar(5.0),
    "core.spi_lookup_million_to_one": Bar(1.5, at_least=False),
    "core.spi_lookup_changing_to_still": Bar(1.5, at_least=False),
}
TITLES = {
    **{
        f"core.of_raw_aead.{size}": f"seal and open {size} octets, as fast as the bare AEAD"
        for size in SIZES
    },
    "core.seal64_mpps": "packets of 64 octets sealed a second on one core, in millions",
    "core.open64_mpps": "packets of 64 octets opened a second on one core, in millions",
    "core.spi_lookup_million_to_one": "SPI look-up, time with 1,000,000 against 1",
    "core.spi_lookup_changing_to_still": (
        "SPI look-up among 1,000,000, time with 10,000 changes a second against none"
    ),
}


def core_results(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of `results` that follow from the micro benches' own.

    Two programs that do much the same are held against each other by the least times: what else the
    machine does can only add to either, and does so by turns.
    """
    rust = {
        result["name"].removeprefix("micro.rust."): result
        for result in results
        if result["name"].startswith("micro.rust.")
    }
    ns = {name: float(result["value"]) for name, result in rust.items()}
    least = {name: float(result["least"]) for name, result in rust.items()}
    found: dict[str, tuple[float, str]] = {}
    for size in SIZES:
        raw, esp = (
            [least.get(f"beside_raw_{what}.{kind}.{size}", 0.0) for what in ("seal", "open")]
            for kind in ("raw", "esp")
        )
        if all(raw) and all(esp):
            found[f"core.of_raw_aead.{size}"] = (sum(raw) / sum(esp), "x")
    for what in ("seal", "open"):
        if time_ns := ns.get(f"beside_raw_{what}.esp.64"):
            found[f"core.{what}64_mpps"] = (1e3 / time_ns, "Mpps")
    for name, above, below in (
        ("core.spi_lookup_million_to_one", "spi_lookup.1000000", "spi_lookup.1"),
        (
            "core.spi_lookup_changing_to_still",
            "spi_lookup_while_changing.10000",
            "spi_lookup_while_changing.0",
        ),
    ):
        if above in ns and ns.get(below):
            found[name] = (ns[above] / ns[below], "x")
    return [
        {"name": name, "value": value, "unit": unit, "runs": [value]}
        for name, (value, unit) in found.items()
    ]
