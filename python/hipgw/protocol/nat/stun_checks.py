"""Connectivity checks by STUN Binding requests: mode ICE-STUN-UDP (RFC 5770 §4.6, §5.2).

A request is authentic by a key that both ends draw from KEYMAT. Whatever is not, nobody answers:
not even with an error, as RFC 8489 §9.1.3 would have it. A check may overtake the R2 that makes its
key known, and would then have failed for good; and who only guesses learns nothing of who is here.
"""

import hmac
from collections import OrderedDict
from dataclasses import dataclass

from hipgw.identity.keymat import AnyKeymat
from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.nat import checking
from hipgw.protocol.nat.checklist import Pair
from hipgw.protocol.nat.checks import Checks
from hipgw.protocol.nat.stun_table import StunTable, Transaction, username
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.retransmission import Retransmission
from hipgw.wire.errors import PacketFormatError
from hipgw.wire.stun import (
    COMPREHENSION_OPTIONAL,
    TRANSACTION_ID_OCTETS,
    StunAttribute,
    StunMessage,
    StunType,
    build,
    parse,
    parse_xor_address,
    xor_address,
)

KEY_OCTETS = 16
RTO_MIN_S = 0.5
"""RFC 5770 §4.6."""
RETRIES = 3
"""Retransmissions of a check, which then takes 7.5 s (Rc of RFC 8489 §6.2.1 can be set)."""
NOMINATION_RETRIES = 5
"""The same of one that the peer waits for."""
REQUESTS_REMEMBERED = 256
"""Of a peer, so that nobody else plays them again from elsewhere."""
BAD_REQUEST = 400
UNKNOWN_ATTRIBUTE = 420
_UNDERSTOOD = frozenset(StunAttribute)


def draw_password(keymat: AnyKeymat) -> bytes:
    """The password of both ends: drawn after the ESP keys, in hexadecimal (RFC 5770 §5.2)."""
    return keymat.draw(KEY_OCTETS).hex().encode()


@dataclass(slots=True)
class _Check:
    """A request that is not answered yet."""

    transaction_id: bytes
    request: bytes
    nominates: bool
    retransmission: Retransmission


