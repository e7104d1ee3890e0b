"""What is found becomes a peer, is brought up to date, and goes when nobody needs it."""

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address

from hipgw.errors import DataPlaneError
from hipgw.identity.lsi import LsiTable
from hipgw.naming.configured import ConfiguredSource
from hipgw.naming.finder import FRESH_S, PeerDefaults, PeerFinder
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.naming.resolver import Resolver
from naming_sources import HIT, OLD, OTHER, Clock, Said, configured

OWN = IPv6Address("2001:21::99")


class Net:
    """A finder with two sources and perhaps a configured peer."""

    def __init__(
        self, *peers: Peer, found_max: int = 100, versions: tuple[int, ...] = (2,)
    ) -> None:
        self.clock = Clock()
        self.dns, self.dht = Said("dns"), Said("dht")
        lsis = LsiTable()
        for peer in peers:
            lsis.assign(peer.hit, peer.lsi)
        self.directory = PeerDirectory(peers, lsis)
        self.resolver = Resolver(["configured", "dns", "dht"], clock=self.clock)
        self.resolver.add(
            ConfiguredSource(self.directory, lambda peer: self.finder.base(peer)), cached=False
        )
        self.resolver.add(self.dns)
        self.resolver.add(self.dht)
        self.finder = PeerFinder(
            self.resolver,
            self.directory,
            PeerDefaults(versions=versions, compats=((1, "openhip"),)),
            own_hits=(OWN,),
            found_max=found_max,
            keep_s=300.0,
            clock=self.clock,
        )

    async def find(self, hit: IPv6Address) -> Peer | None:
        future: asyncio.Future[Peer | None] = asyncio.get_running_loop().create_future()
        self.finder.find(hit, future.set_result)
        return await future

    async def refresh(self, peer: Peer) -> Peer | None:
        future: asyncio.Future[Peer | None] = asyncio.get_running_loop().create_future()
        self.finder.refresh(peer, future.set_result)
        return await future


async def test_a_name_becomes_a_peer_with_an_lsi() -> None:
    net = Net()
    net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.1", rvs="192.0.2.9")]
    peer = await net.finder.by_name("b.example")
    assert peer is not None
    assert (peer.name, peer.hit, peer.source) == ("b.example", HIT, "dns")
    assert peer.addresses == (ip_address("192.0.2.1"),)
    assert peer.rendezvous[0].addresses == (ip_address("192.0.2.9"),)
    assert net.directory.by_destination(peer.lsi) == peer
    assert net.directory.find("B.Example") == peer
    assert await net.finder.by_name("nobody.example") is None


async def test_places_that_the_first_source_lacks_come_from_another() -> None:
    net = Net()
    net.dns.names["b.example"] = [net.dns.found()]
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.1")]
    peer = await net.finder.by_name("b.example")
    assert peer is not None
    assert peer.addresses == (ip_address("192.0.2.1"),)


async def test_a_hit_is_looked_up_and_answers_about_others_are_none() -> None:
    net = Net()
    net.dht.hits[HIT] = [net.dht.found(OTHER, "192.0.2.66")]
    assert await net.find(HIT) is None
    net.resolver.clear()
    net.dht.hits[HIT] = [net.dht.found(OTHER, "192.0.2.66"), net.dht.found(HIT, "192.0.2.1")]
    peer = await net.find(HIT)
    assert peer is not None
    assert (peer.hit, peer.addresses) == (HIT, (ip_address("192.0.2.1"),))
    assert net.directory.by_hit(OTHER) is None


async def test_own_hits_and_addresses_that_are_no_hits_are_not_looked_up() -> None:
    net = Net()
    assert await net.find(OWN) is None
    assert await net.find(IPv6Address("2001:db8::1")) is None
    net.dns.names["me.example"] = [net.dns.found(OWN, "192.0.2.1")]
    assert await net.finder.by_name("me.example") is None
    assert OWN not in net.dht.asked


async def test_what_is_configured_wins_over_what_is_found() -> None:
    net = Net(configured(HIT, "plant-b", "192.0.2.1"))
    net.dns.names["plant-b"] = [net.dns.found(OTHER, "192.0.2.66")]
    net.dns.names["alias.example"] = [net.dns.found(HIT, "192.0.2.66")]
    for name in ("plant-b", "PLANT-B", "alias.example"):
        peer = await net.finder.by_name(name)
        assert peer is not None
        assert (peer.hit, peer.addresses) == (HIT, (ip_address("192.0.2.1"),))


