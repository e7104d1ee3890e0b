"""Two gateways that move: each has two uplinks, `wan0` and `wwan0`, with IPv4 and IPv6 on both.

    h1 ── e1 ══ r1 ──── r2 ══ e2 ── h2        ══ two uplinks

Uplink u (0 or 1) of site n lies in 192.168.(100 + 10u + n).0/24 and fd00:100:(10u + n)::/64, of
which any host number below 250 may be taken: each `Roamer.go` takes a new one. Both begin with IPv4
by `wan0`. The second has an IPv6 address there that stays, so that the first can change over.
"""

import itertools
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hipgw.errors import LabError
from hipgw.identity.lsi import default_lsi
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.host import Host, Router
from hipgw.lab.impairment import Impairment
from hipgw.lab.lab import Lab
from hipgw.lab.lossy import LossyLink
from hipgw.lab.nat import Nat, NatKind
from hipgw.lab.topologies import Family, GatewayNetwork, Site

Uplink = Literal["wan0", "wwan0"]
Role = Literal["endbox", "host"]

UPLINKS: tuple[Uplink, ...] = ("wan0", "wwan0")
_ROUTER = 254
_FIRST_METRIC = 5000
_LENGTHS: dict[Family, int] = {4: 24, 6: 64}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway is."""

    uplink: Uplink
    family: Family
    address: str
    gateway: str
    """Where its default route leads."""
    metric: int

    @property
    def commands(self) -> tuple[str, str]:
        """Address and default route, as ip(8) takes them behind a verb."""
        nodad = " nodad" if self.family == 6 else ""
        return (
            f"{self.address}/{_LENGTHS[self.family]} dev {self.uplink}{nodad}",
            f"default via {self.gateway} dev {self.uplink} metric {self.metric}",
        )


class Roamer:
    """A gateway that can be elsewhere within milliseconds."""

    def __init__(self, number: int, gateway: Host) -> None:
        self.number = number
        self.gateway = gateway
        self.links: dict[Uplink, LossyLink] = {}
        """Its uplinks, if they can be made bad."""
        self.fixed: dict[Family, str] = {}
        self._hosts = itertools.cycle(range(2, 250))
        self._metrics = itertools.count(_FIRST_METRIC, -1)
        # Else all further IPv4 addresses of a network go with its first one.
        gateway.sysctl("net/ipv4/conf/all/promote_secondaries", 1)
        gateway.sysctl("net/ipv4/conf/default/promote_secondaries", 1)
        self.place = self.somewhere("wan0", 4)
        """Where it is; nowhere until `arrive`."""

    def arrive(self, place: Place) -> None:
        """Take an address and a default route that is better than those before."""
        own, route = place.commands
        self.gateway.ip(f"address add {own}", f"route add {route}")
        self.place = place

    def stay(self, family: Family) -> None:
        """Have an address by `wan0` that does not go, whatever else happens."""
        here = self.place
        self.arrive(self.somewhere("wan0", family))
        self.fixed[family] = self.place.address
        self.place = here

    def address(self, family: Family) -> str:
        """Its address of a family: where it is, or where it stays."""
        return self.place.address if self.place.family == family else self.fixed[family]

    def go(
        self,
        uplink: Uplink | None = None,
        family: Family | None = None,
        *,
        make_first: bool = True,
        gap_s: float = 0.05,
    ) -> float:
        """Take a new address, by default on the same uplink and of the same family.

        With *make_first* the old one is deprecated once the new one is there, and goes *gap_s*
        later; else it goes *gap_s* before, with no address at all meanwhile. Returns since when
        (`time.monotonic`) the new one is usable.
        """
        before = self.place
        place = self.somewhere(uplink or before.uplink, family or before.family)
        if not make_first:
            self._leave(before)
            time.sleep(gap_s)
        self.arrive(place)
        usable = time.monotonic()
        if make_first:
            self.gateway.ip(f"address change {before.commands[0]} preferred_lft 0")
            time.sleep(gap_s)
            self._leave(before)
        return usable

    def _leave(self, place: Place) -> None:
        own, route = place.commands
        self.gateway.ip(f"route del {route}", f"address del {own}")

    def somewhere(self, uplink: Uplink, family: Family) -> Place:
        """A place where it has not been."""
        own, gateway = (
            _address(self.number, uplink, family, number) for number in (next(self._hosts), _ROUTER)
        )
        return Place(uplink, family, own, gateway, next(self._metrics))


class RoamingNetwork(GatewayNetwork):
    """Two sites whose gateways move."""

    def __init__(
        self,
        lab: Lab,
        routers: list[Router],
        sites: list[Site],
        roamers: tuple[Roamer, Roamer],
        core: LossyLink | None,
    ) -> None:
        super().__init__(lab, routers, sites)
        self.roamers = roamers
        self.core = core
        """The link between the routers, if it is a bad one."""

    @property
    def nat(self) -> Nat:
        """What the first gateway is behind, if it was asked for."""
        router = self.routers[0]
        if not isinstance(router, Nat):
            raise LabError(f"{router.name} is no NAT.")
        return router

    @property
    def ends(self) -> tuple[Host, Host]:
        """Between which data flows: the hosts in the LANs, or the gateways themselves."""
        one, other = (site.lan_host or site.gateway for site in self.sites)
        return one, other

    @property
    def target(self) -> str:
        """Address of the second end for the first one: in the LAN, or its HIT."""
        site = self.sites[1]
        if site.lan_host is not None:
            return site.lan4
        # What OpenHIP begins is taken for traffic by LSI.
        by_lsi = site.daemon.compat == "openhip"
        return str(default_lsi(site.daemon.hit) if by_lsi else site.daemon.hit)

    def connect(self) -> None:
        """Make the association, if the role does not do it by itself."""
        self.sites[0].daemon.request("connect", peer=self.sites[1].gateway.name)
        self.wait_established()


def roaming_pair(
    lab: Lab,
    role: Role = "endbox",
    *,
    impairment: Impairment | None = None,
    seed: int = 1,
    bad_uplinks: bool = False,
    nat: NatKind | None = None,
    transport: Literal["udp", "raw"] = "udp",
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> RoamingNetwork:
    """Two endboxes, or two hosts, at home on IPv4 by `wan0`; not started yet.

    *impairment* is what the link between the routers does; with *bad_uplinks* the uplinks can be
    made bad as well. The first gateway may be behind a *nat* of some kind, whichever uplink it uses
    (IPv4 only). *tables* adds keys to those of the configuration.
    """
    first = lab.nat("r1")
    routers: list[Router] = [first, lab.router("r2")]
    core = _join(lab, first, routers[1], impairment, seed)
    if nat is not None:
        first.hide("core", kind=nat)
    roamers, sites = [], []
    for n in (1, 2):
        gateway = lab.host(f"{role[0]}{n}" if role == "endbox" else f"g{n}")
        roamer, router = Roamer(n, gateway), routers[n - 1]
        for uplink in UPLINKS:
            far = f"{uplink}-{n}"
            if bad_uplinks:
                roamer.links[uplink] = lab.lossy_link(gateway, uplink, router, far)
            else:
                lab.link(gateway, uplink, router, far)
            for family, length in _LENGTHS.items():
                router.address(far, f"{_address(n, uplink, family, _ROUTER)}/{length}")
        roamer.arrive(roamer.place)
        if n == 2:
            roamer.stay(6)
        site = Site(n, gateway, HipgwDaemon(gateway))
        if role == "endbox":
            site.lan_host = lab.host(f"h{n}")
            lab.link(site.lan_host, "eth0", gateway, "lan0")
            site.lan_host.address("eth0", f"{site.lan4}/24", f"{site.lan6}/64")
        roamers.append(roamer)
        sites.append(site)
    for site, other in itertools.permutations(sites):
        own: dict[str, Mapping[str, Any]] = {"hip": {"transport": transport}}
        own |= {"endbox": {"ports": ["lan0"]}} if role == "endbox" else {"host": {}}
        for name, values in (tables or {}).items():
            own[name] = {**own.get(name, {}), **values}
        peer = {
            "name": other.gateway.name,
            "hit": str(other.daemon.hit),
            "addresses": [roamers[other.number - 1].place.address],
            "lsi": str(default_lsi(other.daemon.hit)),
        }
        site.daemon.configure(own, [peer])
    return RoamingNetwork(lab, routers, sites, (roamers[0], roamers[1]), core)


def _join(
    lab: Lab, one: Router, other: Router, impairment: Impairment | None, seed: int
) -> LossyLink | None:
    core = None
    if impairment is None:
        lab.link(one, "core", other, "core")
    else:
        core = lab.lossy_link(one, "core", other, "core", seed=seed)
        core.set(**asdict(impairment))
    for router, near, far in ((one, 1, 2), (other, 2, 1)):
        router.address("core", f"192.168.100.{near}/24", f"fd00:100::{near}/64")
        router.route("default", f"192.168.100.{far}")
        router.route("default6", f"fd00:100::{far}")
    return core


def _address(site: int, uplink: Uplink, family: Family, number: int) -> str:
    network = 10 * UPLINKS.index(uplink) + site
    return f"192.168.{100 + network}.{number}" if family == 4 else f"fd00:100:{network}::{number:x}"
