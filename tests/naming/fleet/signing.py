"""An operator and the entries that it signs, for tests."""

from typing import Any

from hipgw.identity.operator_key import OperatorKey
from hipgw.naming.fleet.entry import sign

FLEET = "plants"
OPERATOR = OperatorKey.generate()
KEYS = (OPERATOR.public,)


def hit(number: int) -> str:
    """The HIT of a machine."""
    return f"2001:21::{number:x}"


def table(name: str = "a", revision: int = 1, **values: Any) -> dict[str, Any]:
    """An entry that is not signed yet."""
    base: dict[str, Any] = {"fleet": FLEET, "name": name, "revision": revision}
    if not values.get("removed"):
        base["hit"] = hit(sum(name.encode()))
    return {**base, **values}


def signed(
    name: str = "a", revision: int = 1, *, key: OperatorKey = OPERATOR, **values: Any
) -> dict[str, Any]:
    """A signed entry."""
    return sign(table(name, revision, **values), key)
