"""Asks STUN servers how NATs map this host's UDP port (RFC 9028 §4.2, RFC 8489 §6.2.1).

Every own address asks every server of its family, at once and then again and again, which also
keeps the mapping. It does no I/O and reads no clock, like the HIP machine.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hipgw.protocol.locators import is_unicast
from hipgw.protocol.nat.reflexive import Endpoint, Reflexive
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.wire.errors import PacketFormatError
from hipgw.wire.stun import TRANSACTION_ID_OCTETS, binding_request, parse_answer

SERVERS_MAX = 8
QUESTIONS_MAX = 16
"""Pairs of an own address and a server; each has one transaction under way at most."""
RTO_S = 0.5
REQUESTS = 7
"""Rc: so often one transaction is sent."""
LAST_WAIT = 16
"""Rm: so many RTO the last request is waited for."""
TRANSACTION_S = RTO_S * ((1 << REQUESTS - 1) - 1 + LAST_WAIT)
"""How long an answer is waited for: 39.5 s."""
_IDENTIFIED = slice(8, 8 + TRANSACTION_ID_OCTETS)
"""Of a STUN message, where its transaction ID stands (RFC 8489 §5)."""
PACING_S = 0.05
"""Between the first requests of two transactions (Ta, RFC 8445 §14.2)."""


@dataclass(slots=True)
class _Question:
    """What is asked again and again along one path."""

    path: Path
    when: float
    """When to send next, or to give up."""
    transaction_id: bytes | None = None
    sent: int = 0


class StunClient:
    """All transactions with all servers."""

    def __init__(
        self,
        servers: Sequence[Endpoint],
        local_port: int,
        random: Callable[[int], bytes],
        *,
        refresh_s: float,
    ) -> None:
        """*local_port* is what requests are sent from; each is asked anew after *refresh_s*."""
        self._servers = tuple(servers)[:SERVERS_MAX]
        self._local_port = local_port
        self._random = random
        self._refresh_s = refresh_s
        self._questions: dict[Path, _Question] = {}
        self.dropped = 0
        """Messages that answer nothing that was asked."""

    @property
    def lifetime_s(self) -> float:
        """How long an answer counts: until the next question has remained without one."""
        return self._refresh_s + TRANSACTION_S + PACING_S

    # -- inputs ------------------------------------------------------------------------------

    def addresses_changed(self, addresses: Sequence[IPAddress], now: float) -> None:
        """Ask from these from now on, the best first, and anew from those that were there."""
        paths = [
            Path(local, server, Transport.UDP, self._local_port, port)
            for server, port in self._servers
            for local in addresses
            if local.version == server.version
        ][:QUESTIONS_MAX]
        self._questions = {
            path: _Question(path, now + index * PACING_S) for index, path in enumerate(paths)
        }

    def expects(self, data: bytes, path: Path) -> bool:
        """Whether a STUN message answers what was asked, by what its sender cannot guess."""
        question = self._questions.get(path)
        return (
            question is not None
            and question.transaction_id is not None
            and hmac.compare_digest(question.transaction_id, data[_IDENTIFIED])
        )

    def received(self, data: bytes, path: Path, now: float) -> Reflexive | None:
        """Take a STUN message, from anybody; what it tells, if it answers a question."""
        question = self._questions.get(path)
        if question is None or question.transaction_id is None:
            self.dropped += 1
            return None
        try:
            answer = parse_answer(data)
        except PacketFormatError:
            self.dropped += 1
            return None
        if not hmac.compare_digest(question.transaction_id, answer.transaction_id):
            self.dropped += 1
            return None
        question.transaction_id = None
        question.when = now + self._refresh_s
        mapped = answer.mapped
        if mapped is None or path.local is None:
            return None
        if mapped[0].version != path.local.version or not is_unicast(mapped[0]) or not mapped[1]:
            return None
        return Reflexive((path.local, path.local_port), (path.remote, path.remote_port), mapped)

    def timer_expired(self, now: float) -> list[tuple[bytes, Path]]:
        """What to send now, each along its path."""
        due = [question for question in self._questions.values() if question.when <= now]
        return [request for one in due if (request := self._go_on(one, now)) is not None]

    def next_timer(self) -> float | None:
        """When to call `timer_expired`."""
        return min((question.when for question in self._questions.values()), default=None)

    # -- inside ------------------------------------------------------------------------------

    def _go_on(self, question: _Question, now: float) -> tuple[bytes, Path] | None:
        if question.transaction_id is None:
            question.transaction_id = self._random(TRANSACTION_ID_OCTETS)
            question.sent = 0
        if question.sent == REQUESTS:
            question.transaction_id = None
            question.when = now + self._refresh_s
            return None
        question.sent += 1
        last = question.sent == REQUESTS
        wait = LAST_WAIT if last else 1 << (question.sent - 1)
        question.when = now + RTO_S * wait
        return binding_request(question.transaction_id), question.path
