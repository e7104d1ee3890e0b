"""The puzzle: I, J and RHASH (RFC 7401 §4.1.2, §6.3).

The search for J is done in Rust, off the interpreter; `search` here is its plain twin, for tests
and for very small puzzles.
"""

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from hipgw.identity.rhash import HitSuite, Rhash, rhash

if TYPE_CHECKING:
    from hipgw._esp_core import PuzzleSolver

_RHASH_BY_NAME: dict[str, Rhash] = {rhash(suite).name: rhash(suite) for suite in HitSuite}


def puzzle_prefix(i: bytes, initiator_hit: IPv6Address, responder_hit: IPv6Address) -> bytes:
    """Return what is hashed in front of J: I | HIT-I | HIT-R, whoever sent the packet."""
    return i + initiator_hit.packed + responder_hit.packed


def verify_puzzle(
    rhash: Rhash,
    difficulty: int,
    i: bytes,
    initiator_hit: IPv6Address,
    responder_hit: IPv6Address,
    j: bytes,
) -> bool:
    """Tell whether J solves the puzzle: the `difficulty` (K) lowest bits of the hash are zero.

    I and J have to be as long as RHASH is (RFC 7401 §5.2.4, §5.2.5).
    """
    if len(i) != rhash.digest_size or len(j) != rhash.digest_size:
        return False
    return _solves(rhash, difficulty, puzzle_prefix(i, initiator_hit, responder_hit) + j)


def search(
    hash_name: str, prefix: bytes, length: int, difficulty: int, start: bytes, attempts: int
) -> bytes | None:
    """Try J = start, start + 1, … at most `attempts` times; None if none of them solves it."""
    function = _RHASH_BY_NAME[hash_name]
    first = int.from_bytes(start, "big")
    for candidate in range(first, first + attempts):
        j = (candidate % (1 << 8 * length)).to_bytes(length, "big")
        if _solves(function, difficulty, prefix + j):
            return j
    return None


def puzzle_solver(
    hash_name: str,
    prefix: bytes,
    length: int,
    difficulty: int,
    random: Callable[[int], bytes],
) -> "PuzzleSolver":
    """Return a cancellable search in Rust that begins at a random J.

    Call its `run(timeout_s)` in a worker thread, where it runs without the interpreter's lock,
    and its `cancel()` from any other.
    """
    # Imported here so that everything else of this room works without the compiled data plane.
    from hipgw._esp_core import PuzzleSolver

    return PuzzleSolver(hash_name, prefix, length, difficulty, random(length))


def _solves(function: Rhash, difficulty: int, data: bytes) -> bool:
    digest = int.from_bytes(function.digest(data), "big")
    return digest & ((1 << difficulty) - 1) == 0
