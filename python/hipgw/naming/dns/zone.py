"""HIP records as text for a zone: as RFC 8005 §6 writes them, and as any server reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import dns.exception
import dns.name
from dns.rdtypes.ANY.HIP import HIP

from hipgw.errors import NamingError

TYPE = 55


@dataclass(frozen=True, slots=True)
class Entry:
    """What a zone is to say about a host."""

    owner: dns.name.Name
    """Absolute."""
    ttl_s: int
    record: HIP
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    """Of the host itself."""


def owner_of(name: str) -> dns.name.Name:
    """The domain name of a host, made absolute; NamingError if it is none."""
    try:
        owner = dns.name.from_text(name)
        owner.to_text().encode("ascii")
    except (dns.exception.DNSException, UnicodeError) as error:
        raise NamingError(f"{name!r} is no domain name: {error}") from None
    if owner == dns.name.root or owner.is_wild():
        raise NamingError(f"{name!r} is not the name of one host")
    return owner


def presentation(entry: Entry) -> str:
    """The HIP record in one line (RFC 8005 §6)."""
    algorithm, hit, key, servers = _fields(entry.record)
    rest = " ".join([algorithm, hit, key, *servers])
    return f"{entry.owner} {entry.ttl_s} IN HIP ( {rest} )"


def generic(entry: Entry) -> str:
    """The HIP record in one line for servers that do not know the type (RFC 3597 §5)."""
    data = entry.record.to_wire() or b""
    return f"{entry.owner} {entry.ttl_s} IN TYPE{TYPE} \\# {len(data)} {data.hex().upper()}"


def zone_lines(entry: Entry) -> Sequence[str]:
    """The HIP record in lines of reading width, and those of the addresses, for a zone file.

    The key stays whole: blanks within it are for no server to read (RFC 8005 §6).
    """
    algorithm, hit, key, servers = _fields(entry.record)
    lines = [f"{entry.owner} {entry.ttl_s} IN HIP ( {algorithm} {hit}", f"\t{key}"]
    lines += [f"\t{server}" for server in servers]
    lines[-1] += " )"
    return [*lines, *address_lines(entry)]


def address_lines(entry: Entry) -> Sequence[str]:
    """The A and AAAA records, a line each."""
    return [
        f"{entry.owner} {entry.ttl_s} IN {'A' if address.version == 4 else 'AAAA'} {address}"
        for address in entry.addresses
    ]


def _fields(record: HIP) -> tuple[str, str, str, list[str]]:
    algorithm, hit, key, *servers = record.to_text().split(" ")
    return algorithm, hit.upper(), key, servers
