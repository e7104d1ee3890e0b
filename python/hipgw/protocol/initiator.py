"""The Initiator's side of the base exchange: I1 out, R1 in; I2 out, R2 in.

RFC 7401 §6.6, §6.8, §6.10; RFC 7402 §6.4, §6.6.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Address

from hipgw.errors import IdentityError, WireError
from hipgw.identity.dh import DhKeyPair
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.puzzle import puzzle_prefix
from hipgw.protocol import requester
from hipgw.protocol.agreement import agree
from hipgw.protocol.association import Association, InitiatorExchange, Session
from hipgw.protocol.core import SPI_MIN, Core, Dropped, receiver, require
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import CancelPuzzle, Direction, Met, SolvePuzzle
from hipgw.protocol.mobile_router import client, correspondent, router_check
from hipgw.protocol.nat import checking, modes, offering
from hipgw.protocol.nat.checks import Offer
from hipgw.protocol.nat.config import CHECKED
from hipgw.protocol.nat.negotiation import agreed_pacing, choose_mode, pacing
from hipgw.protocol.path import Path
from hipgw.protocol.peer_identity import identity_of
from hipgw.protocol.protection import mac2_holds, protect, signature_holds
from hipgw.protocol.rendezvous import ways
from hipgw.protocol.states import State
from hipgw.protocol.transitions import Trigger
from hipgw.protocol.versions.base import Unacceptable
from hipgw.protocol.versions.registry import VERSIONS
from hipgw.wire import tlv
from hipgw.wire.coverage import signature2_coverage
from hipgw.wire.packet import MAX_LENGTH, SUPPORTED_VERSIONS, HipPacket, PacketType
from hipgw.wire.parameters import (
    EchoRequestSigned,
    EchoRequestUnsigned,
    EchoResponseSigned,
    EchoResponseUnsigned,
    EspInfo,
    HipSignature2,
    HostId,
    LocatorSet,
    NatTraversalMode,
    Parameter,
    Puzzle,
    R1Counter,
    RegInfo,
    RelayTo,
    Solution,
)

_HEADER_OCTETS = 40
FIRST_PATHS_MAX = 3
"""Addresses that the first I1 goes to; later ones go to one at a time (§6.6.1).

Rendezvous servers are used in order (RFC 8005 §4), so that of several the first one alone."""
PUZZLES_MAX = 3
"""Puzzles not solved in time before giving up."""
PUZZLE_LIFETIME_MAX_S = 3600.0
_REFUSED = {
    DropReason.NO_PROPOSAL: "it offers no suite or Diffie-Hellman group that is allowed here",
    DropReason.BAD_IDENTITY: "its key is of a kind or a length that is not allowed here",
    DropReason.HIT_MISMATCH: "it has another key than its HIT says",
    DropReason.BAD_SIGNATURE: "its signature is wrong",
    DropReason.DOWNGRADE: "it has not chosen the best group that both have",
    DropReason.POLICY: "hip.accept lets no machine in that has its HIT",
    DropReason.PUZZLE_TOO_HARD: "its puzzle is too hard",
    DropReason.BAD_VIA_RVS: "it names a rendezvous server that was not called",
}
"""Reasons that somebody can do something about."""
IMPATIENCE = 2
"""Unanswered I2 after which the Responder may have forgotten its puzzle: I1 is sent again."""


def begin(
    core: Core,
    local: LocalIdentity,
    peer_hit: IPv6Address | None,
    paths: Sequence[Path],
    now: float,
) -> None:
    """Send I1 along the paths (§6.6). A HIT of None asks whoever answers (§4.1.8).

    Raises Dropped when the table is full.
    """
    if peer_hit is None:
        association = Association(local=local, peer_hit=IPv6Address(0))
        for path in paths:
            core.call(association, path.remote)
    else:
        association = core.find(local.hit, peer_hit) or core.create(local, peer_hit)
    version = VERSIONS[local.public.version]
    groups = version.dh_groups(core.config)
    i1 = HipPacket(
        PacketType.I1,
        local.hit,
        association.peer_hit,
        version.i1_parameters(groups),
        version=version.number,
    ).emit()
    association.initiating = InitiatorExchange(
        paths=tuple(paths),
        began=now,
        retransmission=core.retransmission(now),
        dh_groups=groups,
        i1=i1,
    )
    association.initiator = True
    ways.note(association, paths)
    association.deadline = None
    association.closing = None
    core.move(association, Trigger.CONNECT, "association wanted")
    core.arm(association)
    for path in paths[: 1 if paths[0].by_rendezvous else FIRST_PATHS_MAX]:
        core.send(i1, path, peer_hit)


def widen(core: Core, association: Association, paths: Sequence[Path], now: float) -> None:
    """Call a peer that has not answered yet at more places, before the others (§6.6)."""
    exchange = association.initiating
    if exchange is None or association.state is not State.I1_SENT:
        return
    new = tuple(path for path in paths if path not in exchange.paths)
    if not new:
        return
    exchange.paths = (*new, *exchange.paths)
    exchange.next_path = 0
    # The new places get as many chances as the old ones had.
    exchange.retransmission = core.retransmission(now)
    association.mobility.home = exchange.paths
    core.arm(association)
    for path in new[:FIRST_PATHS_MAX]:
        core.send(exchange.i1, path, association.peer_hit)


def handle_r1(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Check an R1 and have its puzzle solved (§6.8). Raises Dropped."""
    local = receiver(core, packet)
    association = _waiting(core, packet, local, path)
    exchange = association.initiating
    if exchange is None or association.state not in {State.I1_SENT, State.I2_SENT}:
        raise Dropped(DropReason.UNEXPECTED)
    try:
        _accept(core, association, exchange, packet, path, now)
    except Dropped as dropped:
        exchange.refused = _REFUSED.get(dropped.reason, exchange.refused)
        raise


