"""What `hipgw resolve` is told: for names, HITs and LSIs, known and unknown ones."""

from hipgw.control.api import ResolveAnswer
from hipgw.daemon.resolve_answers import resolve_answer
from hipgw.identity.lsi import LsiTable
from hipgw.naming.configured import ConfiguredSource
from hipgw.naming.peers import PeerDirectory
from hipgw.naming.resolver import Resolver
from naming_sources import HIT, OTHER, Said, configured


class Net:
    """One configured peer, and two sources beside that."""

    def __init__(self) -> None:
        self.dns, self.dht = Said("dns"), Said("dht")
        lsis = LsiTable()
        peer = configured(HIT, "plant-b", "192.0.2.1")
        lsis.assign(HIT, peer.lsi)
        self.directory = PeerDirectory([peer], lsis)
        self.resolver = Resolver(["configured", "dns", "dht"])
        self.resolver.add(ConfiguredSource(self.directory), cached=False)
        self.resolver.add(self.dns)
        self.resolver.add(self.dht)

    async def ask(self, query: str) -> ResolveAnswer:
        return await resolve_answer(query, self.resolver, self.directory, ".hip")


async def test_a_peer_by_everything_that_names_it() -> None:
    for query in ("plant-b", "plant-b.hip", "Plant-B.hip.", str(HIT), "1.0.0.9"):
        net = Net()
        net.dht.hits[HIT] = [net.dht.found(HIT, "192.0.2.7", rvs="192.0.2.9", ttl_s=60)]
        answer = await net.ask(query)
        assert (answer["query"], answer["name"]) == (query, "plant-b")
        assert (answer["hit"], answer["lsi"]) == (str(HIT), "1.0.0.9")
        (by_dht,) = [one["found"] for one in answer["sources"] if one["found"]][-1]
        assert by_dht["addresses"] == ["192.0.2.7"]
        assert by_dht["rendezvous"] == ["192.0.2.9"]
        assert by_dht["provenance"] == "unsigned"


async def test_a_name_that_is_only_found_is_no_peer_by_that() -> None:
    net = Net()
    net.dns.names["c.example"] = [net.dns.found(OTHER)]
    net.dht.error = "no server"
    answer = await net.ask("c.example.hip")
    assert (answer["name"], answer["hit"], answer["lsi"]) == (None, None, None)
    asked = [(one["source"], one["asked"]) for one in answer["sources"]]
    assert asked[:3] == [("configured", "c.example"), ("dns", "c.example"), ("dht", "c.example")]
    assert asked[3:] == [(name, str(OTHER)) for name in ("configured", "dns", "dht")]
    assert answer["sources"][2]["error"] == "no server"
    assert net.directory.by_hit(OTHER) is None


async def test_nobody() -> None:
    net = Net()
    assert not any(one["found"] for one in (await net.ask("nobody.example"))["sources"])
    assert (await net.ask("1.2.3.4"))["sources"] == []
    assert "1.2.3.4" not in net.dns.asked
    assert not any(one["found"] for one in (await net.ask("2001:db8::1"))["sources"])