class StunWay:
    """Sends checks as Binding requests."""

    def __init__(self, table: StunTable, tiebreaker: bytes) -> None:
        """*tiebreaker*: 8 random octets, the same ones in all checks (RFC 8445 §16.1)."""
        self._table = table
        self._tiebreaker = tiebreaker
        self._checks: dict[Pair, _Check] = {}
        self._requests: OrderedDict[bytes, Path] = OrderedDict()
        """Of the peer, by transaction ID: where each came from first."""
        self._mapped: dict[Pair, tuple[IPAddress, int]] = {}
        """How the peer sees this host, by pairs that work."""

    def send(
        self,
        core: Core,
        association: Association,
        session: Session,
        pair: Pair,
        now: float,
        *,
        nominate: bool,
        spread_s: float,
    ) -> None:
        """As in `CheckWay`."""
        checks = association.checks
        awaited = nominate or (checks is not None and checks.nominating is pair)
        transaction_id = core.random(TRANSACTION_ID_OCTETS)
        role = StunAttribute.ICE_CONTROLLED
        if association.initiator:
            role = StunAttribute.ICE_CONTROLLING
        attributes: list[tuple[int, bytes]] = [
            (StunAttribute.USERNAME, username(association.peer_hit, association.local_hit)),
            (StunAttribute.PRIORITY, pair.local.reflexive_priority.to_bytes(4, "big")),
            (role, self._tiebreaker),
        ]
        if nominate:
            attributes.append((StunAttribute.USE_CANDIDATE, b""))
        request = _signed(session, StunType.BINDING_REQUEST, transaction_id, attributes)
        self.cancel(association, pair)
        self._checks[pair] = _Check(
            transaction_id,
            request,
            nominate,
            Retransmission(
                now,
                first_s=max(RTO_MIN_S, spread_s),
                limit_s=core.config.retransmit_max_s,
                retries=NOMINATION_RETRIES if awaited else RETRIES,
                random=core.random,
            ),
        )
        self._table.transactions[transaction_id] = Transaction(association, pair)
        core.send_stun(request, pair.path, association.peer_hit)
        core.arm(association)

    def cancel(self, _association: Association, pair: Pair) -> None:
        """As in `CheckWay`."""
        check = self._checks.pop(pair, None)
        if check is not None:
            self._table.transactions.pop(check.transaction_id, None)

    def cancel_all(self, association: Association) -> None:
        """As in `CheckWay`."""
        for pair in list(self._checks):
            self.cancel(association, pair)

    def next_timer(self) -> float | None:
        """As in `CheckWay`."""
        return min((check.retransmission.when for check in self._checks.values()), default=None)

    def timer_expired(
        self, core: Core, association: Association, checks: Checks, now: float
    ) -> None:
        """As in `CheckWay`."""
        for pair, check in list(self._checks.items()):
            if check.retransmission.when > now or self._checks.get(pair) is not check:
                continue
            if check.retransmission.again(now):
                core.send_stun(check.request, pair.path, association.peer_hit)
            else:
                self.over(core, association, checks, pair, now, works=False)

    def over(
        self,
        core: Core,
        association: Association,
        checks: Checks,
        pair: Pair,
        now: float,
        *,
        works: bool,
    ) -> None:
        """A check is answered, or given up."""
        check = self._checks.get(pair)
        if check is None:
            return
        self.cancel(association, pair)
        tell = checking.agreed if check.nominates else checking.checked
        tell(core, association, checks, pair, now, works=works)

    def came_from(self, transaction_id: bytes, path: Path) -> bool:
        """Take note of a request; False if it came from elsewhere before."""
        first = self._requests.setdefault(transaction_id, path)
        if len(self._requests) > REQUESTS_REMEMBERED:
            self._requests.popitem(last=False)
        return first == path

    def learn(self, pair: Pair, mapped: tuple[IPAddress, int] | None) -> None:
        """The peer tells how it sees this host by a pair."""
        if mapped is not None:
            self._mapped[pair] = mapped

    def settle(self, association: Association, checks: Checks) -> None:
        """Whether there are NATs on the path that was agreed on decides on keepalives."""
        if checks.nominated in self._mapped:
            association.mobility.mapped = self._mapped[checks.nominated]


def received(core: Core, data: bytes, path: Path, now: float) -> Association | None:
    """Take a STUN message; anybody may have sent it.

    Returns the association of an authentic one. Raises Dropped.
    """
    try:
        message = parse(data)
    except PacketFormatError:
        raise Dropped(DropReason.MALFORMED) from None
    if not message.fingerprint:
        raise Dropped(DropReason.MALFORMED)
    match message.type:
        case StunType.BINDING_INDICATION:
            return None  # a keepalive, which is not authentic (RFC 5770 §5.3)
        case StunType.BINDING_REQUEST:
            return _request(core, message, path, now)
        case StunType.BINDING_SUCCESS | StunType.BINDING_ERROR:
            return _response(core, message, path, now)
        case _:
            raise Dropped(DropReason.UNKNOWN_TYPE)


# -- inside -------------------------------------------------------------------------------------


