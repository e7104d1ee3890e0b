"""Mobile routers with clients inside, and correspondents elsewhere.

    c1 ┐          ┌ four0: IPv4 alone ┐
    c2 ┼ switch ─ m1 ─ six0: IPv6 alone ┼ r ─ p1   HIPv1, by IP protocols 139 and 50
    c3 ┘          ├ dual0: both       │   └ p2   HIPv2, in UDP
                  └ nat0 ── n1 ───────┘
                    (IPv4, a NAT)

Client 1 has IPv4 inside, client 2 IPv6, client 3 both; correspondents have both. No host but `r`,
switches and NATs forwards anything by its kernel: what gets through a mobile router has been
passed on by its daemon. A second one, `m2`, has the same, and one may be inside of another: by its
interface `outer0`.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address
from typing import Any, Literal

from hipgw.identity.keyfile import load_key_file
from hipgw.lab.beats import Pair
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.host import Router, Switch
from hipgw.lab.lab import Lab
from hipgw.lab.nat import Nat, NatKind
from hipgw.lab.stream import PORT, Stream, stream
from hipgw.lab.topologies import Family
from hipgw.lab.traveller import ROUTER, Net, Traveller
from hipgw.lab.waiting import wait_until

Spot = Literal["four0", "six0", "dual0", "nat0", "outer0"]

SPOTS: dict[Spot, tuple[Family, ...]] = {
    "four0": (4,),
    "six0": (6,),
    "dual0": (4, 6),
    "nat0": (4,),
}
"""What can be had where a mobile router may be."""
ROUND: tuple[Spot, ...] = (
    *("four0", "six0", "nat0", "dual0", "six0", "four0"),
    *("nat0", "six0", "dual0", "nat0", "four0", "dual0"),
)
"""From `dual0` on: every move among the four networks once."""
PATIENCE_S = 30.0
STREAM_PAUSE_S = 0.01
"""Of each stream: 400 kB/s each way at most, as several run beside each other."""
_NAT_INSIDE = Net("192.168.1.", "", (4,))
INSIDE: tuple[tuple[Family, ...], ...] = ((4,), (6,), (4, 6))


class Hip:
    """A daemon with both its HITs: it has an RSA key."""

    def __init__(self, lab: Lab, name: str, number: int = 0) -> None:
        """Its addresses end with the *number*; without one it takes others each time."""
        self.name = name
        self.place = Traveller(lab, name, number)
        self.daemon = HipgwDaemon(self.place.host, key_kind="rsa2048")
        self.version: Literal[1, 2] = 2
        """The one that it is called in."""
        self.spoken: set[int] = {1, 2}
        old = load_key_file(self.daemon.directory / "key.pem", 1).hit
        self.hits: dict[int, IPv6Address] = {1: old, 2: self.daemon.hit}
        self.router: Vehicle | None = None
        """The mobile router where it is."""

    def known(self, *, addresses: bool) -> dict[str, Any]:
        """What others have of it in their configuration."""
        found: dict[str, Any] = {"name": self.name, "hit": str(self.hits[self.version])}
        if addresses:
            # Whoever is inside of a router is found at the router's own addresses.
            place = self.place if self.router is None else self.router.place
            found["addresses"] = list(place.addresses.values())
        if self.version == 1:
            found |= {"transport": "raw", "compat": "none"}
        return found


class Vehicle(Hip):
    """A mobile router, a network inside of it, and four where it can be."""

    def __init__(self, lab: Lab, number: int, core: Router, kind: NatKind) -> None:
        super().__init__(lab, f"m{number}")
        self.inside = Net(f"10.44.{number}.", f"fd44:{number}::")
        self.switch: Switch = lab.switch(f"lan{number}")
        self.nat: Nat = lab.nat(f"n{number}")
        host = self.place.host
        lab.link(host, "lan0", self.switch)
        host.address("lan0", *self.inside.own(ROUTER))
        for index, (spot, families) in enumerate(SPOTS.items()):
            net = Net(f"10.2{number}.{index}.", f"fd00:2{number}:{index}::", families)
            far = f"m{number}{spot}"
            if spot == "nat0":
                lab.link(self.nat, "wan0", core, far)
                self.nat.address("wan0", *net.own(1))
                self.nat.route("default", net.address(4, ROUTER))
                self.place.cable(spot, _NAT_INSIDE, self.nat, "lan0")
                self.nat.address("lan0", *_NAT_INSIDE.own(ROUTER))
            else:
                self.place.cable(spot, net, core, far)
            core.address(far, *net.own(ROUTER))
        self.nat.hide("wan0", kind=kind)

    def inner_address(self, family: Family) -> str:
        """Where its clients find it."""
        return self.inside.address(family, ROUTER)

    def known(self, *, addresses: bool) -> dict[str, Any]:
        """What its clients have of it: its addresses inside, and both its HITs.

        They register in each version, as they have another HIT of their own in each.
        """
        found = {**super().known(addresses=False), "hit_v1": str(self.hits[1]), "compat": "none"}
        if addresses:
            found["addresses"] = [self.inner_address(family) for family in (4, 6)]
        return found


class MovingNetwork:
    """Mobile routers, their clients and correspondents; not started yet."""

    def __init__(
        self,
        lab: Lab,
        *,
        clients: int = 3,
        routers: int = 1,
        versions: Sequence[Literal[1, 2]] = (1, 2),
        inside: Sequence[tuple[Family, ...]] = INSIDE,
        correspondents_ride: bool = False,
        nested: bool = False,
        nat: NatKind = NatKind.PORT_RESTRICTED,
        delay_s: float = 0.0,
        rvs: bool = False,
        router_tables: Mapping[str, Mapping[str, Any]] | None = None,
        client_tables: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """All clients are inside of the first router.

        *inside*: what families they have there, by turns; *versions*: those of the correspondents.

        *correspondents_ride*: in the last router instead of staying outside. *nested*: the first
        router is inside of the second, and its clients do not know the second. *delay_s* is added
        on their cables outside, each way. With *rvs* there is a rendezvous server, `s`, that all
        register with and that knows where correspondents are. The tables are added to those of the
        configurations.
        """
        self.lab = lab
        self.core: Router = lab.router("r")
        self.routers = [Vehicle(lab, n, self.core, nat) for n in range(1, routers + 1)]
        self.clients = [Hip(lab, f"c{n}", n) for n in range(1, clients + 1)]
        self.correspondents = [Hip(lab, f"p{n}", 100 + n) for n in range(1, len(versions) + 1)]
        for one, version in zip(self.correspondents, versions, strict=True):
            one.version, one.spoken = version, {version}
        for client in self.clients:
            client.spoken = {2, *versions}
        for n, client in enumerate(self.clients):
            for router in self.routers:
                self._seat(client, router, inside[n % len(inside)])
            self._world(client, 10 + n)
            self.board(client, self.routers[0])
        for n, one in enumerate(self.correspondents, 1):
            self._world(one, n, delay_s)
            if correspondents_ride:
                self._seat(one, self.routers[-1], inside[n % len(inside)])
                self.board(one, self.routers[-1])
            else:
                one.place.go("wan0")
        for router in self.routers:
            router.place.go("dual0")
        self.nested = nested
        if nested:
            self.nest(self.routers[0], self.routers[1])
            self.routers[0].place.go("outer0")
        self.server = Hip(lab, "s", 1) if rvs else None
        if self.server is not None:
            self._world(self.server, 9)
            self.server.place.go("wan0")
            self.server.daemon.configure({"hip": {"accept": "any"}, "rvs": {}})
        self._configure(router_tables or {}, client_tables or {})

    # -- being somewhere ---------------------------------------------------------------------------

    def board(self, one: Hip, router: Vehicle, *, make_first: bool = False) -> None:
        """Have a host go into a mobile router, from wherever it is."""
        one.place.go(_seat(router), make_first=make_first)
        one.router = router

    def leave(self, one: Hip) -> None:
        """Have a host go out of its mobile router, into a network of its own."""
        one.place.go("wan0")
        one.router = None

    def nest(self, inner: Vehicle, outer: Vehicle) -> None:
        """Have a way for one mobile router into another: its interface `outer0`."""
        inner.place.cable("outer0", outer.inside, outer.switch)

    # -- daemons -----------------------------------------------------------------------------------

    @property
    def everybody(self) -> list[Hip]:
        """All that have a daemon, routers first."""
        servers = [] if self.server is None else [self.server]
        return [*servers, *self.routers, *self.correspondents, *self.clients]

    def start(self) -> None:
        """Start all daemons; clients are registered then."""
        for one in self.everybody:
            one.daemon.start(wait=False)
        for one in self.everybody:
            one.daemon.wait_ready()
        for one in (*self.clients, *self.correspondents):
            self.wait_registered(one)

    def wait_registered(self, one: Hip) -> None:
        """Wait until it is registered with the router that it is in, and the rendezvous server."""
        wanted: set[str] = set()
        if one.router is not None:
            wanted |= {str(one.router.hits[version]) for version in one.spoken}
        if self.server is not None:
            wanted.add(str(self.server.hits[2]))

        def registered() -> bool:
            return wanted <= {
                entry["peer_hit"]
                for entry in one.daemon.request("registrations")
                if entry["role"] == "client"
            }

        wait_until(registered, PATIENCE_S, what=f"the registrations of {one.name}")

    def wait_known(self, router: Vehicle) -> None:
        """Wait until a router knows all clients inside of it, and whom they talk to."""
        hits = {
            str(hit)
            for client in self.clients
            if client.router is router
            for version, hit in client.hits.items()
            if any(peer.version == version for peer in self.correspondents)
        }

        def known() -> bool:
            answer = router.daemon.request("mobile_router_clients")
            return hits <= {entry["hit"] for entry in answer if entry["correspondents"]}

        wait_until(known, PATIENCE_S, what=f"the clients of {router.name}")

    def connect(self) -> None:
        """Have every client call every correspondent."""
        for client in self.clients:
            for peer in self.correspondents:
                client.daemon.request("connect", peer=peer.name, timeout_s=0)
        for client in self.clients:
            for peer in self.correspondents:
                wait_until(
                    functools.partial(client.daemon.established, peer.hits[peer.version]),
                    PATIENCE_S,
                    what=f"an association from {client.name} to {peer.name}",
                )

    def closed(self) -> list[str]:
        """What clients and correspondents have logged of associations of theirs that ended."""
        ends = (*self.clients, *self.correspondents)
        theirs = tuple(f" peer={one.name} " for one in ends)
        return [
            f"{one.name}: {line}"
            for one in ends
            for line in one.daemon.output().splitlines()
            if "association closed" in line and any(name in line for name in theirs)
        ]

    @contextlib.contextmanager
    def streams(self, pause_s: float = STREAM_PAUSE_S) -> Iterator[list[Stream]]:
        """A stream of each client, with the correspondents by turns; checked at the end."""
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(
                    stream(one.near, one.far, one.far_address, port=PORT + n, pause_s=pause_s)
                )
                for n, client in enumerate(self.clients)
                for one in (pair(client, self.correspondents[n % len(self.correspondents)]),)
            ]

    def pairs(self) -> list[Pair]:
        """Each client with each correspondent, by the HITs that they use for each other."""
        return [pair(client, peer) for client in self.clients for peer in self.correspondents]

    # -- inside ------------------------------------------------------------------------------------

    def _seat(self, one: Hip, router: Vehicle, families: tuple[Family, ...]) -> None:
        net = Net(router.inside.four, router.inside.six, families)
        one.place.cable(_seat(router), net, router.switch)

    def _world(self, one: Hip, number: int, delay_s: float = 0.0) -> None:
        net = Net(f"10.55.{number}.", f"fd55:{number}::")
        one.place.cable("wan0", net, self.core, f"to_{one.name}", delay_s=delay_s)
        self.core.address(f"to_{one.name}", *net.own(ROUTER))

    def _configure(
        self,
        router_tables: Mapping[str, Mapping[str, Any]],
        client_tables: Mapping[str, Mapping[str, Any]],
    ) -> None:
        outside = {"external_interfaces": [*SPOTS, "outer0"]}
        both = {"versions": ["v2", "v1"], "accept": "any", "v1": {"compat": "none"}}
        for router in self.routers:
            others = [one.known(addresses=True) for one in self.routers if one is not router]
            own: dict[str, Mapping[str, Any]] = {"hip": both, "mobile_router": outside}
            if self.nested and router is self.routers[0]:
                own["mobile_node"] = {"routers": [self.routers[1].name]}
            router.daemon.configure(_merged(own, router_tables), others)
        near = self.routers[:1] if self.nested else self.routers
        routers = [router.known(addresses=True) for router in near]
        inside = {"host": {}, "mobile_node": {"routers": [entry["name"] for entry in routers]}}
        servers: list[dict[str, Any]] = []
        if self.server is not None:
            servers.append(self.server.known(addresses=True))
            inside["rendezvous"] = {"servers": [self.server.name]}
        for client in self.clients:
            peers = [*servers, *(one.known(addresses=True) for one in self.correspondents)]
            for peer in peers[len(servers) :]:
                peer["rvs"] = [server["name"] for server in servers]
            tables = {"hip": {"versions": _names(client)}, **inside}
            client.daemon.configure(_merged(tables, client_tables), [*routers, *peers])
        for one in self.correspondents:
            hip: dict[str, Any] = {"versions": _names(one)}
            if one.version == 1:
                hip |= {"transport": "raw", "v1": {"compat": "none"}}
            tables = {"hip": hip, **inside}
            if one.router is None:
                del tables["mobile_node"]
            callers = [
                {"name": client.name, "hit": str(client.hits[one.version])}
                for client in self.clients
            ]
            known = [*(routers if one.router is not None else ()), *servers]
            one.daemon.configure(tables, [*known, *callers])


def pair(client: Hip, peer: Hip) -> Pair:
    """Both, with the HITs that they use for each other."""
    version = peer.version
    return Pair(
        client.place.host,
        str(client.hits[version]),
        peer.place.host,
        str(peer.hits[version]),
    )


def _names(one: Hip) -> list[str]:
    """The versions that it speaks, the preferred one first."""
    return [f"v{version}" for version in sorted(one.spoken, reverse=True)]


def _seat(router: Vehicle) -> str:
    """The interface by which hosts are inside of it."""
    return f"in_{router.name}"


def _merged(
    tables: Mapping[str, Mapping[str, Any]], more: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    return {name: {**tables.get(name, {}), **more.get(name, {})} for name in (*tables, *more)}
