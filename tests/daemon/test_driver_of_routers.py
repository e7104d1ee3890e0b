"""What the driver does about mobile routers and their clients; the machine only takes notes."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

from hipgw.daemon.driver import HipDriver
from hipgw.daemon.transport import ControlTransport
from hipgw.errors import LocalProtocolError
from hipgw.identity.lsi import LsiTable
from hipgw.naming.configured import ConfiguredSource
from hipgw.naming.finder import PeerFinder
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.naming.resolver import Resolver
from hipgw.protocol.effects import Effect, Established, Failed
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.protocol.registration import ServiceType
from hipgw.roles.security_associations import SecurityAssociations
from hipgw.roles.versions import VersionPolicy
from naming_sources import configured

OWN, BARRED = IPv6Address("2001:21::99"), IPv6Address("2001:21::66")
V2, V1 = IPv6Address("2001:21::1"), IPv6Address("2001:11::1")
ROUTER = replace(configured(V2, "m", "10.1.0.1"), other_hits=(V1,))
PLACE = Place(ip_address("10.1.0.2"), Transport.UDP, 4000)


class Machine:
    """Takes notes of the calls that the driver wants to make."""

    local_hit = OWN

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.up: set[IPv6Address] = set()

    def connect(self, hit: IPv6Address, paths: Sequence[Path], _now: float) -> list[Effect]:
        self.calls.append(("connect", hit))
        return []

    def close(self, hit: IPv6Address, _now: float, *, reason: str) -> list[Effect]:
        self.calls.append(("close", hit, reason))
        return []

    def recall(self, hit: IPv6Address, paths: Sequence[Path], _now: float) -> list[Effect]:
        self.calls.append(("recall", hit, *paths))
        if hit == OWN:
            raise LocalProtocolError("this host itself")
        return []

    def register(
        self, hit: IPv6Address, types: Sequence[int], lifetime_s: float, _now: float
    ) -> list[Effect]:
        self.calls.append(("register", hit, set(types), lifetime_s))
        return []

    def unregister(self, hit: IPv6Address, _now: float) -> list[Effect]:
        self.calls.append(("unregister", hit))
        return []

    def is_up(self, hit: IPv6Address) -> bool:
        return hit in self.up

    def next_timer(self) -> None:
        return None


class Routes:
    """By IPv4 to everywhere."""

    udp_port = 10500

    def source_address(self, remote: IPAddress) -> IPAddress | None:
        return ip_address("10.1.0.1") if remote.version == 4 else None


class Bench:
    def __init__(self, tmp_path: Any, *peers: Peer) -> None:
        self.machine = Machine()
        self.news: list[Effect] = []
        directory = PeerDirectory(peers, LsiTable())
        resolver = Resolver(["configured"])
        resolver.add(ConfiguredSource(directory), cached=False)
        self.driver = HipDriver(
            cast(HipMachine, self.machine),
            cast(ControlTransport, Routes()),
            cast(SecurityAssociations, None),
            directory,
            self.news.append,
            VersionPolicy(directory, tmp_path / "heard.json"),
            PeerFinder(resolver, directory),
            is_barred=lambda hit: hit == BARRED,
        )

    def established(self, hit: IPv6Address) -> None:
        self.machine.up.add(hit)
        path = Path(None, ip_address("10.1.0.1"))
        self.driver.perform([Established(OWN, hit, path, True, 0.01)])


async def test_a_router_is_called_by_each_of_its_hits_and_both_stay(tmp_path: Any) -> None:
    bench = Bench(tmp_path, ROUTER)
    bench.driver.connect_in_each_version(ROUTER, (V2, V1))
    bench.driver.connect(ROUTER)
    assert bench.machine.calls == [("connect", V2), ("connect", V1)]
    bench.established(V1)
    bench.established(V2)
    bench.driver.connect(ROUTER)
    bench.machine.up.discard(V1)
    bench.driver.perform([Failed(OWN, V1, "no answer to I1")])
    # It is the role that decides when it is called again.
    assert len(bench.machine.calls) == 2
    bench.driver.connect(ROUTER)
    assert bench.machine.calls[2:] == [("connect", V1)]


async def test_what_is_wanted_of_a_peer_adds_up(tmp_path: Any) -> None:
    bench = Bench(tmp_path, ROUTER)
    driver, calls = bench.driver, bench.machine.calls
    driver.register(V2, [ServiceType.RENDEZVOUS], 600.0)
    driver.register(V2, [ServiceType.MOBILE_ROUTER], 120.0)
    driver.register(V1, [ServiceType.MOBILE_ROUTER], 120.0)
    driver.unregister(V2)
    driver.register(V2, [ServiceType.MOBILE_ROUTER], 60.0)
    both = {ServiceType.RENDEZVOUS, ServiceType.MOBILE_ROUTER}
    assert calls == [
        ("register", V2, {ServiceType.RENDEZVOUS}, 600.0),
        ("register", V2, both, 600.0),
        ("register", V1, {ServiceType.MOBILE_ROUTER}, 120.0),
        ("unregister", V2),
        ("register", V2, {ServiceType.MOBILE_ROUTER}, 60.0),
    ]


async def test_clients_of_an_earlier_run_are_called_where_they_were(tmp_path: Any) -> None:
    bench = Bench(tmp_path)
    bench.driver.recall(V2, PLACE)
    path = Path(ip_address("10.1.0.1"), PLACE.address, Transport.UDP, 10500, 4000)
    assert bench.machine.calls == [("recall", V2, path)]
    # Not who is kept out by now, and not where no route leads.
    bench.driver.recall(BARRED, PLACE)
    bench.driver.recall(V2, Place(ip_address("2001:db8::1")))
    assert len(bench.machine.calls) == 1
    bench.driver.recall(OWN, PLACE)
    assert not bench.news
