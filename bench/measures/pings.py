"""Round trips, on an idle path and beside a TCP stream."""

import math
import statistics

from contestants import Ends
from hipgw.errors import LabError
from measures.daemons import Daemons
from measures.tcp import stream

IDLE_INTERVAL_S, LOADED_INTERVAL_S = 0.002, 0.003
LEAST_ANSWERED, LEAST_ANSWERED_LOADED = 0.95, 0.5
"""Below these shares of answered pings there is no figure: it would be that of the lucky ones."""


def idle(ends: Ends, count: int) -> dict[str, float]:
    """Median and 99th percentile of *count* pings one after the other, in microseconds."""
    times = _pings(ends, count, IDLE_INTERVAL_S, LEAST_ANSWERED)
    return {"ping_us": statistics.median(times), "ping_p99_us": _p99(times)}


def beside_a_stream(ends: Ends, daemons: Daemons, count: int) -> dict[str, float]:
    """The same while one TCP stream takes all it can get, and the memory used meanwhile."""
    with stream(ends, count * LOADED_INTERVAL_S + 5):
        times = _pings(ends, count, LOADED_INTERVAL_S, LEAST_ANSWERED_LOADED)
        memory = {"rss_mb_loaded": daemons.rss_mb()} if daemons else {}
    return {"ping_loaded_us": statistics.median(times), "ping_loaded_p99_us": _p99(times), **memory}


def _pings(ends: Ends, count: int, interval_s: float, least: float) -> list[float]:
    result = ends.client.ping(ends.address, count=count, interval_s=interval_s)
    if result.received < count * least:
        raise LabError(f"Only {result.received} of {result.sent} pings were answered.")
    return [ms * 1e3 for ms in result.times_ms]


def _p99(times: list[float]) -> float:
    return sorted(times)[math.ceil(len(times) * 0.99) - 1]
