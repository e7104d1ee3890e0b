"""Which pairs of addresses lead to a peer, and going over from one to another."""

from collections.abc import Iterable
from dataclasses import replace

from hipgw.protocol import probing, update_tasks
from hipgw.protocol.association import Association
from hipgw.protocol.core import Core
from hipgw.protocol.effects import MoveSA, PathChanged
from hipgw.protocol.locators import LocatorState, PeerLocator
from hipgw.protocol.path import IPAddress, Path, Transport

PAIRS_MAX = 16
"""Pairs of addresses that are tried at once."""


def pairs(core: Core, association: Association) -> list[Path]:
    """Every pair of a usable own address and a locator of the peer, the best first.

    The family of the base exchange goes first: an operator has chosen it, or it worked at least.
    """
    path = association.path
    if path is None:
        return []
    locators = association.mobility.locators.usable()
    family = association.mobility.family
    own = sorted(
        enumerate(core.own_for(association)),
        key=lambda entry: (family is not None and entry[1].version != family, entry[0]),
    )
    found = [
        towards(path, local, locator)
        for _, local in own
        for locator in locators
        if locator.address.version == local.version
    ]
    return found[:PAIRS_MAX]


def towards(path: Path, local: IPAddress, locator: PeerLocator) -> Path:
    """A path like *path*, but from *local* to *locator*, which tells whether it goes by UDP."""
    transport = Transport.UDP if locator.port else Transport.RAW
    port = locator.port or path.remote_port
    return replace(path, local=local, remote=locator.address, transport=transport, remote_port=port)


def local_for(
    core: Core, association: Association, remote: IPAddress, arrived: Path | None = None
) -> IPAddress | None:
    """The own address to write to *remote* from: where the peer has written to, if that is one."""
    known = [arrived.local] if arrived is not None else []
    if association.path is not None:
        known.append(association.path.local)
    for local in (*known, *core.own_for(association)):
        if (
            local is not None
            and local.version == remote.version
            and (not core.own_addresses or local in core.own_addresses)
        ):
            return local
    return None


def locator_of(association: Association, path: Path) -> PeerLocator | None:
    """The peer's locator that a path leads to."""
    return association.mobility.locators.get(path.remote, path.locator_port)


def is_active(association: Association, path: Path) -> bool:
    """Whether the remote end of a path is verified."""
    locator = locator_of(association, path)
    return locator is not None and locator.state is LocatorState.ACTIVE


def is_deprecated(association: Association, path: Path) -> bool:
    """Whether the peer is not at the remote end of a path any more."""
    locator = locator_of(association, path)
    return locator is None or locator.state is LocatorState.DEPRECATED


def move(core: Core, association: Association, new: Path, reason: str) -> None:
    """Send by another path from now on; nothing happens if it is the current one.

    An address that is not verified gets no more data than the peer's credit allows (§5.6). While
    connectivity checks look for a first path, nothing that is said of addresses changes it: the
    packets go by the relay, and no security association for data is there to be moved.
    """
    old, session, mobility = association.path, association.session, association.mobility
    checks = association.checks
    if old is None or session is None or (checks is not None and checks.undecided):
        return
    verified = is_active(association, new)
    if new == old and verified == mobility.verified:
        return
    association.path, mobility.verified = new, verified
    if core.registrar is not None:
        core.registrar.data_relay.follow(core, association)
    core.effects.append(
        MoveSA(
            association.local_hit,
            association.peer_hit,
            session.outbound_spi,
            new,
            verified,
            session.label,
        )
    )
    if new == old:
        return
    stop_search(association)
    mobility.returning = 0
    probing.stop(association)
    core.effects.append(PathChanged(association.local_hit, association.peer_hit, old, new, reason))


def current(_core: Core, association: Association) -> list[Path]:
    """The path in use, as routes of an UPDATE."""
    return [association.path] if association.path is not None else []


def stop_search(association: Association) -> None:
    """End a search for a path that works."""
    for task in association.mobility.search:
        update_tasks.cancel(association, task)
    association.mobility.search.clear()


def without(paths: Iterable[Path], one: Path | None) -> list[Path]:
    """All other paths, each once."""
    return [path for path in dict.fromkeys(paths) if path != one]
