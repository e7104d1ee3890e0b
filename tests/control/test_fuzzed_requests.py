"""Whatever arrives at the socket: the daemon answers or closes, and serves the next client."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.control.client import ControlClient
from hipgw.control.errors import ErrorCode
from hipgw.control.methods import METHODS
from small_daemon import ServedDaemon

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["plant-b", "status", "peer", "count", "interval_s", "timeout_s", "kinds"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)
methods = st.sampled_from([*METHODS, "nothing"])
params = st.dictionaries(
    st.sampled_from(["peer", "count", "interval_s", "timeout_s", "kinds", "x"]), values, max_size=4
)
likely = st.fixed_dictionaries(
    {"method": st.one_of(methods, values)},
    optional={"id": values, "params": st.one_of(params, values), "extra": values},
).map(lambda request: json.dumps(request).encode())
lines = st.one_of(
    likely,
    values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.builds(
        lambda line, at, byte: line[: at % len(line)] + byte + line[at % len(line) :],
        likely,
        st.integers(0, 1000),
        st.binary(min_size=1, max_size=3),
    ),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedDaemon]:
    daemon = ServedDaemon(tmp_path_factory.mktemp("fuzzed") / "control.sock")
    daemon.api.hurried = True
    yield daemon
    daemon.end()


def exchange(path: Path, data: bytes) -> list[bytes]:
    """Send bytes, end, and read all that comes back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while part := client.recv(65536):
            received += part
    assert not received or received.endswith(b"\n")
    return received.splitlines()


@settings(max_examples=400, deadline=None)
@given(requests=st.lists(lines, min_size=1, max_size=4))
def test_every_line_gets_a_typed_answer(served: ServedDaemon, requests: list[bytes]) -> None:
    sent = [part for line in requests for part in line.split(b"\n") if part.strip()]
    answers = [json.loads(line) for line in exchange(served.path, b"\n".join(requests) + b"\n")]
    ends = [answer for answer in answers if "reply" not in answer]
    assert len(ends) == len(sent)
    for answer in ends:
        assert set(answer) in ({"id", "result"}, {"id", "error"})
        if "error" in answer:
            assert answer["error"]["code"] in set(ErrorCode) - {ErrorCode.INTERNAL}
            assert set(answer["error"]) == {"code", "message", "hint"}


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=2000), times=st.integers(1, 100))
def test_bytes_of_any_length_leave_the_daemon_alive(
    served: ServedDaemon, data: bytes, times: int
) -> None:
    with contextlib.suppress(ConnectionError):
        exchange(served.path, data * times)
    with ControlClient(served.path) as client:
        assert client.status()["version"] == "1.2.3"
