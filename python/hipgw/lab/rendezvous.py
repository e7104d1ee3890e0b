"""Two rendezvous servers, a host that moves, and one that looks for it.

    s1, s2 ── r ══ m         ══ three places to be: `wan0`, `wwan0`, and `nat0` behind a NAT
              ║
              c              the same

Every network has IPv4 and IPv6, except those behind NATs. The servers stay; both others are at one
place at a time, with one address there.
"""

from typing import Any, Literal

from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.host import Host, Router
from hipgw.lab.lab import Lab
from hipgw.lab.nat import Nat, NatKind
from hipgw.lab.topologies import Family
from hipgw.lab.waiting import wait_until

Spot = Literal["wan0", "wwan0", "nat0"]

FAMILIES: tuple[Family, ...] = (4, 6)
SPOTS: tuple[Spot, ...] = ("wan0", "wwan0", "nat0")
PATIENCE_S = 20.0
_ROUTER = 254
_BEHIND = "192.168.1"


def _network(number: int, family: Family) -> str:
    """The network with a number, as the beginning of its addresses."""
    return f"10.200.{number}." if family == 4 else f"fd00:200:{number}::"


def _length(family: Family) -> int:
    return 24 if family == 4 else 64


class Wanderer:
    """A host with a daemon, at one place at a time."""

    def __init__(self, lab: Lab, name: str, number: int, router: Router, kind: NatKind) -> None:
        self.host = lab.host(name)
        self.nat: Nat = lab.nat(f"n{name}")
        self.daemon = HipgwDaemon(self.host, key_kind="ecdsa-p256")
        self._number = number
        self._there: list[str] = []
        """What of ip(8) takes the present addresses and routes away."""
        for index, spot in enumerate(SPOTS):
            inner: Host = self.host
            if spot == "nat0":
                lab.link(self.nat, "wan0", router, f"{name}{spot}")
                lab.link(self.host, "nat0", self.nat, "lan0")
                inner = self.nat
                self.nat.address("lan0", f"{_BEHIND}.{_ROUTER}/24")
            else:
                lab.link(self.host, spot, router, f"{name}{spot}")
            for family in FAMILIES:
                prefix = _network(10 * number + index, family)
                router.address(f"{name}{spot}", f"{prefix}{_ROUTER}/{_length(family)}")
            if inner is self.nat:
                prefix = _network(10 * number + index, 4)
                self.nat.address("wan0", f"{prefix}1/24")
                self.nat.route("default", f"{prefix}{_ROUTER}")
        self.nat.hide("wan0", kind=kind)

    def go(self, spot: Spot, family: Family = 4) -> None:
        """Be somewhere else, with an address of one family; the one before is gone first."""
        prefix = _network(10 * self._number + SPOTS.index(spot), family)
        if spot == "nat0":
            prefix = f"{_BEHIND}."
        own = f"{prefix}1/{_length(family)} dev {spot}"
        route = f"default via {prefix}{_ROUTER} dev {spot}"
        nodad = " nodad" if family == 6 else ""
        self.host.ip(*self._there, f"address add {own}{nodad}", f"route add {route}")
        self._there = [f"route del {route}", f"address del {own}"]


class RendezvousNetwork:
    """Servers, the mobile host and the caller; not started yet."""

    def __init__(
        self,
        lab: Lab,
        *,
        mobile: Spot = "wan0",
        caller: Spot = "wan0",
        nat: NatKind = NatKind.PORT_RESTRICTED,
        callers_nat: NatKind = NatKind.FULL_CONE,
        transport: Literal["udp", "raw"] = "udp",
        hip: dict[str, Any] | None = None,
    ) -> None:
        router = lab.router("r")
        self.servers: list[HipgwDaemon] = []
        for number in (1, 2):
            host = lab.host(f"s{number}")
            lab.link(host, "eth0", router, f"s{number}")
            for family in FAMILIES:
                prefix = _network(number, family)
                host.address("eth0", f"{prefix}1/{_length(family)}")
                router.address(f"s{number}", f"{prefix}{_ROUTER}/{_length(family)}")
                host.route("default" if family == 4 else "default6", f"{prefix}{_ROUTER}")
            self.servers.append(HipgwDaemon(host, key_kind="ecdsa-p256"))
        self.mobile = Wanderer(lab, "m", 1, router, nat)
        self.caller = Wanderer(lab, "c", 2, router, callers_nat)
        self.mobile.go(mobile)
        self.caller.go(caller)
        fast = {"transport": transport, "retransmit_s": 0.2, **(hip or {})}
        for server in self.servers:
            server.configure({"hip": {**fast, "accept": "any"}, "rvs": {}})
        names = [f"s{number}" for number in (1, 2)]
        known = [
            {
                "name": name,
                "hit": str(server.hit),
                "addresses": [f"{_network(number, family)}1" for family in FAMILIES],
            }
            for number, (name, server) in enumerate(zip(names, self.servers, strict=True), 1)
        ]
        self.mobile.daemon.configure(
            {"hip": {**fast, "accept": "any"}, "host": {}, "rendezvous": {"servers": names}}, known
        )
        self.caller.daemon.configure(
            {"hip": fast, "host": {}, "rendezvous": {"automatic": False}},
            [*known, {"name": "m", "hit": str(self.mobile.daemon.hit), "rvs": names}],
        )

    def start(self) -> None:
        """Start all daemons; the mobile host is registered then."""
        daemons = [*self.servers, self.mobile.daemon, self.caller.daemon]
        for daemon in daemons:
            daemon.start(wait=False)
        for daemon in daemons:
            daemon.wait_ready()
        self.wait_registered(len(self.servers))

    def wait_registered(self, servers: int) -> None:
        """Wait until the mobile host is registered with this many servers."""
        wait_until(
            lambda: len(self.mobile.daemon.request("registrations")) == servers,
            PATIENCE_S,
            what=f"registration with {servers} servers",
        )

    @property
    def target(self) -> str:
        """What the caller reaches the mobile host by."""
        return str(self.mobile.daemon.hit)

    def path(self) -> dict[str, Any]:
        """The path from the caller to the mobile host."""
        (found,) = [
            entry["path"]
            for entry in self.caller.daemon.request("associations")
            if entry["peer_hit"] == str(self.mobile.daemon.hit)
        ]
        return dict(found)
