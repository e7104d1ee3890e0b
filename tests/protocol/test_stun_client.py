"""The STUN client in virtual time (RFC 8489 §6.2.1)."""

import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from hipgw.protocol.nat.reflexive import Reflexive
from hipgw.protocol.nat.stun_client import (
    QUESTIONS_MAX,
    REQUESTS,
    TRANSACTION_S,
    StunClient,
)
from hipgw.protocol.path import IPAddress, Path
from wire.test_stun import answer, xor_mapped

A, B, A6 = ip_address("192.168.1.2"), ip_address("10.0.0.2"), ip_address("2001:db8::2")
ONE = (ip_address("192.0.2.9"), 3478)
SIX = (ip_address("2001:db8::9"), 3479)
MAPPED = (ip_address("198.51.100.7"), 20001)


def client(*servers: tuple[IPAddress, int], refresh_s: float = 20.0) -> StunClient:
    return StunClient(servers, 10500, random.Random(1).randbytes, refresh_s=refresh_s)


def run(stun: StunClient, until: float) -> list[tuple[float, bytes, Path]]:
    """Everything that is sent, with its time."""
    sent = []
    while (when := stun.next_timer()) is not None and when <= until:
        sent += [(when, data, path) for data, path in stun.timer_expired(when)]
    return sent


def reply(request: bytes, mapped: tuple[IPAddress, int] = MAPPED) -> bytes:
    return answer(request[8:], xor_mapped(*mapped, request[8:]))


def test_every_address_asks_every_server_of_its_family() -> None:
    stun = client(ONE, SIX)
    assert stun.next_timer() is None
    stun.addresses_changed([A, A6, B], 0.0)
    paths = [path for _, _, path in run(stun, 0.3)]
    assert {(path.local, path.remote, path.remote_port) for path in paths} == {
        (A, *ONE),
        (B, *ONE),
        (A6, *SIX),
    }
    assert {path.local_port for path in paths} == {10500}


def test_requests_are_repeated_and_given_up() -> None:
    stun = client(ONE, refresh_s=100.0)
    stun.addresses_changed([A], 0.0)
    sent = run(stun, 100.0)
    assert [when for when, _, _ in sent] == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert len({data for _, data, _ in sent}) == 1, "the same transaction"
    (again, data, _), *_ = run(stun, 200.0)
    assert again == TRANSACTION_S + 100.0 == 139.5
    assert data != sent[0][1], "another transaction"


def test_an_answer_counts_once_and_is_renewed() -> None:
    stun = client(ONE)
    stun.addresses_changed([A], 0.0)
    ((_, request, path),) = run(stun, 0.1)
    assert stun.received(reply(request), path, 0.2) == Reflexive((A, 10500), ONE, MAPPED)
    assert stun.received(reply(request), path, 0.2) is None
    assert stun.dropped == 1
    assert [when for when, _, _ in run(stun, 20.3)] == [20.2]


def test_only_the_server_that_was_asked_is_believed() -> None:
    stun = client(ONE, (ip_address("192.0.2.10"), 3478))
    stun.addresses_changed([A], 0.0)
    (_, first, path), (_, second, other) = run(stun, 0.1)
    wrong = [
        (reply(first), replace(path, remote=ip_address("192.0.2.66"))),
        (reply(first), replace(path, remote_port=3479)),
        (reply(first), replace(path, local=B)),
        (reply(first), replace(path, local_port=10501)),
        (reply(first), other),
        (reply(second), path),
        (reply(first[:-1] + b"\0"), path),
        (first, path),
        (b"garbage", path),
    ]
    for data, way in wrong:
        assert stun.received(data, way, 0.2) is None
    assert stun.dropped == len(wrong)
    assert stun.received(reply(first), path, 0.3) is not None


@pytest.mark.parametrize("text", ["2001:db8::1", "127.0.0.1", "224.0.0.1", "0.0.0.0"])
def test_an_address_that_cannot_be_is_not_believed(text: str) -> None:
    stun = client(ONE)
    stun.addresses_changed([A], 0.0)
    ((_, request, path),) = run(stun, 0.1)
    assert stun.received(reply(request, (ip_address(text), 1)), path, 0.2) is None


def test_old_answers_are_void_when_addresses_change() -> None:
    stun = client(ONE)
    stun.addresses_changed([A], 0.0)
    ((_, request, path),) = run(stun, 0.1)
    stun.addresses_changed([A, B], 0.2)
    assert stun.received(reply(request), path, 0.3) is None
    stun.addresses_changed([], 0.4)
    assert stun.next_timer() is None


def test_how_much_is_asked_is_bounded() -> None:
    stun = client(*[(ip_address(f"192.0.2.{n}"), 3478) for n in range(1, 30)])
    stun.addresses_changed([ip_address(f"10.0.0.{n}") for n in range(1, 9)], 0.0)
    sent = run(stun, 20.0)
    paths = [path for _, _, path in sent]
    assert len(set(paths)) == QUESTIONS_MAX
    assert max(paths.count(path) for path in paths) <= REQUESTS
    times = sorted(when for when, _, _ in sent)[:QUESTIONS_MAX]
    assert times[-1] > 0.3, "not all at once"
