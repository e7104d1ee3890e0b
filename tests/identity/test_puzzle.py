import hashlib
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgw.identity.puzzle import PuzzleBits, puzzle_prefix, search, verify_puzzle
from hipgw.identity.rhash import SHA1, HitSuite, rhash

INITIATOR, RESPONDER = IPv6Address("2001:21::a"), IPv6Address("2001:22::b")


def test_the_initiators_hit_comes_first() -> None:
    assert puzzle_prefix(b"i", INITIATOR, RESPONDER) == b"i" + INITIATOR.packed + RESPONDER.packed


@pytest.mark.parametrize("suite", list(HitSuite))
@settings(max_examples=15, deadline=None)
@given(seed=st.binary(min_size=8, max_size=8), difficulty=st.integers(0, 8))
def test_a_found_solution_is_accepted(suite: int, seed: bytes, difficulty: int) -> None:
    function = rhash(suite)
    length = function.digest_size
    i = seed.ljust(length, b"i")
    prefix = puzzle_prefix(i, INITIATOR, RESPONDER)
    j = search(function.name, prefix, length, difficulty, seed.ljust(length, b"j"), 1 << 16)
    assert j is not None
    assert len(j) == length
    assert verify_puzzle(function, difficulty, i, INITIATOR, RESPONDER, j)


def test_the_lowest_bits_count() -> None:
    function, i = rhash(1), bytes(32)
    for number in range(300):
        j = number.to_bytes(32, "big")
        digest = hashlib.sha256(i + INITIATOR.packed + RESPONDER.packed + j).digest()
        zeros = next((bit for bit in range(256) if int.from_bytes(digest, "big") >> bit & 1), 256)
        assert verify_puzzle(function, zeros, i, INITIATOR, RESPONDER, j)
        assert not verify_puzzle(function, zeros + 1, i, INITIATOR, RESPONDER, j)


def test_swapped_hits_do_not_solve_it() -> None:
    function, i = rhash(1), bytes(32)
    prefix = puzzle_prefix(i, INITIATOR, RESPONDER)
    j = search("sha256", prefix, 32, 12, bytes(32), 1 << 20)
    assert j is not None
    assert verify_puzzle(function, 12, i, INITIATOR, RESPONDER, j)
    assert not verify_puzzle(function, 12, i, RESPONDER, INITIATOR, j)
    assert not verify_puzzle(function, 12, b"\1" + i[1:], INITIATOR, RESPONDER, j)


@pytest.mark.parametrize("difficulty", [0, 1])
def test_values_of_another_length_are_refused_even_without_work(difficulty: int) -> None:
    good = bytes(32)
    assert verify_puzzle(rhash(1), 0, good, INITIATOR, RESPONDER, good)
    for i, j in ((good, b""), (good, bytes(31)), (good, bytes(33)), (bytes(48), good), (b"", b"")):
        assert not verify_puzzle(rhash(1), difficulty, i, INITIATOR, RESPONDER, j)


def test_the_search_goes_on_from_its_start_and_ends() -> None:
    prefix = puzzle_prefix(bytes(32), INITIATOR, RESPONDER)
    first = search("sha256", prefix, 32, 8, bytes(32), 1 << 16)
    assert first is not None
    after = (int.from_bytes(first, "big") + 1).to_bytes(32, "big")
    second = search("sha256", prefix, 32, 8, after, 1 << 16)
    assert second is not None
    assert int.from_bytes(second, "big") > int.from_bytes(first, "big")
    attempts = int.from_bytes(first, "big")
    assert search("sha256", prefix, 32, 8, bytes(32), attempts) is None
    assert search("sha256", prefix, 32, 8, bytes(32), attempts + 1) == first


def test_the_search_runs_over_the_end_of_its_range() -> None:
    prefix = puzzle_prefix(bytes(32), INITIATOR, RESPONDER)
    j = search("sha256", prefix, 32, 6, b"\xff" * 32, 1 << 16)
    assert j is not None
    assert verify_puzzle(rhash(1), 6, bytes(32), INITIATOR, RESPONDER, j)


def test_a_puzzle_that_cannot_be_solved_ends_the_search() -> None:
    assert search("sha256", b"", 32, 256, bytes(32), 50) is None


@pytest.mark.parametrize("bits", list(PuzzleBits))
def test_the_rules_of_other_stacks(bits: PuzzleBits) -> None:
    i, difficulty = bytes(8), 5
    hits = INITIATOR, RESPONDER
    prefix = puzzle_prefix(i, *hits)
    solved = 0
    for number in range(4096):
        j = number.to_bytes(8, "big")
        digest = hashlib.sha1(prefix + j).digest()
        # OpenHIP on x86: a 64-bit number loaded from the last octets as they lie in memory.
        lowest, openhip = digest[19] & 0x1F == 0, digest[12] & 0x1F == 0
        expected = {
            PuzzleBits.LOWEST: lowest,
            PuzzleBits.OPENHIP: openhip,
        }[bits]
        assert verify_puzzle(SHA1, difficulty, i, *hits, j, length=8, bits=bits) is expected
        solved += expected
    assert solved
    j = search("sha1", prefix, 8, difficulty, bytes(8), 1 << 16, bits=bits)
    assert j is not None
    assert verify_puzzle(SHA1, difficulty, i, *hits, j, length=8, bits=bits)


def test_openhip_knows_no_more_than_64_bits() -> None:
    arguments = (SHA1, 65, bytes(8), INITIATOR, RESPONDER, bytes(8))
    assert not verify_puzzle(*arguments, length=8, bits=PuzzleBits.OPENHIP)


def test_the_lengths_of_v1() -> None:
    short = bytes(8)
    assert verify_puzzle(SHA1, 0, short, INITIATOR, RESPONDER, short, length=8)
    assert not verify_puzzle(SHA1, 0, short, INITIATOR, RESPONDER, short)
    assert not verify_puzzle(SHA1, 0, short, INITIATOR, RESPONDER, bytes(9), length=8)
    assert not verify_puzzle(SHA1, 0, bytes(20), INITIATOR, RESPONDER, bytes(20), length=8)


def test_the_responders_hit_first() -> None:
    function, i = rhash(1), bytes(32)
    prefix = puzzle_prefix(i, INITIATOR, RESPONDER, responder_first=True)
    assert prefix == puzzle_prefix(i, RESPONDER, INITIATOR)
    j = search("sha256", prefix, 32, 12, bytes(32), 1 << 20)
    assert j is not None
    assert verify_puzzle(function, 12, i, INITIATOR, RESPONDER, j, responder_first=True)
    assert not verify_puzzle(function, 12, i, INITIATOR, RESPONDER, j)
