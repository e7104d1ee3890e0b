"""Waiting for the other end to listen."""

import time

from contestants import Ends
from hipgw.lab import wait_until

PORT = 5201
DRAIN_S = 0.2
"""Time for queues to run empty before the next measurement."""


def wait_bound(ends: Ends, option: str) -> None:
    """Wait until somebody listens at the port; *option* is that of `ss` for the protocol."""
    wait_until(
        lambda: f":{PORT} " in ends.server.run(["ss", "-Hln", option]).stdout,
        what=f"a listener at port {PORT}",
        interval_s=0.01,
    )


def drain() -> None:
    """Leave queues the time to run empty."""
    time.sleep(DRAIN_S)
