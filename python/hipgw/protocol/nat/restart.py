"""A host behind a NAT moves: the checks begin anew, by way of the peer's relay (RFC 9028 §4.9).

The host that has moved tells its new transport addresses; the other one asks back, so that a replay
of that leads to nothing; then both check. The same helps when a NAT gives another port or address:
neither end's packets get through to the other then if both NATs look at where they come from.
"""

import hmac

from hipgw.protocol import paths, reachability, requester, update_tasks
from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import UP, Core
from hipgw.protocol.nat import checking, modes, offering
from hipgw.protocol.nat.candidates import read
from hipgw.protocol.nat.checks import Checks, Offer
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.protocol.update_tasks import UpdateTask
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    EchoRequestSigned,
    EchoResponseSigned,
    Encrypted,
    EspInfo,
    LocatorSet,
    Parameter,
)

LOOK_S = 0.3
"""How often it is looked whether the own relays know of the move."""
WAIT_S = 5.0
"""How long that is waited for."""
RETRIES = 4
WAYS_MAX = 8
"""Addresses that the peer is told at, in turn."""
NONCE_OCTETS = 16


def moved(core: Core, association: Association, now: float) -> None:
    """Own addresses have changed: if the one in use is gone, a new path has to be found."""
    checks, path = association.checks, association.path
    if checks is None or path is None or not core.own_addresses:
        return
    if path.local in core.own_addresses or checks.restart_at is not None:
        return
    checks.restart_at = now + LOOK_S
    checks.restart_by = now + WAIT_S
    core.arm(association)


def silent(core: Core, association: Association, now: float) -> None:
    """Nothing comes by the path that checks have found: perhaps a NAT has changed.

    The own relays are asked how they see this host now.
    """
    checks = association.checks
    if association.state not in UP or checks is None or checks.nominated is None:
        return
    if checks.restart_at is not None or checks.restarting is not None:
        return
    for relay in offering.own_relays(core):
        requester.renew(core, relay, now)
    checks.restart_at = now
    checks.restart_by = now + WAIT_S
    core.arm(association)


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Tell the peer, once the own relays know: their answers show how the new NAT maps."""
    checks = association.checks
    if checks is None or checks.restart_at is None or checks.restart_at > now:
        return
    pending = any(
        relay.mobility.announcement is not None
        or relay.registrations.held.asked
        or (relay.path is not None and relay.path.local not in core.own_addresses)
        for relay in offering.own_relays(core)
        # One that no own address can write to will not know in time.
        if paths.pairs(core, relay)
    )
    if pending and now < checks.restart_by:
        checks.restart_at = now + LOOK_S
    else:
        checks.restart_at = None
        _tell(core, association, checks, now)
    core.arm(association)


def received(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    path: Path,
    now: float,
    answer: list[Parameter],
) -> UpdateTask | None:
    """The peer has moved: ask whether it is true; the checks begin with its answer.

    Returns the UPDATE that *answer* went along with; None if this is about something else.
    """
    checks = association.checks
    if checks is None or packet.get(Encrypted) is None or packet.get(EspInfo) is None:
        return None
    key = session.hip_keys.incoming_encryption
    locators = offering.told_locators(packet, session.version, session.choice, key)
    nonce = core.random(NONCE_OCTETS)

    def confirmed(
        core: Core,
        association: Association,
        task: UpdateTask,
        packet: HipPacket,
        path: Path,
        now: float,
    ) -> None:
        if _proves(task, packet):
            _begin_anew(core, association, path, locators, now)

    return update_tasks.begin(
        core,
        association,
        session,
        [*reachability.gratuitous(session), *answer, EchoRequestSigned(nonce)],
        [path],
        now,
        acknowledged=confirmed,
        abandoned=update_tasks.ignore,
        nonce=nonce,
    )


# -- inside ----------------------------------------------------------------------------------


def _tell(core: Core, association: Association, checks: Checks, now: float) -> None:
    session, ways = association.session, _ways(core, association, checks)
    if session is None or association.state not in UP or not ways:
        return
    offer = Offer(
        candidates=offering.own_candidates(core, ways[0], now, relayed=modes.by_relays(session)),
        pacing_s=checks.pacing_s,
    )
    locators = offering.own_locators(core, offer, session.inbound_spi)
    key = session.hip_keys.outgoing_encryption
    update_tasks.cancel(association, checks.restarting)
    checks.restarting = update_tasks.begin(
        core,
        association,
        session,
        [
            *reachability.gratuitous(session),
            offering.encrypted(core, session.version, session.choice, key, locators),
        ],
        ways,
        now,
        acknowledged=_acknowledged,
        abandoned=_abandoned,
        retries=max(RETRIES, len(ways)),
    )


def _ways(core: Core, association: Association, checks: Checks) -> list[Path]:
    """How the peer may be told: by its relays, by that of the base exchange, and directly.

    The address in use may be of an IP version that this host has none of any more, unlike others
    that the peer has told of.
    """
    targets: list[tuple[IPAddress, int]] = list(checks.peer_relays)
    targets += [(home.remote, home.remote_port) for home in association.mobility.home]
    path = association.path
    if path is not None and path.relay_to is None:
        targets.append((path.remote, path.remote_port))
    best_first = sorted(checks.remote, key=lambda one: one.priority, reverse=True)
    targets += [
        (one.address, one.port) for one in best_first if one.address not in core.own_addresses
    ]
    port = path.local_port if path is not None else 0
    ways = []
    for address, remote_port in dict.fromkeys(targets):
        own = (one for one in core.own_addresses if one.version == address.version)
        local = next(own, None)
        if local is not None:
            ways.append(Path(local, address, Transport.UDP, port, remote_port))
    return ways[:WAYS_MAX]


def _acknowledged(
    core: Core,
    association: Association,
    task: UpdateTask,
    _packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    """The peer knows: its question is answered next, and both begin to check."""
    checks = association.checks
    if checks is not None and checks.restarting is task:
        _begin_anew(core, association, path, None, now)


def _abandoned(core: Core, association: Association, task: UpdateTask, now: float) -> None:
    checks = association.checks
    if checks is not None and checks.restarting is task:
        checking.fail(core, association, now)


def _begin_anew(
    core: Core, association: Association, path: Path, theirs: LocatorSet | None, now: float
) -> None:
    """Check with what is known of both ends now; data goes on as before until that is over."""
    before, session = association.checks, association.session
    if before is None or session is None or association.state not in UP:
        return
    offer = Offer(
        candidates=offering.own_candidates(core, path, now, relayed=modes.by_relays(session)),
        pacing_s=before.pacing_s,
    )
    remote, relays = before.remote, before.peer_relays
    if theirs is not None:
        remote, told = read(theirs)
        relays = told or relays
    way = modes.check_way(core, association, session)
    checking.prepare_with(core, association, way, offer, remote, relays, began=now)
    if association.checks is not None:
        association.checks.again = before.again or before.nominated is not None
    checking.begin(core, association, now)


def _proves(task: UpdateTask, packet: HipPacket) -> bool:
    echoes = packet.all(EchoResponseSigned)
    return any(hmac.compare_digest(echo.data, task.nonce) for echo in echoes)
