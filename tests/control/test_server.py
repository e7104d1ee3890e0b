"""Requests and their answers, over a real socket."""

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hipgw.control import connection
from hipgw.control.client import ControlClient
from hipgw.control.errors import ErrorCode, NotReachableError, RequestError
from hipgw.control.lines import REQUEST_LIMIT_BYTES
from hipgw.control.methods import METHODS
from small_daemon import HIT_B, ServedDaemon, wait_until


class RawClient:
    """Speaks to the socket without any manners."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(str(path))
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Any:
        """The next line, None at the end."""
        line = self._file.readline()
        return json.loads(line) if line else None

    def ask(self, data: bytes) -> Any:
        self.send(data + b"\n")
        return self.answer()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()


@pytest.mark.parametrize("name", ["status", "peers", "associations", "mac_table", "counters"])
def test_queries_are_answered_with_what_the_daemon_says(daemon: ServedDaemon, name: str) -> None:
    with ControlClient(daemon.path) as client:
        assert client.request(name) == getattr(daemon.api, name)()


def test_security_associations_are_asked_for_as_sa(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        assert client.security_associations() == daemon.api.security_associations()


def test_ping_yields_replies_and_then_a_summary(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        *replies, summary = client.ping("1.0.0.2", count=3, interval_s=0.05)
    assert [reply["rtt_s"] for reply in replies] == [0.001, 0.002, 0.003]  # type: ignore[typeddict-item]
    assert summary == {
        "peer": "plant-b",
        "peer_hit": HIT_B,
        "sent": 3,
        "received": 3,
        "rtt_min_s": 0.001,
        "rtt_avg_s": 0.002,
        "rtt_max_s": 0.003,
    }


def test_ping_without_any_answer_has_no_figures(daemon: ServedDaemon) -> None:
    daemon.api.answers_ping = False
    with ControlClient(daemon.path) as client:
        *_, summary = client.ping("plant-b", count=2, interval_s=0.05)
    assert summary["received"] == 0  # type: ignore[typeddict-item]
    assert summary["rtt_avg_s"] is None  # type: ignore[typeddict-item]


def test_ping_ends_when_its_client_goes_away(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        next(client.ping("plant-b", count=1000, interval_s=0.05))
        assert not daemon.api.cancelled.is_set()
    assert daemon.api.cancelled.wait(5)


def test_connect_and_close(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        assert client.connect("plant-b")["established"]
        assert client.close_association("plant-b")["closed"]
        assert client.connect("plant-b", timeout_s=1)["reason"] == "no answer to I1"


def test_addresses_and_new_keys(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        answer = client.addresses()
        assert [own["address"] for own in answer["own"]] == ["192.0.2.1", "2001:db8::1"]
        assert [one["in_use"] for one in answer["peers"][0]["locators"]] == [True, False]
        assert client.rekey("plant-b")["outbound_spi"] == 0xDEADBEF0
        daemon.api.answers_ping = False
        assert not client.rekey("plant-b", timeout_s=0)["rekeyed"]


def test_refusal_carries_text_and_hint(daemon: ServedDaemon) -> None:
    daemon.api.established = False
    with ControlClient(daemon.path) as client, pytest.raises(RequestError) as caught:
        client.close_association("plant-b")
    assert caught.value.code == ErrorCode.REFUSED
    assert str(caught.value) == "there is no association to close"
    assert caught.value.hint == "connect first"


@pytest.mark.parametrize("method", ["ping", "connect", "close", "rekey"])
def test_unknown_peer(daemon: ServedDaemon, method: str) -> None:
    with ControlClient(daemon.path) as client, pytest.raises(RequestError) as caught:
        client.request(method, {"peer": "plant-x"})
    assert caught.value.code == ErrorCode.UNKNOWN_PEER
    assert "'plant-x'" in str(caught.value)


def test_stop_reaches_the_daemon(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        client.stop()
    assert daemon.api.stopped.wait(5)


@pytest.mark.parametrize(
    ("request_line", "code", "part"),
    [
        (b"hello", "bad_request", "not a request"),
        (b"[]", "bad_request", "not an object"),
        (b"\xff\xfe", "bad_request", "not a request"),
        (b'{"id":7}', "bad_request", "'method'"),
        (b'{"id":7,"method":5}', "bad_request", "'method'"),
        (b'{"id":7,"method":"status","params":[]}', "bad_request", "'params'"),
        (b'{"id":7,"method":"status","param":{}}', "bad_request", "'param'"),
        (b'{"id":[],"method":"status"}', "bad_request", "'id'"),
        (b'{"id":true,"method":"status"}', "bad_request", "'id'"),
        (b'{"id":1e999,"method":"status"}', "bad_request", "'id'"),
        (b'{"id":NaN,"method":"status"}', "bad_request", "NaN"),
        (b"[" * 60000, "bad_request", "nested"),
        (b'{"id":7,"method":"' + b"1" * 6000 + b'"}', "unknown_method", "no method"),
        (b'{"id":7,"method":' + b"1" * 6000 + b"}", "bad_request", "not a request"),
        (b'{"id":7,"method":"__class__"}', "unknown_method", "__class__"),
        (b'{"id":7,"method":"status","params":{"x":1}}', "bad_params", "no parameter 'x'"),
        (b'{"id":7,"method":"ping"}', "bad_params", "'peer'"),
        (b'{"id":7,"method":"ping","params":{"peer":5}}', "bad_params", "text"),
        (b'{"id":7,"method":"ping","params":{"peer":""}}', "bad_params", "1 to 255"),
        (b'{"id":7,"method":"ping","params":{"peer":"b","count":0}}', "bad_params", "1 and"),
        (b'{"id":7,"method":"ping","params":{"peer":"b","count":true}}', "bad_params", "whole"),
        (b'{"id":7,"method":"ping","params":{"peer":"b","count":1.5}}', "bad_params", "whole"),
        (
            b'{"id":7,"method":"close","params":{"peer":"b","timeout_s":"1"}}',
            "bad_params",
            "number",
        ),
        (b'{"id":7,"method":"close","params":{"peer":"b","timeout_s":-1}}', "bad_params", "0 and"),
        (
            b'{"id":7,"method":"close","params":{"peer":"b","timeout_s":' + b"9" * 400 + b"}}",
            "bad_params",
            "0 and 300",
        ),
        (b'{"id":7,"method":"subscribe","params":{"kinds":["x"]}}', "bad_params", "packet"),
        (b'{"id":7,"method":"subscribe","params":{"kinds":[]}}', "bad_params", "1 to 11"),
    ],
)
def test_bad_requests_are_answered_and_the_next_one_too(
    daemon: ServedDaemon, request_line: bytes, code: str, part: str
) -> None:
    with RawClient(daemon.path) as client:
        answer = client.ask(request_line)
        assert answer["error"]["code"] == code
        assert part in answer["error"]["message"]
        if b'"id":7' in request_line and code != "bad_request":
            assert answer["id"] == 7
        assert client.ask(b'{"id":"x","method":"status"}')["id"] == "x"


def test_id_comes_back_also_with_a_bad_request(daemon: ServedDaemon) -> None:
    with RawClient(daemon.path) as client:
        assert client.ask(b'{"id":"seven","method":5}')["id"] == "seven"


def test_request_without_id_or_params(daemon: ServedDaemon) -> None:
    with RawClient(daemon.path) as client:
        answer = client.ask(b'{"method":"status"}')
        assert answer["id"] is None
        assert answer["result"]["version"] == "1.2.3"


def test_blank_lines_are_passed_over(daemon: ServedDaemon) -> None:
    with RawClient(daemon.path) as client:
        assert client.ask(b'\n\r\n  \n{"id":1,"method":"status"}')["id"] == 1


def test_too_long_a_line_is_told_and_closed(daemon: ServedDaemon) -> None:
    with RawClient(daemon.path) as client:
        client.send(b" " * (REQUEST_LIMIT_BYTES + 1))
        assert client.answer()["error"]["code"] == "too_long"
        assert client.answer() is None
    with ControlClient(daemon.path) as fresh:
        assert fresh.status()


def test_client_may_end_its_side_and_still_read_the_answer(daemon: ServedDaemon) -> None:
    daemon.api.established = False
    with RawClient(daemon.path) as client:
        client.send(b'{"id":1,"method":"connect","params":{"peer":"plant-b"}}\n')
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer()["result"]["established"] is False
        assert client.answer() is None


def test_last_line_may_lack_its_end(daemon: ServedDaemon) -> None:
    with RawClient(daemon.path) as client:
        client.send(b'{"id":1,"method":"status"}')
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer()["id"] == 1


def test_requests_run_side_by_side(daemon: ServedDaemon) -> None:
    with RawClient(daemon.path) as client:
        client.send(
            b'{"id":1,"method":"ping","params":{"peer":"plant-b","count":2,"interval_s":0.3}}\n'
            b'{"id":2,"method":"status"}\n'
        )
        answers = [client.answer() for _ in range(4)]
    assert [answer["id"] for answer in answers] == [1, 2, 1, 1]
    assert "sent" in answers[3]["result"]


def test_fault_of_the_daemon_is_told_without_details(
    daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise KeyError("secret")

    monkeypatch.setattr(daemon.api, "status", fail)
    with ControlClient(daemon.path) as client:
        with pytest.raises(RequestError) as caught:
            client.status()
        assert caught.value.code == ErrorCode.INTERNAL
        assert "secret" not in str(caught.value)
        assert client.peers()
    assert "control request failed" in caplog.text


def test_answer_that_is_not_json_is_a_fault_of_the_daemon(
    daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.api, "status", lambda: {"uptime_s": float("nan")})
    with ControlClient(daemon.path) as client, pytest.raises(RequestError) as caught:
        client.status()
    assert caught.value.code == ErrorCode.INTERNAL


def test_clients_are_bounded(daemon: ServedDaemon) -> None:
    clients = [ControlClient(daemon.path) for _ in range(8)]
    for client in clients:
        assert client.status()
    with pytest.raises(RequestError) as caught:
        ControlClient(daemon.path).status()
    assert caught.value.code == ErrorCode.BUSY
    clients.pop().close()

    def room() -> bool:
        try:
            with ControlClient(daemon.path) as client:
                return bool(client.status())
        except RequestError:
            return False

    wait_until(room)
    for client in clients:
        client.close()


def test_idle_clients_make_room(daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_TIMEOUT_S", 0.05)
    with RawClient(daemon.path) as idle:
        assert idle.answer() is None


def test_waiting_clients_are_not_idle(
    daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_TIMEOUT_S", 0.05)
    with ControlClient(daemon.path) as client:
        events = client.subscribe()
        time.sleep(0.2)
        daemon.publish({"kind": "stopping", "time": 1.0})
        assert next(events)["kind"] == "stopping"


def test_large_answers_arrive_whole(daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = daemon.api.mac_table() * 30000
    monkeypatch.setattr(daemon.api, "mac_table", lambda: entries)
    with ControlClient(daemon.path) as client:
        assert len(client.mac_table()) == 30000


def test_client_that_does_not_read_its_answer_is_closed(
    daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT_S", 0.1)
    entries = daemon.api.mac_table() * 30000
    monkeypatch.setattr(daemon.api, "mac_table", lambda: entries)
    with RawClient(daemon.path) as client:
        client.send(b'{"method":"mac_table"}\n')
        wait_until(lambda: not daemon.server._connections)


# -- events ----------------------------------------------------------------------------------------


def test_subscribers_get_what_they_asked_for(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as all_kinds, ControlClient(daemon.path) as states:
        everything, some = all_kinds.subscribe(), states.subscribe("state", "closed")
        for kind in ("packet", "state", "closed"):
            daemon.publish({"kind": kind, "time": 1.0})
        assert [next(everything)["kind"] for _ in range(3)] == ["packet", "state", "closed"]
        assert [next(some)["kind"] for _ in range(2)] == ["state", "closed"]


def test_server_knows_whether_anybody_listens(daemon: ServedDaemon) -> None:
    assert not daemon.server.has_subscribers
    with ControlClient(daemon.path) as client:
        client.status()
        assert not daemon.server.has_subscribers
        client.subscribe("state")
        assert daemon.server.has_subscribers
    wait_until(lambda: not daemon.server.has_subscribers)


def test_subscription_can_end_after_a_time(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        assert list(client.subscribe(timeout_s=0.05)) == []


def test_slow_subscriber_is_cut_off_and_others_are_not(daemon: ServedDaemon) -> None:
    with RawClient(daemon.path) as slow, ControlClient(daemon.path) as quick:
        slow.ask(b'{"id":1,"method":"subscribe"}')
        events = quick.subscribe()
        received = 0
        while not daemon.server.dropped_subscribers:
            daemon.publish({"kind": "state", "time": 1.0, "reason": "x" * 10000})
            received += next(events)["kind"] == "state"
            assert received < 1000, "the slow subscriber is buffered without end"
        assert received * 10000 > connection.UNSENT_LIMIT_BYTES / 2
        daemon.publish({"kind": "closed", "time": 1.0})
        assert next(events)["kind"] == "closed"
        assert quick.request("status")


def test_reader_in_another_thread_wakes_when_the_connection_is_closed(
    daemon: ServedDaemon,
) -> None:
    client = ControlClient(daemon.path)
    events = client.subscribe()
    outcome: list[BaseException] = []

    def read() -> None:
        try:
            next(events)
        except NotReachableError as error:
            outcome.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    client.close()
    reader.join(5)
    assert len(outcome) == 1


def test_end_of_the_daemon_ends_subscriptions(tmp_path: Path) -> None:
    served = ServedDaemon(tmp_path / "control.sock")
    client = ControlClient(served.path)
    events = client.subscribe()
    served.publish({"kind": "stopping", "time": 1.0})
    served.end()
    assert [event["kind"] for event in events] == ["stopping"]
    assert client.wait_for_end(5)
    client.close()


def test_registrations(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        (answer,) = client.registrations()
        assert answer["service"] == "RELAY_UDP_ESP"
        assert answer["relayed"] == ["192.0.2.2:30000"]


def test_endbox(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        answer = client.endbox()
        assert answer is not None
        assert answer["peers"][0]["mode"] == "static"
        daemon.api.established = False
        assert client.endbox() is None


def test_fleet(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        answer = client.fleet()
        assert answer is not None
        assert (answer["lan"], answer["missing"]) == ("plant", ["plant-c"])
        daemon.api.established = False
        assert client.fleet() is None


def test_resolve(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        answer = client.resolve("plant-b.example")
        assert (answer["query"], answer["hit"]) == ("plant-b.example", HIT_B)
        assert [source["source"] for source in answer["sources"]] == ["configured", "dns", "dht"]
        with pytest.raises(RequestError, match="elements"):
            client.resolve("x" * 256)


def test_mobile_router(daemon: ServedDaemon) -> None:
    with ControlClient(daemon.path) as client:
        assert client.mobile_router() is None
        assert client.mobile_router_clients() is None
        assert client.status()["mobile_router"] is None
        daemon.api.routes = True
        router = client.mobile_router()
        assert router is not None
        assert router["outside"] == [{"address": "192.0.2.1", "interface": "wwan0"}]
        assert client.status()["mobile_router"] == router
        (one,) = client.mobile_router_clients() or ()
        assert (one["hit"], one["tickets"]) == (HIT_B, 2)


def test_every_method_is_tested_here() -> None:
    """A new method needs a test above; this one only reminds of it."""
    assert set(METHODS) == {
        *("status", "peers", "associations", "sa", "mac_table", "counters"),
        *(
            "addresses",
            "registrations",
            "endbox",
            "mobile_router",
            "mobile_router_clients",
            "ping",
            "fleet",
            "resolve",
            "connect",
            "close",
            "rekey",
            "subscribe",
            "stop",
        ),
    }
