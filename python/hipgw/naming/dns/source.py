"""The DNS as a source of peers: HIP, A and AAAA records of a name (RFC 8005 §4)."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.HIP import HIP

from hipgw.errors import NamingError
from hipgw.identity.hit import hit_version, is_hit
from hipgw.identity.lsi import is_lsi
from hipgw.naming.dns.hip_rr import HipRecord, read_rdata
from hipgw.naming.dns.servers import NameServer, NameServers
from hipgw.naming.sources import Found, IPAddress, Provenance, Rendezvous
from hipgw.naming.trouble import reason_of

NAME = "dns"

_PAYLOAD_OCTETS = 1232
_PATIENCE_S = 1.0
"""For one server, before the next one is asked."""
_ROUNDS = 2
_RECORDS_MAX = 8
"""HIP records of one name that are used."""
_ADDRESSES_MAX = 8
"""Of each family."""

_log = logging.getLogger(__name__)


class DnssecPolicy(Enum):
    """What is thought of answers that the resolver has validated, or has not."""

    AUTO = "auto"
    """Its word is believed if it is on this machine, or trusted by resolv.conf's `trust-ad`."""
    TRUST = "trust"
    """Its word is believed."""
    REQUIRE = "require"
    """Its word is believed, and answers that it has not validated are not used."""
    IGNORE = "ignore"
    """Its word counts for nothing."""


@dataclass(frozen=True, slots=True)
class _Answer:
    rrset: dns.rrset.RRset | None
    ttl_s: int
    validated: bool


_NOTHING = _Answer(None, 0, validated=False)


