"""Single HIP packets on their way through a mobile router."""

from hipgw.errors import WireError
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import ForwardHip
from hipgw.protocol.locators import LocatorState
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Transport
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
    whole = len(data) >= HEADER_LENGTH
    if pseudo is not None and whole and hip_checksum(data[: _length(data)], pseudo):
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


def at_home(association: Association, source: Place) -> Place:
    """Where a client is that somebody calls: of the addresses it has, one of the caller's kind."""
    path = association.path
    assert path is not None
    family = source.address.version
    if path.remote.version != family:
        for one in association.mobility.locators.usable():
            if one.address.version == family and one.state is LocatorState.ACTIVE:
                return Place(one.address, source.transport, one.port or HIP_UDP_PORT)
    if source.transport is path.transport is Transport.UDP:
        return Place(path.remote, Transport.UDP, path.remote_port)
    return Place(path.remote, source.transport)


def _length(data: bytes) -> int:
    return 8 * (data[1] + 1)


def tail(data: bytes) -> bytes:
    """Octets behind a packet, which its receiver ignores; probes of the MTU have some."""
    return data[_length(data) :]


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
        end = _length(data)
        data = (
            set_checksum(data[:end], PseudoHeader(source.address, destination.address))
            + (data[end:])
        )
    core.effects.append(ForwardHip(data, Transit(source, destination)))
