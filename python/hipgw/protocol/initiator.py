"""The Initiator's side of the base exchange: I1 out, R1 in; I2 out, R2 in.

RFC 7401 §6.6, §6.8, §6.10; RFC 7402 §6.4, §6.6.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Address

from hipgw.errors import IdentityError, WireError
from hipgw.identity.dh import DhKeyPair
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keymat import Keymat, draw_esp_keys, draw_hip_keys
from hipgw.identity.puzzle import puzzle_prefix
from hipgw.identity.rhash import rhash
from hipgw.protocol import requester
from hipgw.protocol.association import Association, InitiatorExchange, Session
from hipgw.protocol.core import SPI_MIN, Core, Dropped, receiver, require
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import CancelPuzzle, Direction, SolvePuzzle
from hipgw.protocol.nat import checking
from hipgw.protocol.nat.checks import Offer
from hipgw.protocol.nat.config import NatMode
from hipgw.protocol.nat.negotiation import agreed_pacing, choose_mode, pacing
from hipgw.protocol.negotiation import ESP_FORMAT, choose_dh_group, choose_offer
from hipgw.protocol.path import Path
from hipgw.protocol.peer_identity import identity_of
from hipgw.protocol.protection import mac2_holds, protect, signature_holds
from hipgw.protocol.states import State
from hipgw.protocol.transitions import Trigger
from hipgw.wire import tlv
from hipgw.wire.coverage import signature2_coverage
from hipgw.wire.packet import MAX_LENGTH, HipPacket, PacketType
from hipgw.wire.parameters import (
    DhGroupList,
    DiffieHellman,
    EchoRequestSigned,
    EchoRequestUnsigned,
    EchoResponseSigned,
    EchoResponseUnsigned,
    EspInfo,
    EspTransform,
    HipCipher,
    HipSignature2,
    HitSuiteList,
    HostId,
    LocatorSet,
    NatTraversalMode,
    Parameter,
    Puzzle,
    R1Counter,
    RegInfo,
    RelayTo,
    Solution,
    TransportFormatList,
)

_HEADER_OCTETS = 40
FIRST_PATHS_MAX = 3
"""Addresses that the first I1 goes to; later ones go to one at a time (§6.6.1)."""
PUZZLES_MAX = 3
"""Puzzles not solved in time before giving up."""
PUZZLE_LIFETIME_MAX_S = 3600.0
IMPATIENCE = 2
"""Unanswered I2 after which the Responder may have forgotten its puzzle: I1 is sent again."""


def begin(
    core: Core,
    local: LocalIdentity,
    peer_hit: IPv6Address | None,
    paths: Sequence[Path],
    now: float,
) -> None:
    """Send I1 along every path (§6.6). A HIT of None asks whoever answers (§4.1.8).

    Raises Dropped when the table is full.
    """
    if peer_hit is None:
        association = Association(local=local, peer_hit=IPv6Address(0))
        for path in paths:
            core.call(association, path.remote)
    else:
        association = core.find(local.hit, peer_hit) or core.create(local, peer_hit)
    groups = core.config.dh_groups
    i1 = HipPacket(PacketType.I1, local.hit, association.peer_hit, (DhGroupList(groups),)).emit()
    association.initiating = InitiatorExchange(
        paths=tuple(paths),
        began=now,
        retransmission=core.retransmission(now),
        dh_groups=groups,
        i1=i1,
    )
    association.initiator = True
    association.mobility.home = tuple(paths)
    association.deadline = None
    association.closing = None
    core.move(association, Trigger.CONNECT, "association wanted")
    core.arm(association)
    for path in paths[:FIRST_PATHS_MAX]:
        core.send(i1, path, peer_hit)


def handle_r1(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Check an R1 and have its puzzle solved (§6.8). Raises Dropped."""
    local = receiver(core, packet)
    association = _waiting(core, packet, local, path)
    exchange = association.initiating
    if exchange is None or association.state not in {State.I1_SENT, State.I2_SENT}:
        raise Dropped(DropReason.UNEXPECTED)
    counter = packet.get(R1Counter)
    generation = counter.counter if counter else 0
    if exchange.r1 is not None and generation <= exchange.r1_counter:
        # I is not signed: if the answer to it is not taken, another R1 may have the right one.
        same = exchange.r1.get(Puzzle) == packet.get(Puzzle)
        if same or generation < exchange.r1_counter or exchange.unanswered < IMPATIENCE:
            raise Dropped(DropReason.DUPLICATE)

    peer = identity_of(require(packet, HostId), packet)
    signature = require(packet, HipSignature2)
    if signature.algorithm != peer.algorithm or not peer.verify(
        signature2_coverage(packet.raw), signature.signature
    ):
        raise Dropped(DropReason.BAD_SIGNATURE)

    if local.public.hit_suite not in require(packet, HitSuiteList).suites:
        _try_another_identity(core, association, packet, now)
        return
    _check_group(exchange, packet)
    puzzle = require(packet, Puzzle)
    if puzzle.k > core.config.solve_difficulty_max:
        raise Dropped(DropReason.PUZZLE_TOO_HARD)
    function = rhash(peer.hit_suite)
    if len(puzzle.i) != function.digest_size:
        raise Dropped(DropReason.MALFORMED)
    _choose(core, packet)  # now rather than after the work
    if choose_mode(core.config.nat, packet) == 0:
        core.fail(association, "the peer offers no NAT traversal that this host has", now)
        return

    _adopt_hit(core, association, packet.sender_hit, path)
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
            puzzle_prefix(puzzle.i, local.hit, packet.sender_hit),
            function.digest_size,
            puzzle.k,
            now + lifetime_s,
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
    except IdentityError:
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
    if not mac2_holds(
        packet, session.rhash, session.hip_keys.incoming_integrity, exchange.host_id_tlv
    ):
        raise Dropped(DropReason.BAD_MAC)
    if not signature_holds(packet, session.peer):
        raise Dropped(DropReason.BAD_SIGNATURE)
    esp_info = require(packet, EspInfo)
    if esp_info.old_spi or esp_info.new_spi < SPI_MIN:
        raise Dropped(DropReason.BAD_SPI)
    locators = LocatorSet(())
    if exchange.offer is not None:
        key = session.hip_keys.incoming_encryption
        locators = checking.told_locators(packet, session.cipher, key)
    session.outbound_spi = esp_info.new_spi
    # I2 proved this path; where an R2 comes from, anybody can forge.
    proven = exchange.path or path
    association.initiating = None
    association.checks = None
    if exchange.offer is None:
        core.install_session(association, session, Direction.OUTBOUND, proven)
    else:
        checking.prepare(core, association, exchange.offer, locators, began=exchange.began)
    core.move(association, Trigger.R2, "R2 accepted")
    core.adopt(association, session, proven, now, began=exchange.began)
    checking.begin(core, association, now)
    if exchange.r1 is not None:
        # What was asked for may have been forgotten with an association before this one.
        requester.request(core, association, exchange.r1.get(RegInfo))
    requester.answered(core, association, packet, now)


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


