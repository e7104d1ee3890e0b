"""What the modes with connectivity checks have in common (RFC 9028 §5.4)."""

from hipgw.protocol.nat.checks import CheckWay
from hipgw.protocol.nat.update_checks import UpdateWay


def check_way() -> CheckWay:
    """How the checks of a session are sent."""
    return UpdateWay()
