"""What two hosts tell each other of their transport addresses (RFC 9028 §4.2, §4.5)."""

from hipgw.errors import IdentityError, WireError
from hipgw.protocol.association import Association
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.nat.candidates import (
    Base,
    LocalCandidate,
    Source,
    gather,
    locator_set,
)
from hipgw.protocol.nat.checks import Offer
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.versions.base import Choice, Version
from hipgw.wire import tlv
from hipgw.wire.packet import HipPacket, parse_parameters
from hipgw.wire.parameters import CandidateKind, Encrypted, LocatorSet, Parameter


def own_candidates(
    core: Core,
    path: Path,
    now: float,
    *,
    seen: tuple[IPAddress, int] | None = None,
    relayed: bool = True,
) -> list[LocalCandidate]:
    """All transport addresses that this host may be reached at (§4.2).

    *path*: that of the base exchange. *seen*: where the peer's relay saw this host. *relayed*:
    whether data relays can be used.
    """
    sources: list[Source] = []
    # The one that has worked so far is not to be left out for want of room.
    addresses = dict.fromkeys([*([path.local] if path.local else []), *core.own_addresses])
    for address in addresses:
        base = Base(address, path.local_port)
        sources.append(Source(CandidateKind.HOST, base, address, path.local_port))
    relays = own_relays(core)
    for relay in relays:
        way, mapped = relay.path, relay.registrations.held.mapped
        if way is not None and way.local is not None and mapped is not None:
            base = Base(way.local, way.local_port)
            sources.append(Source(CandidateKind.SERVER_REFLEXIVE, base, *mapped))
    if seen is not None and path.local is not None:
        base = Base(path.local, path.local_port)
        sources.append(Source(CandidateKind.SERVER_REFLEXIVE, base, *seen))
    sources += [
        Source(CandidateKind.SERVER_REFLEXIVE, Base(*one.local), *one.mapped)
        for one in core.reflexive.current(now)
    ]
    for relay in relays if relayed else ():
        way = relay.path
        if way is None or way.local is None:
            continue
        base = Base(way.local, way.local_port, (way.remote, way.remote_port))
        sources += [
            Source(CandidateKind.RELAYED, base, *where)
            for where in relay.registrations.held.relayed
        ]
    return gather(sources)


def own_relays(core: Core) -> list[Association]:
    """Associations with relays that this host is registered with."""
    services = {ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP}
    return [
        association
        for hit in core.wanted
        for association in core.with_peer(hit)
        if association.state in UP and services & set(association.registrations.held.grants)
    ]


def own_locators(core: Core, offer: Offer, spi: int) -> LocatorSet:
    """What the peer is told of the own candidates and control relays (§4.5)."""
    relays = [
        (relay.path.remote, relay.path.remote_port)
        for relay in own_relays(core)
        if relay.path is not None and ServiceType.RELAY_UDP_HIP in relay.registrations.held.grants
    ]
    return locator_set(offer.candidates, relays, spi)


def encrypted(
    core: Core, version: Version, choice: Choice, key: bytes, *parameters: Parameter
) -> Encrypted:
    """Parameters, in order of type, inside an ENCRYPTED (RFC 7401 §5.2.18)."""
    inner = tlv.build((one.type, one.emit()) for one in parameters)
    return Encrypted(version.encrypt(choice, key, inner, core.random))


def told_locators(
    packet: HipPacket, version: Version, choice: Choice, key: bytes, *, clear: bool = False
) -> LocatorSet:
    """The LOCATOR_SET in a packet's ENCRYPTED, or in *clear* if it may be. Raises Dropped."""
    if clear and (told := packet.get(LocatorSet)) is not None:
        return told
    for container in packet.all(Encrypted):
        try:
            inner = parse_parameters(version.decrypt(choice, key, container.data), version.number)
        except (IdentityError, WireError):
            raise Dropped(DropReason.DECRYPTION) from None
        for one in inner:
            if isinstance(one, LocatorSet):
                return one
    raise Dropped(DropReason.MISSING_PARAMETER)


def without_conflicts(
    core: Core, association: Association, offer: Offer, outbound_spi: int
) -> Offer:
    """Leave relayed candidates out if the relay could not tell two peers apart (§4.12.3)."""
    conflict = any(
        other is not association
        and other.session is not None
        and other.session.outbound_spi == outbound_spi
        for other in core.associations.values()
    )
    if not conflict:
        return offer
    kept = [one for one in offer.candidates if one.kind is not CandidateKind.RELAYED]
    return Offer(candidates=kept, pacing_s=offer.pacing_s)
