"""HIP DHT Resource Records: values that are HIP packets of type 20 (RFC 6537 §3).

RFC 6537 is written for HIPv1. A record of a HIT of HIPv2 is the same with the header, HOST_ID and
HIP_SIGNATURE of HIPv2 (RFC 7401 §5.1, §5.2.9, §5.2.14).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from hipgw.errors import IdentityError, NamingError
from hipgw.identity.hit import hit_version, is_hit
from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.naming.dht.keys import hit_key, sha1
from hipgw.naming.dht.limits import VALUE_LENGTH
from hipgw.naming.sources import IPAddress
from hipgw.wire.coverage import signature_coverage
from hipgw.wire.errors import PacketFormatError
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import (
    CandidateKind,
    Cert,
    HipSignature,
    HipSignatureV1,
    HostId,
    HostIdV1,
    Locator,
    LocatorSet,
    Parameter,
    PlainLocator,
    Seq,
    SpiLocator,
    TrafficType,
    TransportLocator,
)

LOCATORS_MAX = 8
"""Locators of a record that are used; one that has more holds the rest for nothing."""

_NOBODY = IPv6Address(0)
_UDP = 17
_CHECKSUM = slice(4, 6)
_VERSIONS = frozenset({1, 2})
_BROADCAST = IPv4Address("255.255.255.255")

One = TypeVar("One", bound=Parameter)


class Refusal(Enum):
    """Why a record is not used, or not stored."""

    MALFORMED = "malformed"
    WRONG_KEY = "stored under another key than its own"
    HIT_MISMATCH = "the key in it is not that of its HIT"
    BAD_SIGNATURE = "its signature is not that of its key"
    STALE = "a newer one is known"
    REPLAYED = "it was there before"


class RecordError(NamingError):
    """A record that must be ignored (RFC 6537 §3)."""

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(f"{refusal.value}{': ' if detail else ''}{detail}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """What a host has said, and signed, about where it is. Only `read_address_record` makes it."""

    identity: HostIdentity
    sequence: int
    """Update ID: the greater, the newer (RFC 6537 §3)."""
    locators: tuple[Locator, ...]
    """The usable ones, the preferred ones first."""
    digest: bytes
    """Of what the signature covers: the same for all encodings of one statement."""

    @property
    def hit(self) -> IPv6Address:
        """Whom it is about."""
        return self.identity.hit

    @property
    def version(self) -> int:
        """Of HIP: 1 or 2."""
        return self.identity.version

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Where the host itself is."""
        return _addresses(one for one in self.locators if not _only_signalling(one))

    @property
    def rendezvous(self) -> tuple[IPAddress, ...]:
        """Where it can be called, but not be sent data: servers that speak for it."""
        return _addresses(one for one in self.locators if _only_signalling(one))

    @property
    def udp_port(self) -> int | None:
        """The UDP port of the host itself, if the record tells one."""
        for one in self.locators:
            if isinstance(one.locator, TransportLocator) and not _only_signalling(one):
                return one.locator.port
        return None

    @property
    def lifetime_s(self) -> int:
        """How long the shortest-lived of its locators may be used."""
        return min((one.lifetime for one in self.locators), default=0)


@dataclass(frozen=True, slots=True)
class NameRecord:
    """Which HIT belongs to a name, says whoever stored it: nothing here is proven."""

    hit: IPv6Address
    certificates: tuple[bytes, ...] = ()
    """In DER; RFC 6537 §3 lets one of them vouch for the name."""


def make_address_record(
    identity: LocalIdentity, locators: Sequence[Locator], sequence: int
) -> bytes:
    """Sign where a host is: HDRR(LOCATOR, SEQ, HOST_ID, HIP_SIGNATURE) (RFC 6537 §3).

    Raises NamingError if the record is longer than a value may be, as with RSA keys of 4096 bits.
    """
    public = identity.public
    old = identity.version == 1
    host_id = (HostIdV1 if old else HostId)(public.algorithm, public.encoded)
    said = (LocatorSet(tuple(locators)), Seq(sequence), host_id)
    unsigned = _packet(identity.hit, said).emit()
    signature = (HipSignatureV1 if old else HipSignature)(
        public.algorithm, identity.sign(signature_coverage(unsigned))
    )
    data = _packet(identity.hit, (*said, signature)).emit()
    if len(data) > VALUE_LENGTH:
        raise NamingError(
            f"a record with a key of the kind {public.describe()} has {len(data)} octets, "
            f"and a DHT takes {VALUE_LENGTH}",
            hint="use a smaller key, such as one of ECDSA",
        )
    return data


def make_name_record(hit: IPv6Address, certificates: Sequence[bytes] = ()) -> bytes:
    """Say that a name belongs to a HIT: HDRR([CERT]), unsigned (RFC 6537 §4.1)."""
    group = tuple(
        Cert(1, len(certificates), number, 1, certificate)
        for number, certificate in enumerate(certificates, 1)
    )
    return _packet(hit, group).emit()


