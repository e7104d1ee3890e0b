"""The driver of the HIP machine looks peers up that it does not reach."""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

import pytest

from hipgw.daemon import driver as driver_room
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.transport import ControlTransport
from hipgw.identity.lsi import LsiTable
from hipgw.naming.configured import ConfiguredSource
from hipgw.naming.finder import PeerFinder
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.naming.resolver import Resolver
from hipgw.protocol.effects import Effect, Established, Failed
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import IPAddress, Path
from hipgw.roles.security_associations import SecurityAssociations
from hipgw.roles.versions import VersionPolicy
from naming_sources import HIT, Said, configured

OWN = IPv6Address("2001:21::99")


class Machine:
    """Takes notes of the calls that the driver wants to make."""

    local_hit = OWN

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.also: list[list[str]] = []
        self.up = False

    def connect(self, hit: IPv6Address, paths: Sequence[Path], now: float) -> list[Effect]:
        self.calls.append([str(path.remote) for path in paths])
        return []

    def found_at(self, hit: IPv6Address, paths: Sequence[Path], now: float) -> list[Effect]:
        self.also.append([str(path.remote) for path in paths])
        return []

    def is_up(self, hit: IPv6Address) -> bool:
        return self.up

    def next_timer(self) -> None:
        return None


class Transport:
    """Has a route to everywhere."""

    udp_port = 10500

    def source_address(self, remote: IPAddress) -> IPAddress:
        return ip_address("192.0.2.100")


class Net:
    """A driver with one peer and one source beside the configuration."""

    def __init__(self, tmp_path: Any, *peers: Peer, barred: IPv6Address | None = None) -> None:
        self.machine, self.dht = Machine(), Said("dht")
        self.directory = PeerDirectory(peers, LsiTable())
        resolver = Resolver(["configured", "dht"])
        resolver.add(ConfiguredSource(self.directory), cached=False)
        resolver.add(self.dht)
        self.finder = PeerFinder(resolver, self.directory)
        self.news: list[Effect] = []
        self.driver = HipDriver(
            cast(HipMachine, self.machine),
            cast(ControlTransport, Transport()),
            cast(SecurityAssociations, None),
            self.directory,
            self.news.append,
            VersionPolicy(self.directory, tmp_path / "heard.json"),
            self.finder,
            is_barred=lambda hit: hit == barred,
        )

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def fail(self) -> None:
        self.driver.perform([Failed(OWN, HIT, "no answer to I1")])


async def test_who_is_barred_is_not_called_wherever_it_is_found(tmp_path: Any) -> None:
    net = Net(tmp_path, configured(HIT, "b", "192.0.2.1"), barred=HIT)
    (peer,) = net.directory
    net.driver.connect(peer)
    await net.settle()
    assert not net.machine.calls
    assert [getattr(one, "reason", "") for one in net.news] == ["it is kept out"]


async def test_after_a_failure_it_is_called_where_it_is_found(tmp_path: Any) -> None:
    net = Net(tmp_path, configured(HIT, "b", "192.0.2.1"))
    (peer,) = net.directory
    net.driver.connect(peer)
    assert net.machine.calls == [["192.0.2.1"]]
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.7")]
    net.fail()
    await net.settle()
    assert net.machine.calls[1:] == [["192.0.2.7", "192.0.2.1"]]
    assert not net.news, "nothing has failed yet"
    net.fail()
    await net.settle()
    assert net.news == [Failed(OWN, HIT, "no answer to I1")]
    assert len(net.machine.calls) == 2


async def test_where_nothing_else_is_found_the_failure_is_told(tmp_path: Any) -> None:
    net = Net(tmp_path, configured(HIT, "b", "192.0.2.1"))
    (peer,) = net.directory
    net.driver.connect(peer)
    net.dht.error = "no server"
    net.fail()
    await net.settle()
    assert net.news == [Failed(OWN, HIT, "no answer to I1")]
    net.driver.connect(peer)
    await net.settle()
    assert net.machine.calls[1:] == [["192.0.2.1"]]


async def test_a_peer_without_a_place_is_looked_up_first(tmp_path: Any) -> None:
    net = Net(tmp_path, configured(HIT, "b"))
    (peer,) = net.directory
    net.driver.connect(peer)
    await net.settle()
    assert net.news == [Failed(OWN, HIT, "nobody knows its address")]
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.7")]
    net.finder._asked.clear()
    net.driver.connect(peer)
    await net.settle()
    assert net.machine.calls == [["192.0.2.7"]]


async def test_one_that_died_is_looked_up_before_it_is_called_again(tmp_path: Any) -> None:
    net = Net(tmp_path, configured(HIT, "b", "192.0.2.1"))
    (peer,) = net.directory
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.7")]
    net.driver.lost(HIT)
    net.driver.connect(peer)
    await net.settle()
    assert net.machine.calls == [["192.0.2.7", "192.0.2.1"]]


async def test_one_that_is_silent_is_called_elsewhere_as_well(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_room, "IMPATIENCE_S", 0.01)
    net = Net(tmp_path, configured(HIT, "b", "192.0.2.1"))
    (peer,) = net.directory
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.7")]
    net.driver.connect(peer)
    await asyncio.sleep(0.05)
    assert net.machine.also == [["192.0.2.7", "192.0.2.1"]]
    # What fails now was fresh.
    net.fail()
    await net.settle()
    assert net.news
    assert len(net.machine.calls) == 1


async def test_one_that_answers_is_not_looked_up(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_room, "IMPATIENCE_S", 0.01)
    net = Net(tmp_path, configured(HIT, "b", "192.0.2.1"))
    (peer,) = net.directory
    net.driver.connect(peer)
    path = Path(None, ip_address("192.0.2.1"))
    net.machine.up = True
    net.driver.perform([Established(OWN, HIT, path, True, 0.01)])
    await asyncio.sleep(0.05)
    assert not net.dht.asked


async def test_one_that_is_no_peer_any_more_is_not_called(tmp_path: Any) -> None:
    net = Net(tmp_path, configured(HIT, "b"))
    (peer,) = net.directory
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.7")]
    net.driver.connect(peer)
    net.directory.remove(HIT)
    await net.settle()
    net.driver.connect(peer)
    assert not net.machine.calls
