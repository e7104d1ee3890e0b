"""Echo requests as a peer takes them: what an answer proves depends on what was asked."""

import hmac
from collections.abc import Callable

from hipgw.protocol.compat import Compat
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import (
    EchoRequestSigned,
    EchoRequestUnsigned,
    EchoResponseSigned,
    EchoResponseUnsigned,
    Parameter,
)

NONCE_OCTETS = 16


def echo_request(
    compat: Compat, random: Callable[[int], bytes]
) -> tuple[bytes, tuple[Parameter, ...]]:
    """A nonce, and what an UPDATE carries of it; nothing for a peer that knows no echoes.

    The acknowledgement alone shows that such a peer is there, but not where.
    """
    if compat.bare_updates:
        return b"", ()
    if compat.unsigned_echo_octets:
        nonce = random(compat.unsigned_echo_octets)
        return nonce, (EchoRequestUnsigned(nonce),)
    nonce = random(NONCE_OCTETS)
    return nonce, (EchoRequestSigned(nonce),)


def answers(packet: HipPacket, nonce: bytes) -> bool:
    """Whether an acknowledgement brings back what only the addressee of the echo can know."""
    if not nonce:
        return True
    echoes = [
        *(echo.data for echo in packet.all(EchoResponseSigned)),
        *(echo.data for echo in packet.all(EchoResponseUnsigned)),
    ]
    return any(hmac.compare_digest(data, nonce) for data in echoes)