def read_address_record(data: bytes, key: bytes, *, weak_keys: bool = False) -> AddressRecord:
    """Read what was found under *key*, and make every check of RFC 6537 §3.

    The HIT is that of the key in the record, the record lies where records of that HIT belong, and
    the signature is the host's. Raises RecordError.
    """
    packet = _parse(data)
    locators = _only(packet, LocatorSet)
    sequence = _only(packet, Seq)
    host_id = _only(packet, HostId)
    signature = _only(packet, HipSignature)
    if packet.parameters[-1] is not signature:
        raise RecordError(Refusal.MALFORMED, "something stands behind the signature")
    if hit_key(packet.sender_hit) != key:
        raise RecordError(Refusal.WRONG_KEY)
    try:
        identity = HostIdentity.from_wire(
            host_id.algorithm, host_id.host_identity, packet.version, weak_keys=weak_keys
        )
    except IdentityError as error:
        raise RecordError(Refusal.MALFORMED, str(error)) from None
    if identity.hit != packet.sender_hit:
        raise RecordError(Refusal.HIT_MISMATCH)
    covered = signature_coverage(data)
    if signature.algorithm != identity.algorithm or not identity.verify(
        covered, signature.signature
    ):
        raise RecordError(Refusal.BAD_SIGNATURE)
    return AddressRecord(identity, sequence.update_id, _usable(locators), sha1(covered))


def peek_sequence(data: bytes) -> int:
    """The Update ID that a record claims to have, unverified; -1 if it is no address record.

    Clients look at the newest record first (RFC 6537 §3), before they check any signature.
    """
    try:
        return _only(_parse(data), Seq).update_id
    except RecordError:
        return -1


def read_name_record(data: bytes) -> NameRecord:
    """Read which HIT somebody says belongs to a name; raises RecordError."""
    packet = _parse(data)
    if any(not isinstance(parameter, Cert) for parameter in packet.parameters):
        raise RecordError(Refusal.MALFORMED, "other parameters than CERT in a record of a name")
    return NameRecord(packet.sender_hit, tuple(cert.certificate for cert in packet.all(Cert)))


def locator_for(
    address: IPAddress,
    lifetime_s: int,
    *,
    preferred: bool = False,
    signalling_only: bool = False,
) -> Locator:
    """An address as OpenHIP writes it too: locator type 0.

    *signalling_only* (RFC 8046 §4, traffic type 1) is for addresses of rendezvous servers.
    """
    traffic = TrafficType.SIGNALING if signalling_only else TrafficType.BOTH
    return Locator(PlainLocator(address), lifetime_s, preferred, traffic)


def transport_locator_for(address: IPAddress, port: int, lifetime_s: int) -> Locator:
    """An address with a UDP port that is not HIP's: locator type 2 (RFC 9028 §5.7)."""
    return Locator(
        TransportLocator(address, port, _UDP, CandidateKind.HOST, priority=0, spi=0), lifetime_s
    )


def _packet(hit: IPv6Address, parameters: tuple[Parameter, ...]) -> HipPacket:
    return HipPacket(PacketType.HDRR, hit, _NOBODY, parameters, version=hit_version(hit))


def _parse(data: bytes) -> HipPacket:
    """The header's rules (RFC 6537 §3); raises RecordError."""
    if len(data) > VALUE_LENGTH:
        raise RecordError(Refusal.MALFORMED, f"it has {len(data)} octets")
    try:
        packet = HipPacket.parse(data, versions=_VERSIONS)
    except PacketFormatError as error:
        raise RecordError(Refusal.MALFORMED, str(error)) from None
    if packet.packet_type is not PacketType.HDRR or packet.receiver_hit != _NOBODY:
        raise RecordError(Refusal.MALFORMED, "it is a HIP packet, but no record")
    # Neither is covered by a signature: one record could be passed off as many.
    if len(packet.raw) != len(data) or any(data[_CHECKSUM]):
        raise RecordError(Refusal.MALFORMED, "octets behind it, or a checksum in it")
    if not is_hit(packet.sender_hit) or hit_version(packet.sender_hit) != packet.version:
        raise RecordError(Refusal.MALFORMED, "its HIT is none of its version of HIP")
    return packet


def _only(packet: HipPacket, kind: type[One]) -> One:
    found = packet.all(kind)
    if len(found) != 1:
        raise RecordError(Refusal.MALFORMED, f"{len(found)} parameters {kind.__name__}")
    return found[0]


def _usable(locators: LocatorSet) -> tuple[Locator, ...]:
    """Those that a packet can be sent to, in a bounded number, the preferred ones first."""
    good = [one for one in locators.locators if _is_unicast(_address(one))]
    return tuple(sorted(good, key=lambda one: not one.preferred)[:LOCATORS_MAX])


def _address(entry: Locator) -> IPAddress | None:
    match entry.locator:
        case PlainLocator(address) | SpiLocator(_, address):
            return address
        case TransportLocator() as locator if locator.protocol == _UDP and locator.port:
            return locator.address
    return None


def _is_unicast(address: IPAddress | None) -> bool:
    """Whether a packet may be sent there because a stranger says so."""
    if address is None or address.is_multicast or address.is_unspecified:
        return False
    if address.is_loopback or address.is_link_local or address == _BROADCAST:
        return False
    return not is_hit(address)


def _only_signalling(entry: Locator) -> bool:
    return entry.traffic_type == TrafficType.SIGNALING


def _addresses(entries: Iterable[Locator]) -> tuple[IPAddress, ...]:
    found = (_address(entry) for entry in entries)
    return tuple(dict.fromkeys(address for address in found if address is not None))
