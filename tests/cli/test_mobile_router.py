"""`hipgw mobile-router`, against a daemon."""

from collections.abc import Callable
from typing import Any

from click.testing import Result

from small_daemon import HIT_B, ServedDaemon

Run = Callable[..., Result]


def test_without_the_role(ask: Run) -> None:
    for command in ("status", "clients"):
        assert "no mobile router" in ask("mobile-router", command).stdout
    assert "mobile router" not in ask("status").stdout


def test_status(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    daemon.api.routes = True
    text = ask("mobile-router", "status").stdout
    for part in ("192.0.2.1 (wwan0)", "wlan0, wwan0", "no tcx", "nftables", "1, talking to 3"):
        assert part in text
    assert "unknown spi" in text
    assert "refused" not in text
    assert ask_json("mobile-router", "status")["counters"]["rewritten"] == 1234
    assert "1 client, outside 192.0.2.1" in ask("status").stdout


def test_clients(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    daemon.api.routes = True
    heading, row = ask("mobile-router", "clients").stdout.splitlines()
    assert heading.startswith("CLIENT")
    cells = (
        "plant-b",
        "10.1.0.2:10500",
        "1",
        "3",
        "2",
        "1000",
        "1400000",
        "234",
        "20000",
        "12",
        "11",
    )
    assert tuple(row.split()) == cells
    assert ask_json("mobile-router", "clients")[0]["hit"] == HIT_B
