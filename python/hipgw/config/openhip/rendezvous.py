"""`hip -rvs`: hip.conf's part in being a rendezvous server."""

from typing import Any

from hipgw.config.openhip.conf import HipConf
from hipgw.protocol.registration import lifetime_s

_SHORTEST_S, _LONGEST_S = 10.0, 15384774.0
"""What `[rvs]` takes at least as the longest lifetime, and at most."""


def rvs_table(conf: HipConf) -> dict[str, Any]:
    """`[rvs]` as hip.conf has it: the lifetimes there are as on the wire (RFC 5203 §4.2)."""
    least = max(1.0, lifetime_s(conf.min_reg_lifetime))
    most = max(least, _SHORTEST_S, lifetime_s(conf.max_reg_lifetime))
    return {
        "min_lifetime_s": min(round(least, 1), _LONGEST_S),
        "max_lifetime_s": min(round(most, 1), _LONGEST_S),
    }
