"""The endbox as this machine's configuration wants it: owners, pairs, hellos, heartbeat, group."""

import asyncio
import logging
from collections.abc import Callable, Collection
from ipaddress import IPv6Address

from hipgw.config.endbox_consistency import SELF
from hipgw.config.names import ElectionExtent, EndboxMode
from hipgw.config.schema import Config, EndboxConfig, PeerConfig
from hipgw.config.secret_files import load_hex_key
from hipgw.daemon.frame_formats import frame_formats
from hipgw.dataplane.backend import DataPlane
from hipgw.dataplane.lan import HelloSettings, LanDataPlane, LanSettings, StaticPeer
from hipgw.identity.esp_format import FrameFormat
from hipgw.platform.heartbeat import HeartbeatFiles
from hipgw.platform.multicast import GroupMembership
from hipgw.roles.endbox import SEGMENT
from hipgw.roles.heartbeat import PARTS, Heartbeat
from hipgw.roles.hello import Election
from hipgw.roles.multicast_group import KEY_OCTETS, MulticastGroup

_log = logging.getLogger(__name__)


def is_static(config: Config, peer: PeerConfig) -> bool:
    """Whether frames go to a peer by configured addresses only."""
    if config.endbox is not None and config.endbox.mode is EndboxMode.STATIC:
        return True
    listed = bool(peer.legacy_nodes) or peer.is_default_endbox
    return listed or FrameFormat.ETHERNET in frame_formats(config, peer)


def allowed_peers(config: Config, own_hits: Collection[IPv6Address]) -> tuple[PeerConfig, ...]:
    """The peers that this machine may exchange frames with."""
    endbox = config.endbox
    if endbox is None or endbox.allowed_pairs is None:
        return config.endbox_peers
    own = {SELF, *map(str, own_hits)}
    allowed: set[str] = set()
    for one, other in endbox.allowed_pairs:
        # Neither is this machine with itself, nor are two of its HITs, a pair with anybody.
        if (one in own) is not (other in own):
            allowed.add(other if one in own else one)
    return tuple(
        peer for peer in config.endbox_peers if allowed & {peer.name, *map(str, peer.hits.values())}
    )


def lan_settings(config: Config, endbox: EndboxConfig, own_hit: IPv6Address) -> LanSettings:
    """What the data plane is told about the LAN."""
    if endbox.mode is EndboxMode.STATIC and not (endbox.nodes or endbox.is_default_endbox):
        _log.warning("endbox.legacy_nodes is empty: in static mode nobody here may send")
    hello = None
    if endbox.hello_s:
        standby = endbox.election_extent is ElectionExtent.EVERYTHING
        hello = HelloSettings(own_hit, endbox.hello_s, standby)
    return LanSettings(
        local=endbox.nodes,
        local_default=endbox.is_default_endbox,
        # Also those who may not talk to this machine: what is theirs is nobody else's.
        peers=tuple(
            StaticPeer(tuple(peer.hits.values()), peer.nodes, peer.is_default_endbox)
            for peer in config.endbox_peers
            if is_static(config, peer)
        ),
        all_static=endbox.mode is EndboxMode.STATIC,
        source_filter=endbox.source_filter,
        group=endbox.multicast_group is not None,
        hello=hello,
    )


class EndboxTimers:
    """What an endbox does every few seconds."""

    def __init__(
        self,
        config: EndboxConfig,
        dataplane: LanDataPlane,
        files: HeartbeatFiles | None,
        name_of: Callable[[IPv6Address | None], str],
        since: float,
    ) -> None:
        """*since*: before the data plane was told of the LAN, by the monotonic clock."""
        self._loop = asyncio.get_running_loop()
        everything = config.election_extent is ElectionExtent.EVERYTHING
        # It listens for two intervals. The first hello is left out if the second one comes in time
        # before it bridges, by half an interval at least.
        quiet_until = since + config.hello_s / 2 if everything else 0.0
        self.election = (
            Election(dataplane, SEGMENT, name_of, announces=everything, quiet_until=quiet_until)
            if config.hello_s
            else None
        )
        self._tasks: list[asyncio.Task[None]] = []
        if self.election is not None:
            self._every(config.hello_s, self.election.tick)
        if files is not None:
            self._every(config.heartbeat_s, Heartbeat(dataplane, files).tick)

    def stop(self) -> None:
        """Do nothing any more."""
        for task in self._tasks:
            task.cancel()

    def _every(self, interval_s: float, action: Callable[[], None]) -> None:
        async def repeat() -> None:
            while True:
                try:
                    action()
                except Exception:
                    # One failure is no reason to be silent for ever.
                    _log.exception("a timer of the endbox")
                await asyncio.sleep(interval_s)

        self._tasks.append(self._loop.create_task(repeat()))


def multicast_group(
    config: Config, dataplane: DataPlane, own_hit: IPv6Address, path_mtu: int
) -> tuple[MulticastGroup, GroupMembership] | None:
    """The static multicast group, if one is wanted; it does nothing until own addresses are known.

    Raises ConfigError for a key that cannot be used.
    """
    endbox = config.endbox
    spi = endbox.wire_multicast_spi if endbox is not None else None
    if endbox is None or spi is None or not endbox.multicast_group or not endbox.multicast_key:
        return None
    _log.warning(
        "endbox.multicast_group has no protection against replay, and one 3DES key for ever",
        extra={"group": str(endbox.multicast_group)},
    )
    membership = GroupMembership(endbox.multicast_group)
    group = MulticastGroup(
        dataplane,
        membership,
        segment=SEGMENT,
        local_hit=own_hit,
        group=endbox.multicast_group,
        spi=spi,
        key=load_hex_key(endbox.multicast_key, KEY_OCTETS),
        path_mtu=path_mtu,
    )
    return group, membership


def heartbeat_files(config: Config) -> HeartbeatFiles | None:
    """The files that show whether this daemon lives, if any are wanted. Raises PlatformError."""
    endbox = config.endbox
    if endbox is None or not endbox.heartbeat_s:
        return None
    return HeartbeatFiles(endbox.heartbeat_dir or config.daemon.state_dir, PARTS)
