"""A relay that was restarted calls those who were registered with it."""

import asyncio
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import cast

import pytest

from hipgw.daemon import relay_clients
from hipgw.daemon.client_memory import ClientMemory
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.relay_clients import FILE_NAME, RelayClients
from hipgw.protocol.effects import RegistrationChanged
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import Transport
from hipgw.protocol.registration import RegistrationInfo, ServiceType

OWN = IPv6Address("2001:21::99")
HITS = [IPv6Address(f"2001:21::{number}") for number in (1, 2, 3)]
PLACES = [Place(ip_address("192.0.2.1"), Transport.UDP, 40000 + number) for number in (1, 2, 3)]


class Driver:
    """Takes notes of who is called; is its own machine."""

    def __init__(self) -> None:
        self.called: list[tuple[IPv6Address, Place]] = []
        self.there: list[RegistrationInfo] = []

    @property
    def machine(self) -> "Driver":
        return self

    def recall(self, hit: IPv6Address, place: Place) -> None:
        self.called.append((hit, place))

    def registrations(self) -> list[RegistrationInfo]:
        return self.there


def registered(hit: IPv6Address, place: Place, **changes: object) -> RegistrationInfo:
    terms: dict[str, object] = {
        "registrar": True,
        "reg_type": ServiceType.RELAY_UDP_HIP,
        "mapped": (place.address, place.port),
        **changes,
    }
    return RegistrationInfo(peer_hit=hit, lifetime_s=120.0, expires=0.0, relayed=(), **terms)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RECALL_S", "KEEP_S", "PATIENCE_S"):
        monkeypatch.setattr(relay_clients, name, 0.0)
    monkeypatch.setattr(relay_clients, "RECALLED", 2)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_of_before_are_called_and_then_those_of_now_are_kept(tmp_path: Path) -> None:
    before = ClientMemory(tmp_path, FILE_NAME)
    before.keep(zip(HITS, PLACES, strict=True))
    driver = Driver()
    clients = RelayClients(tmp_path, cast(HipDriver, driver))
    clients.start()
    # One of them is back; what is no registration of a relay's client does not count.
    driver.there = [
        registered(HITS[0], PLACES[1]),
        registered(HITS[1], PLACES[1], registrar=False),
        registered(HITS[1], PLACES[1], reg_type=ServiceType.RENDEZVOUS),
        registered(HITS[1], PLACES[1], mapped=None),
    ]
    await settle()
    assert driver.called == list(zip(HITS, PLACES, strict=True))
    assert ClientMemory(tmp_path, FILE_NAME).places == {HITS[0]: PLACES[1]}


async def test_what_changes_is_kept_but_not_what_is_lost_at_the_end(tmp_path: Path) -> None:
    driver = Driver()
    clients = RelayClients(tmp_path, cast(HipDriver, driver))
    driver.there = [registered(HITS[0], PLACES[0])]
    for reg_type in (ServiceType.RENDEZVOUS, ServiceType.RELAY_UDP_ESP):
        clients.handle_event(RegistrationChanged(OWN, HITS[0], True, reg_type, 60.0, "granted"))
        await settle()
        kept = ClientMemory(tmp_path, FILE_NAME).places
        assert bool(kept) is (reg_type is ServiceType.RELAY_UDP_ESP)
    clients.rest()
    driver.there = []
    lost = RegistrationChanged(OWN, HITS[0], True, ServiceType.RELAY_UDP_HIP, 0.0, "closed")
    clients.handle_event(lost)
    await settle()
    assert ClientMemory(tmp_path, FILE_NAME).places == {HITS[0]: PLACES[0]}
