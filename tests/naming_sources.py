"""A source of names that says what a test wants, and counts how often it is asked."""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from hipgw.errors import NamingError
from hipgw.naming.peers import Peer
from hipgw.naming.sources import Found, Provenance, Rendezvous

HIT = IPv6Address("2001:21::1")
OTHER = IPv6Address("2001:21::2")
OLD = IPv6Address("2001:10::1")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Said:
    """Answers from two tables; `error` and `wait_s` make it fail or be slow."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.names: dict[str, list[Found]] = {}
        self.hits: dict[IPv6Address, list[Found]] = {}
        self.asked: list[str | IPv6Address] = []
        self.error = ""
        self.wait_s = 0.0

    async def by_name(self, name: str) -> Sequence[Found]:
        return await self._answer(name, self.names.get(name, []))

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        return await self._answer(hit, self.hits.get(hit, []))

    async def _answer(self, query: str | IPv6Address, found: list[Found]) -> Sequence[Found]:
        self.asked.append(query)
        await asyncio.sleep(self.wait_s)
        if self.error == "bug":
            raise ZeroDivisionError
        if self.error:
            raise NamingError(self.error)
        return found

    def found(
        self,
        hit: IPv6Address = HIT,
        *addresses: str,
        rvs: str = "",
        ttl_s: float = 60.0,
        name: str = "",
        other_hits: tuple[IPv6Address, ...] = (),
    ) -> Found:
        return Found(
            hit=hit,
            source=self.name,
            provenance=Provenance.UNSIGNED,
            ttl_s=ttl_s,
            name=name,
            addresses=tuple(map(ip_address, addresses)),
            rendezvous=(Rendezvous((ip_address(rvs),)),) if rvs else (),
            other_hits=other_hits,
        )


def configured(hit: IPv6Address, name: str, *addresses: str, lsi: str = "1.0.0.9") -> Peer:
    return Peer(name, hit, tuple(map(ip_address, addresses)), True, 10500, IPv4Address(lsi))