def _check_group(exchange: InitiatorExchange, packet: HipPacket) -> None:
    """The group must be the Responder's first one that was offered to it (§4.1.7, §6.8)."""
    theirs = require(packet, DhGroupList).groups
    value = require(packet, DiffieHellman)
    best = choose_dh_group(theirs, exchange.dh_groups)
    if best is None:
        raise Dropped(DropReason.NO_PROPOSAL)
    if value.group != best:
        raise Dropped(DropReason.DOWNGRADE)


def _choose(core: Core, r1: HipPacket) -> tuple[int, int]:
    """Cipher and ESP suite, of those the Responder offers. Raises Dropped."""
    formats = r1.get(TransportFormatList)
    cipher = choose_offer(core.config.hip_ciphers, require(r1, HipCipher).ciphers)
    suite = choose_offer(core.config.esp_suites, require(r1, EspTransform).suites)
    if (
        cipher is None
        or suite is None
        or (formats is not None and ESP_FORMAT not in formats.formats)
    ):
        raise Dropped(DropReason.NO_PROPOSAL)
    return cipher, suite


def _try_another_identity(
    core: Core, association: Association, packet: HipPacket, now: float
) -> None:
    """The Responder cannot check our kind of HIT: call again with another (§6.8 step 6)."""
    exchange = association.initiating
    accepted = require(packet, HitSuiteList).suites
    other = next((i for i in core.identities.values() if i.public.hit_suite in accepted), None)
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
    cipher, suite = _choose(core, r1)
    puzzle, value = require(r1, Puzzle), require(r1, DiffieHellman)
    peer = identity_of(require(r1, HostId), r1)
    function = rhash(peer.hit_suite)
    own = DhKeyPair.generate(value.group)
    secret = own.shared_secret(value.public_value)
    keymat = Keymat(secret, puzzle.i, j, local.hit, peer.hit, function)
    hip_keys = draw_hip_keys(keymat, local.hit, peer.hit, cipher, function)
    index = keymat.index
    session = Session(
        peer=peer,
        rhash=function,
        hip_keys=hip_keys,
        esp_keys=draw_esp_keys(keymat, local.hit, peer.hit, suite),
        esp_suite=suite,
        cipher=cipher,
        dh_group=value.group,
        inbound_spi=core.new_spi(),
        solution=puzzle.i + j,
        keymat=keymat,
        salt=(puzzle.i, j),
        own_dh=own,
        peer_dh=value.public_value,
    )
    mode = choose_mode(core.config.nat, r1)
    locators = exchange.offer = None
    if mode == NatMode.ICE_HIP_UDP:
        exchange.offer = _offer(core, exchange, r1, now)
        locators = checking.own_locators(core, exchange.offer, session.inbound_spi)
    parameters: list[Parameter] = [
        EspInfo(index, 0, session.inbound_spi),
        Solution(puzzle.k, puzzle.opaque, puzzle.i, j),
        DiffieHellman(value.group, own.public_value),
        HipCipher((cipher,)),
        *_secrets(core, local, cipher, hip_keys.outgoing_encryption, locators),
        TransportFormatList((ESP_FORMAT,)),
        EspTransform((suite,)),
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
    i2 = protect(
        PacketType.I2,
        local,
        association.peer_hit,
        parameters,
        rhash=function,
        key=hip_keys.outgoing_integrity,
    )
    return session, _with_unsigned_echoes(i2, r1)


def _with_unsigned_echoes(i2: bytes, r1: HipPacket) -> bytes:
    """Add the answers that go behind the signature (§5.2.23), as far as they fit.

    Anybody on the way can put such echoes into an R1, so they must not keep the I2 from leaving.
    """
    parsed = HipPacket.parse(i2)
    answers: list[Parameter] = []
    room = MAX_LENGTH - len(i2)
    for echo in r1.all(EchoRequestUnsigned):
        room -= tlv.padded_length(len(echo.data))
        if room >= 0:
            answers.append(EchoResponseUnsigned(echo.data))
    if not answers:
        return i2
    return replace(parsed, parameters=(*parsed.parameters, *answers), raw=b"").emit()


def _secrets(
    core: Core, local: LocalIdentity, cipher: int, key: bytes, locators: LocatorSet | None
) -> list[Parameter]:
    """HOST_ID, hidden from onlookers if so configured and if there is a cipher (§5.3.3).

    Own locators are hidden in any case (RFC 9028 §4.3).
    """
    host_id = HostId(local.public.algorithm, local.public.encoded)
    hidden: list[Parameter] = [] if locators is None else [locators]
    hide_host_id = core.config.encrypt_host_id and bool(key)
    if hide_host_id:
        hidden.append(host_id)
    parameters: list[Parameter] = [] if hide_host_id else [host_id]
    return [*parameters, checking.encrypted(core, cipher, key, *hidden)] if hidden else parameters


def _offer(core: Core, exchange: InitiatorExchange, r1: HipPacket, now: float) -> Offer:
    """The own transport addresses for connectivity checks; a relay may have seen one of them."""
    if exchange.path is None:
        raise Dropped(DropReason.UNEXPECTED)
    seen = r1.get(RelayTo)
    return Offer(
        candidates=checking.own_candidates(
            core,
            exchange.path,
            now,
            seen=(seen.address, seen.port) if seen is not None else None,
        ),
        pacing_s=agreed_pacing(core.config.nat, r1),
    )


def _host_id_tlv(r1: HipPacket) -> bytes:
    entry = next(e for e in tlv.scan(r1.raw, _HEADER_OCTETS) if e.type == HostId.TYPE)
    return r1.raw[entry.start : entry.end]