async def test_the_preferred_version_that_is_spoken_is_taken() -> None:
    for versions, hits in (
        ((2,), (HIT,)),
        ((1,), (OLD,)),
        ((1, 2), (OLD, HIT)),
        ((2, 1), (HIT, OLD)),
    ):
        net = Net(versions=versions)
        net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.1", other_hits=(OLD,))]
        peer = await net.finder.by_name("b.example")
        assert peer is not None
        assert peer.hits == hits
        assert peer.compat(OLD) == ("openhip" if OLD in hits else "none")
    net = Net(versions=(2,))
    net.dns.names["b.example"] = [net.dns.found(OLD, "192.0.2.1")]
    assert await net.finder.by_name("b.example") is None


async def test_of_several_hits_of_a_name_the_preferred_version_is_taken() -> None:
    """As with a key for each version, which a source may list in any order."""
    for versions, hit in (((2,), HIT), ((1,), OLD), ((2, 1), HIT), ((1, 2), OLD)):
        for order in ((HIT, OLD), (OLD, HIT)):
            net = Net(versions=versions)
            net.dht.names["b"] = [net.dht.found(one, "192.0.2.1") for one in order]
            peer = await net.finder.by_name("b")
            assert peer is not None
            assert peer.hits == (hit,)
    # Where the other one is, is not where this one is.
    net = Net(versions=(2, 1))
    net.dht.names["b"] = [net.dht.found(OLD, "192.0.2.66"), net.dht.found(HIT)]
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.1")]
    peer = await net.finder.by_name("b")
    assert peer is not None
    assert (peer.hit, peer.addresses) == (HIT, (ip_address("192.0.2.1"),))


async def test_after_its_time_it_is_looked_up_again_and_keeps_its_lsi() -> None:
    net = Net()
    net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.1", ttl_s=60)]
    first = await net.finder.by_name("b.example")
    net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.2", ttl_s=60)]
    net.clock.now += 59
    assert await net.finder.by_name("b.example") == first
    net.clock.now += 2
    again = await net.finder.by_name("b.example")
    assert first is not None and again is not None
    assert again.addresses == (ip_address("192.0.2.2"),)
    assert again.lsi == first.lsi
    net.dns.names.clear()
    net.clock.now += 61
    assert await net.finder.by_name("b.example") == again, "nobody says that it is not there"


async def test_it_goes_when_its_time_is_over_and_nobody_uses_it() -> None:
    net = Net()
    net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.1", ttl_s=60)]
    peer = await net.finder.by_name("b.example")
    assert peer is not None
    net.clock.now += 301
    net.finder.in_use = {HIT}.__contains__
    net.finder.expire()
    net.finder.in_use = set().__contains__
    assert net.directory.by_hit(HIT) is not None
    net.clock.now += 200
    net.finder.keep(HIT, 3600)
    net.clock.now += 3599
    net.finder.expire()
    assert net.directory.by_hit(HIT) is not None
    net.clock.now += 2
    net.finder.expire()
    assert net.directory.by_hit(HIT) is None
    assert net.directory.by_destination(peer.lsi) is None


async def test_configured_peers_never_go() -> None:
    net = Net(configured(HIT, "plant-b", "192.0.2.1"))
    net.clock.now += 10**6
    net.finder.expire()
    assert len(net.directory) == 1


async def test_found_peers_are_bounded() -> None:
    net = Net(found_max=3)
    hits = [IPv6Address(int(HIT) + 16 + number) for number in range(10)]
    for number, hit in enumerate(hits):
        net.dns.names[f"n{number}.example"] = [net.dns.found(hit, "192.0.2.1")]
        await net.finder.by_name(f"n{number}.example")
    assert len(net.directory) == 3
    net.clock.now += 301
    assert await net.finder.by_name("n9.example") is not None
    assert len(net.directory) == 1, "the others' time was over"


async def test_who_was_not_reached_is_looked_up_by_all_sources_before_the_next_call() -> None:
    net = Net(configured(HIT, "b.example", "192.0.2.1"))
    peer = net.directory.by_hit(HIT)
    assert peer is not None
    assert not net.finder.wanted(peer)
    assert net.finder.failed(peer), "what was tried was not fresh"
    assert net.finder.wanted(peer)
    net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.2", rvs="192.0.2.9")]
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.3")]
    found = await net.refresh(peer)
    assert found is not None
    assert found.addresses == tuple(map(ip_address, ("192.0.2.2", "192.0.2.3", "192.0.2.1")))
    assert found.rendezvous[0].addresses == (ip_address("192.0.2.9"),)
    assert (found.name, found.lsi, found.source) == (
        "b.example",
        IPv4Address("1.0.0.9"),
        "configured",
    )
    assert net.directory.by_hit(HIT) == found
    assert not net.finder.wanted(found)
    assert not net.finder.failed(found), "what was tried was fresh"
    # What was found the time before does not stay for ever.
    net.clock.now += FRESH_S
    net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.4")]
    net.dht.hits.clear()
    again = await net.refresh(found)
    assert again is not None
    assert again.addresses == tuple(map(ip_address, ("192.0.2.4", "192.0.2.1")))
    assert not again.rendezvous


