"""The HIP resource record, type 55 (RFC 8005 §5; in HIPv1 RFC 5205 §5, the same on the wire).

It numbers keys as IPSECKEY does, not as HOST_ID, and carries them as the DNS does: RSA by RFC 3110,
DSA by RFC 2536, ECDSA as the bare coordinates of RFC 6605 §4, Ed25519 as in RFC 8080 §3.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.HIP import HIP

from hipgw.errors import IdentityError, NamingError
from hipgw.identity.hit import hit_version, is_hit
from hipgw.identity.host_identity import HostIdentity
from hipgw.identity.public_keys import HiAlgorithm

_PK_ALGORITHMS: dict[int, int] = {
    HiAlgorithm.DSA: 1,
    HiAlgorithm.RSA: 2,
    HiAlgorithm.ECDSA: 3,
    HiAlgorithm.EDDSA: 4,
}
"""HI algorithms as PK algorithms (RFC 8005 §9, RFC 4025 §2.4; EdDSA: RFC 9373 §2)."""
_HI_ALGORITHMS = {number: algorithm for algorithm, number in _PK_ALGORITHMS.items()}

_HIT_LENGTH = 16
_CURVE_IDS = {64: 1, 96: 2}
"""By the length of both coordinates: P-256, P-384 (RFC 7401 §5.2.9)."""
_CURVE_ID_LENGTH = 2
_UNCOMPRESSED = b"\x04"
_ED25519_LENGTH = 32
_ED25519_HEADER = bytes([0, 1, 0, 0])
"""Curve label and two NULL octets in front of the key (RFC 9374 §3.4.1)."""
RENDEZVOUS_MAX = 8
"""Most rendezvous servers of one record that are used: each costs look-ups."""


@dataclass(frozen=True, slots=True)
class HipRecord:
    """What one HIP RR says; the HIT is proven to be that of the key in it."""

    hit: IPv6Address
    other_hits: tuple[IPv6Address, ...]
    """HITs of the same key in other versions of HIP: the record names no version."""
    rendezvous: tuple[dns.name.Name, ...]
    """Rendezvous servers, in order of preference."""


def make_rdata(identity: HostIdentity, rendezvous: Sequence[str] = ()) -> HIP:
    """The record of an identity; NamingError for a rendezvous server that is no domain name."""
    key = _dns_key(identity)
    header = struct.pack("!BBH", _HIT_LENGTH, _PK_ALGORITHMS[identity.algorithm], len(key))
    wire = header + identity.hit.packed + key
    for name in rendezvous:
        try:
            wire += dns.name.from_text(name).to_wire() or b""
        except (dns.exception.DNSException, UnicodeError) as error:
            raise NamingError(f"{name!r} is no domain name: {error}") from None
    rdata = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.HIP, wire, 0, len(wire))
    assert isinstance(rdata, HIP)
    return rdata


def read_rdata(rdata: HIP) -> HipRecord:
    """Read a record from anywhere; NamingError for one whose HIT is not that of its key.

    The HIT could as well be computed from the key alone. But who writes a record with another HIT
    in it means another key or another host, and a record in doubt is none.
    """
    if len(rdata.hit) != _HIT_LENGTH or not is_hit(stated := IPv6Address(rdata.hit)):
        raise NamingError("a HIP record has no HIT in it")
    hits = set()
    for version, encoded in _host_identities(rdata):
        algorithm = _HI_ALGORITHMS[rdata.algorithm]
        try:
            hits.add(HostIdentity.from_wire(algorithm, encoded, version).hit)
        except IdentityError:
            # That version has no such keys, or finds it too weak.
            continue
    if stated not in hits:
        raise NamingError(f"the HIT {stated} of a HIP record is not that of the key in it")
    version = hit_version(stated)
    return HipRecord(
        hit=stated,
        other_hits=tuple(sorted(hit for hit in hits if hit_version(hit) != version)),
        rendezvous=tuple(rdata.servers[:RENDEZVOUS_MAX]),
    )


def _dns_key(identity: HostIdentity) -> bytes:
    encoded = identity.encoded
    if identity.algorithm == HiAlgorithm.ECDSA:
        point = encoded[_CURVE_ID_LENGTH:]
        return point[1:] if len(point) % 2 else point
    if identity.algorithm == HiAlgorithm.EDDSA:
        return encoded[-_ED25519_LENGTH:]
    return encoded


def _host_identities(rdata: HIP) -> Iterator[tuple[int, bytes]]:
    """Versions of HIP with what HOST_ID would have of the key; NamingError for an unknown one."""
    key = rdata.key
    match _HI_ALGORITHMS.get(rdata.algorithm):
        case HiAlgorithm.RSA:
            yield 2, key
            yield 1, key
        case HiAlgorithm.DSA:
            yield 1, key
        case HiAlgorithm.ECDSA if len(key) in _CURVE_IDS:
            # HIP stacks write points with the leading 4 of SEC 1 or without, and hash what they
            # write: the record's HIT tells which.
            label = _CURVE_IDS[len(key)].to_bytes(_CURVE_ID_LENGTH, "big")
            yield 2, label + _UNCOMPRESSED + key
            yield 2, label + key
        case HiAlgorithm.EDDSA if len(key) == _ED25519_LENGTH:
            yield 2, _ED25519_HEADER + key
        case _:
            raise NamingError(
                f"a HIP record has a key of PK algorithm {rdata.algorithm} with {len(key)} octets,"
                " which is none that HIP knows"
            )
