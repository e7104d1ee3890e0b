"""The limit: a TAP and a UDP socket with nothing in between."""

import sys
from pathlib import Path

from contestants.base import Contestant, Ends, bridged
from hipgw.lab import Lab
from hipgw.lab.topologies import underlay, underlay_address

PROGRAM = Path(__file__).resolve().parents[1] / "pipe.py"
JUMBO_MTU = 65535
LARGEST_SUPER_PACKET = 60000
"""So that it fits a datagram with its headers."""


class Pipe(Contestant):
    """Frames carried whole and in the clear: what system calls and copies alone allow."""

    name = "pipe"
    note = "no tunnel could do less: L2, in the clear, 60 kB datagrams"
    encrypted = False

    def start(self, lab: Lab) -> Ends:
        _, gateways = underlay(lab, 2, mtu=JUMBO_MTU)
        lans = []
        for n, gateway in enumerate(gateways, 1):
            lan = lab.host(f"h{n}")
            lab.link(lan, "eth0", gateway, "lan0")
            lan.run(["ip", "link", "set", "eth0", "gso_max_size", str(LARGEST_SUPER_PACKET)])
            ends = [underlay_address(site, 4) for site in (n, 3 - n)]
            gateway.popen([sys.executable, PROGRAM, *ends])
            lans.append(lan)
        return bridged(gateways, lans, mtu=1500)
