"""Tickets that clients hand to this mobile router."""

from typing import NamedTuple

from hipgw.errors import IdentityError, WireError
from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.mobile_router.packets import address_of
from hipgw.protocol.path import IPAddress
from hipgw.wire.packet import HipPacket, parse_parameters
from hipgw.wire.parameters import (
    Encrypted,
    EspInfo,
    LocatorSet,
    Parameter,
    ProxyTicket,
    Seq,
)

ADDRESSES_MAX = 8
"""Of a correspondent, that are looked at."""


class Known(NamedTuple):
    """What a client says of itself and a correspondent."""

    peer_spi: int
    """By which the correspondent takes data."""
    own_spi: int
    """By which the client does."""
    newest: bool
    """Whether the client has said nothing later."""
    addresses: tuple[IPAddress, ...]
    """Of the correspondent."""


def take(
    core: Core, association: Association, session: Session, packet: HipPacket, now: float
) -> None:
    """Take all that are in an authentic UPDATE; each ENCRYPTED is about one correspondent.

    Raises Dropped for those that cannot be taken, so that they come again.
    """
    refused: Dropped | None = None
    seq = packet.get(Seq)
    newest = seq is not None and seq.update_id == session.highest_update_id
    for container in packet.all(Encrypted):
        inner = _opened(session, container)
        try:
            for one in inner:
                if isinstance(one, ProxyTicket):
                    known = _known(inner, newest)
                    take_one(core, association, one, now, known)
        except Dropped as dropped:
            refused = dropped
    if refused is not None:
        raise refused


def take_one(
    core: Core,
    association: Association,
    ticket: ProxyTicket,
    now: float,
    known: Known | None = None,
) -> None:
    """Take a ticket, and what a client knows of its correspondent. Raises Dropped."""
    router = core.mobile_router
    if router is None:
        raise Dropped(DropReason.BAD_TICKET)
    peer, own, newest, addresses = known or Known(0, 0, False, ())
    router.ticket_came(
        core,
        association,
        ticket,
        now,
        peer_spi=peer,
        own_spi=own,
        newest=newest,
        addresses=addresses,
    )


def _opened(session: Session, container: Encrypted) -> tuple[Parameter, ...]:
    version, key = session.version, session.hip_keys.incoming_encryption
    try:
        octets = version.decrypt(session.choice, key, container.data)
        return parse_parameters(octets, version.number)
    except (IdentityError, WireError):
        raise Dropped(DropReason.DECRYPTION) from None


def _known(inner: tuple[Parameter, ...], newest: bool) -> Known:
    info = next((one for one in inner if isinstance(one, EspInfo)), EspInfo(0, 0, 0))
    listed = next((one.locators for one in inner if isinstance(one, LocatorSet)), ())
    addresses = [address_of(one) for one in listed[:ADDRESSES_MAX]]
    known = tuple(one for one in addresses if one is not None)
    return Known(info.old_spi, info.new_spi, newest, known)
