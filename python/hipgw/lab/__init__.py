"""Hosts, links, switches, routers and NATs in network namespaces, and programs that run on them.

The demo, the system tests and the benches build their networks with this. Root is needed.

    with Lab("example") as lab:
        a, b, router = lab.host("a"), lab.host("b"), lab.router("r")
        lab.link(a, "eth0", router, "left")
        lab.link(b, "eth0", router, "right")
        a.address("eth0", "10.0.1.2/24")
        …
        a.run(["ping", "-c1", "10.0.2.2"])

Everything is gone when the block ends, however it ends. What a killed process leaves behind is
removed by the next lab, by `hipgw lab clean`, or by `clean_stale()`.
"""

from hipgw.lab.capture import Capture, Frame, read_pcap
from hipgw.lab.host import Host, PingResult, Router, Switch
from hipgw.lab.impairment import Impairment
from hipgw.lab.lab import Lab
from hipgw.lab.lossy import LossyLink
from hipgw.lab.nat import Nat, NatKind
from hipgw.lab.process import Process
from hipgw.lab.stale import clean_stale, stale_labs
from hipgw.lab.waiting import wait_until

__all__ = [
    "Capture",
    "Frame",
    "Host",
    "Impairment",
    "Lab",
    "LossyLink",
    "Nat",
    "NatKind",
    "PingResult",
    "Process",
    "Router",
    "Switch",
    "clean_stale",
    "read_pcap",
    "stale_labs",
    "wait_until",
]
