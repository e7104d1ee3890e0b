"""What is due with an association, part by part."""

from hipgw.protocol import (
    closing,
    initiator,
    mobility,
    probing,
    rekeying,
    requester,
    responder,
    update_tasks,
)
from hipgw.protocol.association import Association
from hipgw.protocol.core import UP, Core
from hipgw.protocol.mobile_router import client, router_check
from hipgw.protocol.nat import checking, discovery, restart
from hipgw.protocol.states import State
from hipgw.protocol.transitions import Trigger


def look_at(core: Core, association: Association, now: float) -> None:
    """Have every part do what is due with an association; each may end it."""
    exchange, leaving = association.initiating, association.closing
    if exchange is not None and exchange.retransmission.when <= now:
        initiator.timer_expired(core, association, now)
    elif leaving is not None and leaving.retransmission.when <= now:
        closing.timer_expired(core, association, now)
    if association.deadline is not None and association.deadline <= now:
        _deadline(core, association, now)
    if association.state in UP:
        update_tasks.timer_expired(core, association, now)
    if association.state in UP:
        probing.timer_expired(core, association, now)
        rekeying.timer_expired(core, association, now)
        client.timer_expired(core, association, now)
        router_check.timer_expired(core, association, now)
    if association.state in UP:
        mobility.timer_expired(core, association, now)
    if association.state in UP:
        checking.timer_expired(core, association, now)
        restart.timer_expired(core, association, now)
    if association.state in UP:
        requester.timer_expired(core, association, now)
        discovery.timer_expired(core, association, now)
        if association.registrations.held.unanswered:
            association.registrations.held.unanswered = False
            closing.begin(core, association, "the registrar does not answer", now)
    if association.state in UP and core.registrar is not None:
        core.registrar.timer_expired(core, association, now)
    if core.rendezvous is not None:
        core.rendezvous.timer_expired(core, association, now)
    if (
        association.state is State.ESTABLISHED
        and association.last_traffic + core.config.ual_s <= now
        and association.registrations.needed_until <= now
    ):
        closing.begin(core, association, "unused", now)


def _deadline(core: Core, association: Association, now: float) -> None:
    association.deadline = None
    if association.state is State.R2_SENT:
        responder.confirmed(core, association, "the exchange is complete by now", now)
    elif association.state in {State.CLOSED, State.E_FAILED}:
        core.move(association, Trigger.EXPIRE, "forgotten")
        association.session = None
        core.forget(association)
