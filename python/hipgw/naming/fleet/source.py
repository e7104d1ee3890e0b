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
        self._indexed: Mapping[str, Entry] | None = None
        self._by_name: dict[str, Entry] = {}
        self._by_hit: dict[IPv6Address, Entry] = {}

    async def by_name(self, name: str) -> Sequence[Found]:
        """The machine with this name; case does not matter, as in the DNS."""
        self._index()
        return self._answer(self._valid().get(name) or self._by_name.get(name.lower()))

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        """The machine with this HIT."""
        self._index()
        return self._answer(self._by_hit.get(hit))

    def _index(self) -> None:
        entries = self._valid()
        if entries is not self._indexed:
            self._indexed = entries
            self._by_name = {entry.name.lower(): entry for entry in entries.values()}
            self._by_hit = {hit: entry for entry in entries.values() for hit in entry.hits}

    def _answer(self, entry: Entry | None) -> Sequence[Found]:
        return () if entry is None or not entry.accept else (self._found(entry),)

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
