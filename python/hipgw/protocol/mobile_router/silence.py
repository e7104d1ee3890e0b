"""A client that does not answer: its router tells the correspondents that ask, in its place.

Who is behind a mobile router may be without a network with it, so correspondents are patient. A
router that gets their questions has a network, and nobody else can tell them so: then the client is
as silent as any host that is gone.

The answer is UPDATE{SEQ, ECHO_RESPONSE_SIGNED, AUTH_TICKET, HIP_MAC}: without LOCATOR_SET, and with
what the question bears, so that nobody can keep it for later. It is sent once for each question.
"""

from hipgw.protocol.core import Core
from hipgw.protocol.mobile_router import tickets
from hipgw.protocol.mobile_router.flows import Flow, Unanswered
from hipgw.protocol.mobile_router.packets import send
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import EchoRequestSigned, EchoResponseSigned, Seq

SILENT_S, QUESTIONS = 4.0, 3
"""A client is silent that has sent no HIP packet for so long since the first of so many
questions."""
FORGET_S = 10.0
"""Between questions, after which it is another silence."""
INTERVAL_S = 0.9
"""Between such answers: correspondents ask once a second."""


def asked(core: Core, flow: Flow, packet: HipPacket, transit: Transit, now: float) -> None:
    """A correspondent's packet is passed on: if it is one more question in vain, answer it."""
    ticket, seq, echo = flow.ticket, packet.get(Seq), packet.get(EchoRequestSigned)
    if seq is None or echo is None or ticket is None or not ticket.numbered or not flow.lent:
        return
    waiting = flow.unanswered
    if waiting is None or waiting.last + FORGET_S < now:
        waiting = flow.unanswered = Unanswered(now)
    waiting.questions += 1
    waiting.last = now
    known = flow.peer.get(transit.source.address.version)
    if (
        waiting.questions < QUESTIONS
        or now < waiting.since + SILENT_S
        or now < waiting.told + INTERVAL_S
        or flow.proxy is not None
        or known is None
        or known.address != transit.source.address
    ):
        return
    waiting.told = now
    number = ticket.next_number
    ticket.next_number += 1
    parameters = (Seq(number), EchoResponseSigned(echo.data), ticket.shown)
    answer = HipPacket(
        PacketType.UPDATE,
        flow.client_hit,
        flow.peer_hit,
        tuple(sorted(parameters, key=lambda one: one.type)),
        version=flow.version,
    )
    raw = tickets.protect(answer, ticket.rhash, ticket.key)
    source = transit.destination
    send(core, raw, Place(source.address, source.transport, source.port), transit.source)


def broken(flow: Flow) -> None:
    """The client has sent something."""
    flow.unanswered = None
