"""How long correspondents take to answer, and so how soon to ask them again.

A router sees when a client's packet leaves and when its answer comes. It cannot check that answer,
but whoever forges one brings about no more than a few UPDATEs that are sent sooner.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hipgw.protocol import update_tasks
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.retransmission import Retransmission

if TYPE_CHECKING:
    from hipgw.protocol.core import Core

RETRIES = 3
"""Of an UPDATE in a client's name, after which the client is asked."""
TWICE_S = 0.05
"""Within this time a packet comes twice as it took two ways; later it was sent again."""


def left(flow: Flow, number: int, now: float) -> None:
    """A packet with this number has left that the correspondent is to answer."""
    if flow.timed is None or flow.timed[0] != number:
        flow.timed = number, now
    elif flow.timed[1] is not None and now >= flow.timed[1] + TWICE_S:
        # Which of them an answer is to, nobody could tell (Karn's algorithm).
        flow.timed = number, None


def answered(flow: Flow, numbers: Iterable[int], now: float) -> None:
    """The correspondent has answered packets with these numbers."""
    if flow.timed is not None and flow.timed[0] in numbers:
        (_number, sent), flow.timed = flow.timed, None
        if sent is not None:
            measured(flow, now - sent)


def measured(flow: Flow, rtt: float) -> None:
    """An answer has taken so many seconds."""
    flow.rtt = update_tasks.smoothed(flow.rtt, rtt)


def retransmission(core: "Core", flow: Flow, now: float, *, patient: bool) -> Retransmission:
    """When to send an UPDATE again that has just been sent in a client's name.

    After 2 * RTT if that is known, as any host does (RFC 7401 §6.11); not if it is to be *patient*.
    """
    config = core.config
    first_s = config.retransmit_s
    if flow.rtt is not None and not patient:
        first_s = min(first_s, max(update_tasks.FASTEST_S, 2 * flow.rtt))
    return Retransmission(
        now,
        first_s=first_s,
        limit_s=config.retransmit_max_s,
        retries=RETRIES,
        random=core.random,
    )
