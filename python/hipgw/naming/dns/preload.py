"""Loads what would be loaded on demand: later the files may be out of the daemon's reach."""

import encodings.idna  # noqa: F401 - what getaddrinfo of asyncio encodes names with

import dns.asyncbackend
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.DNAME
import dns.rdtypes.ANY.HIP
import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA


def preload() -> None:
    """Call this before privileges are dropped."""
    dns.asyncbackend.set_default_backend("asyncio")
