"""A cable that loses, delays, doubles and reorders frames, by rates and a seed.

The kernel has a queueing discipline for that (netem), but not everywhere. Here both ends are TAP
interfaces, and a process between them carries the frames: some 20,000 a second. It carries no
super-packets: segmentation offloads end where the cable begins, as with a real one.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

from hipgw.errors import LabError, PlatformError
from hipgw.lab.host import Host
from hipgw.lab.impairment import Impairment
from hipgw.lab.process import Process
from hipgw.platform import tuntap

_QUEUE_FRAMES = 10000
_ANSWER_S = 5.0


class LossyLink:
    """A running link; made by `Lab.lossy_link`, gone with the lab."""

    def __init__(
        self,
        ends: tuple[tuple[Host, str, str], tuple[Host, str, str]],
        impairment: Impairment,
        *,
        seed: int,
        mtu: int,
    ) -> None:
        """*ends*: the host of each, its interface and its MAC (empty: any)."""
        taps = []
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders = ours
        self._impairment = Impairment()
        try:
            for host, interface, mac in ends:
                tap = host.call(tuntap.open_tap, interface, vnet_hdr=False)
                taps.append(tap)
                words = f"link set {interface} mtu {mtu} txqueuelen {_QUEUE_FRAMES}"
                host.ip(words + (f" address {mac}" if mac else ""), f"link set {interface} up")
            descriptors = (taps[0].fd, taps[1].fd, theirs.fileno())
            name = f"relay-{ends[0][0].name}-{ends[0][1]}"
            log = ends[0][0].directory / f"{name}.log"
            with log.open("wb") as out:
                started = subprocess.Popen(
                    [sys.executable, "-m", "hipgw.lab.relay", *map(str, descriptors), str(seed)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    pass_fds=descriptors,
                    start_new_session=True,
                )
            # Of no host: it has to go on until the programs of both have said goodbye.
            self._process = Process(name, started, log)
            self.set(**asdict(impairment))
        except PlatformError as error:
            ours.close()
            raise LabError(str(error), hint=error.hint) from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for tap in taps:
                os.close(tap.fd)

    @property
    def impairment(self) -> Impairment:
        """What it does to frames now."""
        return self._impairment

    def set(self, **changes: Any) -> None:
        """Change some of what the link does to frames, from the next one on; see `Impairment`."""
        self._impairment = replace(self._impairment, **changes)
        self._ask(asdict(self._impairment))

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """What happened so far to the frames from the first end, and to those from the second."""
        near, far = self._ask({})
        return near, far

    def close(self) -> None:
        """Take the cable away, and both interfaces with it. May be called twice."""
        self._orders.close()
        self._process.stop()

    def _ask(self, request: dict[str, Any]) -> list[dict[str, int]]:
        try:
            self._orders.settimeout(_ANSWER_S)
            self._orders.send(json.dumps(request).encode())
            answer: list[dict[str, int]] = json.loads(self._orders.recv(1 << 16))
        except (OSError, ValueError) as error:
            self._process.require_running()
            raise LabError(f"The lossy link does not answer: {error}.") from error
        return answer
