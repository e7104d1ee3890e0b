"""Which NAT traversal mode two hosts use (RFC 9028 §4.3, §4.4)."""

from hipgw.protocol.nat.config import CHECKED, NatConfig, NatMode, RegistrarConfig
from hipgw.protocol.registrar import Registrar
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import NatTraversalMode, Parameter, RelayTo, TransactionPacing

MODES_MAX = 6
"""Longer lists are read no further (RFC 9028 §5.4)."""
DEFAULT_PACING_S = 0.05
"""Of a host that does not say (RFC 9028 §4.4)."""
DEFAULT_STUN_PACING_S = 0.5
"""The same with checks by STUN (RFC 5770 §4.4)."""
PACING_MIN_S = 0.005
STUN_PACING_MIN_S = 0.02
PACING_MAX_S = 2.0
"""Who asks for more would never come to an end with it."""


def offered_modes(nat: NatConfig, *, relayed: bool) -> tuple[int, ...]:
    """What an R1 offers. By a relay there are only checks: it carries no data (§4.7.2)."""
    if relayed:
        return tuple(mode for mode in nat.modes if mode != NatMode.UDP_ENCAPSULATION)
    return tuple(nat.modes)


def r1_parameters(
    nat: NatConfig, registrar: RegistrarConfig | None, *, relayed: bool
) -> tuple[Parameter, ...]:
    """What an R1 says of NAT traversal and of services (RFC 8003 §4.2)."""
    parameters: list[Parameter] = []
    modes = offered_modes(nat, relayed=relayed)
    if modes:
        parameters.append(NatTraversalMode(modes[:MODES_MAX]))
    if CHECKED & set(modes):
        parameters.append(pacing(nat.pacing_s))
    if registrar is not None:
        parameters.append(Registrar.offer(registrar))
    return tuple(parameters)


def choose_mode(nat: NatConfig, r1: HipPacket) -> int | None:
    """The Initiator's choice of what R1 offers; None to do without (§4.7.1).

    An R1 that a relay has brought has a RELAY_TO; that is not signed, but the modes are, and a
    relayed R1 offers no other. 0 says that the peer can only be reached by a relay, and that there
    is nothing in common.
    """
    offer = r1.get(NatTraversalMode)
    theirs = offer.modes[:MODES_MAX] if offer is not None else ()
    relayed = r1.get(RelayTo) is not None
    own = offered_modes(nat, relayed=relayed)
    return next((mode for mode in own if mode in theirs), 0 if relayed else None)


def accept_mode(nat: NatConfig, i2: HipPacket, *, relayed: bool) -> int | None:
    """The mode that an I2 has chosen; None if it does without, 0 if it cannot be (§4.3, §4.7.2)."""
    chosen = i2.get(NatTraversalMode)
    if chosen is None:
        return 0 if relayed else None
    mode = chosen.modes[0] if chosen.modes else 0
    return mode if mode in offered_modes(nat, relayed=relayed) else 0


def pacing(seconds: float) -> TransactionPacing:
    """Ta on the wire."""
    return TransactionPacing(round(seconds * 1000))


def agreed_pacing(nat: NatConfig, packet: HipPacket, mode: int) -> float:
    """Ta in seconds: the greater one of both ends' (§4.4)."""
    theirs = packet.get(TransactionPacing)
    usual, least = DEFAULT_PACING_S, PACING_MIN_S
    if mode == NatMode.ICE_STUN_UDP:
        usual, least = DEFAULT_STUN_PACING_S, STUN_PACING_MIN_S
    seconds = usual if theirs is None else theirs.min_ta_ms / 1000
    return min(max(nat.pacing_s, seconds, least), PACING_MAX_S)
