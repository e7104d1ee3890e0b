"""What is told of a mobile router; its parts are stand-ins that know a few things."""

from ipaddress import IPv4Address, IPv6Address
from types import SimpleNamespace
from typing import Any, cast

from hipgw.daemon.driver import HipDriver
from hipgw.daemon.mobile_router import MobileRouterParts
from hipgw.daemon.mobile_router_answers import (
    mobile_client_answers,
    mobile_router_answer,
    mobile_router_warnings,
    place_text,
)
from hipgw.dataplane.spinat_ways import Counts, Traffic
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.mobile_router.clients import ClientInfo
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import Transport

CLIENT, GUEST, GONE = (IPv6Address(f"2001:21::{n}") for n in (1, 2, 3))
INSIDE = Place(IPv4Address("10.1.0.2"), Transport.UDP, 4000)
OUTSIDE = Place(IPv4Address("192.0.2.1"))


def parts(**changes: Any) -> MobileRouterParts:
    traffic = {
        CLIENT: Traffic(Counts(1, 100), Counts(2, 200), 3),
        GUEST: Traffic(Counts(4, 400), Counts(5, 500), 6),
        GONE: Traffic(Counts(7, 700), Counts(8, 800), 0),
    }

    class Ways:
        refused = 1

        def __len__(self) -> int:
            return 9

        def traffic(self) -> dict[IPv6Address, Traffic]:
            return dict(traffic)

    known = {
        "places": (OUTSIDE,),
        "interfaces": {3: "wwan0", 2: "wlan0"},
        "interface_name": lambda _address: "wwan0",
        "dataplane": SimpleNamespace(without_ebpf=None),
        "statistics": lambda: {"rewritten": 5},
        "rules": SimpleNamespace(description="nftables"),
        "lacks_ebpf": None,
        "warnings": [],
        "ways": Ways(),
    }
    return cast(MobileRouterParts, SimpleNamespace(**(known | changes)))


def driver() -> HipDriver:
    info = ClientInfo(
        hit=CLIENT,
        place=INSIDE,
        correspondents=3,
        guests=1,
        tickets=2,
        begun=1,
        packets_in=10,
        packets_out=11,
    )
    machine = SimpleNamespace(mobile_router_clients=lambda: [info])
    return cast(HipDriver, SimpleNamespace(machine=machine))


def directory() -> PeerDirectory:
    def by_hit(hit: IPv6Address) -> Peer | None:
        lsi = IPv4Address("1.0.0.1")
        return Peer("laptop", CLIENT, (), True, 10500, lsi) if hit == CLIENT else None

    return cast(PeerDirectory, SimpleNamespace(by_hit=by_hit))


def test_where_it_is_and_how_packets_pass() -> None:
    answer = mobile_router_answer(parts(), driver())
    assert answer["outside"] == [{"address": "192.0.2.1", "interface": "wwan0"}]
    assert answer["interfaces"] == ["wlan0", "wwan0"]
    assert (answer["path"], answer["path_reason"]) == ("ebpf", None)
    assert (answer["clients"], answer["correspondents"], answer["flows"]) == (1, 3, 9)
    assert (answer["refused"], answer["counters"]) == (1, {"rewritten": 5})
    slow = SimpleNamespace(without_ebpf="no tcx")
    answer = mobile_router_answer(parts(dataplane=slow), driver())
    assert (answer["path"], answer["path_reason"]) == ("nfqueue", "no tcx")


def test_clients_and_then_their_guests() -> None:
    client, guest = mobile_client_answers(parts(), driver(), directory())
    assert (client["peer"], client["inside"], client["guests"]) == ("laptop", "10.1.0.2:4000", 1)
    assert (client["packets_in"], client["octets_out"], client["guest"]) == (1, 200, False)
    assert (client["hip_packets_in"], client["tickets"], client["begun"]) == (10, 2, 1)
    assert (guest["hit"], guest["peer"], guest["inside"]) == (str(GUEST), None, None)
    assert (guest["correspondents"], guest["octets_in"], guest["guest"]) == (6, 400, True)


def test_what_ails_it() -> None:
    assert mobile_router_warnings(parts()) == []
    outside, ebpf = mobile_router_warnings(parts(places=(), lacks_ebpf="no tcx"))
    assert (outside["code"], outside["severity"]) == ("no_address_outside", "warning")
    assert (ebpf["code"], ebpf["severity"]) == ("no_ebpf", "notice")
    assert "no tcx" in ebpf["message"]
    (nobody,) = mobile_router_warnings(parts(warnings=["nobody can be a client"]))
    assert (nobody["code"], nobody["severity"]) == ("no_clients_allowed", "warning")


def test_places_as_text() -> None:
    assert place_text(OUTSIDE) == "192.0.2.1"
    assert place_text(Place(IPv6Address("2001:db8::1"), Transport.UDP, 1)) == "[2001:db8::1]:1"
