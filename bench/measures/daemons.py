"""What a tunnel's daemons, and the machine as a whole, consume."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hipgw.lab import Host, Lab

_TICKS = os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6)
"""Columns of /proc/stat: user, nice, system, irq, softirq; not idle, iowait, steal or guest."""


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    """Processor time so far, in seconds."""

    daemons: float
    machine: float

    def __sub__(self, before: Self) -> "CpuSeconds":
        return CpuSeconds(self.daemons - before.daemons, self.machine - before.machine)


class Daemons:
    """All processes that run in a lab once its contestant is up: the tunnel's, on both ends."""

    def __init__(self, lab: Lab) -> None:
        self._by_host: dict[Host, list[int]] = {
            host: host.namespace.processes() for host in lab.hosts.values()
        }

    def __bool__(self) -> bool:
        """Whether there are any; the plain path has none."""
        return any(self._by_host.values())

    def cpu(self) -> CpuSeconds:
        """User and system time of the daemons with all their threads, and of the machine."""
        ticks = 0
        for pids in self._by_host.values():
            for pid in pids:
                # The name, in brackets, may have spaces: fields are counted from behind it.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        columns = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        machine = sum(int(columns[n]) for n in _BUSY)
        return CpuSeconds(ticks / _TICKS, machine / _TICKS)

    def rss_mb(self) -> float:
        """Resident memory at the gateway that has more of it, in megabytes (10^6 octets)."""
        return max(sum(map(_rss_octets, pids)) for pids in self._by_host.values()) / 1e6


def _rss_octets(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0
