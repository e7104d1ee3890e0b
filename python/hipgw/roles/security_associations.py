"""Carries security associations from the HIP machine into the data plane."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address

from hipgw.dataplane.backend import DataPlane, SecurityAssociation
from hipgw.protocol.effects import Direction, InstallSA, MoveSA, RemoveSA
from hipgw.protocol.path import Path, Transport
from hipgw.roles.dead_peers import Traffic


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


class SecurityAssociations:
    """Adds to each security association what only this machine knows: its segment and its path."""

    def __init__(
        self,
        dataplane: DataPlane,
        *,
        replay_window: int,
        segment_of: Callable[[IPv6Address], int],
        path_mtu: Callable[[IPv4Address | IPv6Address], int],
    ) -> None:
        self._dataplane = dataplane
        self._replay_window = replay_window
        self._segment_of = segment_of
        self._path_mtu = path_mtu

    def install(self, effect: InstallSA) -> None:
        """Install one. Raises DataPlaneError."""
        path = effect.path
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
            path_mtu=self._mtu(effect.direction, path),
            replay_window=self._replay_window,
        )

    def move(self, effect: MoveSA) -> None:
        """Send along another path from now on. Raises DataPlaneError."""
        path = effect.path
        self._dataplane.move_sa(
            spi=effect.spi,
            peer_hit=effect.peer_hit,
            local=path.local,
            remote=path.remote,
            udp=path.transport is Transport.UDP,
            local_port=path.local_port,
            remote_port=path.remote_port,
            path_mtu=self._path_mtu(path.remote),
        )

    def remove(self, effect: RemoveSA) -> None:
        """Remove one; the data plane wipes its keys."""
        self._dataplane.remove_sa(
            direction=effect.direction.value, spi=effect.spi, peer_hit=effect.peer_hit
        )

    def _mtu(self, direction: Direction, path: Path) -> int:
        return self._path_mtu(path.remote) if direction is Direction.OUTBOUND else 0
