"""UPDATEs that this host sends: numbered, repeated until they are acknowledged (RFC 7401 §6.11)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hipgw.protocol.path import Path
from hipgw.protocol.protection import protect
from hipgw.protocol.retransmission import Retransmission
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import Parameter, Seq

if TYPE_CHECKING:
    from hipgw.protocol.association import Association, Session
    from hipgw.protocol.core import Core

UPDATE_IDS = 1 << 32
FASTEST_S = 0.1
"""Least time before a retransmission, however near the peer is."""
GAIN = 1 / 8
"""Weight of a new round-trip time in the estimate (as RFC 6298 §2 has it)."""

Acknowledged = Callable[["Core", "Association", "UpdateTask", HipPacket, Path, float], None]
"""Called with the packet that acknowledges the task, and the path it came by."""
Routes = Callable[["Core", "Association"], Sequence[Path]]
"""Where an UPDATE is to go at a moment, the first place first; at least one."""
Abandoned = Callable[["Core", "Association", "UpdateTask", float], None]
"""Called when the last retransmission stayed unanswered."""


@dataclass(slots=True, kw_only=True, eq=False)
class UpdateTask:
    """One UPDATE with a SEQ that waits for its ACK."""

    update_id: int
    packet: bytes
    paths: tuple[Path, ...]
    """Taken in turn, one with each transmission; the first one first."""
    routes: Routes | None = None
    """Tells `paths` anew before each retransmission, since both ends may have moved."""
    retransmission: Retransmission
    acknowledged: Acknowledged
    abandoned: Abandoned
    sent: float
    nonce: bytes = field(default=b"", repr=False)
    """Of the ECHO_REQUEST_SIGNED in it; empty without one."""
    transmissions: int = 1
    waiting: bool = False
    """For an address to send it from: that is not counted as silence of the peer."""

    @property
    def path(self) -> Path:
        """Where it went first."""
        return self.paths[0]


def begin(
    core: "Core",
    association: "Association",
    session: "Session",
    parameters: Sequence[Parameter],
    paths: Sequence[Path],
    now: float,
    *,
    acknowledged: Acknowledged,
    abandoned: Abandoned,
    nonce: bytes = b"",
    retries: int | None = None,
    routes: Routes | None = None,
    first_s: float | None = None,
) -> UpdateTask:
    """Send an UPDATE and see to it that it is acknowledged; *parameters* are without SEQ.

    It is sent *retries* times again, after *first_s* and then twice as long each time; by default
    for as long as any exchange.
    """
    update_id = session.take_update_id()
    packet = build(association, session, (*parameters, Seq(update_id)))
    usual_s, usual = _timing(core, association)
    task = UpdateTask(
        update_id=update_id,
        packet=packet,
        paths=tuple(paths),
        retransmission=Retransmission(
            now,
            first_s=usual_s if first_s is None else first_s,
            limit_s=core.config.retransmit_max_s,
            retries=usual if retries is None else retries,
            random=core.random,
        ),
        acknowledged=acknowledged,
        abandoned=abandoned,
        sent=now,
        nonce=nonce,
        routes=routes,
    )
    association.updates[update_id] = task
    core.send(packet, task.path, association.peer_hit)
    core.arm(association)
    return task


def cancel(association: "Association", task: UpdateTask | None) -> None:
    """Stop repeating an UPDATE; its acknowledgement means nothing any more."""
    if task is not None and association.updates.get(task.update_id) is task:
        del association.updates[task.update_id]


def finish(
    core: "Core",
    association: "Association",
    update_id: int,
    packet: HipPacket,
    path: Path,
    now: float,
) -> bool:
    """An UPDATE is acknowledged; False if none with this id waits for it."""
    task = association.updates.pop(update_id, None)
    if task is None:
        return False
    if task.transmissions == 1:
        # Which transmission an answer is to, only the first one tells (Karn's algorithm).
        measure(association, now - task.sent)
    task.acknowledged(core, association, task, packet, path, now)
    return True


def timer_expired(core: "Core", association: "Association", now: float) -> None:
    """Send again what is due, or give it up."""
    for task in list(association.updates.values()):
        if task.retransmission.when > now or association.updates.get(task.update_id) is not task:
            continue
        if task.routes is not None:
            task.paths = tuple(task.routes(core, association)) or task.paths
        if task.routes is not None and not any(core.is_own(way) for way in task.paths):
            task.waiting = True
            task.retransmission = core.retransmission(now)
        elif task.retransmission.again(now):
            path = task.paths[task.transmissions % len(task.paths)]
            send_again(core, association, task, path)
        else:
            del association.updates[task.update_id]
            task.abandoned(core, association, task, now)


def go_on(core: "Core", association: "Association", now: float) -> None:
    """There is an address to send from (again): do not wait any longer."""
    for task in association.updates.values():
        if task.waiting and task.routes is not None:
            task.waiting = False
            task.retransmission = core.retransmission(now)
            task.paths = tuple(task.routes(core, association)) or task.paths
            send_again(core, association, task, task.path)
    core.arm(association)


def send_again(core: "Core", association: "Association", task: UpdateTask, path: Path) -> None:
    """Send a task's UPDATE once more, now, along *path*."""
    task.transmissions += 1
    core.send(task.packet, path, association.peer_hit)


def measure(association: "Association", rtt: float) -> None:
    """Take note of how long an answer took, in seconds."""
    association.rtt = smoothed(association.rtt, rtt)


def smoothed(known: float | None, rtt: float) -> float:
    """The estimate after another answer; *known* is the one before, None for the first answer."""
    return rtt if known is None else known + GAIN * (rtt - known)


def build(association: "Association", session: "Session", parameters: Sequence[Parameter]) -> bytes:
    """An UPDATE with its MAC and signature; the checksum is zero."""
    return protect(
        PacketType.UPDATE,
        association.local,
        association.peer_hit,
        parameters,
        rhash=session.rhash,
        key=session.hip_keys.outgoing_integrity,
    )


def keep_alive(core: "Core", association: "Association", session: "Session", path: Path) -> None:
    """Send an UPDATE that means nothing, and whose answer does not matter."""
    packet = build(association, session, (Seq(session.take_update_id()),))
    core.send(packet, path, association.peer_hit)


def ignore(*_anything: object) -> None:
    """What an UPDATE's acknowledgement or loss means that nothing hangs on."""


def _timing(core: "Core", association: "Association") -> tuple[float, int]:
    """Seconds before the first retransmission, 2 * RTT (§6.11), and how many there may be.

    A near peer is asked more often, but it is not given up sooner than others.
    """
    longest = core.config.retransmit_s
    if association.rtt is None:
        return longest, core.config.retries
    first = min(longest, max(FASTEST_S, 2 * association.rtt))
    return first, core.config.retries + math.ceil(math.log2(longest / first))
