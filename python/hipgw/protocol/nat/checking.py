"""Connectivity checks: which pair of candidates works, and agreeing on one (RFC 9028 §4.6).

Both ends send UPDATEs with an echo along every pair of candidates, the most promising first, and
answer those of the other. The Initiator of the base exchange then nominates the best pair that
works; data flows from there on.
"""

import hmac
from collections.abc import Sequence

from hipgw.errors import IdentityError, WireError
from hipgw.protocol import closing, mobility, notifying, update_tasks
from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Direction, Established, MoveSA, PathChanged
from hipgw.protocol.nat import permissions
from hipgw.protocol.nat.candidates import (
    Base,
    LocalCandidate,
    RemoteCandidate,
    Source,
    gather,
    locator_set,
    read,
)
from hipgw.protocol.nat.checklist import Checklist, Pair, PairState
from hipgw.protocol.nat.checks import Checks, Offer
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.registration import ServiceType
from hipgw.protocol.update_tasks import UpdateTask
from hipgw.protocol.versions.base import Choice, Version
from hipgw.wire import tlv
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HipPacket, parse_parameters
from hipgw.wire.parameters import (
    CandidateKind,
    CandidatePriority,
    EchoRequestSigned,
    EchoResponseSigned,
    Encrypted,
    LocatorSet,
    Nominate,
    Parameter,
)

RETRIES = 2
"""Retransmissions of a check."""
RTO_MIN_S = 1.0
"""RFC 9028 §4.6.2."""
PATIENCE_S = 0.3
"""How long better pairs are waited for once one works without a relay."""
RELAY_PATIENCE_S = 2.0
"""The same when only a relayed one does: long enough for a second try of the others."""
GIVE_UP_S = 30.0
"""After which nothing more is expected."""
NONCE_OCTETS = 16


# -- in the base exchange --------------------------------------------------------------------


def own_candidates(
    core: Core, path: Path, now: float, *, seen: tuple[IPAddress, int] | None = None
) -> list[LocalCandidate]:
    """All transport addresses that this host may be reached at (§4.2).

    *path*: that of the base exchange. *seen*: where the peer's relay saw this host.
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
    for relay in relays:
        way = relay.path
        if way is None or way.local is None:
            continue
        base = Base(way.local, way.local_port, (way.remote, way.remote_port))
        sources += [
            Source(CandidateKind.RELAYED, base, *relayed)
            for relayed in relay.registrations.held.relayed
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


def told_locators(packet: HipPacket, version: Version, choice: Choice, key: bytes) -> LocatorSet:
    """The LOCATOR_SET in a packet's ENCRYPTED. Raises Dropped."""
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


def prepare(
    core: Core, association: Association, offer: Offer, theirs: LocatorSet, *, began: float
) -> None:
    """Both ends know the other's candidates: make pairs of them. `begin` then starts checking."""
    remote, relays = read(theirs)
    prepare_with(core, association, offer, remote, relays, began=began)


def prepare_with(
    core: Core,
    association: Association,
    offer: Offer,
    remote: Sequence[RemoteCandidate],
    relays: Sequence[tuple[IPAddress, int]],
    *,
    began: float,
) -> None:
    """The same with what was read of the peer's locators."""
    association.checks = Checks(
        controlling=association.initiator,
        pacing_s=offer.pacing_s,
        checklist=Checklist(
            offer.candidates,
            remote,
            controlling=association.initiator,
            limit=core.config.nat.pairs_max,
        ),
        peer_relays=relays,
        remote=remote,
        began=began,
        deadline=0.0,
        step_at=None,
    )


def begin(core: Core, association: Association, now: float) -> None:
    """Begin to check, once the session is in force."""
    checks = association.checks
    if checks is None:
        return
    checks.deadline = now + GIVE_UP_S
    checks.step_at = now + checks.pacing_s
    remote = dict.fromkeys((pair.remote.address, pair.remote.port) for pair in checks.checklist)
    permissions.before_checks(core, association, checks, remote, now)
    # The peer knows the own addresses from its checklist.
    mobility.presume_announced(core, association)
    core.arm(association)


