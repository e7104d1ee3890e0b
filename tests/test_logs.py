"""Log lines in each format, and their limits."""

import io
import json
import logging
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hipgw import logs
from hipgw.protocol.states import State


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    logging.raiseExceptions = True


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(log_format: logs.Format, stream: io.StringIO, **extra: Any) -> str:
    logs.set_up(log_format, "info", stream=stream)
    logging.getLogger("hipgw.roles.endbox").info("peer %s is up", "plant-b", extra=extra)
    return stream.getvalue()


def test_human_on_a_terminal_is_coloured() -> None:
    text = written("auto", Terminal(), rtt_s=0.5)
    assert "\x1b[32mINFO" in text
    assert "roles.endbox: peer plant-b is up" in text
    assert "rtt_s=0.5" in text


def test_human_in_a_file_is_not() -> None:
    line = written("human", io.StringIO(), state=State.I1_SENT, hit=IPv6Address("2001:21::1"))
    assert "\x1b" not in line
    assert line.endswith("INFO    roles.endbox: peer plant-b is up  state=I1-SENT hit=2001:21::1\n")


def test_debug_is_what_hipgw_says_alone() -> None:
    stream = io.StringIO()
    logs.set_up("text", "debug", stream=stream)
    logging.getLogger("pyroute2.netlink.core").debug("a netlink message, maybe with keys in it")
    logging.getLogger("asyncio").debug("Using selector: EpollSelector")
    logging.getLogger("hipgw.daemon").debug("a packet")
    assert stream.getvalue().count("\n") == 1
    assert "a packet" in stream.getvalue()


def test_auto_in_a_file_is_pairs() -> None:
    line = written("auto", io.StringIO(), reason="no answer", peer="b")
    assert line.startswith("time=20")
    assert 'level=info logger=roles.endbox message="peer plant-b is up"' in line
    assert line.endswith('reason="no answer" peer=b\n')


def test_json_is_an_object_a_line() -> None:
    entry = json.loads(written("json", io.StringIO(), hit=IPv6Address("2001:21::1"), level="x"))
    assert entry["message"] == "peer plant-b is up"
    assert entry["level"] == "info"
    assert entry["level_"] == "x"
    assert entry["hit"] == "2001:21::1"


@pytest.mark.parametrize("log_format", ["human", "text", "json"])
def test_tracebacks_are_kept(log_format: logs.Format) -> None:
    stream = io.StringIO()
    logs.set_up(log_format, stream=stream)
    try:
        raise ValueError("this one")
    except ValueError:
        logging.getLogger("hipgw.x").exception("failed")
    assert "ValueError: this one" in stream.getvalue()
    assert (len(stream.getvalue().splitlines()) == 1) == (log_format != "human")


def test_level_is_respected_and_the_last_call_counts() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.set_up("text", "debug", stream=first)
    logs.set_up("text", "warning", stream=second)
    logging.getLogger("hipgw.x").info("quiet")
    logging.getLogger("hipgw.x").warning("loud")
    assert first.getvalue() == ""
    assert "loud" in second.getvalue()
    assert "quiet" not in second.getvalue()


@given(text=st.text(), value=st.text())
@example(text="", value="\xad")
@example(text="", value="\u1680")
def test_no_text_can_pass_for_another_record(text: str, value: str) -> None:
    record = logging.makeLogRecord(
        {"name": "hipgw.x", "levelname": "INFO", "levelno": 20, "msg": "%s", "args": (text,)}
    )
    record.peer = value
    for formatter in (logs.HumanFormatter(), logs.TextFormatter(), logs.JsonFormatter()):
        line = formatter.format(record)
        assert len(line.splitlines()) <= 1
        assert line.isprintable()
    assert json.loads(logs.JsonFormatter().format(record))["peer"] == value
    pairs = logs.TextFormatter().format(record)
    assert pairs.endswith(f"peer={logs._quoted(value)}")


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    stream = io.StringIO()
    logs.set_up("text", stream=stream)
    stream.close()
    logging.getLogger("hipgw.x").warning("lost")


def record(at: float, line: int = 1, level: int = logging.WARNING) -> logging.LogRecord:
    made = logging.LogRecord("hipgw.x", level, "x.py", line, "m", (), None)
    made.created = at
    return made


def test_rate_limit_lets_a_burst_through_and_counts_the_rest() -> None:
    limit = logs.RateLimit(burst=3, rate=1.0)
    assert [limit.filter(record(10.0)) for _ in range(5)] == [True, True, True, False, False]
    late = record(11.0)
    assert limit.filter(late)
    assert late.suppressed == 2  # type: ignore[attr-defined]
    assert not limit.filter(record(11.0))
    much_later = record(1000.0)
    assert limit.filter(much_later)
    assert much_later.suppressed == 1  # type: ignore[attr-defined]
    assert [limit.filter(record(1000.0)) for _ in range(3)] == [True, True, False]


def test_rate_limit_is_for_each_place_and_spares_errors_and_debug() -> None:
    limit = logs.RateLimit(burst=1, rate=0.0)
    assert limit.filter(record(1.0))
    assert not limit.filter(record(1.0))
    assert limit.filter(record(1.0, line=2))
    for level in (logging.ERROR, logging.DEBUG):
        assert all(limit.filter(record(1.0, level=level)) for _ in range(10))


def test_clock_that_jumps_back_does_not_stop_the_log() -> None:
    limit = logs.RateLimit(burst=1, rate=1.0)
    assert limit.filter(record(1000.0))
    assert not limit.filter(record(10.0))
    assert limit.filter(record(12.0))


def test_packet_path_logger_is_limited_once() -> None:
    stream = io.StringIO()
    logs.set_up("text", stream=stream)
    for _ in range(100):
        logs.packet_path_logger("hipgw.test_packets").warning("bad packet")
    assert len(stream.getvalue().splitlines()) == logs.PACKET_BURST


def test_nothing_floods_even_without_a_limit_of_its_own() -> None:
    stream = io.StringIO()
    logs.set_up("text", stream=stream)
    for number in range(1000):
        logging.getLogger("hipgw.x").info("number %d", number)
    assert logs.ANY_BURST <= len(stream.getvalue().splitlines()) < logs.ANY_BURST + 50
