"""Whose LSI and HIT a name under the suffix is."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from daemon.made_services import OWN, OWN_LSI, made_services
from hipgw.config.tables.dns import DnsConfig
from hipgw.daemon.dns import InterceptorPart, LookUpLimit, SystemServers
from hipgw.errors import NamingError
from hipgw.naming.sources import Found, Provenance
from naming_sources import HIT, OTHER, Clock, configured


class Dns:
    """Knows this machine by one name."""

    name = "dns"

    async def by_name(self, name: str) -> Sequence[Found]:
        if name != "me.example":
            return ()
        return (Found(OWN.hit, "dns", Provenance.UNSIGNED, 60.0, name=name),)

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        return ()


def answering(folder: Path, *names: tuple[IPv6Address, str]) -> InterceptorPart:
    peers = [
        replace(configured(hit, name, "192.0.2.1"), lsi=IPv4Address(f"1.0.0.{index + 2}"))
        for index, (hit, name) in enumerate(names)
    ]
    services = made_services(folder, peers=peers)
    services.resolver.add(Dns())
    table = DnsConfig()
    return InterceptorPart(services, table, "hip0", SystemServers(table))


async def test_names_that_differ_in_capitals_alone(tmp_path: Path) -> None:
    both = answering(tmp_path, (HIT, "Plant"), (OTHER, "plant"))
    found = await both.look_up("plant")
    assert found is not None
    assert found.hit == OTHER
    one = answering(tmp_path, (HIT, "Plant"))
    found = await one.look_up("plant")
    assert found is not None
    assert found.hit == HIT


async def test_the_own_name(tmp_path: Path) -> None:
    """Programs reach this machine by its name as others do."""
    part = answering(tmp_path)
    found = await part.look_up("me.example")
    assert found is not None
    assert (found.hit, found.lsi) == (OWN.hit, OWN_LSI)
    assert await part.look_up("nobody.example") is None


async def test_names_that_anybody_makes_up_keep_nobody_from_the_others(tmp_path: Path) -> None:
    clock = Clock()
    part = answering(tmp_path, (HIT, "b"))
    part._limit = LookUpLimit(2, 3, 1.0, clock)
    for n in range(3):
        assert await part.look_up(f"x{n}") is None
    with pytest.raises(NamingError, match="too many"):
        await part.look_up("x3")
    known = await part.look_up("b")
    assert known is not None
    assert known.hit == HIT
    clock.now += 1
    assert await part.look_up("x3") is None
    assert part._limit.refused == 1


async def test_not_too_many_names_are_looked_up_at_once() -> None:
    limit = LookUpLimit(2, 100, 1.0, Clock())
    with limit.one("a"), limit.one("b"), pytest.raises(NamingError), limit.one("c"):
        pass
    with limit.one("d"), limit.one("e"):
        pass
