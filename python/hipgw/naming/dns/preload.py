"""Loads what would be loaded on demand: later the files may be out of the daemon's reach."""

import encodings.idna  # noqa: F401 - what getaddrinfo of asyncio encodes names with

import dns.asyncbackend
import dns.rdata
import dns.rdataclass
import dns.rdatatype

_KINDS = ("A", "AAAA", "CNAME", "DNAME", "HIP", "OPT", "SOA")
"""The types whose records are read. Others may stay octets."""


def preload() -> None:
    """Call this before privileges are dropped."""
    dns.asyncbackend.set_default_backend("asyncio")
    for kind in _KINDS:
        dns.rdata.get_rdata_class(dns.rdataclass.IN, dns.rdatatype.from_text(kind))
