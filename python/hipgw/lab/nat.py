"""NATs of every kind, from what the kernel has: its conntrack and rules of iptables (IPv4).

RFC 4787 tells two things apart: which outside port a packet gets (mapping, §4.1) and which packets
from outside are let in (filtering, §5). The older names of RFC 3489 §5 are pairs of them:

| kind | mapping | filtering |
|---|---|---|
| full cone | endpoint-independent | endpoint-independent |
| address-restricted | endpoint-independent | address-dependent |
| port-restricted | endpoint-independent | address and port-dependent |
| symmetric | address and port-dependent | address and port-dependent |

The last two are what conntrack does by itself. For the others the first packet of each flow waits
in a queue until there are rules for its mapping, made by a thread of this process; all further
packets are the kernel's business, as fast as any.

Mappings last as long as conntrack remembers a flow of theirs (`Nat.udp_timeout`); packets from
either side renew that. Where filtering is looser than conntrack, packets from outside are let in
until `forget` or `rebind`, also after that time.
"""

import contextlib
import itertools
import struct
import threading
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import Conntrack

from hipgw.errors import LabError
from hipgw.lab.host import Router
from hipgw.lab.nfqueue import PacketQueue
from hipgw.platform.netns import Namespace

_FIRST_PORT = 20000
_WINDOW_PORTS = 1000
_WINDOWS = 40
"""Each `rebind` takes its ports from the next window, so that none comes again soon."""
_OUTBOUND, _INBOUND = "LAB_SNAT", "LAB_DNAT"


class NatKind(Enum):
    """How a NAT maps and filters; see the module."""

    FULL_CONE = "full cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"

    @property
    def by_conntrack(self) -> bool:
        """Whether the kernel does it alone."""
        return self in (NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC)


@dataclass(slots=True)
class _Mapping:
    """An inside socket and its outside port."""

    port: int
    contacted: set[IPv4Address] = field(default_factory=set)


