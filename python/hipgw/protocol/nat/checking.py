"""Connectivity checks: which pair of candidates works, and agreeing on one (RFC 9028 §4.6).

Both ends check every pair of candidates, the most promising first, and answer the checks of the
other. The Initiator of the base exchange then nominates the best pair that works; data flows from
there on. How a check is sent, and what answers it, is a `CheckWay`'s.
"""

from collections.abc import Sequence

from hipgw.protocol import closing, mobility, notifying
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core
from hipgw.protocol.effects import Direction, Established, MoveSA, PathChanged
from hipgw.protocol.nat import permissions
from hipgw.protocol.nat.candidates import RemoteCandidate, read
from hipgw.protocol.nat.checklist import Checklist, Pair, PairState
from hipgw.protocol.nat.checks import Checks, CheckWay, Offer
from hipgw.protocol.path import IPAddress, Path
from hipgw.wire.notify import NotifyType
from hipgw.wire.parameters import LocatorSet

PATIENCE_S = 0.3
"""How long better pairs are waited for once one works without a relay."""
RELAY_PATIENCE_S = 2.0
"""The same when only a relayed one does: long enough for a second try of the others."""
GIVE_UP_S = 30.0
"""After which nothing more is expected."""
LAST_HOPE_S = 8.0
"""The same once all own checks have failed: about as long as one of the peer's may take."""


# -- what the base exchange and a move begin ----------------------------------------------------


def prepare(
    core: Core,
    association: Association,
    way: CheckWay,
    offer: Offer,
    theirs: LocatorSet,
    *,
    began: float,
) -> None:
    """Both ends know the other's candidates: make pairs of them. `begin` then starts checking."""
    remote, relays = read(theirs)
    prepare_with(core, association, way, offer, remote, relays, began=began)


def prepare_with(
    core: Core,
    association: Association,
    way: CheckWay,
    offer: Offer,
    remote: Sequence[RemoteCandidate],
    relays: Sequence[tuple[IPAddress, int]],
    *,
    began: float,
) -> None:
    """The same with what was read of the peer's locators."""
    core.end_checks(association)
    association.checks = Checks(
        controlling=association.initiator,
        pacing_s=offer.pacing_s,
        checklist=Checklist(
            offer.candidates,
            remote,
            controlling=association.initiator,
            limit=core.config.nat.pairs_max,
        ),
        way=way,
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


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Do what is due."""
    checks = association.checks
    if checks is None:
        return
    if checks.permit_at is not None and checks.permit_at <= now:
        permissions.keep(core, association, checks, now)
    checks.way.timer_expired(core, association, checks, now)
    if checks.nominated is not None or association.checks is not checks:
        return
    if checks.deadline <= now:
        fail(core, association, now)
    elif checks.step_at is not None and checks.step_at <= now:
        _step(core, association, checks, now)


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


# -- what the ways have to tell -----------------------------------------------------------------


def seen(
    core: Core, association: Association, checks: Checks, path: Path, priority: int, now: float
) -> Pair | None:
    """The peer checks the pair of a path, so check it from here as well (RFC 8445 §7.3.1.4).

    *priority*: of the candidate that the peer's NAT may show here. None if there is no such pair,
    nor room for it.
    """
    pair = checks.checklist.seen(path, priority)
    if pair is None or checks.nominated is not None:
        return pair
    if path.relay_to is not None and path.relay_to not in checks.permitted:
        # It is seen by now where the peer's packets come from at the relay.
        checks.permitted.add(path.relay_to)
        permissions.for_path(core, association, checks, path, now)
    if pair.state is not PairState.SUCCEEDED:
        if checks.nominating is not pair:
            checks.way.cancel(association, pair)
        checks.checklist.trigger(pair)
    _wake(core, association, checks, now)
    return pair


def asked_for(core: Core, association: Association, checks: Checks, pair: Pair, now: float) -> None:
    """The controlling host nominates a pair (RFC 8445 §7.3.1.5)."""
    if checks.nominated is None and not checks.controlling:
        checks.nominating = pair
        # Not before this host has seen by itself that the pair works (§4.6.2).
        if pair.state is PairState.SUCCEEDED:
            conclude(core, association, checks, pair, now)


def checked(
    core: Core, association: Association, checks: Checks, pair: Pair, now: float, *, works: bool
) -> None:
    """A check has been answered, or given up."""
    pair.state = PairState.SUCCEEDED if works else PairState.FAILED
    if works and checks.works_since is None:
        checks.works_since = now
    if works and checks.nominating is pair and not checks.controlling:
        conclude(core, association, checks, pair, now)
    _wake(core, association, checks, now)


def agreed(
    core: Core, association: Association, checks: Checks, pair: Pair, now: float, *, works: bool
) -> None:
    """The controlled host has answered a nomination (§4.6.3), or has not."""
    if checks.nominated is not None:
        return
    if works:
        conclude(core, association, checks, pair, now)
        return
    # The pair worked and does not any more: try the next best.
    pair.state = PairState.FAILED
    checks.nominating = None
    _wake(core, association, checks, now)


def conclude(core: Core, association: Association, checks: Checks, pair: Pair, now: float) -> None:
    """Data goes by this pair from now on."""
    session = association.session
    if session is None:
        return
    before = association.path
    checks.nominated = pair
    checks.step_at = None
    checks.way.cancel_all(association)
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


# -- inside -------------------------------------------------------------------------------------


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
        checks.deadline = min(checks.deadline, now + LAST_HOPE_S)
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
    unknown = checks.checklist.count(PairState.WAITING, PairState.IN_PROGRESS)
    if nominate:
        checks.nominating = pair
    else:
        pair.state = PairState.IN_PROGRESS
    spread_s = checks.pacing_s * unknown
    checks.way.send(core, association, session, pair, now, nominate=nominate, spread_s=spread_s)
    checks.sent_at = now


def _wake(core: Core, association: Association, checks: Checks, now: float) -> None:
    """Something has happened: go on as soon as the pacing lets it."""
    if checks.nominated is None:
        soon = max(now, checks.sent_at + checks.pacing_s)
        checks.step_at = soon if checks.step_at is None else min(checks.step_at, soon)
        core.arm(association)