def _accept(
    core: Core,
    association: Association,
    exchange: InitiatorExchange,
    packet: HipPacket,
    path: Path,
    now: float,
) -> None:
    local = association.local
    counter = packet.get(R1Counter)
    generation = counter.counter if counter else 0
    if exchange.r1 is not None and generation <= exchange.r1_counter:
        # I is not signed: if the answer to it is not taken, another R1 may have the right one.
        same = exchange.r1.get(Puzzle) == packet.get(Puzzle)
        if same or generation < exchange.r1_counter or exchange.unanswered < IMPATIENCE:
            raise Dropped(DropReason.DUPLICATE)

    version = VERSIONS[packet.version]
    compat = core.config.compat(packet.sender_hit)
    peer = identity_of(core, require(packet, HostId), packet)
    signature = require(packet, HipSignature2)
    if signature.algorithm != peer.algorithm or not peer.verify(
        signature2_coverage(packet.raw), signature.signature
    ):
        raise Dropped(DropReason.BAD_SIGNATURE)
    ways.check_via(core, exchange, packet, path)

    puzzle = require(packet, Puzzle)
    function = version.puzzle_hash(peer.hit)
    try:
        if not version.can_check(packet, local):
            _try_another_identity(core, association, packet, now)
            return
        version.public_value(packet, exchange.dh_groups)
        version.choose(core.config, packet)  # now rather than after the work
    except Unacceptable as unacceptable:
        raise Dropped(unacceptable.reason) from None
    if puzzle.k > core.config.solve_difficulty_max:
        raise Dropped(DropReason.PUZZLE_TOO_HARD)
    if len(puzzle.i) != version.puzzle_octets(peer.hit):
        raise Dropped(DropReason.MALFORMED)
    if choose_mode(core.config.nat, packet) == 0:
        core.fail(association, "the peer offers no NAT traversal that this host has", now)
        return

    _adopt_hit(core, association, packet.sender_hit, path)
    ways.learn(association, exchange, packet)
    if exchange.puzzle_request is not None:
        core.puzzles.pop(exchange.puzzle_request, None)
        core.effects.append(CancelPuzzle(exchange.puzzle_request))
    exchange.unanswered = 0
    exchange.r1 = packet
    exchange.r1_counter = generation
    exchange.path = path
    exchange.puzzle_request = core.request_number()
    core.puzzles[exchange.puzzle_request] = association
    lifetime_s = min(2.0 ** (puzzle.lifetime - 32), PUZZLE_LIFETIME_MAX_S)
    core.effects.append(
        SolvePuzzle(
            exchange.puzzle_request,
            function.name,
            puzzle_prefix(
                puzzle.i,
                local.hit,
                packet.sender_hit,
                responder_first=compat.puzzle_responder_first,
            ),
            len(puzzle.i),
            puzzle.k,
            now + lifetime_s,
            compat.puzzle_bits,
        )
    )


