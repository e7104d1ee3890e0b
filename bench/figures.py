"""What is measured of every contestant: names, units, and how they are told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured of every contestant."""

    key: str
    """Last part of its results' names."""
    title: str
    unit: str
    digits: int
    more_is_better: bool = True


TCP = Figure("tcp_gbps", "TCP, one stream", "Gb/s", 2)
UDP64 = Figure("udp64_kpps", "64-byte UDP", "kpps", 0)
PING = Figure("ping_us", "ping", "us", 0, more_is_better=False)
PING_P99 = Figure("ping_p99_us", "p99", "us", 0, more_is_better=False)
PING_LOADED = Figure("ping_loaded_us", "beside a stream", "us", 0, more_is_better=False)
PING_LOADED_P99 = Figure("ping_loaded_p99_us", "p99", "us", 0, more_is_better=False)
UDP1400 = Figure("udp1400_gbps", "1400-byte UDP", "Gb/s", 2)
UDP1400_LOSS = Figure("udp1400_loss_percent", "loss", "%", 3, more_is_better=False)
CPU = Figure("cpu_s_per_gbit", "daemons", "s/Gbit", 3, more_is_better=False)
MACHINE_CPU = Figure("machine_cpu_s_per_gbit", "machine", "s/Gbit", 3, more_is_better=False)
RSS_IDLE = Figure("rss_mb_idle", "idle", "MB", 0, more_is_better=False)
RSS_LOADED = Figure("rss_mb_loaded", "loaded", "MB", 0, more_is_better=False)

ALL_FIGURES = (
    *(TCP, UDP64, PING, PING_P99, PING_LOADED, PING_LOADED_P99),
    *(UDP1400, UDP1400_LOSS, CPU, MACHINE_CPU, RSS_IDLE, RSS_LOADED),
)
UNITS = {figure.key: figure.unit for figure in ALL_FIGURES}
