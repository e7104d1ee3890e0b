"""Telling a peer where this host is, and being told (RFC 8046 §5.2, §5.3; RFC 8047).

Whenever own addresses change, the peer gets the whole list. If the address in use is gone, data
goes by another one at once; if a better one has come, it does once that is known to work.
"""

from collections.abc import Sequence
from dataclasses import replace

from hipgw.protocol import (
    closing,
    notifying,
    paths,
    reachability,
    rekeying,
    requester,
    update_tasks,
)
from hipgw.protocol.association import Association, InitiatorExchange, Session
from hipgw.protocol.core import UP, Core
from hipgw.protocol.locators import LOCATORS_MAX, LocatorState, PeerLocator, is_unicast
from hipgw.protocol.mobile_router import client
from hipgw.protocol.nat import stun_keepalive
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Path, Transport
from hipgw.protocol.rendezvous import ways
from hipgw.protocol.update_tasks import UpdateTask
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    Locator,
    LocatorSet,
    Parameter,
    PlainLocator,
    SpiLocator,
    TrafficType,
    TransportLocator,
)

AT_ONCE = 64
"""Peers that are told of a change of own addresses at once."""
PACE_S = 0.001
"""Between those after them."""
_FOREVER = 0xFFFFFFFF
_UDP = 17
_ANNOUNCE_PATHS_MAX = 8


def addresses_changed(core: Core, addresses: Sequence[IPAddress], now: float) -> None:
    """All usable own addresses are these now, the best first."""
    usable = tuple(dict.fromkeys(address for address in addresses if is_unicast(address)))
    if usable == core.own_addresses and core.addresses_known:
        return
    core.own_addresses, core.addresses_known = usable, True
    up: list[Association] = []
    for association in [*core.associations.values(), *core.opportunistic.values()]:
        if association.state in UP:
            up.append(association)
        elif association.initiating is not None:
            _go_on_from(core, association.initiating)
        elif association.closing is not None:
            _close_from(core, association)
    # A signature each: with thousands of peers that takes a while, so those in use go first.
    up.sort(key=lambda association: -association.last_traffic)
    for number, association in enumerate(up):
        association.mobility.changed = True
        if number < AT_ONCE:
            reconsider(core, association, now)
        else:
            _leave_lost_address(core, association)
            association.mobility.reconsider_at = now + (number - AT_ONCE + 1) * PACE_S
            core.arm(association)


def _go_on_from(core: Core, exchange: InitiatorExchange) -> None:
    """Continue a base exchange from addresses that are there."""

    def there(path: Path) -> Path:
        same = [own for own in core.own_addresses if own.version == path.remote.version]
        return path if path.local in same or not same else replace(path, local=same[0])

    exchange.paths = tuple(there(path) for path in exchange.paths)
    if exchange.path is not None:
        exchange.path = there(exchange.path)


def _close_from(core: Core, association: Association) -> None:
    """Send CLOSE again from an address that is there, or the peer would never hear of it."""
    path = association.path
    if path is not None and path.local not in core.own_addresses:
        association.path = next(iter(paths.pairs(core, association)), path)


def reconsider(core: Core, association: Association, now: float) -> None:
    """See whether there is anything to announce to a peer, or a better path to it."""
    mobility, session = association.mobility, association.session
    mobility.reconsider_at = None
    changed, mobility.changed = mobility.changed, False
    if association.checks is not None:
        # Behind NATs no address is good by itself: checks begin anew (RFC 9028 §4.9).
        return
    _leave_lost_address(core, association)
    path = association.path
    best = next(iter(paths.pairs(core, association)), None)
    if path is None or session is None or best is None or path.local not in core.own_addresses:
        # No address, or no common family: the peer's in the other one may become known yet.
        mobility.changed = changed
        requester.stranded(core, association, now)
        if session is not None:
            _tell_by_server(core, association, session, now)
        return
    target = None
    if mobility.preferred not in core.own_addresses:
        mobility.preferred = path.local
    if changed and not mobility.moved and _is_better(core, association, best, path):
        target, mobility.preferred = best, best.local
    if best not in (target, path) and mobility.better_at is None:
        mobility.better_at = now + core.config.return_s
    untold = mobility.moved and mobility.announcement is None
    if untold or _listed(core, association, mobility.preferred) != mobility.announced:
        announce(core, association, session, now, target)
    update_tasks.go_on(core, association, now)
    if changed:
        reachability.forget_challenges(core, association)
        # Where this host had no address of that family before, nothing could be verified.
        for locator in mobility.locators.usable():
            if locator.state is LocatorState.UNVERIFIED:
                reachability.verify(core, association, session, locator, now)
    core.arm(association)


