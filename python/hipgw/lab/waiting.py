"""Waiting for something to become true, with a limit."""

import time
from collections.abc import Callable
from typing import TypeVar

from hipgw.errors import LabError

Result = TypeVar("Result")


def wait_until(
    condition: Callable[[], Result],
    timeout_s: float = 10.0,
    *,
    what: str = "",
    interval_s: float = 0.05,
) -> Result:
    """Call *condition* until it returns something true, and return that.

    Raises LabError naming *what* when *timeout_s* is over. An exception from the condition is
    not caught: a condition that may fail early says so by returning something false.
    """
    limit = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= limit:
            name = what or getattr(condition, "__name__", "it")
            raise LabError(f"Waited {timeout_s:g} s in vain for {name}.")
        time.sleep(interval_s)
