"""The requester: asks registrars for services, and keeps what it gets (RFC 8003 §3, §5)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from hipgw.protocol import update_tasks
from hipgw.protocol.compat import Compat
from hipgw.protocol.effects import RegistrationChanged
from hipgw.protocol.mobile_router import client
from hipgw.protocol.path import Path
from hipgw.protocol.registration import (
    Grant,
    ServiceType,
    Wanted,
    failure_name,
    lifetime_code,
    lifetime_s,
)
from hipgw.protocol.states import State
from hipgw.protocol.update_tasks import UpdateTask
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    Ack,
    EchoRequestSigned,
    Parameter,
    RegFailed,
    RegFrom,
    RegInfo,
    RegRequest,
    RegResponse,
    RelayedAddress,
    UntoldPeers,
)

if TYPE_CHECKING:
    from hipgw.protocol.association import Association
    from hipgw.protocol.core import Core

SERVERS_MAX = 16
"""Rendezvous servers that this host registers with by itself."""
RELAYED_MAX = 16
"""Relayed addresses that are remembered of one registrar."""
RENEW_SHARE = 0.6
"""Share of a lifetime after which it is renewed."""
STRANDED_S = 5.0
"""How long a registrar may be out of reach, for want of an address of its IP version."""
RETRY_S = 60.0
"""Wait before asking again for what was refused or not answered (RFC 8003 §4.5)."""
UNANSWERED_S = 2.0
"""Wait before asking again for what was acknowledged alone."""
LEAST_S = 1.0
"""Least time between two requests."""
NONCE_OCTETS = 16
_UP = frozenset({State.R2_SENT, State.ESTABLISHED})


def want(
    core: "Core", peer_hit: IPv6Address, reg_types: Sequence[int], length_s: float, now: float
) -> None:
    """Have these services of a peer from now on, as soon as there is an association with it."""
    core.wanted[peer_hit] = Wanted(reg_types=tuple(reg_types), lifetime_s=length_s)
    for association in core.with_peer(peer_hit):
        if association.state in _UP:
            _ask_for_missing(core, association, now)


def cancel(core: "Core", peer_hit: IPv6Address, now: float) -> None:
    """Want no service of a peer any more, and tell it so."""
    core.wanted.pop(peer_hit, None)
    for association in core.with_peer(peer_hit):
        held = association.registrations.held
        if association.state in _UP and held.grants:
            _send(core, association, 0, tuple(held.grants), now)
        held.renew_at = None


def request(core: "Core", association: "Association", offer: RegInfo | None) -> list[Parameter]:
    """What an I2 asks for, of what the R1 offers."""
    held = association.registrations.held
    held.offer = offer
    wanted = _wanted(core, association)
    compat = _compat(core, association)
    types = _choose(wanted, offer, compat)
    held.asked = frozenset(types)
    if wanted is None or offer is None or not types:
        return []
    return [RegRequest(_lifetime(wanted, offer, compat), compat.named(types))]


def answered(
    core: "Core",
    association: "Association",
    packet: HipPacket,
    now: float,
    came_by: Path | None = None,
) -> None:
    """Take what an authentic R2 or UPDATE says of registrations; *came_by*: for an UPDATE."""
    held, compat = association.registrations.held, _compat(core, association)
    where = packet.get(RegFrom)
    if where is not None and where.address.is_unspecified:
        held.cut_off = True
        where = None
    elif packet.get(Ack) is not None:
        held.cut_off = False
    if where is not None:
        if (peers := packet.get(UntoldPeers)) is not None:
            client.untold(core, association, where, peers.hits, now)
        elif came_by is None or not association.path or came_by.local == association.path.local:
            # Else it is about another own address.
            held.mapped = (where.address, where.port)
    responses, failures = packet.all(RegResponse), packet.all(RegFailed)
    for response in responses:
        for reg_type in compat.meant(response.reg_types):
            if response.lifetime == 0:
                _end(core, association, [reg_type], "cancelled")
            elif reg_type in held.asked or reg_type in held.grants:
                _hold(core, association, reg_type, lifetime_s(response.lifetime), now)
    if responses:
        for relayed in packet.all(RelayedAddress):
            address = (relayed.address, relayed.port)
            if address not in held.relayed and len(held.relayed) < RELAYED_MAX:
                held.relayed.append(address)
    for failure in failures:
        known = held.asked | set(held.grants)
        refused = [kind for kind in compat.meant(failure.reg_types) if kind in known]
        for reg_type in refused:
            why = f"refused: {failure_name(failure.failure_type)}"
            _forget(core, association, reg_type)
            _tell(core, association, reg_type, 0.0, why, failure.failure_type)
    if responses or failures:
        held.asked = frozenset()
        held.asked_again = False
        _plan(core, association, now)
    offer = packet.get(RegInfo)
    if offer is not None:
        held.offer = offer
        _ask_for_missing(core, association, now)


def timer_expired(core: "Core", association: "Association", now: float) -> None:
    """Renew what is wanted, and end what is over."""
    held = association.registrations.held
    over = [kind for kind, grant in held.grants.items() if grant.expires <= now]
    if over:
        _end(core, association, over, "expired")
    if held.renew_at is not None and held.renew_at <= now:
        held.renew_at = None
        if core.own_addresses and association.path and not core.is_own(association.path):
            # It knows this host where it is no more, and cannot be told: begin anew elsewhere.
            held.unanswered = True
        else:
            renew(core, association, now)


def stranded(core: "Core", association: "Association", now: float) -> None:
    """No address of a peer can be reached from here: soon see whether that is still so."""
    held = association.registrations.held
    if held.grants and core.own_addresses:
        soon = now + STRANDED_S
        held.renew_at = soon if held.renew_at is None else min(held.renew_at, soon)
        core.arm(association)


def renew(core: "Core", association: "Association", now: float) -> None:
    """Ask anew for all that is wanted; the answer tells where this host is seen (§4.1 there)."""
    held, wanted = association.registrations.held, _wanted(core, association)
    compat = _compat(core, association)
    types = _choose(wanted, held.offer, compat)
    if wanted is None or held.offer is None or not types or association.state not in _UP:
        return
    _send(core, association, _lifetime(wanted, held.offer, compat), types, now)


def drop(core: "Core", association: "Association", reason: str) -> None:
    """The association is over, and all that hung on it."""
    held = association.registrations.held
    _end(core, association, list(held.grants), reason)
    held.offer, held.mapped, held.renew_at = None, None, None
    held.discover_at, held.undiscovered = None, []
    held.resting.clear()
    held.cut_off = False
    held.asked = frozenset()
    held.relayed.clear()


# -- inside ----------------------------------------------------------------------------------


def _ask_for_missing(core: "Core", association: "Association", now: float) -> None:
    held, wanted = association.registrations.held, _wanted(core, association)
    types = _choose(wanted, held.offer, _compat(core, association))
    if set(types) - set(held.grants) - held.asked:
        renew(core, association, now)


def _wanted(core: "Core", association: "Association") -> Wanted | None:
    """What this host wants of a peer: what somebody has said, and what it takes by itself."""
    hit = association.peer_hit
    wanted = core.wanted.get(hit)
    if hit in core.rendezvous_servers or len(core.rendezvous_servers) < SERVERS_MAX:
        by_itself = core.config.automatic(hit)
        if wanted is None:
            wanted = by_itself
        elif by_itself is not None:
            # One registration has one lifetime: that of what somebody has said.
            types = dict.fromkeys((*wanted.reg_types, *by_itself.reg_types))
            wanted = replace(wanted, reg_types=tuple(types))
    if (
        wanted is not None
        and core.mobile_router is not None
        and ServiceType.MOBILE_ROUTER in wanted.reg_types
    ):
        # A router inside of another one, which is to take its clients as well.
        types = dict.fromkeys((*wanted.reg_types, ServiceType.MOBILE_NETWORK))
        return replace(wanted, reg_types=tuple(types))
    return wanted


def _compat(core: "Core", association: "Association") -> Compat:
    return core.config.compat(association.peer_hit)


def _choose(wanted: Wanted | None, offer: RegInfo | None, compat: Compat) -> tuple[int, ...]:
    """Of what is wanted, what is offered; not both rendezvous and relay (RFC 9028 §7.8)."""
    if wanted is None or offer is None:
        return ()
    offered = compat.shared_services(compat.meant(offer.reg_types))
    types = [kind for kind in wanted.reg_types if kind in offered]
    if ServiceType.RELAY_UDP_HIP in types and ServiceType.RENDEZVOUS in types:
        types.remove(ServiceType.RENDEZVOUS)
    return tuple(types)


def _lifetime(wanted: Wanted, offer: RegInfo, compat: Compat) -> int:
    code = offer.max_lifetime if compat.registers_once else lifetime_code(wanted.lifetime_s)
    return max(min(max(code, offer.min_lifetime), offer.max_lifetime), 1)


def _send(
    core: "Core",
    association: "Association",
    lifetime: int,
    reg_types: tuple[int, ...],
    now: float,
) -> None:
    session, path, held = association.session, association.path, association.registrations.held
    if session is None or path is None:
        return
    nonce = core.random(NONCE_OCTETS)
    held.asked = frozenset(reg_types)
    named = _compat(core, association).named(reg_types)
    parameters: list[Parameter] = [RegRequest(lifetime, named), EchoRequestSigned(nonce)]
    if lifetime and ServiceType.RELAY_UDP_ESP in reg_types:
        # These are renewed; without them it would be one more (RFC 9028 §4.1).
        parameters += [RelayedAddress(address, port) for address, port in held.relayed]
    update_tasks.begin(
        core,
        association,
        session,
        parameters,
        [path],
        now,
        # What the answer says is read like that of any UPDATE.
        acknowledged=_acknowledged,
        abandoned=_abandoned,
        nonce=nonce,
    )


def _acknowledged(
    core: "Core",
    association: "Association",
    _task: UpdateTask,
    _packet: HipPacket,
    _path: Path,
    now: float,
) -> None:
    """The registrar has it. If it has not answered as well, its answer is lost: ask once more.

    It acknowledges a request that comes again, but need not remember what it has answered.
    """
    held = association.registrations.held
    if held.asked:
        soon = not held.asked_again and not _compat(core, association).registers_once
        held.asked_again = True
        held.renew_at = now + (UNANSWERED_S if soon else RETRY_S)
        core.arm(association)


def _abandoned(core: "Core", association: "Association", _task: UpdateTask, now: float) -> None:
    """It has lost its memory or its network: a new base exchange is what can help."""
    held = association.registrations.held
    held.asked = frozenset()
    held.unanswered = _wanted(core, association) is not None
    held.renew_at = now + RETRY_S
    core.arm(association)


def _hold(
    core: "Core", association: "Association", reg_type: int, length_s: float, now: float
) -> None:
    held = association.registrations.held
    first = reg_type not in held.grants
    held.grants[reg_type] = Grant(reg_type, length_s, now + length_s)
    if reg_type == ServiceType.RENDEZVOUS:
        core.rendezvous_servers[association.peer_hit] = association
    if reg_type == ServiceType.RELAY_UDP_HIP and first:
        held.discover_at = now
    if reg_type == ServiceType.MOBILE_ROUTER and first:
        core.mobile_routers[association.peer_hit] = association
        client.registered(core, association, now)
    if reg_type == ServiceType.MOBILE_NETWORK and first and core.mobile_router is not None:
        core.mobile_router.taken_in(core, now)
    _tell(core, association, reg_type, length_s, "granted" if first else "renewed")


def _plan(core: "Core", association: "Association", now: float) -> None:
    """Decide when to ask again."""
    held, wanted = association.registrations.held, _wanted(core, association)
    types = _choose(wanted, held.offer, _compat(core, association))
    if not types:
        held.renew_at = None
        return
    times = [grant.expires - (1 - RENEW_SHARE) * grant.lifetime_s for grant in held.grants.values()]
    if set(types) - set(held.grants):
        times.append(now + RETRY_S)
    # However short what a registrar grants is: it is not asked more often.
    held.renew_at = max(min(times), now + LEAST_S) if times else None
    core.arm(association)


def _end(core: "Core", association: "Association", reg_types: Iterable[int], reason: str) -> None:
    held = association.registrations.held
    for reg_type in list(reg_types):
        if reg_type in held.grants:
            _forget(core, association, reg_type)
            _tell(core, association, reg_type, 0.0, reason)


def _forget(core: "Core", association: "Association", reg_type: int) -> None:
    held, hit = association.registrations.held, association.peer_hit
    held.grants.pop(reg_type, None)
    if reg_type == ServiceType.RELAY_UDP_ESP:
        held.relayed.clear()
    if reg_type == ServiceType.RENDEZVOUS and core.rendezvous_servers.get(hit) is association:
        del core.rendezvous_servers[hit]
    if reg_type == ServiceType.MOBILE_ROUTER and core.mobile_routers.get(hit) is association:
        del core.mobile_routers[hit]
        held.check_at = None


def _tell(
    core: "Core",
    association: "Association",
    reg_type: int,
    length_s: float,
    reason: str,
    failure_type: int | None = None,
) -> None:
    core.effects.append(
        RegistrationChanged(
            association.local_hit,
            association.peer_hit,
            False,
            reg_type,
            length_s,
            reason,
            failure_type,
        )
    )
