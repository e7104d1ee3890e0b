"""The compact form of an association with nothing under way: some 700 octets, and no objects.

A rendezvous server has many clients that are silent nearly always. What one of them needs to be
relayed to stands in front, so that it is read without the rest. Nothing that protects the
association is lost: keys, the Update IDs that were seen, the SPIs. What is lost is what could only
be of use to answers under way: an R2, or the answer to an UPDATE, that might have to be sent again;
and addresses of the client that are not in use. It holds keys, so it is shown to nobody.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hipgw.identity.dh import DhKeyPair, StoredKeyPair
from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.keymat import EspKeys, HipKeys
from hipgw.identity.rhash import Rhash
from hipgw.protocol.association import (
    UPDATE_IDS_REMEMBERED,
    Association,
    Mobility,
    Session,
)
from hipgw.protocol.compat import Compat
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import Grant
from hipgw.protocol.states import State
from hipgw.protocol.update_tasks import UPDATE_IDS
from hipgw.protocol.versions.base import Choice, Version

SHAPES_MAX = 4096
"""Combinations of what follows from the configuration and the suites agreed on."""
_FRONT = struct.Struct("!dHBHH16s16sB")
"""Expiry, shape, flags, own port, remote port, own address, remote address, octets of the key."""
_UDP, _V4, _INITIATOR = 1, 2, 4
_BACK = struct.Struct("!dddddIIIIIqqB")
_LENGTH = struct.Struct("!H")


@dataclass(frozen=True, slots=True)
class Shape:
    """What associations have in common, kept once."""

    local: LocalIdentity
    version: Version
    compat: Compat
    choice: Choice
    puzzle_hash: Rhash
    rhash: Rhash
    dh_group: int
    peer_algorithm: int
    reg_type: int


@dataclass(frozen=True, slots=True)
class Front:
    """What relaying to a client needs."""

    expires: float
    """Of the registration, on the machine's clock."""
    path: Path
    shape: Shape
    key: bytes
    """Outgoing integrity key of the association."""


class Shapes:
    """Numbers for shapes."""

    def __init__(self) -> None:
        self._known: list[Shape] = []
        self._numbers: dict[Shape, int] = {}

    def __getitem__(self, number: int) -> Shape:
        return self._known[number]

    def number(self, shape: Shape) -> int | None:
        """The number of a shape, a new one if need be; None if there are too many."""
        number = self._numbers.get(shape)
        if number is None and len(self._known) < SHAPES_MAX:
            number = self._numbers[shape] = len(self._known)
            self._known.append(shape)
        return number


def pack(association: Association, grant: Grant, shapes: Shapes) -> bytes | None:
    """The compact form of an association that `may_rest`; None if it has none."""
    session, path, mobility = association.session, association.path, association.mobility
    if session is None or path is None or path.local is None:
        return None
    shape = shapes.number(
        Shape(
            association.local,
            session.version,
            session.compat,
            session.choice,
            session.puzzle_hash,
            session.rhash,
            session.dh_group,
            session.peer.algorithm,
            grant.reg_type,
        )
    )
    if shape is None:
        return None
    stored = StoredKeyPair.of(session.own_dh)
    flags = _UDP if path.transport is Transport.UDP else 0
    flags |= _V4 if path.remote.version == 4 else 0
    flags |= _INITIATOR if association.initiator else 0
    keys, esp = session.hip_keys, session.esp_keys
    front = _FRONT.pack(
        grant.expires,
        shape,
        flags,
        path.local_port,
        path.remote_port,
        path.local.packed,
        path.remote.packed,
        len(keys.outgoing_integrity),
    )
    back = _BACK.pack(
        grant.lifetime_s,
        association.last_traffic,
        _or_nan(association.established_at),
        _or_nan(association.exchange_s),
        _or_nan(association.rtt),
        session.inbound_spi,
        session.outbound_spi,
        session.rekeyed,
        session.keymat.index,
        session.next_update_id,
        session.highest_update_id,
        mobility.applied_update_id,
        association.registrations.granted.exclusive or 0,
    )
    fields = (
        keys.outgoing_encryption,
        keys.incoming_encryption,
        keys.incoming_integrity,
        esp.outgoing_encryption,
        esp.outgoing_authentication,
        esp.incoming_encryption,
        esp.incoming_authentication,
        session.keymat.secret,
        *session.salt,
        stored.private,
        stored.public_value,
        session.peer_dh,
        session.peer.encoded,
        session.solution,
        _seen(session),
    )
    return b"".join(
        (front, keys.outgoing_integrity, back, *(_LENGTH.pack(len(f)) + f for f in fields))
    )


def expires(record: bytes) -> float:
    """When the registration ends."""
    return float(_FRONT.unpack_from(record)[0])