def puzzle_solved(core: Core, request: int, j: bytes | None, now: float) -> None:
    """Send I2 with the solution (§6.8 steps 12 to 16). Raises Dropped."""
    association = core.puzzles.pop(request, None)
    if association is None or association.initiating is None:
        return
    exchange = association.initiating
    exchange.puzzle_request = None
    r1, path = exchange.r1, exchange.path
    if r1 is None or path is None:
        return
    if j is None:
        # Too late: the puzzle is void. The timer begins anew with an I1.
        exchange.r1 = None
        exchange.r1_counter = -1
        exchange.puzzles_failed += 1
        if exchange.puzzles_failed >= PUZZLES_MAX:
            core.fail(association, "the peer's puzzles are too hard for their lifetime", now)
        return
    try:
        session, i2 = _make_i2(core, r1, j, association, exchange, now)
    except (IdentityError, Unacceptable):
        core.drops[DropReason.BAD_DH] += 1
        core.fail(association, "the peer's Diffie-Hellman value is not valid", now)
        return
    except WireError:
        core.drops[DropReason.MALFORMED] += 1
        core.fail(association, "the peer asks for an I2 that is larger than a HIP packet", now)
        return
    if exchange.session is not None:
        core.uninstall(association, exchange.session)
    exchange.session = session
    exchange.host_id_tlv = _host_id_tlv(r1)
    exchange.i2 = i2
    exchange.retransmission = core.retransmission(now)
    core.arm(association)
    core.install_session(association, session, Direction.INBOUND, path)
    core.send(i2, path, association.peer_hit)
    if association.state is State.I1_SENT:
        core.move(association, Trigger.R1, "puzzle solved")


