"""A client of a mobile router: gives it tickets, and tells those whom the router cannot tell.

A ticket goes to each router for each correspondent, since nothing shows which packets pass it. A
router acknowledges only those for associations that it knows.
"""

from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from hipgw.errors import IdentityError
from hipgw.protocol import update_tasks
from hipgw.protocol.association import Association, Session
from hipgw.protocol.mobile_router import tickets
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Transport
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.states import State
from hipgw.wire import tlv
from hipgw.wire.parameters import (
    EchoRequestSigned,
    Encrypted,
    EspInfo,
    Locator,
    LocatorSet,
    Parameter,
    ProxyTicket,
    RegFrom,
    SpiLocator,
)

if TYPE_CHECKING:
    from hipgw.protocol.core import Core

TICKET_S = 4 * 3600.0
"""How long a ticket is good for."""
RENEW_SHARE = 0.6
_UP = frozenset({State.R2_SENT, State.ESTABLISHED})
LISTED_MAX = 8
"""Addresses of a correspondent that a router is told."""
NONCE_OCTETS = 16
_UDP = 17
_FOREVER = 0xFFFFFFFF


def lend_key(core: "Core", session: Session) -> None:
    """A base exchange is over: draw the key that an OpenHIP correspondent draws as well."""
    if core.mobile_routers and session.compat.lends_keymat and session.lent_key is None:
        session.lent_key = tickets.draw(session)


def registered(core: "Core", router: Association, now: float) -> None:
    """A router has taken this host as a client, which may have associations already.

    The router learns of these by an UPDATE, and then gets tickets for them.
    """
    for association in list(core.associations.values()):
        if association is not router and association.peer_hit not in core.mobile_routers:
            _resume(core, association, now)
            if association.session is not None:
                # A ticket of its own, which revokes those of routers before.
                association.session.ticket_renew_at = None
            _give(core, router, association, now)
    look_after(core, router, now)


def look_after(core: "Core", router: Association, now: float) -> None:
    """See in a while whether a router is still there."""
    interval_s = core.config.router_check_s
    session = router.session
    if interval_s > 0 and session is not None and not session.compat.bare_updates:
        router.registrations.held.check_at = now + interval_s
        core.arm(router)


def met(core: "Core", association: Association, now: float) -> None:
    """There is an association with somebody: give tickets for it to all routers."""
    for router in list(core.mobile_routers.values()):
        _give(core, router, association, now)


def changed(core: "Core", association: Association, now: float) -> None:
    """A correspondent is elsewhere, or takes data by another SPI: routers are to know.

    What they see of that they cannot believe before this host has said so.
    """
    if core.mobile_routers and association.peer_hit not in core.mobile_routers:
        session = association.session
        if session is not None and session.ticket_renew_at is not None:
            for router in list(core.mobile_routers.values()):
                known = router.session
                if known is not None and not known.compat.lends_keymat:
                    _give(core, router, association, now)


def moved(core: "Core", association: Association, now: float) -> None:
    """A correspondent knows that this host is elsewhere: routers get tickets of a new number.

    It has refused those before, if it has seen this host outside of the router meanwhile.
    """
    session = association.session
    if session is not None and core.mobile_routers and session.ticket_renew_at is not None:
        session.ticket_renew_at = None
        met(core, association, now)


def timer_expired(core: "Core", association: Association, now: float) -> None:
    """Renew a ticket in time."""
    session = association.session
    if session is None or session.ticket_renew_at is None or session.ticket_renew_at > now:
        return
    session.ticket_renew_at = None
    met(core, association, now)


def untold(
    core: "Core",
    router: Association,
    where: RegFrom,
    hits: Iterable[IPv6Address],
    now: float,
) -> None:
    """A router is at an address, and cannot tell it to these correspondents: do so.

    The UPDATE takes the way of all packets to them, and the answer comes back that way.
    """
    if core.mobile_routers.get(router.peer_hit) is not router:
        return
    held = router.registrations.held.grants
    for hit in hits:
        association = core.associations.get((router.local_hit, hit))
        if association is not None and association is not router and association.state in _UP:
            _announce(core, association, where.address, now)
    if core.mobile_router is not None and ServiceType.MOBILE_NETWORK in held:
        transport = Transport.UDP if where.protocol == _UDP else Transport.RAW
        place = Place(where.address, transport, where.port or HIP_UDP_PORT)
        core.mobile_router.untold(core, place, hits, now)


