"""The puzzle: I, J and RHASH (RFC 7401 §4.1.2, §6.3; RFC 5201 §6.3).

The search for J is done in Rust, off the interpreter; `search` here is its plain twin, for tests
and for very small puzzles.
"""

from collections.abc import Callable
from enum import Enum
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from hipgw.identity.rhash import HitSuite, Rhash, rhash

if TYPE_CHECKING:
    from hipgw._esp_core import PuzzleSolver

_OPENHIP_BITS = 64

_RHASH_BY_NAME: dict[str, Rhash] = {rhash(suite).name: rhash(suite) for suite in HitSuite}


class PuzzleBits(Enum):
    """Which bits of the hash have to be zero."""

    LOWEST = "lowest"
    """The lowest ones, as the RFCs have it: from the last octet on."""
    OPENHIP = "openhip"
    """The lowest ones of the last 64 read in little-endian order, as OpenHIP does on x86."""


def puzzle_prefix(
    i: bytes,
    initiator_hit: IPv6Address,
    responder_hit: IPv6Address,
    *,
    responder_first: bool = False,
) -> bytes:
    """Return what is hashed in front of J: I | HIT-I | HIT-R, whoever sent the packet.

    *responder_first* swaps the HITs, as cutehip and hip-vpls have them.
    """
    hits = initiator_hit.packed, responder_hit.packed
    return i + b"".join(reversed(hits) if responder_first else hits)


def verify_puzzle(
    rhash: Rhash,
    difficulty: int,
    i: bytes,
    initiator_hit: IPv6Address,
    responder_hit: IPv6Address,
    j: bytes,
    *,
    length: int | None = None,
    bits: PuzzleBits = PuzzleBits.LOWEST,
    responder_first: bool = False,
) -> bool:
    """Tell whether J solves the puzzle: the `difficulty` (K) lowest bits of the hash are zero.

    I and J have to be as long as RHASH is (RFC 7401 §5.2.4, §5.2.5), or `length` octets: 8 in
    HIPv1 (RFC 5201 §5.2.4, §5.2.5). `bits` and `responder_first` are other stacks' deviations.
    """
    wanted = rhash.digest_size if length is None else length
    if len(i) != wanted or len(j) != wanted:
        return False
    prefix = puzzle_prefix(i, initiator_hit, responder_hit, responder_first=responder_first)
    return _solves(rhash, difficulty, prefix + j, bits)


def search(
    hash_name: str,
    prefix: bytes,
    length: int,
    difficulty: int,
    start: bytes,
    attempts: int,
    *,
    bits: PuzzleBits = PuzzleBits.LOWEST,
) -> bytes | None:
    """Try J = start, start + 1, … at most `attempts` times; None if none of them solves it."""
    function = _RHASH_BY_NAME[hash_name]
    first = int.from_bytes(start, "big")
    for candidate in range(first, first + attempts):
        j = (candidate % (1 << 8 * length)).to_bytes(length, "big")
        if _solves(function, difficulty, prefix + j, bits):
            return j
    return None


def puzzle_solver(
    hash_name: str,
    prefix: bytes,
    length: int,
    difficulty: int,
    random: Callable[[int], bytes],
    *,
    bits: PuzzleBits = PuzzleBits.LOWEST,
) -> "PuzzleSolver":
    """Return a cancellable search in Rust that begins at a random J.

    Call its `run(timeout_s)` in a worker thread, where it runs without the interpreter's lock,
    and its `cancel()` from any other.
    """
    # Imported here so that everything else of this room works without the compiled data plane.
    from hipgw._esp_core import PuzzleSolver

    return PuzzleSolver(hash_name, prefix, length, difficulty, random(length), bits.value)


def _solves(function: Rhash, difficulty: int, data: bytes, bits: PuzzleBits) -> bool:
    digest = function.digest(data)
    mask = (1 << difficulty) - 1
    if bits is PuzzleBits.LOWEST:
        return int.from_bytes(digest, "big") & mask == 0
    # OpenHIP knows 64 bits; there is no solution for more.
    last = digest[-_OPENHIP_BITS // 8 :]
    return difficulty <= _OPENHIP_BITS and int.from_bytes(last, "little") & mask == 0
