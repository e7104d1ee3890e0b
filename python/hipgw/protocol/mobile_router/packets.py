"""Single HIP packets on their way through a mobile router."""

from hipgw.errors import WireError
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import ForwardHip
from hipgw.protocol.locators import LocatorState
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import IPAddress, Transport
from hipgw.wire.checksum import PseudoHeader, hip_checksum
from hipgw.wire.packet import HEADER_LENGTH, HipPacket, set_checksum
from hipgw.wire.parameters import Locator, PlainLocator, SpiLocator


def parse(data: bytes, transit: Transit) -> HipPacket:
    """A packet that came by. Raises Dropped."""
    pseudo = None
    source, destination = transit.source, transit.destination
    if source.address.version != destination.address.version:
        raise Dropped(DropReason.MALFORMED)
    if source.transport is Transport.RAW:
        pseudo = PseudoHeader(source.address, destination.address)
    if len(data) >= HEADER_LENGTH and pseudo is not None:
        length = 8 * (data[1] + 1)
        if hip_checksum(data[:length], pseudo):
            raise Dropped(DropReason.CHECKSUM)
    try:
        return HipPacket.parse(data, strict_order=False, versions=(1, 2))
    except WireError:
        raise Dropped(DropReason.MALFORMED) from None


def is_from(association: Association, source: Place) -> bool:
    """Whether a client is known to be at a place."""
    path = association.path
    if path is not None and path.remote == source.address:
        return association.mobility.verified
    return any(
        one.address == source.address and one.state is LocatorState.ACTIVE
        for one in association.mobility.locators
    )


def bare(raw: bytes) -> bytes:
    """A packet with no checksum."""
    return raw[:4] + b"\0\0" + raw[6:]


def address_of(entry: Locator) -> IPAddress | None:
    """The address in an entry of a LOCATOR_SET, if it is of a kind that hosts have."""
    one = entry.locator
    return one.address if isinstance(one, PlainLocator | SpiLocator) else None


def send(core: Core, data: bytes, source: Place, destination: Place) -> None:
    """Have a HIP packet sent from one place to another."""
    if source.transport is Transport.RAW:
        data = set_checksum(data, PseudoHeader(source.address, destination.address))
    core.effects.append(ForwardHip(data, Transit(source, destination)))