def _resume(core: "Core", association: Association, now: float) -> None:
    session, path, mobility = association.session, association.path, association.mobility
    if session is None or path is None or association.state not in _UP:
        return
    if mobility.announcement is not None:
        update_tasks.send_again(core, association, mobility.announcement, path)
    elif not (session.compat.bare_updates or session.compat.moves_with_rekey):
        spi = session.inbound_spi
        # The echo shows the router where the correspondent is, whatever its IP version.
        echo = EchoRequestSigned(core.random(NONCE_OCTETS))
        update_tasks.begin(
            core,
            association,
            session,
            [EspInfo(session.keymat.index, spi, spi), echo],
            [path],
            now,
            acknowledged=update_tasks.ignore,
            abandoned=update_tasks.ignore,
        )


def _announce(core: "Core", association: Association, address: IPAddress, now: float) -> None:
    session, path = association.session, association.path
    if session is None or path is None or session.compat.bare_updates:
        return
    spi = session.inbound_spi
    entry = Locator(SpiLocator(spi, address), _FOREVER, preferred=True)
    parameters: list[Parameter] = [LocatorSet((entry,))]
    if not session.compat.moves_with_rekey:
        parameters.append(EspInfo(session.keymat.index, spi, spi))
        parameters.append(EchoRequestSigned(core.random(NONCE_OCTETS)))
    update_tasks.begin(
        core,
        association,
        session,
        parameters,
        [path],
        now,
        acknowledged=update_tasks.ignore,
        abandoned=update_tasks.ignore,
    )


def _give(core: "Core", router: Association, association: Association, now: float) -> None:
    session, to, path = association.session, router.session, router.path
    if (
        association is router
        or association.local_hit != router.local_hit
        or association.peer_hit in core.mobile_routers
        or association.state not in _UP
        or router.state not in _UP
        or session is None
        or to is None
        or path is None
        or session.compat.bare_updates
    ):
        return
    try:
        ticket = _ticket(association, session, now)
    except IdentityError:
        return
    if ticket is None:
        return
    if to.compat.lends_keymat:
        if session.compat.lends_keymat:
            # OpenHIP's form: neither hidden nor numbered.
            packet = update_tasks.build(router, to, (ticket,))
            core.send(packet, path, router.peer_hit)
        return
    # The router may not have seen the base exchange.
    info = EspInfo(0, session.wire_spi or session.outbound_spi, session.inbound_spi)
    # Where the correspondent can be reached in the other IP version, it may not have seen either.
    where = LocatorSet(
        tuple(
            Locator(SpiLocator(info.old_spi, one.address), _FOREVER)
            for one in association.mobility.locators.usable()[:LISTED_MAX]
        )
    )
    inner = tlv.build((one.type, one.emit()) for one in (info, where, ticket))
    hidden = to.version.encrypt(to.choice, to.hip_keys.outgoing_encryption, inner, core.random)
    update_tasks.begin(
        core,
        router,
        to,
        [Encrypted(hidden)],
        [path],
        now,
        acknowledged=update_tasks.ignore,
        abandoned=update_tasks.ignore,
    )


def _ticket(association: Association, session: Session, now: float) -> ProxyTicket | None:
    if session.compat.lends_keymat:
        lent = session.lent_key
        return tickets.issue_openhip(association, session, lent) if lent is not None else None
    if session.ticket_renew_at is None:
        if session.tickets >= tickets.LAST_NUMBER:
            return None
        session.tickets += 1
        session.ticket_ends = now + TICKET_S
        session.ticket_renew_at = now + RENEW_SHARE * TICKET_S
    return tickets.issue(association, session, number=session.tickets, ends=session.ticket_ends)
