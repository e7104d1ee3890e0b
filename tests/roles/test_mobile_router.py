"""What the mobile router's role does with what the machine wants; data planes only take notes."""

import logging
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, cast

import pytest

from hipgw.dataplane.spinat_ways import SpinatWays
from hipgw.errors import DataPlaneError
from hipgw.protocol.effects import Effect, ForwardHip, LendSpi, RegistrationChanged, ReturnSpi
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.registration import FailureType, ServiceType
from hipgw.roles.mobile_router import MobileRouterRole

OWN, CLIENT, PEER = (IPv6Address(f"2001:21::{n}") for n in (1, 2, 3))
INSIDE, FAR = Place(IPv4Address("10.1.0.2")), Place(IPv4Address("192.0.2.9"))
TRANSIT = Transit(INSIDE, FAR)
LENT = LendSpi(CLIENT, PEER, 0x1000, 0x1000, (0x2000,), INSIDE, (FAR,), FAR)
RETURNED = ReturnSpi(CLIENT, PEER, 0x1000)


@dataclass
class Notes:
    """Takes all calls of the role, in order."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    refuses: bool = False

    def send(self, data: bytes, transit: Transit) -> None:
        if self.refuses:
            raise DataPlaneError("no way")
        self.calls.append(("send", data, transit))

    def lend(self, effect: LendSpi) -> None:
        self.calls.append(("lend", effect))

    def give_back(self, effect: ReturnSpi) -> None:
        self.calls.append(("give back", effect))

    def forget(self, hit: IPv6Address) -> None:
        self.calls.append(("forget", hit))

    def changed(self) -> None:
        self.calls.append(("changed",))


def bench() -> tuple[Notes, MobileRouterRole]:
    notes = Notes()
    role = MobileRouterRole(cast(SpinatWays, notes), notes, notes.changed)
    role.start()
    return notes, role


def registration(
    reason: str,
    lifetime_s: float,
    *,
    registrar: bool = True,
    reg_type: int = ServiceType.MOBILE_ROUTER,
    failure: FailureType | None = None,
) -> RegistrationChanged:
    return RegistrationChanged(OWN, CLIENT, registrar, reg_type, lifetime_s, reason, failure)


def test_what_the_machine_wants_is_done_in_order() -> None:
    notes, role = bench()
    effects: list[Effect] = [LENT, ForwardHip(b"I1", TRANSIT), RETURNED]
    for effect in effects:
        role.handle_event(effect)
    assert notes.calls == [("lend", LENT), ("send", b"I1", TRANSIT), ("give back", RETURNED)]
    assert list(role.kept()) == []
    assert not role.acquire(PEER)


def test_a_packet_that_cannot_be_sent_is_logged_alone(caplog: pytest.LogCaptureFixture) -> None:
    notes, role = bench()
    notes.refuses = True
    role.handle_event(ForwardHip(b"I1", TRANSIT))
    assert "not passed on: no way" in caplog.text


def test_clients_come_and_go(caplog: pytest.LogCaptureFixture) -> None:
    notes, role = bench()
    with caplog.at_level(logging.INFO):
        role.handle_event(registration("granted", 60.0))
        role.handle_event(registration("renewed", 60.0))
        role.handle_event(registration("expired", 0.0))
        role.handle_event(registration("granted", 60.0, registrar=False))
        role.handle_event(registration("granted", 60.0, reg_type=ServiceType.RENDEZVOUS))
        assert notes.calls == [("changed",), ("changed",), ("forget", CLIENT)]
        assert len(caplog.records) == 2
        role.handle_event(registration("refused", 0.0, failure=FailureType.CREDENTIALS_REQUIRED))
    assert caplog.records[-1].levelno == logging.WARNING
