"""Whether a peer is where it says or seems to be (RFC 8046 §5.4), and which path still works.

An address counts as the peer's once an echo that was sent there has come back. Nobody off the path
can know what was in it, so nobody else can make this host send data somewhere.
"""

from collections.abc import Sequence
from dataclasses import replace

from hipgw.protocol import paths, rekeying, update_tasks
from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import UP, Core
from hipgw.protocol.echoes import answers, echo_request
from hipgw.protocol.locators import LocatorState, PeerLocator, is_unicast
from hipgw.protocol.path import Path
from hipgw.protocol.rendezvous import ways
from hipgw.protocol.update_tasks import Abandoned, Acknowledged, UpdateTask
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    EspInfo,
    Parameter,
)

CHALLENGE_RETRIES = 5
SEARCH_RETRIES = 3
CHECK_RETRIES = 2
CHECK_INTERVAL_S = 5.0
"""Between checks of the current path."""
RETURN_ANSWERS = 3
"""Answers in a row after which a better path is used again."""
RETURN_INTERVAL_S = 1.0
"""Between the questions to these."""


def verify(
    core: Core,
    association: Association,
    session: Session,
    locator: PeerLocator,
    now: float,
    *,
    arrived: Path | None = None,
    answer: Sequence[Parameter] = (),
) -> UpdateTask | None:
    """Ask the peer at a locator whether it is there; *answer* goes along.

    Returns None if that is under way already, or there is no own address to ask from.
    """
    path = association.path
    local = paths.local_for(core, association, locator.address, arrived)
    challenges = association.mobility.challenges
    if path is None or local is None or locator.key in challenges:
        return None
    way = paths.towards(path, local, locator)
    if answer and arrived is not None:
        way = replace(way, via=arrived.via)
    task = _echo(
        core,
        association,
        session,
        way,
        now,
        acknowledged=_verified,
        abandoned=_unverified,
        retries=CHALLENGE_RETRIES,
        # As RFC 8046 §3.2.1 shows it: middleboxes learn the SPI.
        more=(*gratuitous(session), *answer),
    )
    challenges[locator.key] = task
    return task


def gratuitous(session: Session) -> list[Parameter]:
    """An ESP_INFO that changes nothing (RFC 8046 §5.3), if the peer takes it for that."""
    if session.compat.moves_with_rekey or session.compat.bare_updates:
        return []
    return [EspInfo(session.keymat.index, session.inbound_spi, session.inbound_spi)]


def source_seen(core: Core, association: Association, source: Path, now: float) -> None:
    """Something authentic came from *source*: if that is new, find out whether the peer is there.

    A NAT may have given it another port or address. An authentic packet alone does not tell:
    anybody on the way can send a copy from anywhere.
    """
    session, path = association.session, association.path
    checks = association.checks
    if association.state not in UP or session is None or path is None:
        return
    if checks is not None and (checks.undecided or checks.is_relay(source)):
        return  # where the peer is they find out, not who has passed on its signalling
    if source.transport is not path.transport or not is_unicast(source.remote):
        return
    if (source.remote, source.locator_port) == (path.remote, path.locator_port):
        heard(core, association, now)
        if source.local != path.local:
            # It writes to another address than it is written to from, as the way back may be dead.
            check(core, association, now)
        return
    known = association.mobility.locators.get(source.remote, source.locator_port)
    if known is not None and known.state is LocatorState.ACTIVE and known.listed:
        return  # it may send from any of its addresses
    if not core.hint_limit.allow(association.peer_hit, now):
        return
    locator = association.mobility.locators.candidate(source.remote, source.locator_port)
    locator.state = LocatorState.UNVERIFIED
    forget_challenges(core, association)
    verify(core, association, session, locator, now, arrived=source)


def heard(core: Core, association: Association, now: float) -> None:
    """The peer is there, so see again whether it is where data goes, if that is not known.

    The challenge to it may have been lost as often as it was sent; then data would be bound to the
    peer's credit for ever.
    """
    session, path = association.session, association.path
    if association.state not in UP or session is None or path is None:
        return
    locator = paths.locator_of(association, path)
    if locator is not None and locator.state is LocatorState.UNVERIFIED:
        verify(core, association, session, locator, now)


def settle(core: Core, association: Association, reason: str) -> None:
    """Send to the locator that is to be preferred now (§5.5)."""
    path = association.path
    if path is None:
        return
    current = paths.locator_of(association, path)
    usable = [
        (locator, local)
        for locator in association.mobility.locators.usable()
        if (local := paths.local_for(core, association, locator.address)) is not None
    ]
    active = [entry for entry in usable if entry[0].state is LocatorState.ACTIVE]
    preferred = [entry for entry in active if entry[0].preferred]
    if preferred:
        chosen = preferred[0]
    elif current is not None and current.state is LocatorState.ACTIVE:
        paths.move(core, association, path, reason)
        return
    elif active:
        chosen = active[0]
    elif usable:
        # Where it was seen to send from, if it names no such address: behind a NAT it does not
        # know the outside.
        seen = [entry for entry in usable if not entry[0].listed]
        chosen = (seen or usable)[0]
    else:
        return
    paths.move(core, association, paths.towards(path, chosen[1], chosen[0]), reason)


def forget_challenges(core: Core, association: Association) -> None:
    """Do not ask any more at locators that are gone or deprecated, or from lost own addresses."""
    mobility = association.mobility
    for (address, port), task in list(mobility.challenges.items()):
        locator = mobility.locators.get(address, port)
        gone = locator is None or locator.state is LocatorState.DEPRECATED
        if gone or not core.is_own(task.path):
            update_tasks.cancel(association, task)
            del mobility.challenges[address, port]