async def test_names_of_this_machine_alone_are_told_to_nobody() -> None:
    net = Net(configured(HIT, "plant-b", "192.0.2.1"))
    peer = net.directory.by_hit(HIT)
    assert peer is not None
    net.finder.failed(peer)
    await net.refresh(peer)
    assert net.dns.asked == [HIT]
    assert net.dht.asked == [HIT]


async def test_one_that_is_reached_needs_no_looking_up() -> None:
    net = Net(configured(HIT, "plant-b", "192.0.2.1"))
    peer = net.directory.by_hit(HIT)
    assert peer is not None
    net.finder.failed(peer)
    net.finder.reached(HIT)
    assert not net.finder.wanted(peer)
    assert net.finder.failed(peer)


async def test_without_any_source_nothing_is_looked_up() -> None:
    clock = Clock()
    directory = PeerDirectory([configured(HIT, "plant-b", "192.0.2.1")], LsiTable())
    resolver = Resolver(["configured", "dns"], clock=clock)
    resolver.add(ConfiguredSource(directory), cached=False)
    finder = PeerFinder(resolver, directory, clock=clock)
    (peer,) = directory
    assert not finder.failed(peer)
    assert not finder.wanted(peer)


async def test_a_peer_without_any_place_is_looked_up_before_it_is_called() -> None:
    net = Net(configured(HIT, "plant-b"))
    (peer,) = net.directory
    assert net.finder.wanted(peer)
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.3")]
    found = await net.refresh(peer)
    assert found is not None
    assert found.addresses == (ip_address("192.0.2.3"),)


async def test_a_peer_that_the_directory_gets_from_elsewhere_is_no_found_one_any_more() -> None:
    net = Net()
    net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.1")]
    peer = await net.finder.by_name("b.example")
    assert peer is not None
    net.directory.add(
        Peer("b", HIT, (ip_address("192.0.2.5"),), True, 10500, peer.lsi, source="fleet")
    )
    net.clock.now += 10**6
    net.finder.expire()
    assert net.directory.by_hit(HIT) is not None


async def test_equal_look_ups_are_one() -> None:
    net = Net()
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.3")]
    net.dht.wait_s = 0.01
    found = await asyncio.gather(*(net.find(HIT) for _ in range(5)))
    assert all(peer is not None for peer in found)
    assert net.dht.asked == [HIT]
    await net.finder.stop()


async def test_without_room_for_its_lsi_nobody_is_taken_in() -> None:
    net = Net()
    net.directory.subscribe(refuse)
    net.dns.names["b.example"] = [net.dns.found(HIT, "192.0.2.1")]
    assert await net.finder.by_name("b.example") is None
    assert net.directory.by_hit(HIT) is None
    assert net.directory.lsi_for(OTHER) != net.directory.lsi_for(HIT)


def refuse(_old: Peer | None, _new: Peer | None) -> None:
    raise DataPlaneError("the table is full")


async def test_what_others_say_is_not_called_configured() -> None:
    peer = configured(HIT, "b", "192.0.2.1")
    net = Net(peer)
    net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.7")]
    net.finder.failed(peer)
    moved = await net.refresh(peer)
    assert moved is not None
    assert ip_address("192.0.2.7") in moved.addresses
    answers = (await net.resolver.ask_all(HIT)).answers
    said = {answer.source: answer.found[0].addresses for answer in answers if answer.found}
    assert said["configured"] == (ip_address("192.0.2.1"),)
    assert said["dht"] == (ip_address("192.0.2.7"),)


async def test_who_was_met_by_address_is_a_peer_until_nobody_needs_it() -> None:
    net = Net()
    peer = net.finder.met(HIT, ip_address("192.0.2.1"), udp=False)
    assert peer is not None
    assert (peer.name, peer.addresses, peer.udp) == (str(HIT), (ip_address("192.0.2.1"),), False)
    assert peer.source == "opportunistic"
    assert net.directory.by_destination(peer.lsi) == peer
    assert net.directory.by_address(ip_address("192.0.2.1")) == peer
    assert net.finder.met(OLD, ip_address("192.0.2.1"), udp=True) is None, "of no version spoken"
    net.clock.now += 301
    net.finder.expire()
    assert net.directory.by_hit(HIT) is None
