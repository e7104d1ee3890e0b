"""What the control socket is told about the fleet's directory."""

import time
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from hipgw.control.api import FleetAnswer, HealthWarning

if TYPE_CHECKING:
    from hipgw.naming.fleet.keeper import FleetKeeper

LATELY_S = 3600.0
"""How long an entry that was refused is worth a warning."""


def fleet_answer(fleet: str, lan: str | None, keeper: "FleetKeeper") -> FleetAnswer:
    """The fleet as it is known."""
    now = time.time()
    return {
        "fleet": fleet,
        "lan": lan,
        "entries": len(keeper.valid),
        "directories": [
            {
                "directory": one.directory.name,
                "reached": one.reached,
                "silent_s": None if one.read_at is None else max(0.0, now - one.read_at),
                "trouble": one.trouble or None,
            }
            for one in keeper.followed
        ],
        "missing": sorted(keeper.missing),
        "refused": [
            {
                "age_s": max(0.0, now - one.at),
                "name": one.name,
                "where": one.where,
                "reason": one.reason,
            }
            for one in keeper.refusals
        ],
    }


def fleet_warnings(answer: FleetAnswer, lonely: IPv6Address | None = None) -> list[HealthWarning]:
    """What is wrong with the directory now.

    *lonely*: this machine's HIT, if it is an endbox that nobody shares a LAN with.
    """
    found: list[HealthWarning] = [
        {
            "code": "fleet_unreachable",
            "severity": "warning",
            "message": f"the fleet's directory {one['directory']} cannot be used",
            "hint": one["trouble"] or "it was not read yet",
        }
        for one in answer["directories"]
        if not one["reached"]
    ]
    if lonely is not None and answer["lan"] is None:
        found.append(
            {
                "code": "fleet_no_lan",
                "severity": "warning",
                "message": "this endbox is in no LAN of its fleet, and bridges nothing",
                "hint": f"the operator puts it into one: `hipgw fleet add NAME --hit {lonely}"
                " --address ADDRESS --lan LAN`",
            }
        )
    if any(one["age_s"] < LATELY_S for one in answer["refused"]):
        found.append(
            {
                "code": "fleet_refused",
                "severity": "warning",
                "message": "entries of the fleet's directory were refused in the last hour",
                "hint": "`hipgw fleet status` shows them: somebody may have changed the directory",
            }
        )
    if answer["missing"]:
        found.append(
            {
                "code": "fleet_missing",
                "severity": "warning",
                "message": "the directory lacks entries that are in force: "
                + ", ".join(answer["missing"][:5]),
                "hint": "`hipgw fleet remove` signs that a machine has left",
            }
        )
    return found