class DnsSource:
    """Asks recursive name servers. It knows nobody by HIT: the DNS has no such tree."""

    name = NAME

    def __init__(
        self,
        servers: Callable[[], NameServers],
        *,
        suffix: str = "hip",
        dnssec: DnssecPolicy = DnssecPolicy.AUTO,
    ) -> None:
        """*servers* tells whom to ask now; names below *suffix* are no names of the DNS."""
        self._servers = servers
        self._suffix = dns.name.from_text(suffix)
        self._dnssec = dnssec
        self._good: NameServer | None = None
        """The server that answered last."""

    async def by_name(self, name: str) -> Sequence[Found]:
        """See `Source.by_name`; a name without a dot is completed by the domains of `search`."""
        servers = self._servers()
        for candidate in self._candidates(name, servers.search):
            if found := await self._look_up(name, candidate, servers):
                return found
        return ()

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        """Nobody: names lead to HITs in the DNS, never the other way."""
        del hit
        return ()

    def _candidates(self, name: str, search: Sequence[str]) -> Iterator[dns.name.Name]:
        texts = [name] if "." in name else [*(f"{name}.{domain}" for domain in search), name]
        for text in texts:
            try:
                candidate = dns.name.from_text(text)
            except (dns.exception.DNSException, UnicodeError):
                # No name of the DNS, so nobody has it.
                continue
            # Else our own interceptor might be asked, and ask us.
            if not candidate.is_subdomain(self._suffix):
                yield candidate

    async def _look_up(
        self, name: str, candidate: dns.name.Name, servers: NameServers
    ) -> Sequence[Found]:
        records, (addresses, addresses_ttl_s) = await asyncio.gather(
            self._ask(candidate, dns.rdatatype.HIP, servers),
            self._addresses_if_any(candidate, servers),
        )
        if records.rrset is None:
            return ()
        validated = self._believes(servers) and records.validated
        if self._dnssec is DnssecPolicy.REQUIRE and not validated:
            raise NamingError(
                f"the name server has not validated the HIP record of {candidate}",
                hint="sign its zone, or ask a server that validates; `dns.dnssec` is `require`",
            )
        found = []
        for record in _readable(records.rrset, candidate):
            # A host that names itself has none (RFC 8005 §4.1).
            named = [server for server in record.rendezvous if server != candidate]
            rendezvous, ttl_s = await self._rendezvous(named, servers)
            found.append(
                Found(
                    hit=record.hit,
                    other_hits=record.other_hits,
                    source=self.name,
                    provenance=Provenance.DNSSEC if validated else Provenance.UNSIGNED,
                    ttl_s=min([records.ttl_s, *ttl_s, *([addresses_ttl_s] if addresses else [])]),
                    name=name,
                    addresses=addresses,
                    rendezvous=rendezvous,
                )
            )
        # The order of records says nothing (RFC 8005 §4.2): version 2 is the better one.
        return sorted(found, key=lambda one: -hit_version(one.hit))

    async def _rendezvous(
        self, names: Sequence[dns.name.Name], servers: NameServers
    ) -> tuple[tuple[Rendezvous, ...], list[float]]:
        """Those that can be found, in the record's order, and how long they are good for."""

        found = await asyncio.gather(*(self._addresses_if_any(name, servers) for name in names))
        known = [
            (Rendezvous(addresses, name.to_text(omit_final_dot=True)), ttl_s)
            for name, (addresses, ttl_s) in zip(names, found, strict=True)
            if addresses
        ]
        return tuple(server for server, _ in known), [ttl_s for _, ttl_s in known]

    async def _addresses_if_any(
        self, name: dns.name.Name, servers: NameServers
    ) -> tuple[tuple[IPAddress, ...], float]:
        """What cannot be found is not there: another way may do (RFC 8005 §4.2)."""
        try:
            return await self._addresses(name, servers)
        except NamingError as error:
            _log.info("%s", error)
            return (), 0

    async def _addresses(
        self, name: dns.name.Name, servers: NameServers
    ) -> tuple[tuple[IPAddress, ...], float]:
        a, aaaa = await asyncio.gather(
            self._ask(name, dns.rdatatype.A, servers),
            self._ask(name, dns.rdatatype.AAAA, servers),
        )
        found: list[IPAddress] = []
        ttls = []
        for kind, answer in ((IPv4Address, a), (IPv6Address, aaaa)):
            if answer.rrset is not None:
                listed = [kind(rdata.address) for rdata in list(answer.rrset)[:_ADDRESSES_MAX]]
                found += (address for address in listed if _is_place(address))
                ttls.append(answer.ttl_s)
        return tuple(found), min(ttls, default=0)

    # -- one query ---------------------------------------------------------------------------------

    async def _ask(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType, servers: NameServers
    ) -> _Answer:
        """Raises NamingError if no server has an answer, be it that there is nothing."""
        query = dns.message.make_query(name, kind, use_edns=0, payload=_PAYLOAD_OCTETS)
        # It asks for the bit in the answer without the signatures (RFC 6840 §5.7).
        query.flags |= dns.flags.AD
        trouble = "there is none"
        # The first one first, but one that was silent is not waited for again each time.
        for server in sorted(servers.servers, key=lambda one: one != self._good) * _ROUNDS:
            try:
                response = await _exchange(query, server)
                rcode = response.rcode()
                if rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    self._good = server
                    return _read(response)
                trouble = f"{server} says {dns.rcode.to_text(rcode)}"
            except (OSError, EOFError, dns.exception.DNSException) as error:
                trouble = f"{server}: {reason_of(error)}"
        raise NamingError(f"no name server answers for {name}: {trouble}")

    def _believes(self, servers: NameServers) -> bool:
        match self._dnssec:
            case DnssecPolicy.IGNORE:
                return False
            case DnssecPolicy.AUTO:
                return servers.trusted
        return True


async def _exchange(query: dns.message.Message, server: NameServer) -> dns.message.Message:
    where = str(server.address)
    response, _ = await dns.asyncquery.udp_with_fallback(
        query, where, timeout=_PATIENCE_S, port=server.port
    )
    return response


def _read(response: dns.message.Message) -> _Answer:
    if not isinstance(response, dns.message.QueryMessage):
        return _NOTHING
    chain = response.resolve_chaining()
    validated = bool(response.flags & dns.flags.AD)
    return replace(
        _NOTHING, rrset=chain.answer, ttl_s=int(chain.minimum_ttl or 0), validated=validated
    )


def _readable(rrset: dns.rrset.RRset, name: dns.name.Name) -> Iterator[HipRecord]:
    for rdata in list(rrset)[:_RECORDS_MAX]:
        if not isinstance(rdata, HIP):
            continue
        try:
            yield read_rdata(rdata)
        except NamingError as error:
            _log.warning("a HIP record of %s is not used: %s", name, error)


def _is_place(address: IPAddress) -> bool:
    """Whether a packet to another host can go there; HITs and LSIs are names themselves."""
    return not (
        address.is_unspecified
        or address.is_multicast
        or address.is_loopback
        or address.is_link_local
        or is_hit(address)
        or is_lsi(address)
    )
