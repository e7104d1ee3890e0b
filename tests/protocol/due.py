"""When a machine has something to do, by looking at every association: what timers come down to."""

from math import inf

from hipgw.protocol.association import Association
from hipgw.protocol.core import UP
from hipgw.protocol.effects import Effect
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.nat.ports import Permission
from hipgw.protocol.registration import Grant
from hipgw.protocol.states import State


def first_due(machine: HipMachine) -> float | None:
    """When something is to be done; None for never."""
    return min(_times(machine).values(), default=None)


def assert_in_time(machine: HipMachine) -> None:
    """The machine may want to be called too early, but not too late."""
    first, asked = first_due(machine), machine.next_timer()
    assert first is None or (asked is not None and asked <= first), (asked, first)


def expire(machine: HipMachine, now: float) -> list[Effect]:
    """Call `timer_expired`: it must act on the associations that are due, and on no other."""
    before = {known: _looks(known) for known in _all(machine)}
    due = {known for known, when in _times(machine).items() if when <= now}
    resting = machine.resting_count
    router = machine._core.mobile_router
    routed = router is not None and (router.next_timer() or inf) <= now
    effects = machine.timer_expired(now)
    changed = {known for known, looks in before.items() if _looks(known) != looks}
    assert due <= changed
    # What goes by a relay is asked for at the relay.
    assert routed or all(known.registrations.held.grants for known in changed - due)
    # Those at rest have a time in common.
    assert due or routed or not effects or machine.resting_count < resting
    assert all(when > now for when in _times(machine).values())
    assert_in_time(machine)
    return effects


def _all(machine: HipMachine) -> set[Association]:
    core = machine._core
    return {*core.associations.values(), *core.opportunistic.values()}


def _times(machine: HipMachine) -> dict[Association, float]:
    found: dict[Association, float] = {}
    for known in _all(machine):
        times: list[float] = []
        if known.initiating is not None:
            times.append(known.initiating.retransmission.when)
        if known.closing is not None:
            times.append(known.closing.retransmission.when)
        if known.deadline is not None:
            times.append(known.deadline)
        if known.rest_at is not None:
            times.append(known.rest_at)
        if known.state is State.ESTABLISHED:
            grants = _grants(known)
            unused = known.last_traffic + machine._core.config.ual_s
            times.append(max([unused, *(grant.expires for grant in grants)]))
        if known.state in UP:
            times += _times_while_up(known)
        if times:
            found[known] = min(times)
    return found


def _times_while_up(known: Association) -> list[float]:
    search, mobility, session = known.path_mtu, known.mobility, known.session
    times = [task.retransmission.when for task in known.updates.values()]
    times += [one.expires for one in mobility.locators if one.expires != inf]
    times += known.checks.times() if known.checks is not None else ()
    times += [grant.expires for grant in _grants(known)]
    times += [permission.expires for permission in _permissions(known)]
    held = known.registrations.held
    maybe = [held.renew_at, held.check_at, held.discover_at]
    maybe += [search and search.when, mobility.reconsider_at, mobility.keepalive_at]
    maybe.append(mobility.better_at)
    if session is not None:
        times += [old.until for old in session.retired]
        rekey = session.rekey
        maybe.append(session.ticket_renew_at)
        maybe.append(session.rekey_at if rekey is None else rekey.deadline)
    return [*times, *(when for when in maybe if when is not None)]


def _checks(known: Association) -> object:
    checks = known.checks
    return checks and (
        *(checks.step_at, checks.deadline, checks.permit_at, checks.restart_at),
        *(checks.nominated, checks.way.next_timer()),
    )


def _grants(known: Association) -> list[Grant]:
    registrations = known.registrations
    return [*registrations.granted.grants.values(), *registrations.held.grants.values()]


def _permissions(known: Association) -> list[Permission]:
    ports = known.registrations.granted.ports
    return [permission for port in ports for permission in port.permissions.values()]


def _looks(known: Association) -> tuple[object, ...]:
    """All of an association that a timer can change."""
    exchange, leaving, session = known.initiating, known.closing, known.session
    mobility = known.mobility
    return (
        known.state,
        exchange and exchange.retransmission.when,
        leaving and leaving.retransmission.when,
        known.deadline,
        known.rest_at,
        known.last_traffic,
        known.path_mtu and known.path_mtu.when,
        [(task.update_id, task.retransmission.when) for task in known.updates.values()],
        [(one.key, one.state) for one in mobility.locators],
        mobility.reconsider_at,
        mobility.better_at,
        mobility.keepalive_at,
        known.registrations.held.renew_at,
        known.registrations.held.check_at,
        known.registrations.held.discover_at,
        _checks(known),
        [grant.expires for grant in _grants(known)],
        [permission.expires for permission in _permissions(known)],
        session and (session.rekey is None, session.rekey_at, len(session.retired)),
        session and session.ticket_renew_at,
        session and session.rekey and session.rekey.deadline,
    )
