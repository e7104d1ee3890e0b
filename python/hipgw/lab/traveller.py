"""Hosts that are in one network at a time, out of several they have a cable to."""

import itertools
import time
from dataclasses import dataclass, field

from hipgw.lab.host import Host
from hipgw.lab.lab import Lab
from hipgw.lab.topologies import Family

ROUTER = 254
"""Host number of whoever leads out of a network."""
_FIRST_METRIC = 5000
_LENGTHS: dict[Family, int] = {4: 24, 6: 64}


@dataclass(frozen=True, slots=True)
class Net:
    """A network: 24 bits of IPv4 addresses and 64 bits of IPv6 addresses, or one of both."""

    four: str
    """As "10.0.1."."""
    six: str
    """As "fd00:1::"."""
    families: tuple[Family, ...] = (4, 6)

    def address(self, family: Family, number: int) -> str:
        """Of the host with this number, 1 to 254."""
        return f"{self.four}{number}" if family == 4 else f"{self.six}{number:x}"

    def own(self, number: int) -> list[str]:
        """Addresses of the host with this number, with their prefix lengths."""
        return [f"{self.address(one, number)}/{_LENGTHS[one]}" for one in self.families]


@dataclass(slots=True)
class Stay:
    """Where a traveller is."""

    interface: str
    addresses: dict[Family, str] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    """Addresses as ip(8) takes them behind a verb."""
    routes: list[str] = field(default_factory=list)


class Traveller:
    """A host that can be elsewhere within milliseconds."""

    def __init__(self, lab: Lab, name: str, number: int = 0) -> None:
        """It takes another address at each place, or always that with this *number*."""
        self.host = lab.host(name)
        self.nets: dict[str, Net] = {}
        """By the interface that leads there."""
        self.stay: Stay | None = None
        self._lab = lab
        self._numbers = itertools.repeat(number) if number else itertools.cycle(range(2, 250))
        self._metrics = itertools.count(_FIRST_METRIC, -1)
        for kind in ("all", "default"):
            # Else all further IPv4 addresses of a network go with its first one.
            self.host.sysctl(f"net/ipv4/conf/{kind}/promote_secondaries", 1)

    def cable(
        self,
        interface: str,
        net: Net,
        other: Host,
        other_interface: str = "",
        *,
        delay_s: float = 0.0,
    ) -> None:
        """Have a way to a network; it is not used before `go`. *delay_s* is added each way."""
        if delay_s:
            self._lab.lossy_link(self.host, interface, other, other_interface, delay_s=delay_s)
        else:
            self._lab.link(self.host, interface, other, other_interface)
        self.nets[interface] = net

    @property
    def addresses(self) -> dict[Family, str]:
        """Those that it has where it is."""
        return {} if self.stay is None else self.stay.addresses

    def go(self, interface: str, *, make_first: bool = False, gap_s: float = 0.05) -> float:
        """Take addresses and the default routes of a network.

        With *make_first* those before are deprecated once the new ones are there, and go *gap_s*
        later; else they go *gap_s* before, with none at all meanwhile. Returns since when
        (`time.monotonic`) the new ones are usable.
        """
        before, stay = self.stay, self._somewhere(interface)
        if before is not None and not make_first:
            self.away()
            time.sleep(gap_s)
        self.host.ip(
            f"link set {interface} up",
            *(f"address add {one}" for one in stay.given),
            *(f"route add {one}" for one in stay.routes),
        )
        usable = time.monotonic()
        self.stay = stay
        if before is not None and make_first:
            self.host.ip(*(f"address change {one} preferred_lft 0" for one in before.given))
            time.sleep(gap_s)
            self._leave(before)
        return usable

    def away(self) -> None:
        """Be in no network."""
        before, self.stay = self.stay, None
        if before is not None:
            self._leave(before)

    def _leave(self, stay: Stay) -> None:
        self.host.ip(
            *(f"route del {one}" for one in stay.routes),
            *(f"address del {one}" for one in stay.given),
        )
        if self.stay is None or self.stay.interface != stay.interface:
            # Else what is still sent to the old addresses would arrive all the same.
            self.host.down(stay.interface)

    def _somewhere(self, interface: str) -> Stay:
        net, number, metric = self.nets[interface], next(self._numbers), next(self._metrics)
        stay = Stay(interface)
        for family in net.families:
            own, gateway = net.address(family, number), net.address(family, ROUTER)
            stay.addresses[family] = own
            nodad = " nodad" if family == 6 else ""
            stay.given.append(f"{own}/{_LENGTHS[family]} dev {interface}{nodad}")
            stay.routes.append(f"default via {gateway} dev {interface} metric {metric}")
        return stay
