"""The networks that the demo, the system tests and the benches share.

    h1 ── e1 ──┐            ┌── e2 ── h2
    LAN 1      └── router ──┘      LAN 2        (a third site, h3 and e3, hangs on the same router)

Between each gateway and the router lies an underlay network of its own: site n has
192.168.(100 + n).0/24 and fd00:100:n::/64. With a bottleneck there are two routers and a narrow
link between them, which neither gateway sees: site 1 hangs on the first, all others on the second.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hipgw.identity.host_identity import KeyKind
from hipgw.identity.lsi import default_lsi
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.host import Host, Router
from hipgw.lab.lab import Lab
from hipgw.lab.waiting import wait_until

Family = Literal[4, 6]
TransportName = Literal["udp", "raw"]

UP_TIMEOUT_S = 20.0
BOTTLENECK = "narrow"
"""The interface that each of two routers has towards the other."""

_FAMILIES: tuple[tuple[Family, int, str], ...] = ((4, 24, "default"), (6, 64, "default6"))
"""Version, prefix length and the name of the default route."""


def underlay_address(site: int, family: Family, *, router: bool = False) -> str:
    """Address of a site's gateway in the untrusted network, or the router's next to it."""
    host = 254 if router else 1
    return f"192.168.{100 + site}.{host}" if family == 4 else f"fd00:100:{site}::{host:x}"


@dataclass(slots=True)
class Site:
    """One side of a network: a gateway in the underlay and, for endboxes, a host behind it."""

    number: int
    gateway: Host
    daemon: HipgwDaemon
    lan_host: Host | None = None

    @property
    def lan4(self) -> str:
        """Address of the LAN host, and its prefix."""
        return f"10.77.0.{self.number}"

    @property
    def lan6(self) -> str:
        """IPv6 address of the LAN host."""
        return f"fd77::{self.number}"

    @property
    def lan(self) -> Host:
        """The host behind the endbox."""
        if self.lan_host is None:
            raise ValueError(f"site {self.number} has no LAN")
        return self.lan_host


class GatewayNetwork:
    """Two or more sites with a hipgw daemon each, around one router."""

    def __init__(self, lab: Lab, routers: Sequence[Router], sites: Sequence[Site]) -> None:
        self.lab = lab
        self.routers = list(routers)
        """One, or two with a bottleneck between them."""
        self.sites = list(sites)

    @property
    def router(self) -> Router:
        """The (first) router."""
        return self.routers[0]

    def set_bottleneck(self, mtu: int) -> None:
        """Give the link between the two routers another MTU, in octets."""
        for router in self.routers:
            router.mtu(BOTTLENECK, mtu)

    def start(self, *, wait: bool = True) -> None:
        """Start all daemons and, unless told otherwise, wait until endboxes are associated."""
        for site in self.sites:
            site.daemon.start(wait=False)
        for site in self.sites:
            site.daemon.wait_ready()
        if wait and self.sites[0].lan_host is not None:
            self.wait_established()

    def wait_established(self, timeout_s: float = UP_TIMEOUT_S) -> None:
        """Wait until every daemon can send data to every other one."""
        for site, other in itertools.permutations(self.sites, 2):
            wait_until(
                functools.partial(site.daemon.established, other.daemon.hit),
                timeout_s,
                what=f"an association from {site.gateway.name} to {other.gateway.name}",
            )

    def stop(self) -> None:
        """Stop all daemons as systemd would."""
        for site in self.sites:
            site.daemon.stop()


def underlay(
    lab: Lab, sites: int, *, names: str = "e", mtu: int = 1500, bottleneck: int | None = None
) -> tuple[list[Router], list[Host]]:
    """A router and *sites* hosts around it, each in networks of its own, IPv4 and IPv6.

    *bottleneck*: MTU of a link in the middle, between two routers then.
    """
    routers = [lab.router("r")]
    if bottleneck is not None:
        routers.append(lab.router("r2"))
        lab.link(routers[0], BOTTLENECK, routers[1], BOTTLENECK, mtu=bottleneck)
        for router, near, far in ((routers[0], 1, 2), (routers[1], 2, 1)):
            router.address(BOTTLENECK, f"192.168.100.{near}/24", f"fd00:100::{near}/64")
            router.route("default", f"192.168.100.{far}")
            router.route("default6", f"fd00:100::{far}")
    gateways = []
    for n in range(1, sites + 1):
        router = routers[min(n, len(routers)) - 1]
        gateway = lab.host(f"{names}{n}")
        lab.link(gateway, "wan0", router, f"site{n}", mtu=mtu)
        for family, length, everywhere in _FAMILIES:
            own = underlay_address(n, family)
            next_hop = underlay_address(n, family, router=True)
            gateway.address("wan0", f"{own}/{length}")
            router.address(f"site{n}", f"{next_hop}/{length}")
            gateway.route(everywhere, next_hop)
        gateways.append(gateway)
    return routers, gateways


def endboxes(
    lab: Lab,
    sites: int = 2,
    *,
    family: Family = 4,
    transport: TransportName = "udp",
    hip: Mapping[str, Any] | None = None,
    endbox: Mapping[str, Any] | None = None,
    esp: Mapping[str, Any] | None = None,
    key_kind: KeyKind = "ecdsa-p384",
    underlay_mtu: int = 1500,
    bottleneck: int | None = None,
) -> GatewayNetwork:
    """Endboxes that join one LAN host each; *hip*, *esp* and *endbox* add keys to those tables."""
    routers, gateways = underlay(lab, sites, mtu=underlay_mtu, bottleneck=bottleneck)
    built = []
    for n, gateway in enumerate(gateways, 1):
        lan_host = lab.host(f"h{n}")
        lab.link(lan_host, "eth0", gateway, "lan0")
        site = Site(n, gateway, HipgwDaemon(gateway, key_kind=key_kind), lan_host)
        lan_host.address("eth0", f"{site.lan4}/24", f"{site.lan6}/64")
        built.append(site)
    for site in built:
        site.daemon.configure(
            {
                "hip": {"transport": transport, **(hip or {})},
                "esp": dict(esp or {}),
                "endbox": {"ports": ["lan0"], **(endbox or {})},
            },
            [_peer(other, family) for other in built if other is not site],
        )
    return GatewayNetwork(lab, routers, built)


def endbox_pair(lab: Lab, **options: Any) -> GatewayNetwork:
    """Two endboxes; see `endboxes`."""
    return endboxes(lab, 2, **options)


def endbox_triangle(lab: Lab, **options: Any) -> GatewayNetwork:
    """Three endboxes, each associated with both others; see `endboxes`."""
    return endboxes(lab, 3, **options)


def host_pair(
    lab: Lab,
    *,
    family: Family = 4,
    transport: TransportName = "udp",
    hip: Mapping[str, Any] | None = None,
    esp: Mapping[str, Any] | None = None,
    key_kind: KeyKind = "ecdsa-p384",
    underlay_mtu: int = 1500,
    bottleneck: int | None = None,
) -> GatewayNetwork:
    """Two hosts that reach each other by HIT and LSI."""
    routers, gateways = underlay(lab, 2, names="g", mtu=underlay_mtu, bottleneck=bottleneck)
    built = [
        Site(n, gateway, HipgwDaemon(gateway, key_kind=key_kind))
        for n, gateway in enumerate(gateways, 1)
    ]
    for site in built:
        site.daemon.configure(
            {
                "hip": {"transport": transport, **(hip or {})},
                "esp": dict(esp or {}),
                "host": {"lsi": str(default_lsi(site.daemon.hit))},
            },
            [
                {**_peer(other, family), "lsi": str(default_lsi(other.daemon.hit))}
                for other in built
                if other is not site
            ],
        )
    return GatewayNetwork(lab, routers, built)


@dataclass(slots=True)
class PlainNetwork:
    """The same hosts, links and hops without any tunnel: what the machine itself can do."""

    a: Host
    b: Host
    b4: str
    """IPv4 address of b."""


def plain_pair(lab: Lab, *, names: str = "p") -> PlainNetwork:
    """LAN host, gateway, router, gateway, LAN host, joined by plain routing."""
    left, right = lab.host(f"{names}h1"), lab.host(f"{names}h2")
    near, middle, far = (lab.router(f"{names}{name}") for name in ("e1", "r", "e2"))
    hops = (left, near, middle, far, right)
    for n, (one, other) in enumerate(itertools.pairwise(hops), 1):
        lab.link(one, f"up{n}", other, f"down{n}")
        one.address(f"up{n}", f"172.20.{n}.1/24")
        other.address(f"down{n}", f"172.20.{n}.2/24")
    for n, hop in enumerate(hops[:-1], 1):
        for beyond in range(n + 1, len(hops)):
            hop.route(f"172.20.{beyond}.0/24", f"172.20.{n}.2")
    for n, hop in enumerate(hops[1:], 1):
        for before in range(1, n):
            hop.route(f"172.20.{before}.0/24", f"172.20.{n}.1")
    return PlainNetwork(left, right, "172.20.4.2")


def _peer(site: Site, family: Family) -> dict[str, Any]:
    return {
        "name": site.gateway.name,
        "hit": str(site.daemon.hit),
        "addresses": [underlay_address(site.number, family)],
    }
