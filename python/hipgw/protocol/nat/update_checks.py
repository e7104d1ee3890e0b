"""Connectivity checks by UPDATEs with an echo: mode ICE-HIP-UDP (RFC 9028 §4.6)."""

import hmac

from hipgw.protocol import update_tasks
from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import Core
from hipgw.protocol.effects import MoveSA, PathChanged
from hipgw.protocol.nat import checking, permissions
from hipgw.protocol.nat.checklist import Pair, PairState
from hipgw.protocol.nat.checks import Checks
from hipgw.protocol.path import Path
from hipgw.protocol.update_tasks import UpdateTask
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    CandidatePriority,
    EchoRequestSigned,
    EchoResponseSigned,
    Nominate,
    Parameter,
)

RETRIES = 2
"""Retransmissions of a check."""
RTO_MIN_S = 1.0
"""RFC 9028 §4.6.2."""
NONCE_OCTETS = 16


class UpdateWay:
    """Sends checks as UPDATEs, and takes what acknowledges them."""

    def __init__(self) -> None:
        self._tasks: dict[Pair, UpdateTask] = {}
        """Checks that are not answered yet."""

    def send(
        self,
        core: Core,
        association: Association,
        session: Session,
        pair: Pair,
        now: float,
        *,
        nominate: bool,
        spread_s: float,
    ) -> None:
        """As in `CheckWay`."""
        nonce = core.random(NONCE_OCTETS)
        parameters: list[Parameter] = [
            EchoRequestSigned(nonce),
            CandidatePriority(pair.local.reflexive_priority),
        ]
        if nominate:
            parameters.append(Nominate())
        self._tasks[pair] = update_tasks.begin(
            core,
            association,
            session,
            parameters,
            [pair.path],
            now,
            acknowledged=self._nominated if nominate else self._answered,
            abandoned=self._not_nominated if nominate else self._unanswered,
            nonce=nonce,
            retries=None if nominate else RETRIES,
            first_s=max(RTO_MIN_S, spread_s),
        )

    def cancel(self, association: Association, pair: Pair) -> None:
        """As in `CheckWay`."""
        update_tasks.cancel(association, self._tasks.pop(pair, None))

    def cancel_all(self, association: Association) -> None:
        """As in `CheckWay`."""
        for task in self._tasks.values():
            update_tasks.cancel(association, task)
        self._tasks.clear()

    def next_timer(self) -> float | None:
        """As in `CheckWay`: UPDATEs have timers of their own."""
        return None

    def timer_expired(
        self, core: Core, association: Association, checks: Checks, now: float
    ) -> None:
        """As in `CheckWay`."""

    # -- inside ------------------------------------------------------------------------------

    def _taken(
        self, association: Association, task: UpdateTask
    ) -> tuple[Checks, Pair] | tuple[None, None]:
        """What an UPDATE has checked; it is not under way any more."""
        checks = association.checks
        if checks is not None and checks.way is self:
            for pair, one in self._tasks.items():
                if one is task:
                    del self._tasks[pair]
                    return checks, pair
        return None, None

    def _answered(
        self,
        core: Core,
        association: Association,
        task: UpdateTask,
        packet: HipPacket,
        path: Path,
        now: float,
    ) -> None:
        checks, pair = self._taken(association, task)
        if checks is not None and pair is not None:
            works = _proves(task, packet, path)
            checking.checked(core, association, checks, pair, now, works=works)

    def _unanswered(
        self, core: Core, association: Association, task: UpdateTask, now: float
    ) -> None:
        checks, pair = self._taken(association, task)
        if checks is not None and pair is not None:
            checking.checked(core, association, checks, pair, now, works=False)

    def _nominated(
        self,
        core: Core,
        association: Association,
        task: UpdateTask,
        packet: HipPacket,
        path: Path,
        now: float,
    ) -> None:
        checks, pair = self._taken(association, task)
        if checks is not None and pair is not None:
            works = _proves(task, packet, path)
            checking.agreed(core, association, checks, pair, now, works=works)

    def _not_nominated(
        self, core: Core, association: Association, task: UpdateTask, now: float
    ) -> None:
        checks, pair = self._taken(association, task)
        if checks is not None and pair is not None:
            checking.agreed(core, association, checks, pair, now, works=False)


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
    if checks is None or told is None or not isinstance(checks.way, UpdateWay):
        return None
    pair = checking.seen(core, association, checks, path, told.priority, now)
    if pair is None or packet.get(Nominate) is None or checks.controlling:
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
    checking.asked_for(core, association, checks, pair, now)
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


def _proves(task: UpdateTask, packet: HipPacket, path: Path) -> bool:
    """Whether an answer came back the way of the check, with what was in it (§4.6.2)."""
    echoes = packet.all(EchoResponseSigned)
    return path == task.path and any(hmac.compare_digest(echo.data, task.nonce) for echo in echoes)


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
        checking.conclude(core, association, checks, pair, now)


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