def front(record: bytes, shapes: Shapes) -> Front:
    """What relaying needs of a compact form."""
    until, shape, flags, local_port, remote_port, local, remote, length = _FRONT.unpack_from(record)
    path = _path(flags, local, remote, local_port, remote_port)
    key = record[_FRONT.size : _FRONT.size + length]
    return Front(until, path, shapes[shape], key)


def unpack(record: bytes, peer_hit: IPv6Address, shapes: Shapes) -> Association:
    """The association as it was, but for what the module says."""
    head = front(record, shapes)
    shape, key = head.shape, head.key
    flags = record[_FRONT_FLAGS]
    at = _FRONT.size + len(key)
    (
        lifetime_s,
        last_traffic,
        established_at,
        exchange_s,
        rtt,
        inbound_spi,
        outbound_spi,
        rekeyed,
        index,
        next_update_id,
        highest,
        applied,
        exclusive,
    ) = _BACK.unpack_from(record, at)
    field = _fields(record, at + _BACK.size)
    hip_out, hip_in, mac_in = next(field), next(field), next(field)
    esp = EspKeys(next(field), next(field), next(field), next(field))
    secret, salt = next(field), (next(field), next(field))
    own_dh: DhKeyPair = StoredKeyPair(shape.dh_group, next(field), next(field))
    peer_dh, encoded, solution = next(field), next(field), next(field)
    hits = shape.local.hit, peer_hit
    session = Session(
        version=shape.version,
        compat=shape.compat,
        # It was read once already, so that weak keys had been allowed then.
        peer=HostIdentity.from_wire(
            shape.peer_algorithm, encoded, shape.version.number, weak_keys=True
        ),
        choice=shape.choice,
        puzzle_hash=shape.puzzle_hash,
        rhash=shape.rhash,
        hip_keys=HipKeys(hip_out, key, hip_in, mac_in),
        esp_keys=esp,
        dh_group=shape.dh_group,
        inbound_spi=inbound_spi,
        outbound_spi=outbound_spi,
        solution=solution,
        keymat=shape.version.keymat(secret, salt, hits, shape.puzzle_hash, shape.compat).resumed(
            secret, index
        ),
        salt=salt,
        own_dh=own_dh,
        peer_dh=peer_dh,
        rekeyed=rekeyed,
        next_update_id=next_update_id,
        seen_update_ids=_update_ids(next(field), highest),
        highest_update_id=highest,
    )
    path = head.path
    mobility = Mobility(heard_at=last_traffic, applied_update_id=applied)
    mobility.locators.begin(path.remote, path.locator_port)
    mobility.family = path.remote.version
    mobility.preferred = path.local
    mobility.announced = (path.local,) if path.local is not None else ()
    association = Association(
        local=shape.local,
        peer_hit=peer_hit,
        state=State.ESTABLISHED,
        path=path,
        initiator=bool(flags & _INITIATOR),
        session=session,
        mobility=mobility,
        rtt=_or_none(rtt),
        last_traffic=last_traffic,
        established_at=_or_none(established_at),
        exchange_s=_or_none(exchange_s),
    )
    granted = association.registrations.granted
    granted.exclusive = exclusive or None
    granted.grants[shape.reg_type] = Grant(shape.reg_type, lifetime_s, head.expires)
    return association


def lifetime(record: bytes) -> float:
    """Of the registration, in seconds."""
    key = record[_FRONT.size - 1]
    return float(_BACK.unpack_from(record, _FRONT.size + key)[0])


_FRONT_FLAGS = struct.calcsize("!dH")


def _path(flags: int, local: bytes, remote: bytes, local_port: int, remote_port: int) -> Path:
    transport = Transport.UDP if flags & _UDP else Transport.RAW
    if flags & _V4:
        # `16s` fills a shorter address with zeros behind.
        own, other = IPv4Address(local[:4]), IPv4Address(remote[:4])
        return Path(own, other, transport, local_port, remote_port)
    return Path(IPv6Address(local), IPv6Address(remote), transport, local_port, remote_port)


def _fields(record: bytes, at: int) -> Iterator[bytes]:
    while at < len(record):
        (length,) = _LENGTH.unpack_from(record, at)
        at += _LENGTH.size + length
        yield record[at - length : at]


def _seen(session: Session) -> bytes:
    """The Update IDs that were seen, a bit for each, counted from the highest one down."""
    bits = 0
    for update_id in session.seen_update_ids:
        age = (session.highest_update_id - update_id) % UPDATE_IDS
        if age < UPDATE_IDS_REMEMBERED:
            bits |= 1 << age
    return bits.to_bytes((bits.bit_length() + 7) // 8, "big")


def _update_ids(seen: bytes, highest: int) -> list[int]:
    bits = int.from_bytes(seen, "big")
    ages = (age for age in range(bits.bit_length() - 1, -1, -1) if bits >> age & 1)
    return [(highest - age) % UPDATE_IDS for age in ages]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
