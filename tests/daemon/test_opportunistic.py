"""Who is called by an address alone, and what those who wait for it are told."""

import asyncio
from ipaddress import IPv6Address, ip_address
from typing import cast

import pytest

from hipgw.daemon.driver import HipDriver
from hipgw.daemon.opportunistic import OpportunisticCalls, Outcome, underlay_address
from hipgw.protocol.effects import Established, Failed, Met
from hipgw.protocol.path import IPAddress, Path, Transport

OWN, HIT = IPv6Address("2001:21::99"), IPv6Address("2001:21::1")
HERE, THERE = ip_address("192.0.2.1"), ip_address("2001:db8::1")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", HERE),
        ("2001:db8::1", THERE),
        ("2001:21::1", None),
        ("2001:10::1", None),
        ("1.0.0.7", None),
        ("plant-b", None),
        ("192.0.2.1.hip", None),
    ],
)
def test_what_is_an_address_of_the_underlay(text: str, address: IPAddress | None) -> None:
    assert underlay_address(text) == address


class Machine:
    """Is its own driver; knows whom it asks."""

    def __init__(self) -> None:
        self.asked: set[IPAddress] = set()
        self.calls: list[tuple[IPAddress, Transport]] = []

    @property
    def machine(self) -> "Machine":
        return self

    def is_asking(self, address: IPAddress) -> bool:
        return address in self.asked

    def call_whoever(self, address: IPAddress, transport: Transport) -> None:
        self.calls.append((address, transport))
        self.asked.add(address)


async def test_each_caller_is_told_of_its_own_call() -> None:
    machine = Machine()
    calls = OpportunisticCalls(cast(HipDriver, machine), Transport.UDP)
    here, again, there = (
        asyncio.create_task(calls.call(address, 30.0)) for address in (HERE, HERE, THERE)
    )
    await asyncio.sleep(0)
    # The second waits for what the first has begun.
    assert machine.calls == [(HERE, Transport.UDP), (THERE, Transport.UDP)]
    path = Path(ip_address("192.0.2.100"), HERE)
    machine.asked.remove(HERE)
    calls.handle_event(Met(OWN, HIT, path))
    calls.handle_event(Established(OWN, HIT, path, True, 0.25))
    assert await here == await again == Outcome(HIT, 0.25, None)
    calls.handle_event(Failed(OWN, None, "of another one"))
    machine.asked.remove(THERE)
    calls.handle_event(Failed(OWN, None, "no answer to I1"))
    assert await there == Outcome(None, None, "no answer to I1")


async def test_what_fails_once_it_is_known_who_it_is() -> None:
    machine = Machine()
    calls = OpportunisticCalls(cast(HipDriver, machine), Transport.RAW)
    waiting = asyncio.create_task(calls.call(HERE, 30.0))
    await asyncio.sleep(0)
    calls.handle_event(Met(OWN, HIT, Path(ip_address("192.0.2.100"), HERE)))
    calls.handle_event(Failed(OWN, HIT, "no answer to I2"))
    assert await waiting == Outcome(HIT, None, "no answer to I2")


async def test_nobody_waits_for_ever() -> None:
    machine = Machine()
    calls = OpportunisticCalls(cast(HipDriver, machine), Transport.UDP)
    assert await calls.call(HERE, 0) == Outcome(None)
    outcome = await calls.call(HERE, 0.01)
    assert outcome.peer_hit is None
    assert outcome.reason == "no answer within 0.01 s"
    assert len(machine.calls) == 1
    assert not calls._asking
    assert not calls._met
