"""Answers to queries for names under `.hip`: the LSI to A, the HIT to AAAA (RFC 5338 §3.2)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from hipgw.errors import NamingError

_PAYLOAD_OCTETS = 1232
"""What we say to take in one datagram (the size of the DNS flag day of 2020)."""
_ABSENCE_TTL_S = 5
"""How long nobody may be remembered by: a peer may come up at any time."""


@dataclass(frozen=True, slots=True)
class LocalName:
    """What a name under `.hip` stands for on this machine."""

    lsi: IPv4Address | None
    hit: IPv6Address | None
    ttl_s: float
    """How long the LSI stays what it is."""


Lookup = Callable[[str], Awaitable[LocalName | None]]
"""Finds a name without the suffix, in small letters; None for nobody.

Raises NamingError if it cannot be told just now.
"""


class HipAnswers:
    """Makes answers; keeps nothing."""

    def __init__(self, suffix: str, lookup: Lookup, ttl_s: int) -> None:
        """*suffix* such as "hip"; *ttl_s*: the longest time to live of an answer."""
        self._apex = dns.name.from_text(suffix)
        self._lookup = lookup
        self._ttl_s = ttl_s

    async def answer(self, data: bytes) -> bytes | None:
        """The answer to a query; None for what is none and gets none."""
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        response = dns.message.make_response(
            query, recursion_available=True, our_payload=_PAYLOAD_OCTETS
        )
        # What is said of these names is said by this machine alone.
        response.flags |= dns.flags.AA
        if not question.name.is_subdomain(self._apex) or question.rdclass != dns.rdataclass.IN:
            response.set_rcode(dns.rcode.REFUSED)
            return response.to_wire()
        try:
            found = await self._find(question.name)
        except NamingError:
            response.flags &= ~dns.flags.AA
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        if found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            self._fill(response, question, found)
        if not response.answer:
            response.authority.append(self._absence())
        return response.to_wire()

    async def _find(self, name: dns.name.Name) -> LocalName | None:
        relative = name.relativize(self._apex)
        if relative == dns.name.empty:
            # The suffix itself is there, with nothing at it.
            return LocalName(None, None, 0)
        try:
            text = relative.to_text().lower()
        except UnicodeError:
            return None
        return await self._lookup(text)

    def _fill(
        self, response: dns.message.Message, question: dns.rrset.RRset, found: LocalName
    ) -> None:
        ttl = int(min(self._ttl_s, found.ttl_s))
        kind = question.rdtype
        if found.lsi is not None and kind in (dns.rdatatype.A, dns.rdatatype.ANY):
            a = dns.rrset.from_text(question.name, ttl, "IN", "A", str(found.lsi))
            response.answer.append(a)
        if found.hit is not None and kind in (dns.rdatatype.AAAA, dns.rdatatype.ANY):
            aaaa = dns.rrset.from_text(question.name, ttl, "IN", "AAAA", str(found.hit))
            response.answer.append(aaaa)

    def _absence(self) -> dns.rrset.RRset:
        """The record by which absence is remembered for a time (RFC 2308 §3)."""
        soa = f"{self._apex} {self._apex} 1 3600 600 86400 {_ABSENCE_TTL_S}"
        return dns.rrset.from_text(self._apex, _ABSENCE_TTL_S, "IN", "SOA", soa)
