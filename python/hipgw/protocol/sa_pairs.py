"""More than one pair of ESP security associations with a peer (RFC 8046 §5.3, RFC 8047 §4.2.4).

A peer may ask for another pair, to spread what it sends, and withdraw one that it has. What it
sends by any of them is taken. This host sends by one at a time, and goes over to another only once
that one is withdrawn: the keys of an outbound security association are put to use once, as its
sequence numbers must not begin anew.
"""

from hipgw.protocol import closing, reachability
from hipgw.protocol.association import Association, Rekey, Retired, Session, SparePair
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Direction, Rekeyed, RemoveSA
from hipgw.protocol.locators import LocatorState
from hipgw.protocol.mobile_router import client

SPARES_MAX = 4
"""Pairs of one peer beside the one in use."""
RETIRED_MAX = 8
"""Old inbound SAs of one association."""
GRACE_S = 2.0
"""How long an old inbound SA takes what is on its way, once the peer does not use it any more."""


def check_room(session: Session) -> None:
    """Raises Dropped if the peer has as many pairs as it may."""
    if len(session.spares) >= SPARES_MAX:
        raise Dropped(DropReason.TABLE_FULL)


def keep_spare(
    core: Core, association: Association, session: Session, rekey: Rekey, now: float, until: float
) -> None:
    """The peer has its part of one more pair, or of new keys for one that is not in use.

    What the new one replaces takes stragglers *until* then.
    """
    if rekey.peer is None or rekey.keys is None:
        return
    spare = SparePair(rekey.new_spi, rekey.peer.new_spi, rekey.wire_spi, rekey.keys)
    before = rekey.replaces
    if before in session.spares:
        session.spares[session.spares.index(before)] = spare
        rebind(association, before.outbound_spi, spare.outbound_spi)
        retire(core, association, session, before.inbound_spi, until)
    else:
        session.spares.append(spare)
    client.changed(core, association, now)


def withdraw(core: Core, association: Association, session: Session, spi: int, now: float) -> None:
    """The peer does not take data on one of its SPIs any more (§5.3, case 4).

    Without any other pair no data can be sent to it, so that is the end. Raises Dropped.
    """
    spare = session.spare_of(spi)
    if spare is None and spi != session.outbound_spi:
        raise Dropped(DropReason.BAD_SPI)
    if session.rekey is not None:
        # What is under way comes first. The peer asks again.
        raise Dropped(DropReason.UNEXPECTED)
    if spare is not None:
        session.spares.remove(spare)
        retire(core, association, session, spare.inbound_spi, now + GRACE_S)
    elif session.spares:
        _change_over(core, association, session, session.spares.pop(), now)
    else:
        closing.begin(core, association, "the peer has withdrawn its security association", now)
        return
    for locator in association.mobility.locators:
        if locator.spi == spi:
            locator.state = LocatorState.DEPRECATED
            locator.preferred = False
    reachability.settle(core, association, "the peer has withdrawn its address")
    core.arm(association)


def retire(core: Core, association: Association, session: Session, spi: int, until: float) -> None:
    """An inbound SA was replaced or withdrawn; it takes stragglers *until* then."""
    session.retired.append(Retired(spi, until))
    while len(session.retired) > RETIRED_MAX:
        remove_inbound(core, association, session.retired.pop(0).spi)


def remove_inbound(core: Core, association: Association, spi: int) -> None:
    """Nothing is taken by an inbound SPI any more."""
    core.by_inbound_spi.pop(spi, None)
    core.effects.append(
        RemoveSA(Direction.INBOUND, association.local_hit, association.peer_hit, spi)
    )


def in_use_now(
    core: Core, association: Association, session: Session, before: int, now: float
) -> None:
    """Data goes by the session's outbound SPI from now on, and no more by that from *before*."""
    path = association.path
    if path is None:
        return
    core.install(
        association,
        Direction.OUTBOUND,
        spi=session.outbound_spi,
        session=session,
        keys=session.esp_keys,
        path=path,
        verified=association.mobility.verified,
        wire_spi=session.label,
    )
    core.effects.append(
        RemoveSA(Direction.OUTBOUND, association.local_hit, association.peer_hit, before)
    )
    core.schedule_rekey(association, session, now)


def rebind(association: Association, before: int, after: int) -> None:
    """The peer's addresses that belonged to one of its SPIs belong to another now."""
    for locator in association.mobility.locators:
        if locator.spi == before:
            locator.spi = after


def _change_over(
    core: Core, association: Association, session: Session, spare: SparePair, now: float
) -> None:
    before = session.outbound_spi
    retire(core, association, session, session.inbound_spi, now + GRACE_S)
    session.inbound_spi, session.outbound_spi = spare.inbound_spi, spare.outbound_spi
    session.wire_spi_before, session.wire_spi = session.wire_spi, spare.wire_spi
    session.esp_keys = spare.keys
    in_use_now(core, association, session, before, now)
    core.effects.append(
        Rekeyed(
            association.local_hit,
            association.peer_hit,
            session.inbound_spi,
            session.outbound_spi,
            dh=False,
        )
    )
    client.changed(core, association, now)
