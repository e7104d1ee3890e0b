"""Rules about mobile routers and their clients that join several keys of hipgw.toml."""

import re
from typing import TYPE_CHECKING

from hipgw.config.names import Accept
from hipgw.config.problems import Problem, did_you_mean
from hipgw.protocol.path import HIP_UDP_PORT

if TYPE_CHECKING:
    from hipgw.config.schema import Config

_WILDCARD = re.compile(r"[*?\[]")


def mobile_router_problems(config: "Config") -> list[Problem]:
    """What does not fit together in [mobile_router] and [mobile_node]."""
    by_name = {peer.name: peer for peer in config.peers}
    problems = [
        Problem(
            f"mobile_node.routers[{index}]",
            f"no [[peer]] is named {name!r}",
            did_you_mean(name, by_name) or "add a [[peer]] table for it",
        )
        for index, name in enumerate(config.mobile_node.routers)
        # The fleet may have it.
        if name not in by_name and config.fleet is None
    ]
    router = config.mobile_router
    if router is None:
        return problems
    problems += [
        Problem(
            f"mobile_router.clients[{index}]",
            f"no [[peer]] is named {name!r}",
            did_you_mean(name, by_name) or "add a [[peer]] table for it",
        )
        for index, name in enumerate(router.clients or ())
        # The fleet may have it.
        if name not in by_name and config.fleet is None
    ]
    problems += [
        Problem(
            f"mobile_router.external_interfaces[{index}]",
            f"is {pattern!r}: clients could not be behind any other interface"
            if pattern != "lo"
            else "is 'lo', which leads nowhere",
            'name those that lead outside, such as "wwan*"',
        )
        for index, pattern in enumerate(router.external_interfaces)
        if not pattern.strip("*") or pattern == "lo"
    ]
    outside = router.external_interfaces or config.mobility.preferred_interfaces
    if outside and not any(
        _may_match_the_same(one, other) for one in outside for other in config.mobility.interfaces
    ):
        what = "matches none of the interfaces outside, of which no address would be used"
        hint = f"add {', '.join(map(repr, outside))}, or leave it out"
        problems.append(Problem("mobility.interfaces", what, hint))
    if config.hip.port != HIP_UDP_PORT:
        what = f"is {config.hip.port}, but a mobile router knows clients' packets by {HIP_UDP_PORT}"
        problems.append(Problem("hip.port", what, "leave it out"))
    if not config.mobility.enabled:
        what = "is false, so that a mobile router would not know when it has moved"
        problems.append(Problem("mobility.enabled", what, "turn it on, or leave it out"))
    return problems


def mobile_router_warnings(config: "Config") -> list[str]:
    """What is no mistake by itself, but keeps a mobile router from being of any use."""
    nobody = not config.peers and config.fleet is None and config.hip.accept is Accept.PEERS
    if config.mobile_router is None or not nobody:
        return []
    return [
        "nobody can be a client of the mobile router: hip.accept is 'peers', and there is no "
        '[[peer]]; write accept = "any", or add [[peer]] tables'
    ]


def _may_match_the_same(one: str, other: str) -> bool:
    """Whether two patterns may have an interface in common, as far as their beginnings tell."""
    first, second = (_WILDCARD.split(pattern, maxsplit=1)[0] for pattern in (one, other))
    return first.startswith(second) or second.startswith(first)
