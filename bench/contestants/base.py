"""What all contestants have in common: hosts, links, and how they are found to be up."""

import functools
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from hipgw.errors import LabError
from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.topologies import underlay

UP_TIMEOUT_S = 30.0
LAN = ("10.77.0.1", "10.77.0.2")


@dataclass(slots=True)
class Ends:
    """Between whom a contestant is measured."""

    client: Host
    server: Host
    address: str
    """Of the server, as the client reaches it."""


class Contestant(ABC):
    """Something that packets can go through."""

    name: str
    prefix: str = "peer"
    """First part of its results' names: "e2e" for hipgw and the plain path."""
    program: str = ""
    """What has to be installed; empty for hipgw itself."""
    note: str = ""
    encrypted: bool = True
    """Whether it may be the best peer that others are held against."""
    between_gateways: bool = False
    """Whether it is measured between the gateways, and so held against `plain-host`."""
    version_command: tuple[str, ...] = ()

    @abstractmethod
    def start(self, lab: Lab) -> Ends:
        """Build and start it in a lab of its own, and return when packets pass."""

    def missing(self) -> str:
        """The program that is not installed, or nothing."""
        return self.program if self.program and not shutil.which(self.program) else ""


def sites(lab: Lab) -> tuple[list[Host], list[Host]]:
    """Two gateways round a router, and a LAN host behind each."""
    _, gateways = underlay(lab, 2)
    lans = []
    for n, gateway in enumerate(gateways, 1):
        lan = lab.host(f"h{n}")
        lab.link(lan, "eth0", gateway, "lan0")
        lans.append(lan)
    return gateways, lans


def routed(lab: Lab) -> tuple[list[Host], Ends]:
    """Two gateways that forward between the underlay and a LAN with a network of its own."""
    gateways, lans = sites(lab)
    for n, (gateway, lan) in enumerate(zip(gateways, lans, strict=True), 1):
        gateway.sysctl("net/ipv4/ip_forward", 1)
        gateway.address("lan0", f"10.78.{n}.254/24")
        lan.address("eth0", f"10.78.{n}.1/24")
        lan.route("default", f"10.78.{n}.254")
    return gateways, Ends(lans[0], lans[1], "10.78.2.1")


def bridged(gateways: list[Host], lans: list[Host], *, mtu: int) -> Ends:
    """Join tap0, which a tunnel makes, with the LAN port; hosts use the MTU it recommends."""
    for n, (gateway, lan) in enumerate(zip(gateways, lans, strict=True), 1):
        wait_until(
            functools.partial(has_link, gateway, "tap0"),
            UP_TIMEOUT_S,
            what=f"tap0 on {gateway.name}",
        )
        bridge = ["ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0"]
        gateway.run([*bridge, "mcast_snooping", "0"])
        for port in ("tap0", "lan0"):
            gateway.run(["ip", "link", "set", port, "master", "br0", "up"])
        gateway.up("br0")
        lan.address("eth0", f"{LAN[n - 1]}/24")
        lan.mtu("eth0", mtu)
    return when_reached(Ends(lans[0], lans[1], LAN[1]))


def when_reached(ends: Ends) -> Ends:
    """Wait until the server answers, and make sure that it goes on answering."""
    wait_until(
        lambda: ends.client.ping(ends.address, timeout_s=0.5).received,
        UP_TIMEOUT_S,
        what=f"an answer from {ends.address}",
    )
    time.sleep(0.5)
    if not ends.client.ping(ends.address, count=3, interval_s=0.1):
        raise LabError(f"{ends.address} answered once and then no more.")
    return ends


def has_link(host: Host, interface: str) -> bool:
    """Whether there is such an interface by now."""
    return interface in host.run(["ip", "-br", "link"]).stdout


def secret_file(file: Path, text: str) -> Path:
    """Write a file that only root can read."""
    file.touch(mode=0o600)
    file.write_text(text)
    return file
