"""Rules about LANs with configured addresses, elections and a multicast group."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from hipgw.config.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from hipgw.config.schema import Config, EndboxConfig

SELF = "self"
"""This machine, in a pair."""
NODES_MAX = 65536
"""Addresses that all endboxes of a LAN may have together."""
_SPI_MIN = 256
_HEARTBEAT_MIN_S = 0.1


def static_problems(endbox: "EndboxConfig") -> list[Problem]:
    """What contradicts itself within `[endbox]`; the keys are relative to it."""
    problems = [*_multicast(endbox)]
    if endbox.election is not None and not endbox.hello_s:
        hint = "set it to 10, or leave election out"
        problems.append(Problem("election", "is set, but without hello_s there is none", hint))
    if endbox.heartbeat_dir is not None and not endbox.heartbeat_s:
        hint = "set it to 5, or leave heartbeat_dir out"
        problems.append(Problem("heartbeat_dir", "is set, but heartbeat_s is 0", hint))
    if 0 < endbox.heartbeat_s < _HEARTBEAT_MIN_S:
        what = f"is {endbox.heartbeat_s:g}; it has to be 0 or at least {_HEARTBEAT_MIN_S:g}"
        problems.append(Problem("heartbeat_s", what, "0 turns it off"))
    return problems


def _multicast(endbox: "EndboxConfig") -> Iterator[Problem]:
    keys = ("multicast_group", "multicast_spi", "multicast_key")
    missing = [key for key in keys if getattr(endbox, key) is None]
    if missing and len(missing) < len(keys):
        for key in missing:
            yield Problem(key, "is missing", f"{', '.join(keys)} belong together")
    spi = endbox.wire_multicast_spi
    if spi is not None and spi < _SPI_MIN:
        yield Problem("multicast_spi", f"is {spi} once it is swapped; SPIs are 256 or more")
    if endbox.multicast_spi is None and endbox.multicast_spi_swapped:
        yield Problem("multicast_spi_swapped", "is set without multicast_spi", "leave it out")


def ownership_problems(config: "Config") -> list[Problem]:
    """What contradicts itself between endboxes."""
    problems = [*_nodes(config), *_defaults(config), *_pairs(config)]
    endbox = config.endbox
    if endbox is not None and endbox.multicast_group and not config.mobility.enabled:
        what = "needs mobility.enabled, to know the own address that it is reached by"
        problems.append(Problem("endbox.multicast_group", what, "turn it on, or leave it out"))
    return problems


def _nodes(config: "Config") -> Iterator[Problem]:
    members = {peer.name for peer in config.endbox_peers}
    holders: dict[IPv4Address, str] = {}
    endbox = config.endbox
    for node in endbox.nodes if endbox is not None else ():
        holders[node] = "endbox"
    for index, peer in enumerate(config.peers):
        if not peer.legacy_nodes and not peer.default_endbox:
            continue
        key = (
            f"peer[{index}].legacy_nodes" if peer.legacy_nodes else f"peer[{index}].default_endbox"
        )
        if peer.name not in members:
            where = (
                "endbox.peers does not have it" if endbox is not None else "there is no [endbox]"
            )
            yield Problem(key, f"has no meaning: {where}", "leave it out")
        for position, node in enumerate(peer.legacy_nodes):
            holder = holders.setdefault(node, f"peer[{index}] ({peer.name})") if int(node) else key
            if int(node) and holder != f"peer[{index}] ({peer.name})":
                yield Problem(f"{key}[{position}]", f"{node} is behind {holder} already")
    if len(holders) > NODES_MAX:
        yield Problem("", f"lists {len(holders)} legacy_nodes; {NODES_MAX} at most")


def _defaults(config: "Config") -> Iterator[Problem]:
    taken = config.endbox is not None and config.endbox.is_default_endbox
    for index, peer in enumerate(config.peers):
        if not peer.is_default_endbox:
            continue
        if taken:
            what = "there is another default endbox already"
            yield Problem(f"peer[{index}].default_endbox", what, "one at most takes what is left")
        taken = True


def _pairs(config: "Config") -> Iterator[Problem]:
    names = [peer.name for peer in config.peers]
    pairs = config.endbox.allowed_pairs if config.endbox is not None else None
    if config.fleet is not None:
        return  # the names may be the fleet's
    for index, pair in enumerate(pairs or ()):
        for position, end in enumerate(pair):
            if ":" not in end and end != SELF and end not in names:
                key = f"endbox.allowed_pairs[{index}][{position}]"
                hint = did_you_mean(end, [*names, SELF]) or "write its HIT"
                yield Problem(key, f"no [[peer]] is named {end!r}", hint)
