"""Rules about mobile routers and their clients that join several keys of hipgw.toml."""

from typing import TYPE_CHECKING

from hipgw.config.problems import Problem, did_you_mean
from hipgw.protocol.path import HIP_UDP_PORT

if TYPE_CHECKING:
    from hipgw.config.schema import Config


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
        if name not in by_name
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
    if config.hip.port != HIP_UDP_PORT:
        what = f"is {config.hip.port}, but a mobile router knows clients' packets by {HIP_UDP_PORT}"
        problems.append(Problem("hip.port", what, "leave it out"))
    if not config.mobility.enabled:
        what = "is false, so that a mobile router would not know when it has moved"
        problems.append(Problem("mobility.enabled", what, "turn it on, or leave it out"))
    return problems
