"""Solves puzzles beside the event loop (RFC 7401 §6.3)."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from hipgw.identity.puzzle import puzzle_solver
from hipgw.protocol.effects import SolvePuzzle

if TYPE_CHECKING:
    from hipgw._esp_core import PuzzleSolver

AT_ONCE = 2
"""Searches that run at the same time; more of them wait for their turn."""


class PuzzleRunner:
    """Searches in threads of its own; the search runs in Rust without Python's lock."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, solved: Callable[[int, bytes | None], None]
    ) -> None:
        self._loop = loop
        self._solved = solved
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hipgw-puzzle")
        self._searches: dict[int, PuzzleSolver] = {}

    def start(self, puzzle: SolvePuzzle) -> None:
        """Begin a search; its outcome comes on the event loop's thread."""
        search = puzzle_solver(
            puzzle.hash_name,
            puzzle.prefix,
            puzzle.length,
            puzzle.difficulty,
            os.urandom,
            bits=puzzle.bits,
        )
        self._searches[puzzle.request] = search
        deadline = puzzle.deadline

        def run() -> bytes | None:
            return search.run(max(0.0, deadline - time.monotonic()))

        done = self._loop.run_in_executor(self._threads, run)
        done.add_done_callback(lambda future: self._finished(puzzle.request, future))

    def cancel(self, request: int) -> None:
        """End a search without an answer."""
        if search := self._searches.pop(request, None):
            search.cancel()

    def stop(self) -> None:
        """End all searches."""
        for request in list(self._searches):
            self.cancel(request)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _finished(self, request: int, future: asyncio.Future[bytes | None]) -> None:
        wanted = self._searches.pop(request, None) is not None
        if wanted and not future.cancelled():
            self._solved(request, future.result())
