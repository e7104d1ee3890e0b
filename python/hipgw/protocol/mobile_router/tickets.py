"""Tickets: the right of a mobile router to say where a client is by now.

There are two kinds. OpenHIP's has a key that is drawn from the KEYMAT of client and correspondent,
no end, and nothing against replay. hipgw's has a key that follows from the client's integrity key
and the rights in the ticket: with other rights it is another key, so no ticket can be stretched,
and any number can be made without a draw from KEYMAT. Its fields mean:

- key index: the number of the ticket. One of a higher number revokes those before.
- transform: which hash MACs are made with: the HIT suite in HIPv2, the HIP suite in HIPv1.
- action: 1.
- lifetime: when it ends, in units of 64 s since the base exchange, which both ends know.
"""

import hmac
import math
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.errors import IdentityError
from hipgw.identity.hip_suites import hip_suite
from hipgw.identity.hit import hit_suite_of
from hipgw.identity.rhash import SHA1, Rhash, rhash
from hipgw.protocol.association import Association, Session
from hipgw.wire.coverage import mac_coverage
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import AuthTicket, HipMac, Parameter, ProxyTicket

UNIT_S = 64.0
"""Of a ticket's lifetime."""
GRACE_S = 30.0
"""Both ends may have a different opinion of when the base exchange was over."""
READDRESS = 1
"""The action: send UPDATEs with a LOCATOR_SET."""
LAST_NUMBER = 0xFFFF
_OPENHIP_KEY = 20
_LABEL = b"hipgw mobile router ticket\0"


@dataclass(frozen=True, slots=True)
class LentKey:
    """A key drawn from KEYMAT for OpenHIP's kind of ticket."""

    index: int
    key: bytes = field(repr=False)


def draw(session: Session) -> LentKey:
    """Draw OpenHIP's key; both ends do so right after the ESP keys of the base exchange."""
    return LentKey(session.keymat.index, session.keymat.draw(_OPENHIP_KEY))


def issue(association: Association, session: Session, *, number: int, ends: float) -> ProxyTicket:
    """hipgw's kind of ticket, of the client's association with the correspondent.

    *ends*: on the machine's clock.
    """
    began = association.established_at or 0.0
    lifetime = min(max(math.floor((ends - began) / UNIT_S), 1), 0xFFFF)
    rights = AuthTicket(number, _transform(session, association), READDRESS, lifetime, b"").rights
    key = session.hip_keys.outgoing_integrity
    hits = association.local_hit, association.peer_hit
    return ProxyTicket(
        *hits,
        _key(session.rhash, key, *hits, rights),
        number,
        _transform(session, association),
        READDRESS,
        lifetime,
        session.rhash.mac(key, rights),
    )


def issue_openhip(association: Association, session: Session, lent: LentKey) -> ProxyTicket:
    """OpenHIP's kind of ticket."""
    transform = session.choice.cipher
    rights = AuthTicket(lent.index, transform, 0, 0, b"").rights
    mac = session.rhash.mac(session.hip_keys.outgoing_integrity, rights)
    hits = association.local_hit, association.peer_hit
    return ProxyTicket(*hits, lent.key, lent.index, transform, 0, 0, mac)


def ends_at(association: Association, lifetime: int) -> float:
    """When a ticket ends, on the machine's clock."""
    return (association.established_at or 0.0) + lifetime * UNIT_S


def key_of(
    association: Association, session: Session, shown: AuthTicket, now: float
) -> bytes | None:
    """The key of a ticket that a correspondent is shown; None if it gives no right."""
    key = session.hip_keys.incoming_integrity
    if not session.rhash.verify_mac(key, shown.rights, shown.mac):
        return None
    if session.compat.lends_keymat:
        lent = session.lent_key
        return lent.key if lent is not None and lent.index == shown.key_index else None
    if (
        shown.action != READDRESS
        or shown.transform != _transform(session, association)
        or now > ends_at(association, shown.lifetime) + GRACE_S
    ):
        return None
    return _key(session.rhash, key, association.peer_hit, association.local_hit, shown.rights)


def hash_of(ticket: ProxyTicket, version: int) -> Rhash:
    """What a router makes MACs with. Raises IdentityError for a hash that is not known."""
    if not ticket.action:
        return SHA1 if version == 1 else rhash(ticket.transform)
    return hip_suite(ticket.transform).mac if version == 1 else rhash(ticket.transform)


def protect(packet: HipPacket, rhash: Rhash, key: bytes) -> bytes:
    """A packet with HIP_MAC by a lent key and no signature; the checksum is zero."""
    bare = packet.emit()
    mac: Parameter = HipMac(rhash.mac(key, mac_coverage(bare)))
    return HipPacket(
        PacketType.UPDATE,
        packet.sender_hit,
        packet.receiver_hit,
        (*packet.parameters, mac),
        version=packet.version,
    ).emit()


def same(one: AuthTicket, other: AuthTicket) -> bool:
    """Whether two are the same."""
    return hmac.compare_digest(one.emit(), other.emit())


def _key(
    function: Rhash, integrity: bytes, client: IPv6Address, peer: IPv6Address, rights: bytes
) -> bytes:
    return function.mac(integrity, _LABEL + client.packed + peer.packed + rights)


def _transform(session: Session, association: Association) -> int:
    if session.version.number == 1:
        return session.choice.cipher
    responder = association.peer_hit if association.initiator else association.local_hit
    try:
        return int(hit_suite_of(responder))
    except ValueError:
        raise IdentityError(f"{responder} names no HIT suite") from None
