"""Keepalives of hosts that have found their path by STUN (RFC 5770 §4.7, §5.3)."""

from hipgw.protocol.association import Association
from hipgw.protocol.core import Core
from hipgw.protocol.path import Path
from hipgw.wire.stun import TRANSACTION_ID_OCTETS, StunType, build


def send(core: Core, association: Association, path: Path) -> None:
    """Remind the NATs on the way by a Binding indication, which nobody answers."""
    indication = build(StunType.BINDING_INDICATION, core.random(TRANSACTION_ID_OCTETS))
    core.send_stun(indication, path, association.peer_hit)
