"""How relays see a host's further addresses: CANDIDATE_DISCOVERY (RFC 9028 §4.2).

A host with several interfaces asks each control relay where it is registered from every one of
them. What the relay tells is a candidate like what STUN servers tell. The relay remembers nothing.
"""

import hmac
from dataclasses import replace

from hipgw.protocol import update_tasks
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core
from hipgw.protocol.nat import offering
from hipgw.protocol.nat.config import CHECKED
from hipgw.protocol.nat.reflexive import Reflexive
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.registration import ServiceType, lifetime_code
from hipgw.protocol.update_tasks import UpdateTask
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import EchoRequestSigned, EchoResponseSigned, RegFrom, RegRequest

ADDRESSES_MAX = 4
"""Own addresses that one relay is asked from, beside the one that it knows."""
REFRESH_S = 20.0
"""How often a relay is asked if there are no keepalives."""
RTO_MIN_S = 1.0
"""RFC 9028 §4.2."""
RETRIES = 2
ANSWER_S = 10.0
"""Longer than an answer can take."""
REST_MAX_S = 640.0
"""Longest time that an address is left alone from where no answer comes: it may lead nowhere."""
NONCE_OCTETS = 16
_NEVER = (0.0, 0.0)


def addresses_changed(core: Core, now: float) -> None:
    """Ask the relays anew, from the addresses that there are now."""
    for relay in offering.own_relays(core):
        held = relay.registrations.held
        held.undiscovered, held.discover_at = [], now
        held.resting.clear()
        core.arm(relay)


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Ask from one address after the other, and from all of them again in time."""
    held, path = association.registrations.held, association.path
    if held.discover_at is None or held.discover_at > now:
        return
    held.discover_at = None
    if (
        ServiceType.RELAY_UDP_HIP not in held.grants
        or path is None
        or path.transport is not Transport.UDP
        or not CHECKED & set(core.config.nat.modes)
    ):
        return
    if not held.undiscovered:
        others = [
            address
            for address in core.own_addresses
            if address.version == path.remote.version and address != path.local
        ][:ADDRESSES_MAX]
        held.undiscovered = [one for one in others if held.resting.get(one, _NEVER)[0] <= now]
        if not held.undiscovered:
            # Without any others, not until own addresses change.
            ends = (held.resting[one][0] for one in others)
            held.discover_at = min(ends, default=None)
            core.arm(association)
            return
    local = held.undiscovered.pop(0)
    if local in core.own_addresses and local != path.local:
        _ask(core, association, replace(path, local=local), now)
    held.discover_at = now + (core.config.nat.pacing_s if held.undiscovered else _refresh_s(core))
    core.arm(association)


def is_request(packet: HipPacket) -> bool:
    """Whether an UPDATE asks for this and nothing else: it does not say that its sender moves."""
    asked = [kind for one in packet.all(RegRequest) for kind in one.reg_types]
    return bool(asked) and set(asked) == {ServiceType.CANDIDATE_DISCOVERY}


# -- inside -------------------------------------------------------------------------------------


def _refresh_s(core: Core) -> float:
    return core.config.keepalive_s or REFRESH_S


def _ask(core: Core, association: Association, path: Path, now: float) -> None:
    session = association.session
    if session is None:
        return
    nonce = core.random(NONCE_OCTETS)
    lifetime = lifetime_code(_refresh_s(core))
    update_tasks.begin(
        core,
        association,
        session,
        [RegRequest(lifetime, (ServiceType.CANDIDATE_DISCOVERY,)), EchoRequestSigned(nonce)],
        [path],
        now,
        acknowledged=_answered,
        abandoned=_unanswered,
        nonce=nonce,
        retries=RETRIES,
        first_s=RTO_MIN_S,
    )


def _answered(
    core: Core,
    association: Association,
    task: UpdateTask,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    where, local = packet.get(RegFrom), path.local
    echoes = packet.all(EchoResponseSigned)
    if (
        where is None
        or where.address.is_unspecified
        or local is None
        or local not in core.own_addresses
        or path != task.path
        or not any(hmac.compare_digest(echo.data, task.nonce) for echo in echoes)
    ):
        return
    association.registrations.held.resting.pop(local, None)
    seen = Reflexive(
        (local, path.local_port), (path.remote, path.remote_port), (where.address, where.port)
    )
    core.reflexive.learn(seen, now + _refresh_s(core) + ANSWER_S)


def _unanswered(core: Core, association: Association, task: UpdateTask, now: float) -> None:
    held, local = association.registrations.held, task.path.local
    if local is not None and local in core.own_addresses:
        _, before = held.resting.get(local, _NEVER)
        rest_s = min(max(2 * before, 2 * _refresh_s(core)), REST_MAX_S)
        held.resting[local] = (now + rest_s, rest_s)
