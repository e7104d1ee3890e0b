"""A client of a data relay permits its peers to send by it (RFC 9028 §4.12.1)."""

from collections.abc import Iterable

from hipgw.protocol import update_tasks
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core
from hipgw.protocol.nat.candidates import LocalCandidate
from hipgw.protocol.nat.checks import Checks
from hipgw.protocol.nat.ports import PERMISSION_S
from hipgw.protocol.nat.relayed import relay_at
from hipgw.protocol.path import IPAddress, Path
from hipgw.wire.parameters import CandidateKind, PeerPermission

PEERS_MAX = 8
"""Addresses of one peer that are permitted at once."""
EARLY_S = 60.0
"""How long before its end a permission is refreshed (RFC 9028 §4.12.1)."""
RETRY_S = 10.0


def before_checks(
    core: Core,
    association: Association,
    checks: Checks,
    remote: Iterable[tuple[IPAddress, int]],
    now: float,
) -> None:
    """Permit the addresses that a peer has told, so that checks and data can come from there."""
    addresses = list(remote)
    for mine in checks.checklist.local:
        if mine.kind is CandidateKind.RELAYED:
            fitting = [peer for peer in addresses if peer[0].version == mine.address.version]
            _permit(core, association, mine, fitting[:PEERS_MAX], now)


def for_path(core: Core, association: Association, checks: Checks, path: Path, now: float) -> None:
    """Permit the peer at the end of a path that goes by an own relayed address.

    It becomes the one that the relay sends this host's data to.
    """
    if path.relay_to is None:
        return
    mine = next(
        (one for one in checks.checklist.local if one.base.path_to(*path.relay_to) == path), None
    )
    if mine is not None:
        _permit(core, association, mine, [path.relay_to], now)


def keep(core: Core, association: Association, checks: Checks, now: float) -> None:
    """Permit the peer of the nominated path, and see to it that it is done again in time."""
    session, pair = association.session, checks.nominated
    if session is None or pair is None or pair.path.relay_to is None:
        checks.permit_at = None
        return
    for_path(core, association, checks, pair.path, now)
    checks.permit_at = now + PERMISSION_S - EARLY_S
    core.arm(association)


def _permit(
    core: Core,
    association: Association,
    mine: LocalCandidate,
    peers: list[tuple[IPAddress, int]],
    now: float,
) -> None:
    session = association.session
    if not peers or mine.base.relay is None or session is None:
        return
    relay = relay_at(core, mine.base.path_to(*peers[0]))
    if relay is None or relay.session is None or relay.path is None:
        return
    # While keys are renewed the peer may use the new SPI as soon as it is installed.
    inbound = [session.inbound_spi]
    if session.rekey is not None and session.rekey.keys is not None:
        inbound.append(session.rekey.new_spi)
    asked = [
        PeerPermission(mine.address, mine.port, *peer, session.outbound_spi, spi)
        for peer in peers
        for spi in inbound
    ][:PEERS_MAX]
    update_tasks.begin(
        core,
        relay,
        relay.session,
        asked,
        [relay.path],
        now,
        acknowledged=update_tasks.ignore,
        abandoned=update_tasks.ignore,
    )