def handle_r2(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Check R2: the association is made (§6.10). Raises Dropped."""
    local = receiver(core, packet)
    association = core.find(local.hit, packet.sender_hit)
    if association is None:
        raise Dropped(DropReason.NO_ASSOCIATION)
    exchange = association.initiating
    if association.state is not State.I2_SENT or exchange is None or exchange.session is None:
        raise Dropped(DropReason.UNEXPECTED)
    session = exchange.session
    compat, keys = session.compat, session.hip_keys
    key = keys.outgoing_integrity if compat.swapped_exchange_macs else keys.incoming_integrity
    if not mac2_holds(packet, session.rhash, key, exchange.host_id_tlv):
        raise Dropped(DropReason.BAD_MAC)
    if not signature_holds(packet, session.peer, signature_2=compat.r2_signature_2):
        raise Dropped(DropReason.BAD_SIGNATURE)
    esp_info = require(packet, EspInfo)
    if esp_info.old_spi or esp_info.new_spi < SPI_MIN:
        raise Dropped(DropReason.BAD_SPI)
    locators = LocatorSet(())
    if exchange.offer is not None:
        locators = offering.told_locators(
            packet,
            session.version,
            session.choice,
            keys.incoming_encryption,
            clear=modes.tells_openly(session),
        )
    session.outbound_spi = esp_info.new_spi
    correspondent.met(session, packet)
    client.lend_key(core, session)
    # I2 proved this path; where an R2 comes from, anybody can forge.
    proven = exchange.path or path
    association.initiating = None
    core.end_checks(association)
    if exchange.offer is None:
        core.install_session(association, session, Direction.OUTBOUND, proven)
    else:
        checking.prepare(
            core,
            association,
            modes.check_way(core, association, session),
            exchange.offer,
            locators,
            began=exchange.began,
        )
    core.move(association, Trigger.R2, "R2 accepted")
    core.adopt(association, session, proven, now, began=exchange.began)
    checking.begin(core, association, now)
    if exchange.r1 is not None:
        # What was asked for may have been forgotten with an association before this one.
        requester.request(core, association, exchange.r1.get(RegInfo))
    requester.answered(core, association, packet, now)
    if exchange.recalls:
        router_check.offer(core, association, now)


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Send I1 or I2 again, byte for byte, or give up."""
    exchange = association.initiating
    if exchange is None:
        return
    if exchange.puzzle_request is not None:
        # The answer to I1 is there and being worked on; the puzzle's lifetime bounds that.
        exchange.retransmission = core.retransmission(now)
        return
    if not exchange.retransmission.again(now):
        heard = f"; it says {exchange.notified}" if exchange.notified else ""
        what = "I2" if association.state is State.I2_SENT else "I1"
        if exchange.refused and association.state is State.I1_SENT:
            core.fail(association, f"its R1 cannot be used: {exchange.refused}{heard}", now)
        else:
            core.fail(association, f"no answer to {what}{heard}", now)
        return
    if association.state is State.I2_SENT and exchange.path is not None:
        core.send(exchange.i2, exchange.path, association.peer_hit)
        exchange.unanswered += 1
        if exchange.unanswered < IMPATIENCE:
            return
    exchange.next_path = (exchange.next_path + 1) % len(exchange.paths)
    core.send(exchange.i1, exchange.paths[exchange.next_path], association.peer_hit)


def _waiting(core: Core, packet: HipPacket, local: LocalIdentity, path: Path) -> Association:
    """The association that waits for this R1, by HITs, or by address if the HIT was not known."""
    association = core.find(local.hit, packet.sender_hit)
    if association is not None and association.initiating is not None:
        return association
    asked = core.opportunistic.get(path.remote)
    if asked is not None and asked.local is local and association is None:
        return asked
    raise Dropped(DropReason.NO_ASSOCIATION if association is None else DropReason.UNEXPECTED)


def _adopt_hit(core: Core, association: Association, peer_hit: IPv6Address, path: Path) -> None:
    """An opportunistic attempt has got to know whom it talks to."""
    if int(association.peer_hit):
        return
    if not core.config.accept(peer_hit):
        raise Dropped(DropReason.POLICY)
    core.hang_up(association)
    association.peer_hit = peer_hit
    association.path = path
    core.associations[association.local_hit, peer_hit] = association
    core.effects.append(Met(association.local_hit, peer_hit, path))


def _try_another_identity(
    core: Core, association: Association, packet: HipPacket, now: float
) -> None:
    """The Responder cannot check our kind of HIT: call again with another (§6.8 step 6)."""
    exchange = association.initiating
    version = VERSIONS[packet.version]
    mine = [i for i in core.identities.values() if i.public.version == version.number]
    other = next((i for i in mine if version.can_check(packet, i)), None)
    if exchange is None or other is None:
        core.fail(association, "the peer supports none of this host's HIT suites", now)
        return
    paths = exchange.paths
    core.fail(association, "calling again with another identity", now)
    existing = core.find(other.hit, packet.sender_hit)
    if existing is None or existing.state in {State.UNASSOCIATED, State.E_FAILED}:
        begin(core, other, packet.sender_hit, paths, now)


def _make_i2(
    core: Core,
    r1: HipPacket,
    j: bytes,
    association: Association,
    exchange: InitiatorExchange,
    now: float,
) -> tuple[Session, bytes]:
    local = association.local
    version = VERSIONS[r1.version]
    compat = core.config.compat(r1.sender_hit)
    choice = version.choose(core.config, r1)
    puzzle, value = require(r1, Puzzle), version.public_value(r1, exchange.dh_groups)
    peer = identity_of(core, require(r1, HostId), r1)
    own = DhKeyPair.generate(value.group)
    material = agree(
        version,
        compat,
        choice,
        own.shared_secret(value.public_value),
        salt=(puzzle.i, j),
        local_hit=local.hit,
        peer_hit=peer.hit,
        responder_hit=peer.hit,
    )
    hip_keys = material.hip_keys
    session = Session(
        version=version,
        compat=compat,
        peer=peer,
        choice=choice,
        puzzle_hash=material.puzzle_hash,
        rhash=material.mac_hash,
        hip_keys=hip_keys,
        esp_keys=material.esp_keys,
        dh_group=value.group,
        inbound_spi=core.new_spi(),
        solution=puzzle.i + j,
        keymat=material.keymat,
        salt=(puzzle.i, j),
        own_dh=own,
        peer_dh=value.public_value,
    )
    mode = choose_mode(core.config.nat, r1)
    modes.settle(session, mode)
    locators = exchange.offer = None
    if mode is not None and mode in CHECKED:
        exchange.offer = _offer(core, exchange, session, r1, mode, now)
        locators = offering.own_locators(core, exchange.offer, session.inbound_spi)
    parameters: list[Parameter] = [
        EspInfo(material.index, 0, session.inbound_spi),
        Solution(puzzle.k, puzzle.opaque, puzzle.i, j),
        version.diffie_hellman(own),
        *_secrets(core, local, session, locators),
        *version.choice_parameters(choice),
    ]
    if counter := r1.get(R1Counter):
        parameters.append(counter)
    if mode:
        parameters.append(NatTraversalMode((mode,)))
    if exchange.offer is not None:
        parameters.append(pacing(exchange.offer.pacing_s))
    parameters += requester.request(core, association, r1.get(RegInfo))
    if echo := r1.get(EchoRequestSigned):
        parameters.append(EchoResponseSigned(echo.data))
    if compat.r1_counter_first:
        parameters.sort(key=lambda one: (not isinstance(one, R1Counter), one.type))
    i2 = protect(
        PacketType.I2,
        local,
        association.peer_hit,
        parameters,
        rhash=session.rhash,
        key=hip_keys.incoming_integrity
        if compat.swapped_exchange_macs
        else hip_keys.outgoing_integrity,
        keep_order=compat.r1_counter_first,
    )
    return session, _with_unsigned_echoes(i2, r1)


def _with_unsigned_echoes(i2: bytes, r1: HipPacket) -> bytes:
    """Add the answers that go behind the signature (§5.2.23), as far as they fit.

    Anybody on the way can put such echoes into an R1, so they must not keep the I2 from leaving.
    """
    parsed = HipPacket.parse(i2, strict_order=False, versions=SUPPORTED_VERSIONS)
    answers: list[Parameter] = []
    room = MAX_LENGTH - len(i2)
    for echo in r1.all(EchoRequestUnsigned):
        room -= tlv.padded_length(len(echo.data))
        if room >= 0:
            answers.append(EchoResponseUnsigned(echo.data))
    if not answers:
        return i2
    return replace(parsed, parameters=(*parsed.parameters, *answers), raw=b"").emit(keep_order=True)


def _secrets(
    core: Core, local: LocalIdentity, session: Session, locators: LocatorSet | None
) -> list[Parameter]:
    """HOST_ID, hidden from onlookers if so configured and if there is a cipher (§5.3.3).

    Own locators are hidden (RFC 9028 §4.3), unless the mode is one of RFC 5770 (§6.1).
    """
    version, key = session.version, session.hip_keys.outgoing_encryption
    host_id = version.host_id(local.public)
    clear: list[Parameter] = []
    hidden: list[Parameter] = []
    if locators is not None:
        (clear if modes.tells_openly(session) else hidden).append(locators)
    hide_host_id = core.config.encrypt_host_id and bool(key) and not session.compat.clear_host_id
    (hidden if hide_host_id else clear).append(host_id)
    if hidden:
        clear.append(offering.encrypted(core, version, session.choice, key, *hidden))
    return clear


def _offer(
    core: Core,
    exchange: InitiatorExchange,
    session: Session,
    r1: HipPacket,
    mode: int,
    now: float,
) -> Offer:
    """The own transport addresses for connectivity checks; a relay may have seen one of them."""
    if exchange.path is None:
        raise Dropped(DropReason.UNEXPECTED)
    seen = r1.get(RelayTo)
    return Offer(
        candidates=offering.own_candidates(
            core,
            exchange.path,
            now,
            seen=(seen.address, seen.port) if seen is not None else None,
            relayed=modes.by_relays(session),
        ),
        pacing_s=agreed_pacing(core.config.nat, r1, mode),
    )


def _host_id_tlv(r1: HipPacket) -> bytes:
    entries = tlv.scan(r1.raw, _HEADER_OCTETS, strict_order=False)
    entry = next(entry for entry in entries if entry.type == HostId.TYPE)
    return r1.raw[entry.start : entry.end]
