"""The search in Rust against its plain twin."""

import threading
import time
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.identity.puzzle import (
    PuzzleBits,
    puzzle_prefix,
    puzzle_solver,
    search,
    verify_puzzle,
)
from hipgw.identity.rhash import HitSuite, rhash

INITIATOR, RESPONDER = IPv6Address("2001:21::a"), IPv6Address("2001:22::b")
UNSOLVABLE = 160
"""Difficulty that no hash of any suite reaches in this universe's time."""


@pytest.mark.parametrize("suite", list(HitSuite))
@settings(max_examples=20, deadline=None)
@given(
    i=st.binary(min_size=48, max_size=48),
    start=st.binary(min_size=48, max_size=48),
    difficulty=st.integers(0, 10),
)
def test_both_find_the_same_solution(suite: int, i: bytes, start: bytes, difficulty: int) -> None:
    function = rhash(suite)
    length = function.digest_size
    prefix = puzzle_prefix(i[:length], INITIATOR, RESPONDER)
    solver = puzzle_solver(function.name, prefix, length, difficulty, lambda n: start[:n])
    found = solver.run(60.0)
    assert found == search(function.name, prefix, length, difficulty, start[:length], 1 << 20)
    assert found is not None
    assert verify_puzzle(function, difficulty, i[:length], INITIATOR, RESPONDER, found)


@pytest.mark.parametrize("suite", list(HitSuite))
def test_both_run_over_the_end_of_the_range(suite: int) -> None:
    function = rhash(suite)
    length = function.digest_size
    prefix = puzzle_prefix(bytes(length), INITIATOR, RESPONDER)
    solver = puzzle_solver(function.name, prefix, length, 6, lambda n: b"\xff" * n)
    assert solver.run(60.0) == search(function.name, prefix, length, 6, b"\xff" * length, 1 << 20)


def test_a_search_ends_with_its_time() -> None:
    solver = puzzle_solver("sha256", bytes(64), 32, UNSOLVABLE, bytes)
    started = time.monotonic()
    assert solver.run(0.05) is None
    assert 0.04 < time.monotonic() - started < 5.0


def test_a_search_can_be_cancelled_while_python_goes_on() -> None:
    solver = puzzle_solver("sha256", bytes(64), 32, UNSOLVABLE, bytes)
    results: list[bytes | None] = []
    thread = threading.Thread(target=lambda: results.append(solver.run(60.0)))
    thread.start()
    # This loop could not turn if the search kept the interpreter's lock.
    for _ in range(100):
        time.sleep(0.0005)
    assert thread.is_alive()
    solver.cancel()
    thread.join(10.0)
    assert results == [None]


def test_a_cancelled_search_does_not_start() -> None:
    solver = puzzle_solver("sha256", bytes(64), 32, UNSOLVABLE, bytes)
    solver.cancel()
    started = time.monotonic()
    assert solver.run(60.0) is None
    assert time.monotonic() - started < 5.0


@settings(max_examples=10, deadline=None)
@given(prefix=st.binary(min_size=40, max_size=40), start=st.binary(min_size=8, max_size=8))
@pytest.mark.parametrize("bits", list(PuzzleBits))
def test_both_follow_every_rule_for_hipv1(bits: PuzzleBits, prefix: bytes, start: bytes) -> None:
    solver = puzzle_solver("sha1", prefix, 8, 5, lambda n: start[:n], bits=bits)
    assert solver.run(60.0) == search("sha1", prefix, 8, 5, start, 1 << 20, bits=bits)
