"""Loads what would be loaded on demand: later the files may be out of the daemon's reach."""

import dns.asyncbackend
import dns.name
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
    # What is needed for letters beyond ASCII: idna's tables, and an encoding.
    dns.name.from_text("\u00fc.example")