def _request(core: Core, message: StunMessage, path: Path, now: float) -> Association:
    """The peer checks a pair, or nominates one (RFC 8445 §7.3)."""
    association, session = _sender(core, message)
    checks = association.checks
    if checks is None or not isinstance(checks.way, StunWay):
        raise Dropped(DropReason.UNEXPECTED)
    if not core.stun_limit.allow(association.peer_hit, now):
        raise Dropped(DropReason.RATE_LIMIT)
    if not checks.way.came_from(message.transaction_id, path):
        # Somebody plays it again: that must not make this host write there.
        raise Dropped(DropReason.DUPLICATE)
    unknown = [
        kind
        for kind, _ in message.attributes
        if kind < COMPREHENSION_OPTIONAL and kind not in _UNDERSTOOD
    ]
    priority = message.get(StunAttribute.PRIORITY)
    if unknown:
        listed = b"".join(kind.to_bytes(2, "big") for kind in unknown)
        more = (StunAttribute.UNKNOWN_ATTRIBUTES, listed)
        _refuse(core, association, session, message, path, UNKNOWN_ATTRIBUTE, more)
        return association
    if priority is None or len(priority) != 4:
        _refuse(core, association, session, message, path, BAD_REQUEST)
        return association
    mapped = xor_address(path.remote, path.remote_port, message.transaction_id)
    answer = _signed(
        session,
        StunType.BINDING_SUCCESS,
        message.transaction_id,
        [(StunAttribute.XOR_MAPPED_ADDRESS, mapped)],
    )
    core.send_stun(answer, path, association.peer_hit)
    pair = checking.seen(core, association, checks, path, int.from_bytes(priority, "big"), now)
    if pair is not None and message.get(StunAttribute.USE_CANDIDATE) is not None:
        checking.asked_for(core, association, checks, pair, now)
        checks.way.settle(association, checks)
    return association


def _response(core: Core, message: StunMessage, path: Path, now: float) -> Association:
    """What answers a check (RFC 8445 §7.2.5)."""
    transaction = core.stun.transactions.get(message.transaction_id)
    if transaction is None:
        raise Dropped(DropReason.UNEXPECTED)
    association, pair = transaction
    checks, session = association.checks, association.session
    if (
        checks is None
        or session is None
        or association.state not in UP
        or not isinstance(checks.way, StunWay)
    ):
        raise Dropped(DropReason.UNEXPECTED)
    if not _authentic(session, message):
        # As if it had never come (RFC 8489 §9.1.4).
        raise Dropped(DropReason.BAD_MAC)
    mapped = None
    value = message.get(StunAttribute.XOR_MAPPED_ADDRESS)
    if message.type == StunType.BINDING_SUCCESS and value is not None:
        try:
            mapped = parse_xor_address(value, message.transaction_id)
        except PacketFormatError:
            raise Dropped(DropReason.MALFORMED) from None
    # One that comes back another way shows that the pair is none (§7.2.5.2.1).
    works = mapped is not None and path == pair.path
    way = checks.way
    way.learn(pair, mapped if works else None)
    way.over(core, association, checks, pair, now, works=works)
    way.settle(association, checks)
    return association


def _sender(core: Core, message: StunMessage) -> tuple[Association, Session]:
    """Whom an authentic request is from. Raises Dropped."""
    name = message.get(StunAttribute.USERNAME)
    named = core.stun.named(name) if name is not None else []
    if not named:
        raise Dropped(DropReason.NO_ASSOCIATION)
    for association in named:
        session = association.session
        if session is not None and association.state in UP and _authentic(session, message):
            return association, session
    raise Dropped(DropReason.BAD_MAC)


def _authentic(session: Session, message: StunMessage) -> bool:
    return (
        bool(session.stun_password)
        and message.mac is not None
        and hmac.compare_digest(_mac(session, message.covered), message.mac)
    )


def _mac(session: Session, covered: bytes) -> bytes:
    """MESSAGE-INTEGRITY, for which RFC 8489 §14.5 has no other hash."""
    return hmac.digest(session.stun_password, covered, "sha1")


def _signed(
    session: Session, kind: StunType, transaction_id: bytes, attributes: list[tuple[int, bytes]]
) -> bytes:
    return build(kind, transaction_id, attributes, sign=lambda covered: _mac(session, covered))


def _refuse(
    core: Core,
    association: Association,
    session: Session,
    message: StunMessage,
    path: Path,
    code: int,
    *more: tuple[int, bytes],
) -> None:
    """Answer an authentic request that cannot be taken (RFC 8489 §6.3.1)."""
    error = (StunAttribute.ERROR_CODE, bytes([0, 0, code // 100, code % 100]))
    answer = _signed(session, StunType.BINDING_ERROR, message.transaction_id, [error, *more])
    core.send_stun(answer, path, association.peer_hit)
