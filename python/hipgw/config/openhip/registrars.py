"""`hip -rvs` and `hip -mr`: hip.conf's part in being a server that others register with."""

from typing import Any

from hipgw.config.openhip.conf import HipConf
from hipgw.protocol.registration import lifetime_s

_SHORTEST_S = 10.0
"""What `[rvs]` and `[mobile_router]` take at least as the longest lifetime."""
_LONGEST_OF_RVS_S, _LONGEST_OF_ROUTER_S = 15384774.0, 86400.0


def rvs_table(conf: HipConf) -> dict[str, Any]:
    """`[rvs]` as hip.conf has it."""
    return _lifetimes(conf, _LONGEST_OF_RVS_S)


def mobile_router_table(conf: HipConf) -> dict[str, Any]:
    """`[mobile_router]` as hip.conf has it; without interfaces hipgw finds out itself."""
    interfaces = list(dict.fromkeys(conf.outbound_interface))
    outside = {"external_interfaces": interfaces} if interfaces else {}
    return {**outside, **_lifetimes(conf, _LONGEST_OF_ROUTER_S)}


def _lifetimes(conf: HipConf, longest_s: float) -> dict[str, Any]:
    """The lifetimes in hip.conf are as on the wire (RFC 5203 §4.2)."""
    least = max(1.0, lifetime_s(conf.min_reg_lifetime))
    most = max(least, _SHORTEST_S, lifetime_s(conf.max_reg_lifetime))
    return {
        "min_lifetime_s": min(round(least, 1), longest_s),
        "max_lifetime_s": min(round(most, 1), longest_s),
    }
