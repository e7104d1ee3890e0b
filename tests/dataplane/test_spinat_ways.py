"""Which ways the ESP of a mobile router's clients gets; the table is the real one."""

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.test_spinat import packet
from hipgw import _esp_core
from hipgw.dataplane import spinat_ways
from hipgw.dataplane.spinat_ways import (
    CHUNK,
    PAIRS_MAX,
    Counts,
    Flow,
    SpinatWays,
    Target,
    Traffic,
)
from hipgw.protocol.effects import LendSpi, ReturnSpi
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import IPAddress, Transport

CLIENT, OTHER, PEER = (IPv6Address(f"2001:21::{n}") for n in (1, 2, 9))
INSIDE4 = Place(IPv4Address("10.44.1.1"))
INSIDE6 = Place(IPv6Address("fd44::1"), Transport.UDP, 4000)
PEER4, PEER6 = Place(IPv4Address("192.0.2.9")), Place(IPv6Address("2001:db8::9"))
WAN4, WAN6 = Place(IPv4Address("198.51.100.1")), Place(IPv6Address("2001:db8:1::1"))
LENT = LendSpi(CLIENT, PEER, 0x1000, 0x1000, (0x2000,), INSIDE4, (PEER4,), PEER4)


@dataclass
class Table:
    """`_esp_core.Spinat`, with what it knows to be looked at."""

    spinat: _esp_core.Spinat = field(default_factory=lambda: _esp_core.Spinat(64))
    ways: dict[int, tuple[Flow, Target]] = field(default_factory=dict)
    busy: list[int] = field(default_factory=list)
    aimed: int = 0

    def insert(self, flow: Flow, target: Target) -> int:
        way = self.spinat.insert(
            spi=flow.spi,
            correspondent=flow.correspondent,
            client=flow.client,
            source=target.source,
            destination=target.destination,
            source_port=target.source_port,
            destination_port=target.destination_port,
            new_spi=target.spi,
            now_s=0,
        )
        self.ways[way] = flow, target
        return way

    def aim(self, way: int, target: Target) -> bool:
        self.aimed += 1
        self.ways[way] = self.ways[way][0], target
        return self.spinat.aim(
            way,
            source=target.source,
            destination=target.destination,
            source_port=target.source_port,
            destination_port=target.destination_port,
            new_spi=target.spi,
        )

    def remove(self, way: int) -> Counts | None:
        del self.ways[way]
        found = self.spinat.remove(way)
        # As if three packets had passed.
        return None if found is None else Counts(3, 300)

    def counts(self, way: int) -> Counts | None:
        return Counts(1, 100) if way in self.ways else None

    def used(self, _since_s: float) -> list[int]:
        return self.busy

    def shown(self) -> dict[Flow, Target]:
        assert len(self.spinat) == len(self.ways)
        return dict(self.ways.values())


