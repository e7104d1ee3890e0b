"""What the modes with connectivity checks differ in (RFC 9028 §5.4, RFC 5770 §5.4)."""

from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import Core
from hipgw.protocol.nat.checks import CheckWay
from hipgw.protocol.nat.config import NatMode
from hipgw.protocol.nat.stun_checks import StunWay, draw_password
from hipgw.protocol.nat.update_checks import UpdateWay

TIEBREAKER_OCTETS = 8


def settle(session: Session, mode: int | None) -> None:
    """Both ends have agreed on a mode: draw what it needs from KEYMAT."""
    if mode == NatMode.ICE_STUN_UDP:
        session.stun_password = draw_password(session.keymat)


def by_relays(session: Session) -> bool:
    """Whether data relays can be used: STUN messages do not go by those of RFC 9028."""
    return not session.stun_password


def tells_openly(session: Session) -> bool:
    """Whether I2 and R2 tell locators in clear, as RFC 5770 §6.1 has it, and not encrypted."""
    return bool(session.stun_password)


def check_way(core: Core, association: Association, session: Session) -> CheckWay:
    """How the checks of a session are sent."""
    if session.stun_password:
        core.stun.add(association)
        return StunWay(core.stun, core.random(TIEBREAKER_OCTETS))
    return UpdateWay()