def search(core: Core, association: Association, now: float) -> None:
    """The current path is silent though the link is up: ask along every pair of addresses.

    The first one that answers is used. By its rendezvous servers, a peer that has moved may be
    found (RFC 8046 §3.2.3).
    """
    session = association.session
    if association.state not in UP or session is None or association.mobility.search:
        return
    candidates = [*paths.pairs(core, association), *ways.known(core, association)]
    if len(candidates) < 2:
        return
    for candidate in candidates:
        association.mobility.search.append(
            _echo(
                core,
                association,
                session,
                candidate,
                now,
                acknowledged=_found,
                abandoned=_not_found,
                retries=SEARCH_RETRIES,
            )
        )


def check(core: Core, association: Association, now: float) -> None:
    """See whether the current path works; if it does not, look for another one.

    Not too often: where both ends keep to different paths, one's question makes the other ask.
    """
    session, path, mobility = association.session, association.path, association.mobility
    if path is None or not core.is_own(path):
        return  # from a lost address nothing can be sent
    if session is not None and now >= mobility.check_from:
        mobility.check_from = now + CHECK_INTERVAL_S
        _echo(
            core,
            association,
            session,
            path,
            now,
            acknowledged=update_tasks.ignore,
            abandoned=_silent,
            retries=CHECK_RETRIES,
        )


def _silent(core: Core, association: Association, task: UpdateTask, now: float) -> None:
    if task.path == association.path:
        search(core, association, now)


def try_better(core: Core, association: Association, better: Path, now: float) -> None:
    """See whether a path that is to be preferred works again."""
    session = association.session
    if session is None or association.mobility.search:
        return
    association.mobility.search.append(
        _echo(
            core,
            association,
            session,
            better,
            now,
            acknowledged=_works_again,
            abandoned=_not_found,
            retries=1,
        )
    )


def _echo(
    core: Core,
    association: Association,
    session: Session,
    path: Path,
    now: float,
    *,
    acknowledged: Acknowledged,
    abandoned: Abandoned,
    retries: int,
    more: Sequence[Parameter] = (),
) -> UpdateTask:
    nonce, echo = echo_request(session.compat, core.random)
    return update_tasks.begin(
        core,
        association,
        session,
        (*more, *echo),
        [path],
        now,
        acknowledged=acknowledged,
        abandoned=abandoned,
        nonce=nonce,
        retries=retries,
    )


def _verified(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    mobility = association.mobility
    _drop_challenge(association, task)
    # A peer that changes its keys with each move is asked both in one packet.
    rekeying.acknowledged(core, association, task, packet, path, now)
    locator = paths.locator_of(association, task.path)
    if locator is None or locator.state is LocatorState.DEPRECATED:
        return
    if not answers(packet, task.nonce):
        return
    locator.state = LocatorState.ACTIVE
    if not locator.listed:
        # A NAT gives one outside at a time: what was there before is void.
        for other in mobility.locators:
            if not other.listed and other is not locator:
                other.state = LocatorState.DEPRECATED
    settle(core, association, "the peer has moved")


def _unverified(core: Core, association: Association, task: UpdateTask, now: float) -> None:
    _drop_challenge(association, task)
    rekeying.abandoned(core, association, task, now)
    locator = paths.locator_of(association, task.path)
    if locator is not None and not locator.listed:
        locator.state = LocatorState.DEPRECATED
        settle(core, association, "the peer does not answer there")


def _drop_challenge(association: Association, task: UpdateTask) -> None:
    challenges = association.mobility.challenges
    key = (task.path.remote, task.path.locator_port)
    if challenges.get(key) is task:
        del challenges[key]


def _found(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    mobility, current = association.mobility, association.path
    if task not in mobility.search or current is None:
        return
    if task.path.by_rendezvous:
        mobility.search.remove(task)
        if answers(packet, task.nonce):
            _found_elsewhere(core, association, current, path, now)
        return
    if not answers(packet, task.nonce) or paths.is_deprecated(association, task.path):
        _not_found(core, association, task, now)
        return
    paths.stop_search(association)
    _now_active(association, task.path)
    if task.path == current:
        return
    # What is silent has to show that it works before it is used again.
    old = paths.locator_of(association, current)
    if old is not None and current.remote != task.path.remote:
        old.state = LocatorState.UNVERIFIED
    paths.move(core, association, task.path, "the path before is silent")
    mobility.preferred = task.path.local
    mobility.reconsider_at = now
    core.arm(association)


def _found_elsewhere(
    core: Core, association: Association, current: Path, path: Path, now: float
) -> None:
    """A rendezvous server has led to the peer, which answers from where it is now.

    Where it was has to show that it works; so has where it is, since that could be a copy.
    """
    if path.remote != current.remote and (old := paths.locator_of(association, current)):
        old.state = LocatorState.UNVERIFIED
    source_seen(core, association, path, now)


def _works_again(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    _path: Path,
    now: float,
) -> None:
    mobility = association.mobility
    if task not in mobility.search:
        return
    if not answers(packet, task.nonce) or paths.is_deprecated(association, task.path):
        _not_found(core, association, task, now)
        return
    mobility.search.remove(task)
    mobility.returning += 1
    if mobility.returning < RETURN_ANSWERS:
        mobility.better_at = now + RETURN_INTERVAL_S
        core.arm(association)
        return
    _now_active(association, task.path)
    paths.move(core, association, task.path, "a better path works again")
    mobility.preferred = task.path.local
    mobility.reconsider_at = now
    core.arm(association)


def _not_found(_core: Core, association: Association, task: UpdateTask, _now: float) -> None:
    if task in association.mobility.search:
        association.mobility.search.remove(task)
    association.mobility.returning = 0


def _now_active(association: Association, path: Path) -> None:
    locator = paths.locator_of(association, path)
    if locator is not None:
        locator.state = LocatorState.ACTIVE
