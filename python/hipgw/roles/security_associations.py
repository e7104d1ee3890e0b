"""Carries security associations from the HIP machine into the data plane."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from hipgw.dataplane.backend import DataPlane, SecurityAssociation
from hipgw.errors import DataPlaneError
from hipgw.protocol.effects import Direction, InstallSA, MoveSA, PathMtuChanged, RemoveSA
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.path_mtu import MtuSource
from hipgw.roles.dead_peers import Traffic

_log = logging.getLogger(__name__)


def traffic(entries: Iterable[SecurityAssociation]) -> list[Traffic]:
    """When packets went to and came from each peer last."""
    times: dict[tuple[IPv6Address, str], float] = {}
    peers: dict[IPv6Address, None] = {}
    for entry in entries:
        peers[entry.peer_hit] = None
        if entry.last_used_s is not None:
            key = (entry.peer_hit, entry.direction)
            times[key] = min(entry.last_used_s, times.get(key, entry.last_used_s))
    return [Traffic(hit, times.get((hit, "out")), times.get((hit, "in"))) for hit in peers]


@dataclass(frozen=True, slots=True)
class PathMtu:
    """How large packets to a peer may be, in octets of IP, and how that is known."""

    path: Path
    mtu: int
    source: MtuSource


@dataclass(frozen=True, slots=True)
class _Outbound:
    """How the data plane sends to a peer."""

    spi: int
    path: Path
    verified: bool
    interface: int
    wire_spi: int


class SecurityAssociations:
    """Adds to each security association what only this machine knows: its segment and its path."""

    def __init__(
        self,
        dataplane: DataPlane,
        *,
        replay_window: int,
        segment_of: Callable[[IPv6Address], int],
        path_mtu: Callable[[IPv4Address | IPv6Address], int],
        mtu_source: MtuSource = MtuSource.ROUTE,
        interface_of: Callable[[IPv4Address | IPv6Address], int] = lambda _: 0,
    ) -> None:
        """*path_mtu* tells what is known of the way to an address beforehand, from *mtu_source*;

        *interface_of* by which interface packets from an own address have to leave, 0 for where
        the routing table sends them.
        """
        self._dataplane = dataplane
        self._replay_window = replay_window
        self._segment_of = segment_of
        self._path_mtu = path_mtu
        self._mtu_source = mtu_source
        self._interface_of = interface_of
        self._mtus: dict[IPv6Address, PathMtu] = {}
        self._outbound: dict[IPv6Address, _Outbound] = {}
        """Each peer's newest outbound security association."""

    def known_mtu(self, path: Path) -> int:
        """Largest IP packet on a path, as far as is known beforehand."""
        return self._path_mtu(path.remote)

    def path_mtu(self, peer_hit: IPv6Address) -> PathMtu | None:
        """Largest IP packet to a peer, as it is in force; None without a security association."""
        return self._mtus.get(peer_hit)

    def set_mtu(self, effect: PathMtuChanged) -> None:
        """Make packets to a peer as large as its path carries. Raises DataPlaneError."""
        hit = effect.peer_hit
        outbound = self._outbound.get(hit)
        if outbound is None or outbound.path != effect.path:
            return
        before = self._mtus.get(hit)
        self._mtus[hit] = PathMtu(effect.path, effect.mtu, effect.source)
        if before is None or before.mtu != effect.mtu:
            self._move(hit, outbound, effect.mtu)

    def pin(self) -> None:
        """Own addresses or routes have changed: send by the interfaces that are right by now."""
        for hit, outbound in self._outbound.items():
            interface = self._interface(outbound.path)
            if interface != outbound.interface:
                self._outbound[hit] = pinned = replace(outbound, interface=interface)
                try:
                    self._move(hit, pinned, self._mtus[hit].mtu)
                except DataPlaneError as error:
                    _log.warning("cannot choose the interface: %s", error)

    def install(self, effect: InstallSA) -> None:
        """Install one. Raises DataPlaneError."""
        path = effect.path
        mtu = interface = 0
        if effect.direction is Direction.OUTBOUND:
            outbound, mtu = self._begin(effect)
            interface = outbound.interface
        self._dataplane.add_sa(
            direction=effect.direction.value,
            spi=effect.spi,
            suite=effect.suite,
            encryption_key=effect.encryption_key,
            authentication_key=effect.authentication_key,
            local_hit=effect.local_hit,
            peer_hit=effect.peer_hit,
            local=path.local,
            remote=path.remote,
            udp=path.transport is Transport.UDP,
            local_port=path.local_port,
            remote_port=path.remote_port,
            segment=self._segment_of(effect.peer_hit),
            path_mtu=mtu,
            replay_window=self._replay_window,
            interface=interface,
            verified=effect.verified,
            format=effect.format,
            wire_spi=effect.wire_spi,
        )

    def move(self, effect: MoveSA) -> None:
        """Send along another path from now on. Raises DataPlaneError."""
        outbound, mtu = self._begin(effect)
        self._move(effect.peer_hit, outbound, mtu)

    def remove(self, effect: RemoveSA) -> None:
        """Remove one; the data plane wipes its keys."""
        if effect.direction is Direction.OUTBOUND:
            outbound = self._outbound.get(effect.peer_hit)
            if outbound is not None and outbound.spi == effect.spi:
                del self._outbound[effect.peer_hit]
                self._mtus.pop(effect.peer_hit, None)
        self._dataplane.remove_sa(
            direction=effect.direction.value, spi=effect.spi, peer_hit=effect.peer_hit
        )

    def _begin(self, effect: InstallSA | MoveSA) -> tuple[_Outbound, int]:
        """Take note of a peer's outbound security association; returns it and its path's MTU."""
        peer_hit, path = effect.peer_hit, effect.path
        known = self._mtus.get(peer_hit)
        if known is None or known.path != path:
            known = PathMtu(path, self._path_mtu(path.remote), self._mtu_source)
        outbound = _Outbound(
            effect.spi, path, effect.verified, self._interface(path), effect.wire_spi
        )
        self._outbound[peer_hit] = outbound
        self._mtus[peer_hit] = known
        return outbound, known.mtu

    def _interface(self, path: Path) -> int:
        return 0 if path.local is None else self._interface_of(path.local)

    def _move(self, peer_hit: IPv6Address, outbound: _Outbound, mtu: int) -> None:
        path = outbound.path
        self._dataplane.move_sa(
            spi=outbound.spi,
            peer_hit=peer_hit,
            local=path.local,
            remote=path.remote,
            udp=path.transport is Transport.UDP,
            local_port=path.local_port,
            remote_port=path.remote_port,
            path_mtu=mtu,
            interface=outbound.interface,
            verified=outbound.verified,
            wire_spi=outbound.wire_spi,
        )