class Nat(Router):
    """A router that hides the networks behind it (IPv4). Several in a row are several NATs."""

    def __init__(self, name: str, namespace: Namespace, directory: Path) -> None:
        super().__init__(name, namespace, directory)
        self._outside = ""
        self._kind = NatKind.PORT_RESTRICTED
        self._address: str | None = None
        """The outside one, if it is not just that of the interface."""
        self._windows = itertools.cycle(range(_WINDOWS))
        self._window: int | None = None
        """Which ports are given out; None keeps an inside port where it is free."""
        self._lock = threading.Lock()
        self._mappings: dict[tuple[IPv4Address, int], _Mapping] = {}
        self._queue: PacketQueue | None = None
        self._thread: threading.Thread | None = None

    def hide(self, outside: str, *, kind: NatKind | None = None, symmetric: bool = False) -> None:
        """Give everything that leaves by the interface *outside* its address.

        Inside ports are kept when they are free (until `rebind`), except by a symmetric NAT, which
        takes a new port for each destination. *symmetric* is short for that kind; the default is
        port-restricted.
        """
        if self._outside:
            raise LabError(f"{self.name} hides what is behind it already.")
        self._kind = kind or (NatKind.SYMMETRIC if symmetric else NatKind.PORT_RESTRICTED)
        self._outside = outside
        for chain, hook in ((_OUTBOUND, "POSTROUTING"), (_INBOUND, "PREROUTING")):
            self.firewall("-t", "nat", "-N", chain)
            self.firewall("-t", "nat", "-A", hook, "-j", chain)
        known = ("-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED")
        self.firewall("-P", "FORWARD", "DROP")
        self.firewall("-A", "FORWARD", "-i", outside, *known, "-j", "ACCEPT")
        dnat = ("-m", "conntrack", "--ctstate", "DNAT")
        self.firewall("-A", "FORWARD", "-i", outside, *dnat, "-j", "ACCEPT")
        # What belongs to no mapping is for the NAT itself then, which does not answer it.
        self.firewall("-A", "INPUT", "-i", outside, "-p", "udp", "-j", "DROP")
        if not self._kind.by_conntrack:
            self._begin_to_queue()
        self.firewall("-A", "FORWARD", "!", "-i", outside, "-j", "ACCEPT")
        with self._lock:
            self._write_rules()

    def forward_port(
        self, outside: str, port: int, to: str, to_port: int = 0, *, protocol: str = "udp"
    ) -> None:
        """Pass what arrives at *port* of the interface *outside* on to an inside address.

        *to_port* is the port there, by default the same.
        """
        inside = str(to_port or port)
        arriving = ["-i", outside, "-p", protocol]
        self.firewall(
            *("-t", "nat", "-A", "PREROUTING", *arriving, "--dport", str(port)),
            *("-j", "DNAT", "--to-destination", f"{to}:{inside}"),
        )
        self.firewall("-I", "FORWARD", *arriving, "-d", to, "--dport", inside, "-j", "ACCEPT")

    def udp_timeout(self, seconds: int) -> None:
        """Forget UDP mappings after *seconds* without a packet."""
        self.sysctl("net/netfilter/nf_conntrack_udp_timeout", seconds)
        self.sysctl("net/netfilter/nf_conntrack_udp_timeout_stream", seconds)

    def forget(self) -> None:
        """Drop all mappings, as a NAT does that was switched off and on again.

        An inside port may well be kept as it was before, if it is free.
        """
        with self._lock:
            self._mappings.clear()
            self._write_rules()
            self._flush()

    def rebind(self, *, address: str | None = None) -> None:
        """Give every mapping another outside port from the next packet on, in mid-flow.

        Packets to the old ones are lost. With an *address*, as "198.51.100.7", the NAT has that one
        outside from now on; others have to have a route to it.
        """
        if address is not None:
            self.address(self._outside, f"{address}/32")
        with self._lock:
            self._address = address or self._address
            self._window = next(self._windows)
            self._mappings.clear()
            self._write_rules()
            self._flush()

    def close(self) -> None:
        """End the thread that makes mappings as well. The lab calls this."""
        if self._queue is not None and self._thread is not None:
            self._queue.stop()
            self._thread.join()
            self._queue.close()
            self._queue = None
        super().close()

    # -- rules -----------------------------------------------------------------------------------

    def _write_rules(self) -> None:
        """Begin both chains anew, without mappings."""
        lines = [f"-F {_OUTBOUND}", f"-F {_INBOUND}"]
        leaving = f"-A {_OUTBOUND} -o {self._outside}"
        random = " --random-fully" if self._kind is NatKind.SYMMETRIC else ""
        for protocol in ("-p udp", "-p tcp", ""):
            ports = self._port_range() if protocol and self._window is not None else ""
            if self._address is not None:
                target = f"SNAT --to-source {self._address}{ports and ':' + ports}"
            else:
                target = f"MASQUERADE{ports and ' --to-ports ' + ports}"
            lines.append(f"{leaving} {protocol} -j {target}{random}")
        self._apply(lines)

    def _apply(self, lines: list[str]) -> None:
        text = "\n".join(["*nat", *lines, "COMMIT", ""])
        self.run(["iptables-restore", "--wait", "--noflush"], text=text)

    def _port_range(self) -> str:
        first = _FIRST_PORT + (self._window or 0) * _WINDOW_PORTS
        return f"{first}-{first + _WINDOW_PORTS - 1}"

    def _flush(self) -> None:
        def flush() -> None:
            with Conntrack() as table:
                table.flush()

        self.call(flush)

    # -- mappings that conntrack alone does not make ---------------------------------------------

    def _begin_to_queue(self) -> None:
        number = 0
        self._queue = self.call(PacketQueue, number)
        new = ("-m", "conntrack", "--ctstate", "NEW")
        self.firewall(
            *("-A", "FORWARD", "-o", self._outside, "-p", "udp", *new),
            *("-j", "NFQUEUE", "--queue-num", str(number)),
        )
        self._thread = threading.Thread(
            target=self._queue.run, args=(self._first_packet,), name=f"nat-{self.name}", daemon=True
        )
        self._thread.start()

    def _first_packet(self, packet: bytes) -> bool:
        """Make the rules for the first packet of a flow; whether it may go on."""
        header = (packet[0] & 0x0F) * 4
        if len(packet) < header + 4:
            return False
        source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        inside_port = struct.unpack_from("!H", packet, header)[0]
        # What the lab does meanwhile to the NAT's rules must not end its thread.
        with self._lock, contextlib.suppress(LabError):
            self._map(source, inside_port, destination)
            return True
        return False

    def _map(self, source: IPv4Address, inside_port: int, destination: IPv4Address) -> None:
        address = self._address or self._outside_address()
        lines = []
        mapping = self._mappings.get((source, inside_port))
        if mapping is None:
            mapping = self._mappings[source, inside_port] = _Mapping(self._free_port(inside_port))
            lines.append(
                f"-I {_OUTBOUND} -o {self._outside} -p udp -s {source} --sport {inside_port}"
                f" -j SNAT --to-source {address}:{mapping.port}"
            )
        anyone = IPv4Address(0)
        allowed = anyone if self._kind is NatKind.FULL_CONE else destination
        if allowed not in mapping.contacted:
            mapping.contacted.add(allowed)
            by = "" if allowed == anyone else f" -s {allowed}"
            lines.append(
                f"-A {_INBOUND} -i {self._outside} -p udp -d {address} --dport {mapping.port}{by}"
                f" -j DNAT --to-destination {source}:{inside_port}"
            )
        if lines:
            self._apply(lines)

    def _free_port(self, inside_port: int) -> int:
        taken = {mapping.port for mapping in self._mappings.values()}
        first = _FIRST_PORT + (self._window or 0) * _WINDOW_PORTS
        wanted = range(first, first + _WINDOW_PORTS)
        if self._window is None and inside_port not in taken:
            return inside_port
        for port in wanted:
            if port not in taken and port != inside_port:
                return port
        raise LabError(f"{self.name} has no more outside ports.")

    def _outside_address(self) -> str:
        index = self.index(self._outside)
        found = self._netlink(
            f"address of {self._outside}", lambda ip: list(ip.get_addr(index=index, family=2))
        )
        if not found:
            raise LabError(f"{self.name} has no IPv4 address on {self._outside}.")
        return str(found[0].get("address"))