# -- later -----------------------------------------------------------------------------------


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Do what is due."""
    checks = association.checks
    if checks is None:
        return
    if checks.permit_at is not None and checks.permit_at <= now:
        permissions.keep(core, association, checks, now)
    if checks.nominated is not None:
        return
    if checks.deadline <= now:
        fail(core, association, now)
    elif checks.step_at is not None and checks.step_at <= now:
        _step(core, association, checks, now)


def received(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    path: Path,
    now: float,
    answer: list[Parameter],
) -> UpdateTask | None:
    """The peer checks a pair, or nominates one (RFC 8445 §7.3.1).

    Returns the UPDATE that *answer* went along with; None if it is still to be sent.
    """
    checks, told = association.checks, packet.get(CandidatePriority)
    if checks is None or told is None:
        return None
    pair = checks.checklist.seen(path, told.priority)
    if pair is None:
        return None
    if checks.nominated is None:
        if path.relay_to is not None and path.relay_to not in checks.permitted:
            # It is seen by now where the peer's packets come from at the relay.
            checks.permitted.add(path.relay_to)
            permissions.for_path(core, association, checks, path, now)
        if pair.state is not PairState.SUCCEEDED:
            _stop(association, checks, pair)
            checks.checklist.trigger(pair)
        _wake(core, association, checks, now)
    if packet.get(Nominate) is None or checks.controlling:
        return None
    nonce = core.random(NONCE_OCTETS)
    task = update_tasks.begin(
        core,
        association,
        session,
        [*answer, EchoRequestSigned(nonce), Nominate()],
        [path],
        now,
        acknowledged=_confirmed,
        abandoned=update_tasks.ignore,
        nonce=nonce,
        first_s=RTO_MIN_S,
    )
    if checks.nominated is None:
        checks.nominating = pair
        # Not before this host has seen by itself that the pair works (§4.6.2).
        if pair.state is PairState.SUCCEEDED:
            _conclude(core, association, checks, pair, now)
    return task


def peer_seen(core: Core, association: Association, path: Path, now: float) -> None:
    """The peer's packets come to the own relayed address from another place: its NAT has changed.

    A check shows whether it is there, before the relay is told to send data there.
    """
    checks, session, current = association.checks, association.session, association.path
    if checks is None or session is None or current is None or path == current:
        return
    if checks.nominated is None or path.relay_to is None or current.relay_to is None:
        return
    same_relay = (path.remote, path.remote_port) == (current.remote, current.remote_port)
    pair = checks.checklist.seen(path, 0) if same_relay else None
    if pair is None or not core.hint_limit.allow(association.peer_hit, now):
        return
    nonce = core.random(NONCE_OCTETS)
    update_tasks.begin(
        core,
        association,
        session,
        # As a check it leaves by the relayed address, or not at all.
        [EchoRequestSigned(nonce), CandidatePriority(pair.local.reflexive_priority)],
        [path],
        now,
        acknowledged=_peer_found,
        abandoned=update_tasks.ignore,
        nonce=nonce,
        retries=RETRIES,
    )


# -- inside ----------------------------------------------------------------------------------


def _step(core: Core, association: Association, checks: Checks, now: float) -> None:
    """Nominate if it is time, else check the next pair."""
    checks.step_at = None
    best = _ripe(checks, now)
    if best is not None:
        _send(core, association, checks, best, now, nominate=True)
        return
    pair = checks.checklist.next()
    if pair is not None:
        _send(core, association, checks, pair, now)
        checks.step_at = now + checks.pacing_s
    elif checks.controlling and checks.works_since is not None and checks.nominating is None:
        checks.step_at = _patience_ends(checks)
    elif not checks.checklist.count(PairState.IN_PROGRESS, PairState.WAITING, PairState.SUCCEEDED):
        # The peer may still come by a pair that is not known; not for long.
        checks.deadline = min(checks.deadline, now + RTO_MIN_S * (1 << (RETRIES + 1)))
    core.arm(association)


def _ripe(checks: Checks, now: float) -> Pair | None:
    """The pair to nominate now: the best one that works, if no better one is worth waiting for."""
    if not checks.controlling or checks.nominating is not None:
        return None
    best = checks.checklist.best()
    if best is None or checks.works_since is None:
        return None
    if not checks.checklist.may_be_beaten(best) or now >= _patience_ends(checks):
        return best
    return None


def _patience_ends(checks: Checks) -> float:
    direct = checks.checklist.best(relayed=False) is not None
    return (checks.works_since or 0.0) + (PATIENCE_S if direct else RELAY_PATIENCE_S)


def _send(
    core: Core,
    association: Association,
    checks: Checks,
    pair: Pair,
    now: float,
    *,
    nominate: bool = False,
) -> None:
    session = association.session
    if session is None:
        return
    nonce = core.random(NONCE_OCTETS)
    parameters: list[Parameter] = [
        EchoRequestSigned(nonce),
        CandidatePriority(pair.local.reflexive_priority),
    ]
    unknown = checks.checklist.count(PairState.WAITING, PairState.IN_PROGRESS)
    if nominate:
        parameters.append(Nominate())
        checks.nominating = pair
    else:
        pair.state = PairState.IN_PROGRESS
    task = update_tasks.begin(
        core,
        association,
        session,
        parameters,
        [pair.path],
        now,
        acknowledged=_nominated if nominate else _answered,
        abandoned=_not_nominated if nominate else _unanswered,
        nonce=nonce,
        retries=None if nominate else RETRIES,
        first_s=max(RTO_MIN_S, checks.pacing_s * unknown),
    )
    checks.tasks[pair] = task
    checks.sent_at = now


def _pair_of(checks: Checks, task: UpdateTask) -> Pair | None:
    """The pair that an UPDATE has checked; it is not under way any more."""
    pair = next((pair for pair, one in checks.tasks.items() if one is task), None)
    if pair is not None:
        del checks.tasks[pair]
    return pair


def _proves(task: UpdateTask, packet: HipPacket, path: Path) -> bool:
    """Whether an answer came back the way of the check, with what was in it (§4.6.2)."""
    echoes = packet.all(EchoResponseSigned)
    return path == task.path and any(hmac.compare_digest(echo.data, task.nonce) for echo in echoes)


def _answered(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    checks = association.checks
    pair = _pair_of(checks, task) if checks is not None else None
    if checks is None or pair is None:
        return
    works = _proves(task, packet, path)
    pair.state = PairState.SUCCEEDED if works else PairState.FAILED
    if works and checks.works_since is None:
        checks.works_since = now
    if works and checks.nominating is pair and not checks.controlling:
        _conclude(core, association, checks, pair, now)
    _wake(core, association, checks, now)


def _unanswered(core: Core, association: Association, task: UpdateTask, now: float) -> None:
    checks = association.checks
    pair = _pair_of(checks, task) if checks is not None else None
    if checks is None or pair is None:
        return
    pair.state = PairState.FAILED
    _wake(core, association, checks, now)


def _nominated(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    """The controlled host agrees (§4.6.3)."""
    checks = association.checks
    pair = _pair_of(checks, task) if checks is not None else None
    if checks is None or pair is None or checks.nominated is not None:
        return
    if _proves(task, packet, path):
        _conclude(core, association, checks, pair, now)
    else:
        _not_agreed(core, association, checks, pair, now)


def _peer_found(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    checks = association.checks
    pair = checks.checklist.at(task.path) if checks is not None else None
    before, session = association.path, association.session
    if checks is None or pair is None or before is None or session is None:
        return
    if checks.nominated is None or not _proves(task, packet, path):
        return
    pair.state = PairState.SUCCEEDED
    checks.nominated = pair
    association.path = pair.path
    permissions.keep(core, association, checks, now)
    local, peer = association.local_hit, association.peer_hit
    core.effects.append(
        MoveSA(local, peer, session.outbound_spi, pair.path, wire_spi=session.label)
    )
    core.effects.append(PathChanged(local, peer, before, pair.path, "the peer's NAT has changed"))


def _not_nominated(core: Core, association: Association, task: UpdateTask, now: float) -> None:
    checks = association.checks
    pair = _pair_of(checks, task) if checks is not None else None
    if checks is not None and pair is not None and checks.nominated is None:
        _not_agreed(core, association, checks, pair, now)


def _not_agreed(
    core: Core, association: Association, checks: Checks, pair: Pair, now: float
) -> None:
    """The pair worked and does not any more: try the next best."""
    pair.state = PairState.FAILED
    checks.nominating = None
    _wake(core, association, checks, now)


def _confirmed(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    """The controlling host has answered: the pair works both ways, whatever was known of it."""
    checks = association.checks
    if checks is None or checks.nominated is not None or checks.nominating is None:
        return
    pair = checks.nominating
    if pair.path == task.path and _proves(task, packet, path):
        pair.state = PairState.SUCCEEDED
        _conclude(core, association, checks, pair, now)


def _conclude(core: Core, association: Association, checks: Checks, pair: Pair, now: float) -> None:
    """Data goes by this pair from now on."""
    session = association.session
    if session is None:
        return
    before = association.path
    checks.nominated = pair
    checks.step_at = None
    stop(association, checks)
    association.path = pair.path
    mobility.begin_at(core, association, pair.path, now)
    permissions.keep(core, association, checks, now)
    if checks.again:
        local, peer = association.local_hit, association.peer_hit
        core.effects.append(
            MoveSA(local, peer, session.outbound_spi, pair.path, wire_spi=session.label)
        )
        if before is not None and before != pair.path:
            reason = "connectivity checks found it"
            core.effects.append(PathChanged(local, peer, before, pair.path, reason))
        core.arm(association)
        return
    association.established_at = now
    association.exchange_s = now - checks.began
    core.install_session(association, session, Direction.OUTBOUND, pair.path)
    core.effects.append(
        Established(
            association.local_hit,
            association.peer_hit,
            pair.path,
            association.initiator,
            now - checks.began,
        )
    )
    core.arm(association)


def fail(core: Core, association: Association, now: float) -> None:
    """No pair works: no data may be sent (§4.6.3)."""
    path = association.path
    if path is not None:
        notifying.send(
            core,
            association.local,
            association.peer_hit,
            NotifyType.CONNECTIVITY_CHECKS_FAILED,
            path,
            now,
        )
    closing.begin(core, association, "no path between the hosts was found", now)


def stop(association: Association, checks: Checks) -> None:
    """End all checks that are under way."""
    for task in checks.tasks.values():
        update_tasks.cancel(association, task)
    checks.tasks.clear()


def _stop(association: Association, checks: Checks, pair: Pair) -> None:
    """Forget a check that is under way."""
    task = checks.tasks.get(pair)
    if task is not None and checks.nominating is not pair:
        update_tasks.cancel(association, task)
        del checks.tasks[pair]


def _wake(core: Core, association: Association, checks: Checks, now: float) -> None:
    """Something has happened: go on as soon as the pacing lets it."""
    if checks.nominated is None:
        soon = max(now, checks.sent_at + checks.pacing_s)
        checks.step_at = soon if checks.step_at is None else min(checks.step_at, soon)
        core.arm(association)
