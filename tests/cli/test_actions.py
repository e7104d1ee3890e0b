"""ping, connect, close, rekey, events, stop: what they write, and their exit statuses."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from hipgw.control.client import ControlClient
from small_daemon import PATH, ServedDaemon, wait_until

Run = Callable[..., Result]


def test_ping_writes_each_answer_and_a_summary(ask: Run) -> None:
    result = ask("ping", "plant-b", "-c", "2", "-i", "0.05")
    assert result.exit_code == 0
    first, _, last = result.stdout.splitlines()
    assert first == "answer from plant-b via 192.0.2.2:10500/udp: seq=1 time=1.00 ms"
    assert last == "plant-b: 2 sent, 2 answered, min/avg/max 1.00 ms / 1.50 ms / 2.00 ms"


def test_ping_without_an_answer_exits_with_1(ask: Run, daemon: ServedDaemon) -> None:
    daemon.api.answers_ping = False
    result = ask("ping", "plant-b", "-c", "1")
    assert result.exit_code == 1
    assert "no answer from plant-b: seq=1" in result.stdout
    assert "1 sent, 0 answered" in result.stdout


def test_ping_json_is_one_document(ask_json: Callable[..., Any]) -> None:
    answer = ask_json("ping", "plant-b", "-c", "2", "-i", "0.05")
    assert [reply["sequence"] for reply in answer["replies"]] == [1, 2]
    assert answer["summary"]["received"] == 2


def test_ping_interrupted_sums_up(ask: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ControlClient.ping

    def interrupted(self: ControlClient, *arguments: Any, **options: Any) -> Any:
        yield next(whole(self, *arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(ControlClient, "ping", interrupted)
    result = ask("ping", "plant-b")
    assert result.exit_code == 0
    assert "1 sent, 1 answered" in result.stdout


def test_connect(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    assert ask("connect", "plant-b").stdout == "plant-b: established in 21.5 ms\n"
    daemon.api.established = False
    result = ask("connect", "plant-b")
    assert result.exit_code == 1
    assert result.stdout == "plant-b: not established (E-FAILED): no answer to I1\n"
    assert ask_json("connect", "plant-b")["established"] is False


def test_close(ask: Run) -> None:
    assert ask("close", "plant-b").stdout == "plant-b: closed (UNASSOCIATED)\n"
    again = ask("close", "plant-b")
    assert again.exit_code == 1
    assert again.stderr == "error: there is no association to close\nhint:  connect first\n"


def test_close_says_when_the_peer_has_not_agreed(ask: Run, daemon: ServedDaemon) -> None:
    daemon.api.answers_close = False
    result = ask("close", "plant-b")
    assert result.exit_code == 0
    assert result.stdout == "plant-b: closed here; the peer has not confirmed it yet (CLOSING)\n"


def test_stop_waits_for_the_end(ask: Run, daemon: ServedDaemon) -> None:
    def end_when_asked() -> None:
        daemon.api.stopped.wait(5)
        daemon.run(daemon.server.stop)

    ending = threading.Thread(target=end_when_asked)
    ending.start()
    assert ask("stop").exit_code == 0
    ending.join()


def test_stop_says_when_it_still_runs(ask: Run) -> None:
    result = ask("stop", "-W", "0.05")
    assert result.exit_code == 1
    assert "still runs after 0.05 s" in result.stderr
    assert ask("stop", "-W", "0").exit_code == 0


EVENTS: list[dict[str, Any]] = [
    {
        "kind": "packet",
        "time": 1.5,
        "peer": "plant-b",
        "direction": "out",
        "packet": "I1",
        "size": 56,
        "path": {
            "local": None,
            "remote": "2001:db8::2",
            "transport": "udp",
            "local_port": 10500,
            "remote_port": 10500,
        },
        "dropped": "",
    },
    {
        "kind": "state",
        "time": 1.6,
        "peer": None,
        "peer_hit": "2001:21::9",
        "old": "I1-SENT",
        "new": "I2-SENT",
        "reason": "R1 received",
    },
    {"kind": "established", "time": 1.7, "peer": "plant-b", "initiator": True, "duration_s": 0.02},
    {"kind": "failed", "time": 1.8, "peer": "plant-b", "reason": "no answer\x1b[2J"},
    {"kind": "rtt", "time": 1.9, "peer": "plant-b", "rtt_s": 0.0012},
    {"kind": "outside", "time": 1.95, "addresses": ["192.0.2.1", "2001:db8::1"]},
    {"kind": "outside", "time": 1.96, "addresses": []},
    {"kind": "stopping", "time": 2.0},
]


@pytest.fixture
def publishing(daemon: ServedDaemon) -> Any:
    """Publishes EVENTS as soon as somebody subscribes."""

    def publish() -> None:
        wait_until(lambda: daemon.server.has_subscribers)
        for event in EVENTS:
            daemon.publish(event)

    thread = threading.Thread(target=publish)
    thread.start()
    yield
    thread.join()


@pytest.mark.usefixtures("publishing")
def test_events_are_written_until_the_daemon_stops(ask: Run) -> None:
    result = ask("events")
    assert result.exit_code == 0
    texts = [line.split(" ", 1)[1] for line in result.stdout.splitlines()]
    assert len(texts) == len(EVENTS)
    assert texts[0].split(maxsplit=2) == [
        "packet",
        "plant-b",
        "-> I1        [2001:db8::2]:10500/udp 56 octets",
    ]
    assert "2001:21::9" in texts[1]
    assert "I1-SENT -> I2-SENT: R1 received" in texts[1]
    assert "called, " in texts[2]
    assert "20.0 ms" in texts[2]
    assert "\x1b" not in result.stdout
    assert "1.20 ms" in texts[4]
    assert texts[5].endswith("192.0.2.1, 2001:db8::1")
    assert texts[6].endswith("no address")


@pytest.mark.usefixtures("publishing")
def test_events_as_json_lines(ask: Run) -> None:
    lines = ask("events", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == EVENTS


@pytest.mark.usefixtures("publishing")
def test_events_of_some_kinds_and_so_many(ask: Run) -> None:
    result = ask("events", "-k", "state", "-k", "rtt", "-n", "2", "--json")
    assert [json.loads(line)["kind"] for line in result.stdout.splitlines()] == ["state", "rtt"]


def test_events_for_a_while(ask: Run) -> None:
    result = ask("events", "--for", "0.05")
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("peers",),
        ("associations",),
        ("sa",),
        ("mac-table",),
        ("counters",),
        ("ping", "plant-b"),
        ("connect", "plant-b"),
        ("close", "plant-b"),
        ("events",),
        ("stop",),
    ],
)
def test_without_a_daemon_every_command_exits_with_3(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "no daemon listens at /nonexistent/control.sock" in result.stderr
    assert "hint:  start it with" in result.stderr


@pytest.mark.parametrize("command", ["ping", "connect", "close"])
def test_unknown_peer_exits_with_2(ask: Run, command: str) -> None:
    result = ask(command, "plant-x")
    assert result.exit_code == 2
    assert "no peer is called 'plant-x'" in result.stderr
    assert "hint:  `hipgw peers`" in result.stderr


def test_socket_option_wins(run: Run, daemon: ServedDaemon) -> None:
    assert run("status", "--socket", daemon.path).exit_code == 0


def test_lost_daemon_exits_with_3(ask: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: ControlClient, *_: Any, **__: Any) -> Any:
        self.close()
        return ControlClient.request(self, "status")

    monkeypatch.setattr(ControlClient, "status", gone)
    result = ask("status")
    assert result.exit_code == 3


def test_rekey(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    result = ask("rekey", "plant-b")
    assert result.exit_code == 0
    assert result.stdout == "plant-b: new keys are in force (in 0x00001235, out 0xdeadbef0)\n"
    assert ask_json("rekey", "plant-b")["rekeyed"] is True
    daemon.api.answers_ping = False
    result = ask("rekey", "plant-b")
    assert result.exit_code == 1
    assert result.stdout == "plant-b: no new keys yet: no answer within 5 s\n"
    daemon.api.established = False
    assert "there is no association" in ask("rekey", "plant-b").stderr


def test_events_of_handovers_and_new_keys(ask: Run, daemon: ServedDaemon) -> None:
    moved = {
        "kind": "path",
        "time": 0.0,
        "peer": "plant-b",
        "old_path": PATH,
        "path": {**PATH, "remote": "2001:db8::2"},
        "reason": "the peer has moved",
    }
    renewed = {"kind": "rekeyed", "time": 0.0, "peer": "plant-b", "inbound_spi": 1}

    def publish() -> None:
        wait_until(lambda: daemon.server.has_subscribers)
        daemon.publish(moved)
        daemon.publish({**renewed, "outbound_spi": 2})

    teller = threading.Thread(target=publish)
    teller.start()
    lines = ask("events", "-n", "2").stdout.splitlines()
    teller.join()
    assert lines[0].endswith(
        "192.0.2.2:10500/udp -> [2001:db8::2]:10500/udp from 192.0.2.1: the peer has moved"
    )
    assert lines[1].endswith("in 0x00000001, out 0x00000002")
