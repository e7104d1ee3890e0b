"""What the control socket is told about the shared LAN."""

from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

from hipgw.config.schema import Config, EndboxConfig, PeerConfig
from hipgw.control.api import (
    ElectionAnswer,
    EndboxAnswer,
    EndboxPeerAnswer,
    HealthWarning,
    MulticastAnswer,
)
from hipgw.daemon.endbox import is_static
from hipgw.daemon.frame_formats import frame_formats
from hipgw.naming.peers import PeerDirectory
from hipgw.platform.lan_links import LanFault
from hipgw.roles.hello import Election
from hipgw.roles.multicast_group import MulticastGroup


def endbox_answer(
    config: Config,
    endbox: EndboxConfig,
    allowed: frozenset[str],
    macs: Counter[IPv6Address],
    is_up: Callable[[IPv6Address], bool],
) -> EndboxAnswer:
    """The LAN as far as it is configured and learned; *allowed*: names of peers."""

    def peer_answer(peer: PeerConfig) -> EndboxPeerAnswer:
        return {
            "peer": peer.name,
            "peer_hit": str(peer.hit),
            "allowed": peer.name in allowed,
            "mode": "static" if is_static(config, peer) else "learning",
            "frames": ", ".join(sorted(each.value for each in frame_formats(config, peer))),
            "legacy_nodes": [str(node) for node in peer.nodes],
            "default_endbox": peer.is_default_endbox,
            "established": any(is_up(hit) for hit in peer.hits.values()),
            "macs": sum(macs[hit] for hit in peer.hits.values()),
        }

    return {
        "mode": endbox.mode.value,
        "legacy_nodes": [str(node) for node in endbox.nodes],
        "default_endbox": endbox.is_default_endbox,
        "source_filter": endbox.source_filter,
        "election": None,
        "multicast": None,
        "peers": [peer_answer(peer) for peer in config.endbox_peers],
    }


def election_answer(
    endbox: EndboxConfig, election: Election, directory: PeerDirectory
) -> ElectionAnswer:
    """How the election stands."""
    state = election.state()
    winner = state.winner if state.passive else None
    return {
        "hello_s": endbox.hello_s,
        "extent": endbox.election_extent.value,
        "delivers": not state.passive,
        "winner": None if winner is None else directory.name_of(winner),
        "hellos_heard": state.heard,
    }


def multicast_answer(group: MulticastGroup) -> MulticastAnswer:
    """The static multicast group."""
    return {
        "group": str(group.group),
        "spi": group.spi,
        "local": None if group.local is None else str(group.local),
    }


def lan_warnings(faults: Iterable[LanFault]) -> list[HealthWarning]:
    """What keeps frames of the LAN from passing."""
    return [
        {
            "code": fault.code,
            "severity": "warning",
            "message": fault.message,
            "hint": fault.hint,
        }
        for fault in faults
    ]
