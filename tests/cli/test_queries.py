"""status, peers, associations, sa, mac-table, counters, against a daemon."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from small_daemon import HIT_A, HIT_B, ServedDaemon

Run = Callable[..., Result]


def test_status_shows_what_matters(ask: Run) -> None:
    result = ask("status")
    assert result.exit_code == 0
    for part in ("1.2.3", "1d 2h", "4711", "host, endbox", HIT_A, "ECDSA P-256", "1.0.0.1"):
        assert part in result.stdout
    assert "UDP, port 10500" in result.stdout
    assert "1 established, 1 configured, 2 looked up" in result.stdout
    assert "All is well." in result.stdout


def test_status_lists_what_ails_it(ask: Run, daemon: ServedDaemon) -> None:
    daemon.api.warnings = [
        {"code": "x", "severity": "warning", "message": "no UDP_GSO", "hint": "newer kernel"}
    ]
    result = ask("status")
    assert "warning: no UDP_GSO (newer kernel)" in result.stdout
    assert result.exit_code == 0
    assert ask("status", "--check").exit_code == 1


def test_status_check_is_about_endbox_peers_and_those_named(ask: Run, daemon: ServedDaemon) -> None:
    assert ask("status", "--check").exit_code == 0
    assert ask("status", "--check", "--peer", "1.0.0.2").exit_code == 0
    daemon.api.established = False
    result = ask("status", "--check")
    assert result.exit_code == 1
    assert "plant-b is not established (I1-SENT): no answer to I1" in result.stderr


def test_status_check_of_an_unknown_peer_is_a_usage_error(ask: Run) -> None:
    assert ask("status", "--check", "--peer", "plant-x").exit_code == 2
    assert ask("status", "--peer", "plant-b").exit_code == 2


def test_peers(ask: Run, daemon: ServedDaemon) -> None:
    heading, row = ask("peers").stdout.splitlines()
    assert heading.split()[:5] == ["NAME", "HIT", "HIP", "LSI", "STATE"]
    assert row.split()[:4] == ["plant-b", HIT_B, "v2", "1.0.0.2"]
    assert row.split()[4:6] == ["ESTABLISHED", "192.0.2.2:10500/udp"]
    assert "1.25 ms" in row
    daemon.api.established = False
    row = ask("peers").stdout.splitlines()[1]
    assert "192.0.2.2, 2001:db8::2, by hub" in row
    assert row.endswith("7.0s  no answer to I1")


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (
            "associations",
            [
                "plant-b",
                "1400 (icmp)",
                "here",
                "P-384",
                "AES-128-GCM-16",
                "0x00001234",
                "0xdeadbeef",
            ],
        ),
        ("sa", ["0xdeadbeef", "out", "1500000", "500ms"]),
        ("mac-table", ["02:00:00:00:00:01", "7", "plant-b", "3.0s"]),
        ("counters", ["i1_in", "bad_checksum", "net_rx_packets", "99"]),
    ],
)
def test_tables(ask: Run, command: str, parts: list[str]) -> None:
    result = ask(command)
    assert result.exit_code == 0
    for part in parts:
        assert part in result.stdout


def test_tables_in_a_pipe_are_plain_columns(ask: Run) -> None:
    for command in ("peers", "associations", "sa", "mac-table", "counters"):
        lines = ask(command).stdout.splitlines()
        assert len(lines) >= 2
        assert all(line.isascii() and line.isprintable() for line in lines)
        assert lines[0] == lines[0].upper()


def test_counters_leave_out_zeros_unless_asked(ask: Run) -> None:
    assert "unknown_version" not in ask("counters").stdout
    assert "unknown_version" in ask("counters", "--all").stdout


@pytest.mark.parametrize(
    ("command", "method"),
    [
        ("status", "status"),
        ("peers", "peers"),
        ("associations", "associations"),
        ("sa", "security_associations"),
        ("mac-table", "mac_table"),
        ("counters", "counters"),
    ],
)
def test_json_is_what_the_daemon_answered(
    ask_json: Callable[..., Any], daemon: ServedDaemon, command: str, method: str
) -> None:
    assert ask_json(command) == getattr(daemon.api, method)()


def test_text_from_a_peer_cannot_drive_the_terminal(
    ask: Run, daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = daemon.api.peers()[0]
    peer["state"], peer["last_failure"] = "I1-SENT", "\x1b[2Jgone\nfaked line"
    monkeypatch.setattr(daemon.api, "peers", lambda: [peer])
    result = ask("peers")
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) == 2


def test_endbox(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    text = ask("endbox").stdout
    for part in (
        "plant-b delivers everything; 3 hellos heard",
        "239.7.7.7, SPI 0x34120000, from 192.0.2.1",
        "static",
        "10.0.0.4, and 2 more, all others",
    ):
        assert part in text
    assert ask_json("endbox")["peers"][0]["macs"] == 2
    daemon.api.established = False
    assert "[endbox]" in ask("endbox").stdout


def test_registrations(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    text = ask("registrations").stdout
    for part in (
        "plant-b",
        "client",
        "v2",
        "RELAY_UDP_ESP",
        "198.51.100.1:4711",
        "192.0.2.2:30000",
    ):
        assert part in text
    assert ask_json("registrations")[0]["lifetime_s"] == 120.0
    daemon.api.established = False
    assert "nat.relays" in ask("registrations").stdout


def test_resolve(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    text = ask("resolve", "plant-b.example").stdout
    for part in ("1.0.0.2", HIT_B, "rvs.example (198.51.100.1)", "dnssec", "12.0 ms", "5m"):
        assert part in text
    assert "no answer within 3 s" in text
    answer = ask_json("resolve", "plant-b.example")
    assert [source["source"] for source in answer["sources"]] == ["configured", "dns", "dht"]
    daemon.api.established = False
    assert "nobody" in ask("resolve", "plant-b.example").stdout


def test_addresses(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    text = ask("addresses").stdout
    for part in ("192.0.2.1", "2001:db8::1", "[2001:db8::2]:10500", "198.51.100.1:4711"):
        assert part in text
    assert "ACTIVE, preferred" in text
    own = [line.split() for line in text.splitlines()[1:3]]
    assert own[0] == ["192.0.2.1", "eth0", "eth0", "198.51.100.7:10500"]
    assert own[1][:3] == ["2001:db8::1", "eth1", "routes"]
    assert "its packets" in text
    assert ask_json("addresses")["own"][0] == {
        "address": "192.0.2.1",
        "interface": "eth0",
        "pinned": True,
        "reflexive": ["198.51.100.7:10500"],
    }
    daemon.api.established = False
    assert "mobility.enabled" in ask("addresses").stdout


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "127.0.0.1"])
def test_nobody_is_found_by_an_address(ask: Run, address: str) -> None:
    result = ask("resolve", address)
    assert result.exit_code == 2
    assert "neither an LSI nor a HIT" in result.stderr