def _tell_by_server(core: Core, association: Association, session: Session, now: float) -> None:
    """No address of the peer can be reached from here; one of its rendezvous servers may be."""
    mobility, servers = association.mobility, ways.known(core, association)
    if not servers or mobility.announcement is not None:
        return
    mobility.moved, mobility.moving_to = True, None
    mobility.preferred = servers[0].local
    announce(core, association, session, now)


def _leave_lost_address(core: Core, association: Association) -> None:
    """If the own address in use is gone, send by another one at once."""
    mobility, path = association.mobility, association.path
    if path is None or path.local in core.own_addresses:
        return
    _remember_home(core, association)
    best = next(iter(paths.pairs(core, association)), None)
    if best is not None:
        paths.move(core, association, best, "the own address is gone")
        mobility.moved, mobility.moving_to, mobility.preferred = True, None, best.local


def _remember_home(core: Core, association: Association) -> None:
    """Where no address that the peer has told can be reached, it may be where else it was called.

    Whether it is there is asked, once it is heard from there.
    """
    if paths.pairs(core, association):
        return
    locators = association.mobility.locators
    for path in _home(core, association):
        if locators.get(path.remote, path.locator_port) is None:
            locators.candidate(path.remote, path.locator_port)


def announce(
    core: Core, association: Association, session: Session, now: float, target: Path | None = None
) -> None:
    """Send the own LOCATOR_SET (§5.2), along the path to go over to if there is one.

    What is preferred in it changes by this host's own decisions alone. If it also changed when
    this host follows its peer, two that prefer different families would follow each other for ever.

    A newer one replaces one that is not acknowledged yet. If keys are being renewed, that is
    begun anew in the same packet, since it may have been lost with the old address (§3.2.2;
    RFC 7402 §6.8 forbids another UPDATE beside it).
    """
    if session.compat.bare_updates:
        return
    if session.compat.moves_with_rekey:
        rekeying.ready(core, session)
    mobility, rekey = association.mobility, session.rekey
    listed = _listed(core, association, mobility.preferred)
    update_tasks.cancel(association, mobility.announcement)
    parameters: list[Parameter] = reachability.gratuitous(session)
    spi = session.inbound_spi
    joined = (
        rekey is not None
        and not rekey.acknowledged
        and (rekey.task is not None or session.compat.moves_with_rekey)
    )
    if joined and rekey is not None:
        update_tasks.cancel(association, rekey.task)
        parameters = rekeying.parameters(session, rekey)
        spi = rekey.new_spi
    parameters.append(
        LocatorSet(
            tuple(
                Locator(SpiLocator(spi, address), _FOREVER, preferred=address == mobility.preferred)
                for address in listed
            )
        )
    )
    mobility.moving_to = target
    task = update_tasks.begin(
        core,
        association,
        session,
        parameters,
        _routes(core, association),
        now,
        acknowledged=_acknowledged,
        abandoned=_abandoned,
        routes=_routes,
    )
    if joined and rekey is not None:
        rekey.task = task
    mobility.announced, mobility.announcement = listed, task


def begin_at(core: Core, association: Association, path: Path, now: float) -> None:
    """Connectivity checks have proven a path: the peer is there, and nowhere else as yet."""
    mobility = association.mobility
    paths.stop_search(association)
    mobility.locators.begin(path.remote, path.locator_port)
    mobility.family = path.remote.version
    mobility.verified = True
    presume_announced(core, association)
    data_sent(core, association, now)


def presume_announced(core: Core, association: Association) -> None:
    """The peer knows all own addresses, by other means than a LOCATOR_SET in an UPDATE."""
    path = association.path
    association.mobility.announced = _listed(
        core, association, path.local if path is not None else None
    )


