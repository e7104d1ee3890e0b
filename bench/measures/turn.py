"""One turn of one contestant: everything that is measured of it."""

from contestants import Contestant
from hipgw.lab import Lab
from measures import pings
from measures.daemons import Daemons
from measures.tcp import tcp
from measures.udp import udp64, udp1400


def measure(contestant: Contestant, seconds: float, count: int) -> dict[str, float]:
    """All figures by the last part of their names, from a new lab with new keys.

    Throughput is measured for *seconds* each, round trips by *count* pings.
    """
    with Lab("bench_" + contestant.name.replace("-", "_")) as lab:
        ends = contestant.start(lab)
        daemons = Daemons(lab)
        memory = {"rss_mb_idle": daemons.rss_mb()} if daemons else {}
        return {
            **memory,
            **pings.idle(ends, count),
            **tcp(ends, daemons, seconds),
            **pings.beside_a_stream(ends, daemons, count),
            **udp64(ends, seconds),
            **udp1400(ends),
        }
