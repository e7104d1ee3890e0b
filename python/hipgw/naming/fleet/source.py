"""The fleet's directory as a source of names."""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address

from hipgw.naming.fleet.entry import Entry
from hipgw.naming.sources import Found, Provenance, Rendezvous

TTL_S = 30.0
"""Answers come from memory, so there is little to be gained by keeping them for long."""


class FleetSource:
    """Answers with what operators have signed; see `hipgw.naming.sources.Source`."""

    name = "fleet"

    def __init__(self, valid: Callable[[], Mapping[str, Entry]]) -> None:
        """*valid* gives the entries in force by name."""
        self._valid = valid

    async def by_name(self, name: str) -> Sequence[Found]:
        """The machine with this name; case does not matter, as in the DNS."""
        entries = self._valid()
        entry = entries.get(name)
        if entry is None:
            lower = name.lower()
            entry = next((one for one in entries.values() if one.name.lower() == lower), None)
        return () if entry is None or not entry.accept else (self._found(entry),)

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        """The machine with this HIT."""
        entries = self._valid().values()
        return tuple(self._found(one) for one in entries if hit in one.hits and one.accept)

    def _found(self, entry: Entry) -> Found:
        transport = entry.table.get("transport")
        return Found(
            hit=entry.hits[0],
            source=self.name,
            provenance=Provenance.OPERATOR_SIGNED,
            ttl_s=TTL_S,
            name=entry.name,
            addresses=entry.addresses,
            rendezvous=tuple(
                rendezvous for text in entry.rvs if (rendezvous := self._rendezvous(text))
            ),
            udp=None if transport is None else transport == "udp",
            port=entry.table.get("port"),
            other_hits=entry.hits[1:],
        )

    def _rendezvous(self, text: str) -> Rendezvous | None:
        try:
            return Rendezvous((ip_address(text),))
        except ValueError:
            server = self._valid().get(text)
        if server is None or not server.addresses:
            return None
        port = server.table.get("port")
        if port is None:
            return Rendezvous(server.addresses, server.name)
        return Rendezvous(server.addresses, server.name, port)
