"""Whose LSI and HIT a name under the suffix is."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from daemon.made_services import OWN, OWN_LSI, made_services
from hipgw.config.tables.dns import DnsConfig
from hipgw.daemon.dns import InterceptorPart, SystemServers
from hipgw.naming.sources import Found, Provenance
from naming_sources import HIT, OTHER, configured


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