def received(
    core: Core,
    association: Association,
    locator_set: LocatorSet,
    update_id: int,
    source: Path,
    now: float,
) -> list[PeerLocator]:
    """Take a peer's LOCATOR_SET (§5.3); returns the locators to verify, the preferred one first.

    *source*: the path it came by.
    """
    mobility = association.mobility
    applied = mobility.applied_update_id
    half = update_tasks.UPDATE_IDS // 2
    if applied >= 0 and (update_id - applied - 1) % update_tasks.UPDATE_IDS >= half:
        return []  # overtaken by a newer one
    mobility.applied_update_id = update_id
    listed, unsupported = _read(core, association, locator_set, source, now)
    if any(locator.preferred for locator in unsupported):
        notifying.send(
            core,
            association.local,
            association.peer_hit,
            NotifyType.LOCATOR_TYPE_UNSUPPORTED,
            source,
            now,
            LocatorSet(tuple(unsupported)).emit(),
        )
    here = (source.remote, source.locator_port)
    mobility.locators.announce(listed, now)
    relayed = source.relay_to is not None
    if (
        here not in {locator.key for locator in listed}
        and is_unicast(source.remote)
        and not relayed
    ):
        # It does not know this address of its own: a NAT is on the way.
        mobility.locators.candidate(*here)
    for locator in mobility.locators:
        if not locator.listed and locator.key != here:
            locator.state = LocatorState.DEPRECATED
    reachability.forget_challenges(core, association)
    reachability.settle(core, association, "the peer has moved")
    if mobility.announcement is not None and association.path is not None:
        # It may have been on its way to where the peer is no more (§3.2.3).
        update_tasks.send_again(core, association, mobility.announcement, association.path)
    # This host may have moved to where it could not tell the peer so far, for want of an address.
    mobility.reconsider_at = now
    return [one for one in mobility.locators.usable() if one.state is LocatorState.UNVERIFIED]


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Do what is due."""
    mobility = association.mobility
    expiry = mobility.locators.next_expiry()
    if expiry is not None and expiry <= now:
        mobility.locators.expire(now)
        reachability.settle(core, association, "the lifetime of the peer's address is over")
    if mobility.reconsider_at is not None and mobility.reconsider_at <= now:
        reconsider(core, association, now)
    if mobility.better_at is not None and mobility.better_at <= now:
        _try_better(core, association, now)
    if mobility.keepalive_at is not None and mobility.keepalive_at <= now:
        _keep_alive(core, association, now)


def data_sent(core: Core, association: Association, now: float) -> None:
    """Data left for the peer lately: no NAT on the way has forgotten it."""
    mobility, path = association.mobility, association.path
    interval_s = core.config.keepalive_s
    if path is not None and path.transport is Transport.UDP and interval_s > 0:
        mobility.keepalive_at = now + interval_s
        core.arm(association)


def behind_nat(association: Association) -> bool | None:
    """Whether the peer sees another address or port than the own one; None if it has not told."""
    path, mapped = association.path, association.mobility.mapped
    if path is None or mapped is None:
        return None
    return mapped != (path.local, path.local_port)


def _try_better(core: Core, association: Association, now: float) -> None:
    """See whether the path that would be preferred works (again)."""
    mobility = association.mobility
    mobility.better_at = None
    best = next(iter(paths.pairs(core, association)), None)
    if best is None or best == association.path or association.path is None:
        return
    reachability.try_better(core, association, best, now)
    mobility.better_at = now + core.config.return_s
    core.arm(association)


def _keep_alive(core: Core, association: Association, now: float) -> None:
    """Remind the NATs on the way (RFC 5770 §4.7), if there are any or that is not known."""
    behind = behind_nat(association)
    path, session = association.path, association.session
    checks = association.checks
    if (behind or (behind is None and association.initiator)) and path and session:
        if session.stun_password and checks is not None and not checks.undecided:
            stun_keepalive.send(core, association, path)
        elif session.compat.keepalive_notify:
            notifying.keep_alive(core, association, path)
        else:
            update_tasks.keep_alive(core, association, session, path)
    data_sent(core, association, now)


def _is_better(core: Core, association: Association, one: Path, other: Path) -> bool:
    """Whether the own address of one path is to be preferred to that of another."""
    if one.local == other.local or one.local is None or other.local is None:
        return False
    family = association.mobility.family
    own = core.own_addresses

    def rank(address: IPAddress) -> tuple[bool, int]:
        return family is not None and address.version != family, own.index(address)

    return rank(one.local) < rank(other.local)


def _listed(
    core: Core, association: Association, preferred: IPAddress | None
) -> tuple[IPAddress, ...]:
    """Own addresses to tell a peer of, the preferred one first, the others in a fixed order."""
    others = sorted(
        (address for address in core.own_for(association) if address != preferred),
        key=lambda address: (address.version, address.packed),
    )
    if not core.config.announce_all or core.config.compat(association.peer_hit).one_locator:
        others = []
    first = [preferred] if preferred is not None else []
    return tuple((first + others)[:LOCATORS_MAX])


def _routes(core: Core, association: Association) -> list[Path]:
    """Where the peer may be found: where it is to be, then any other way there may be.

    Its rendezvous servers come early: if it is moving as well, nothing else leads to it.
    """
    first = association.mobility.moving_to or association.path
    rest = [*paths.pairs(core, association), *_home(core, association)]
    direct = [*([first] if first is not None else []), *paths.without(rest, first)]
    # From a lost address nothing can be sent.
    direct = [way for way in direct if core.is_own(way)]
    return ways.mixed_in(direct, ways.known(core, association))[:_ANNOUNCE_PATHS_MAX]


def _home(core: Core, association: Association) -> list[Path]:
    """Where the peer was called first, from the addresses that this host has now."""
    found = []
    for path in association.mobility.home:
        local = paths.local_for(core, association, path.remote)
        current = association.path
        if local is not None and current is not None and path.transport is current.transport:
            locator = PeerLocator(address=path.remote, port=path.locator_port)
            found.append(paths.towards(current, local, locator))
    return found


def _read(
    core: Core, association: Association, locator_set: LocatorSet, source: Path, now: float
) -> tuple[list[PeerLocator], list[Locator]]:
    """The addresses of a LOCATOR_SET, and the entries of types that mean nothing here."""
    listed: dict[tuple[IPAddress, int], PeerLocator] = {}
    unsupported: list[Locator] = []
    udp = source.transport is Transport.UDP
    named = {
        entry.locator.address
        for entry in locator_set.locators
        if isinstance(entry.locator, PlainLocator | SpiLocator)
    }
    for entry in locator_set.locators:
        match entry.locator:
            case PlainLocator(address=address) | SpiLocator(address=address):
                port = _port_of(association, address, source, named) if udp else 0
            case TransportLocator(address=address, port=port, protocol=protocol):
                if not udp or protocol != _UDP or not port:
                    continue
            case _:
                unsupported.append(entry)
                continue
        if (
            not is_unicast(address)
            or address in core.own_addresses
            or entry.traffic_type == TrafficType.SIGNALING
            or not entry.lifetime
        ):
            continue
        locator = PeerLocator(
            address=address,
            port=port,
            preferred=entry.preferred,
            spi=getattr(entry.locator, "spi", 0),
        )
        if entry.lifetime != _FOREVER:
            locator.expires = now + entry.lifetime
        before = listed.get(locator.key)
        if before is not None and before.preferred:
            # OpenHIP lists a new address twice, the first time as the preferred one.
            locator.preferred = True
        listed[locator.key] = locator
    return list(listed.values())[:LOCATORS_MAX], unsupported


def _port_of(
    association: Association, address: IPAddress, source: Path, named: set[IPAddress]
) -> int:
    """The UDP port of an address that was named without one."""
    if address == source.remote:
        return source.remote_port
    known = association.mobility.locators.at(address)
    if known is not None and known.port:
        return known.port
    # Without a NAT it sends from the port that it listens at.
    return source.remote_port if source.remote in named else HIP_UDP_PORT


def _acknowledged(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    mobility = association.mobility
    rekeying.acknowledged(core, association, task, packet, path, now)
    if mobility.announcement is not task:
        return
    mobility.announcement = None
    moved, mobility.moved = mobility.moved, False
    target, mobility.moving_to = mobility.moving_to, None
    if target is not None and path.local == target.local:
        # The peer may have moved meanwhile.
        ways = (way for way in paths.pairs(core, association) if way.local == target.local)
        if (best := next(ways, None)) is not None:
            paths.move(core, association, best, "a better own address")
    elif moved and path != association.path:
        # The peer was found by a detour: perhaps the path that was chosen blindly is dead.
        reachability.check(core, association, now)
    if moved:
        client.moved(core, association, now)
    mobility.reconsider_at = now
    core.arm(association)


def _abandoned(core: Core, association: Association, task: UpdateTask, now: float) -> None:
    mobility = association.mobility
    rekeying.abandoned(core, association, task, now)
    if mobility.announcement is not task:
        return
    mobility.announcement = None
    if mobility.moved and mobility.heard_at > task.sent:
        # It has found this host: what it answers is lost, so it is to be told again.
        mobility.announced, mobility.reconsider_at = (), now
        core.arm(association)
        return
    if mobility.moved:
        # The peer has nothing else to find this host by (RFC 7401 §6.11 step 4).
        closing.begin(core, association, "no answer to UPDATE (moved)", now)
        return
    if mobility.moving_to is not None:
        # The better address is no good: prefer the old one again.
        mobility.moving_to = None
        mobility.preferred = association.path.local if association.path is not None else None
        mobility.reconsider_at = now
        core.arm(association)