@dataclass
class Bench:
    table: Table = field(default_factory=Table)
    outside: Place | None = WAN4
    looked_up: list[IPAddress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ways = SpinatWays(
            self.table,
            lambda _client, _peer: self.outside,
            lambda address: {WAN4.address: 4, WAN6.address: 6}.get(address, 0),
            self.interface_to,
        )

    def interface_to(self, address: IPAddress) -> int:
        self.looked_up.append(address)
        return 9

    def move(self, outside: Place | None) -> None:
        self.outside = outside
        for _ in self.ways.moved():
            pass


def target(source: Place, destination: Place, spi: int, interface: int) -> Target:
    def port(place: Place) -> int:
        return place.port if destination.transport is Transport.UDP else 0

    return Target(
        source.address.packed,
        port(source),
        destination.address.packed,
        port(destination),
        spi,
        interface,
    )


def test_both_directions_of_a_flow() -> None:
    bench = Bench()
    bench.ways.lend(LENT)
    here, there = INSIDE4.address.packed, PEER4.address.packed
    assert bench.table.shown() == {
        Flow(0x1000): target(PEER4, INSIDE4, 0x1000, 9),
        Flow(0x2000, there, here): target(WAN4, PEER4, 0x2000, 4),
    }
    bench.ways.give_back(ReturnSpi(CLIENT, PEER, 0x1000))
    assert bench.table.shown() == {}
    assert len(bench.ways) == 0
    # Nothing is known of it.
    bench.ways.give_back(ReturnSpi(CLIENT, PEER, 0x1000))


def test_without_an_spi_of_the_correspondent_nothing_leaves() -> None:
    bench = Bench()
    bench.ways.lend(replace(LENT, peer_spis=()))
    assert list(bench.table.shown()) == [Flow(0x1000)]
    bench.ways.lend(LENT)
    assert len(bench.table.shown()) == 2


def test_a_lent_spi_and_a_correspondent_that_disregards_it() -> None:
    bench = Bench()
    bench.ways.lend(replace(LENT, public_spi=0x5000, peer=(PEER4, PEER6)))
    inward = target(PEER4, INSIDE4, 0x1000, 9)
    shown = bench.table.shown()
    assert shown[Flow(0x5000)] == inward
    assert shown[Flow(0x1000, PEER4.address.packed)] == inward
    assert shown[Flow(0x1000, PEER6.address.packed)] == inward


def test_the_router_moves_to_the_other_ip_version() -> None:
    bench = Bench()
    bench.ways.lend(replace(LENT, peer=(PEER4, PEER6)))
    outward = Flow(0x2000, PEER4.address.packed, INSIDE4.address.packed)
    bench.move(WAN6)
    shown = bench.table.shown()
    # The client knows it by IPv4 all the same.
    assert shown[outward] == target(WAN6, PEER6, 0x2000, 6)
    assert shown[Flow(0x1000)] == target(PEER4, INSIDE4, 0x1000, 9)
    bench.move(None)
    assert list(bench.table.shown()) == [Flow(0x1000)]
    bench.move(WAN4)
    assert bench.table.shown()[outward] == target(WAN4, PEER4, 0x2000, 4)
    aimed = bench.table.aimed
    bench.move(WAN4)
    assert bench.table.aimed == aimed


def test_udp_on_one_side_or_both() -> None:
    bench = Bench(outside=Place(WAN6.address, Transport.UDP))
    udp = Place(PEER6.address, Transport.UDP, 7000)
    bench.ways.lend(replace(LENT, client=INSIDE6, peer=(udp,), shown=udp))
    shown = bench.table.shown()
    assert shown[Flow(0x1000)] == target(udp, INSIDE6, 0x1000, 9)
    outward = Flow(0x2000, udp.address.packed, INSIDE6.address.packed)
    assert shown[outward] == target(Place(WAN6.address), udp, 0x2000, 6)
    # Plain outside: inside, data comes from the port of HIP as HIP packets do.
    bench.outside = WAN6
    bench.ways.lend(replace(LENT, client=INSIDE6, peer=(PEER6,), shown=udp))
    shown = bench.table.shown()
    assert shown[Flow(0x1000)] == target(Place(PEER6.address), INSIDE6, 0x1000, 9)
    assert shown[outward] == target(WAN6, PEER6, 0x2000, 6)


def test_while_keys_are_renewed_both_spis_are_good() -> None:
    bench = Bench()
    bench.ways.lend(LENT)
    bench.ways.lend(replace(LENT, peer_spis=(0x2000, 0x2001)))
    bench.ways.lend(
        replace(LENT, public_spi=0x1001, private_spi=0x1001, peer_spis=(0x2000, 0x2001))
    )
    assert {flow.spi for flow in bench.table.shown()} == {0x1000, 0x1001, 0x2000, 0x2001}
    bench.ways.give_back(ReturnSpi(CLIENT, PEER, 0x1000))
    assert {flow.spi for flow in bench.table.shown()} == {0x1001, 0x2000, 0x2001}


def test_a_client_with_several_addresses_keeps_its_ways() -> None:
    bench = Bench()
    bench.ways.lend(LENT)
    both = replace(LENT, client=Place(INSIDE6.address), peer=(PEER4, PEER6), shown=PEER6)
    bench.ways.lend(both)
    shown = bench.table.shown()
    # It has only tried whether it gets through by IPv6.
    assert Flow(0x2000, PEER4.address.packed, INSIDE4.address.packed) in shown
    assert Flow(0x2000, PEER6.address.packed, INSIDE6.address.packed) in shown
    for n in range(20):
        bench.ways.lend(replace(LENT, client=Place(IPv4Address(f"10.44.1.{n}"))))
    assert len(bench.table.shown()) <= 2 + PAIRS_MAX


def test_where_correspondents_are_known_to_be() -> None:
    bench = Bench()
    bench.ways.lend(replace(LENT, peer=(PEER4, PEER6)))
    bench.ways.lend(replace(LENT, peer_hit=OTHER, public_spi=0x1001, private_spi=0x1001))
    assert bench.ways.knows(PEER4.address)
    assert bench.ways.knows(PEER6.address)
    assert not bench.ways.knows(WAN4.address)
    bench.ways.lend(LENT)
    assert not bench.ways.knows(PEER6.address)
    bench.ways.give_back(ReturnSpi(CLIENT, PEER, 0x1000))
    assert bench.ways.knows(PEER4.address)
    bench.ways.give_back(ReturnSpi(CLIENT, OTHER, 0x1001))
    assert not bench.ways.knows(PEER4.address)


def test_what_somebody_else_has_is_refused_and_tried_again() -> None:
    bench = Bench()
    bench.ways.lend(LENT)
    bench.ways.lend(replace(LENT, client_hit=OTHER, client=Place(IPv4Address("10.44.1.2"))))
    assert bench.ways.refused == 1
    assert bench.table.shown()[Flow(0x1000)].destination == INSIDE4.address.packed
    bench.ways.give_back(ReturnSpi(CLIENT, PEER, 0x1000))
    bench.move(WAN4)
    assert bench.table.shown()[Flow(0x1000)].destination == IPv4Address("10.44.1.2").packed


def test_what_is_used_is_aimed_first_and_the_rest_by_and_by() -> None:
    bench = Bench(Table(_esp_core.Spinat(4096)))
    flows = 2 * CHUNK + 1
    for n in range(flows):
        spi = 0x10000 + n
        bench.ways.lend(
            replace(LENT, peer_hit=IPv6Address(n), public_spi=spi, private_spi=spi, peer_spis=())
        )
    way = next(way for way, (flow, _) in bench.table.ways.items() if flow.spi == 0x10000 + 300)
    bench.table.busy = [way, 10**9]
    assert bench.ways.used(1.0) == [0x10000 + 300]
    steps = bench.ways.moved()
    bench.ways._interface_to = lambda _address: 10
    next(steps)
    shown = bench.table.shown()
    assert sum(one.interface == 10 for one in shown.values()) == CHUNK
    assert shown[Flow(0x10000 + 300)].interface == 10
    # One goes meanwhile.
    bench.ways.give_back(ReturnSpi(CLIENT, IPv6Address(flows - 1), 0x10000 + flows - 1))
    assert sum(1 for _ in steps) == 1
    assert all(one.interface == 10 for one in bench.table.shown().values())
    assert bench.looked_up == [INSIDE4.address]


def test_traffic_is_summed_up_by_client() -> None:
    bench = Bench()
    bench.ways.lend(LENT)
    assert bench.ways.traffic() == {CLIENT: Traffic(Counts(1, 100), Counts(1, 100), 1)}
    bench.ways.give_back(ReturnSpi(CLIENT, PEER, 0x1000))
    bench.ways.lend(replace(LENT, public_spi=0x1001, private_spi=0x1001))
    assert bench.ways.traffic() == {CLIENT: Traffic(Counts(4, 400), Counts(4, 400), 1)}
    bench.ways.give_back(ReturnSpi(CLIENT, PEER, 0x1001))
    bench.ways.forget(CLIENT)
    assert bench.ways.traffic() == {}


def test_what_is_remembered_of_those_that_went_has_a_bound(monkeypatch: Any) -> None:
    monkeypatch.setattr(spinat_ways, "GONE_MAX", 3)
    bench = Bench()
    for n in range(5):
        bench.ways.lend(replace(LENT, client_hit=IPv6Address(n)))
        bench.ways.give_back(ReturnSpi(IPv6Address(n), PEER, 0x1000))
    assert set(bench.ways.traffic()) == {IPv6Address(n) for n in (2, 3, 4)}


@pytest.mark.parametrize("outside", [WAN4, None])
def test_inside_and_correspondent_of_different_versions(outside: Place | None) -> None:
    bench = Bench(outside=outside)
    # It has moved to where there is IPv6 alone, and so has the router.
    bench.ways.lend(replace(LENT, peer=(PEER6,), shown=PEER4))
    assert bench.table.shown() == {Flow(0x1000): target(PEER4, INSIDE4, 0x1000, 9)}


def test_clients_that_have_drawn_the_same_spi_get_their_own_packets() -> None:
    bench = Bench()
    second = Place(IPv4Address("10.44.1.2"))
    other_peer = Place(IPv4Address("192.0.2.8"))
    bench.ways.lend(LENT)
    bench.ways.lend(
        LendSpi(OTHER, OTHER, 0x5000, 0x1000, (0x3000,), second, (other_peer,), other_peer)
    )
    for source, spi, client in (
        (PEER4, 0x1000, INSIDE4),
        (other_peer, 0x5000, second),
        # It does not know that another SPI is lent, or disregards it.
        (other_peer, 0x1000, second),
        # The first client's correspondent has moved: its SPI alone tells.
        (Place(IPv4Address("203.0.113.5")), 0x1000, INSIDE4),
    ):
        sender = source.address
        assert isinstance(sender, IPv4Address)
        batch = _esp_core.SpinatBatch([packet(sender, IPv4Address("198.51.100.1"), spi)])
        bench.table.spinat.rewrite(batch, inward=True, now_s=1)
        assert batch.verdicts() == ["rewritten"]
        (data,) = batch.packets()
        assert data[16:20] == client.address.packed
        assert int.from_bytes(data[20:24], "big") == 0x1000


_FLOWS = st.integers(1, 3)
_SPIS = st.integers(0x1000, 0x1003)
_LENDS = st.builds(
    lambda flow, public, private, peer_spis, peers: LendSpi(
        CLIENT, IPv6Address(flow), public, private, peer_spis, INSIDE4, peers, PEER4
    ),
    _FLOWS,
    _SPIS,
    _SPIS,
    # Each correspondent draws its own, so that no two flows have one.
    st.sampled_from([(), (0x2000,), (0x2000, 0x2001)]),
    st.sampled_from([(PEER4,), (PEER6,), (PEER4, PEER6)]),
)
_RETURNS = st.builds(lambda flow, spi: ReturnSpi(CLIENT, IPv6Address(flow), spi), _FLOWS, _SPIS)
_MOVES = st.sampled_from([WAN4, WAN6, None])


@given(st.lists(st.one_of(_LENDS, _RETURNS, _MOVES), max_size=30))
def test_whatever_came_before_the_ways_are_those_of_what_is_lent(history: list[Any]) -> None:
    bench = Bench()
    lent: dict[tuple[IPv6Address, int], LendSpi] = {}
    owners: dict[int, IPv6Address] = {}
    for step in history:
        if isinstance(step, LendSpi):
            # As the machine does: a public SPI is one flow's.
            if owners.setdefault(step.public_spi, step.peer_hit) != step.peer_hit:
                continue
            one = replace(
                step, peer_spis=tuple(spi + (int(step.peer_hit) << 8) for spi in step.peer_spis)
            )
            lent[one.peer_hit, one.public_spi] = one
            bench.ways.lend(one)
        elif isinstance(step, ReturnSpi):
            if lent.pop((step.peer_hit, step.public_spi), None) is not None:
                del owners[step.public_spi]
            bench.ways.give_back(step)
        else:
            bench.move(step)
    assert len(bench.ways) == len({hit for hit, _ in lent})
    shown = bench.table.shown()
    public = {flow.spi for flow in shown if flow.correspondent is None}
    assert public == {spi for _, spi in lent}
    out = {flow.spi for flow in shown if flow.client is not None}
    assert out <= {spi for one in lent.values() for spi in one.peer_spis}
    if bench.outside is not None:
        version = bench.outside.address.version
        for one in lent.values():
            if any(peer.address.version == version for peer in one.peer):
                assert set(one.peer_spis) <= out
    assert set(bench.ways._owners) == set(bench.table.ways)
    for hit, spi in list(lent):
        bench.ways.give_back(ReturnSpi(CLIENT, hit, spi))
    assert bench.table.shown() == {}
    assert not bench.ways._owners


@pytest.mark.parametrize("victim_first", [True, False])
def test_who_names_the_spi_of_another_client_does_not_get_its_packets(victim_first: bool) -> None:
    bench = Bench()
    thief = Place(IPv4Address("10.44.1.66"))
    forged = replace(
        LENT, client_hit=OTHER, client=thief, public_spi=0x7777, private_spi=LENT.private_spi
    )
    for effect in (LENT, forged) if victim_first else (forged, LENT):
        bench.ways.lend(effect)
    bench.move(WAN4)
    shown = bench.table.shown()
    assert shown[Flow(LENT.public_spi)].destination == INSIDE4.address.packed
    assert Flow(LENT.private_spi, PEER4.address.packed) not in shown
    # Of another correspondent it may be.
    bench.ways.lend(replace(forged, peer_hit=CLIENT, public_spi=0x7778, peer=(WAN4,)))
    plain = bench.table.shown()[Flow(LENT.private_spi, WAN4.address.packed)]
    assert plain.destination == thief.address.packed
