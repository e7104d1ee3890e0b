"""The Responder's side of the base exchange: I1 in, R1 out; I2 in, R2 out.

RFC 7401 §6.7, §6.9; RFC 7402 §6.4, §6.5.
"""

import hashlib

from hipgw.errors import IdentityError, WireError
from hipgw.identity.hit import hit_suite_of, is_hit
from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.keymat import HipKeys
from hipgw.identity.puzzle import verify_puzzle
from hipgw.protocol import notifying
from hipgw.protocol.agreement import agree
from hipgw.protocol.association import Association, Session
from hipgw.protocol.core import SPI_MIN, Core, Dropped, receiver, require
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Direction
from hipgw.protocol.mobile_router import client, correspondent
from hipgw.protocol.nat import checking, modes, offering
from hipgw.protocol.nat.checks import Offer
from hipgw.protocol.nat.config import CHECKED, NatMode
from hipgw.protocol.nat.negotiation import accept_mode, agreed_pacing
from hipgw.protocol.path import Path
from hipgw.protocol.peer_identity import identity_of
from hipgw.protocol.protection import mac_holds, protect, signature_holds
from hipgw.protocol.r1_pool import Generation
from hipgw.protocol.rate_limit import source_key
from hipgw.protocol.states import State
from hipgw.protocol.transitions import Trigger
from hipgw.protocol.versions.base import Choice, Unacceptable
from hipgw.protocol.versions.registry import VERSIONS
from hipgw.wire.notify import NotifyType
from hipgw.wire.packet import HEADER_LENGTH, HipPacket, PacketType, parse_parameters
from hipgw.wire.parameters import (
    DiffieHellman,
    Encrypted,
    EspInfo,
    HostId,
    LocatorSet,
    Parameter,
    R1Counter,
    Solution,
)

COLLISION_INTERVALS = 4
"""How long an own I1 keeps the peer's from being answered, in intervals of retransmission."""


def handle_i1(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Answer an I1 from what was made in advance; nothing is remembered (§6.7). Raises Dropped."""
    local = _called(core, packet)
    _check_sender(core, packet)
    if not core.i1_limit.allow(source_key(path.origin), now):
        raise Dropped(DropReason.RATE_LIMIT)
    association = core.find(local.hit, packet.sender_hit)
    if association is not None and local.hit < packet.sender_hit and _waits(core, association, now):
        # Both began. The greater HIT will be Responder, and it got our I1 or will.
        raise Dropped(DropReason.COLLISION)
    try:
        groups = VERSIONS[packet.version].answer_groups(core.config, packet)
    except Unacceptable as unacceptable:
        raise Dropped(unacceptable.reason) from None
    r1 = core.pool.r1(
        local,
        groups,
        packet.sender_hit,
        path.origin,
        now,
        relayed=path.relay_to is not None,
        compat=core.config.compat(packet.sender_hit),
    )
    core.send(r1, path, packet.sender_hit)


def handle_i2(core: Core, packet: HipPacket, path: Path, now: float) -> None:
    """Check an I2, cheapest first, make the association and answer with R2 (§6.9).

    Raises Dropped.
    """
    local = receiver(core, packet)
    _check_sender(core, packet)
    association = core.find(local.hit, packet.sender_hit)
    solution = require(packet, Solution)
    dh = require(packet, DiffieHellman)
    # Names this I2: the keys follow from it and from what this host has put in.
    used = hashlib.sha256(solution.i + solution.j + dh.public_value).digest()
    if association is None:
        core.check_room()
    elif _answer_again(core, association, used, path):
        return
    if association is not None and _gives_way(core, association, now):
        raise Dropped(DropReason.COLLISION)

    # The puzzle, before anything that costs more than a hash.
    version, compat = VERSIONS[packet.version], core.config.compat(packet.sender_hit)
    generation = _solved(core, packet, local, solution, path, now)
    if used in generation.used:
        raise Dropped(DropReason.REPLAYED_SOLUTION)

    # The peer has worked for it: from here on it is told what is wrong.
    choice = _choice(core, packet, local, path, now)
    mode = _mode(core, packet, local, path, now)
    try:
        own = generation.key_pair(dh.group)
        secret = own.shared_secret(dh.public_value)
    except IdentityError:
        raise Dropped(DropReason.BAD_DH) from None
    material = agree(
        version,
        compat,
        choice,
        secret,
        salt=(solution.i, solution.j),
        local_hit=local.hit,
        peer_hit=packet.sender_hit,
        responder_hit=local.hit,
    )
    keys = material.hip_keys
    peer = _host_identity(core, packet, choice, keys)
    swapped = compat.swapped_exchange_macs
    if not mac_holds(
        packet,
        material.mac_hash,
        keys.outgoing_integrity if swapped else keys.incoming_integrity,
    ):
        notifying.send(core, local, packet.sender_hit, NotifyType.HIP_MAC_FAILED, path, now)
        raise Dropped(DropReason.BAD_MAC)
    if not signature_holds(packet, peer):
        notifying.send(core, local, packet.sender_hit, NotifyType.AUTHENTICATION_FAILED, path, now)
        raise Dropped(DropReason.BAD_SIGNATURE)
    esp_info = require(packet, EspInfo)
    if esp_info.keymat_index != material.index or esp_info.old_spi or esp_info.new_spi < SPI_MIN:
        raise Dropped(DropReason.BAD_SPI)

    theirs = None
    if mode in CHECKED:
        theirs = offering.told_locators(
            packet,
            version,
            choice,
            keys.incoming_encryption,
            clear=mode == NatMode.ICE_STUN_UDP,
        )
    if association is None:
        association = core.create(local, packet.sender_hit)
    core.pool.use(generation, used, now)
    session = Session(
        version=version,
        compat=compat,
        peer=peer,
        choice=choice,
        puzzle_hash=material.puzzle_hash,
        rhash=material.mac_hash,
        hip_keys=keys,
        esp_keys=material.esp_keys,
        dh_group=dh.group,
        inbound_spi=core.new_spi(),
        outbound_spi=esp_info.new_spi,
        solution=used,
        keymat=material.keymat,
        salt=(solution.i, solution.j),
        own_dh=own,
        peer_dh=dh.public_value,
    )
    modes.settle(session, mode)
    correspondent.met(session, packet)
    client.lend_key(core, session)
    core.drop_registrations(association, "the peer has begun anew")
    association.initiator = False
    more: list[Parameter] = []
    if mode is not None and theirs is not None:
        more.append(_candidates(core, association, session, packet, theirs, mode, path, now))
    if core.registrar is not None:
        more += core.registrar.answer(core, association, packet, path, now)
    session.r2 = protect(
        PacketType.R2,
        local,
        packet.sender_hit,
        (EspInfo(material.index, 0, session.inbound_spi), *more),
        rhash=session.rhash,
        key=keys.incoming_integrity if swapped else keys.outgoing_integrity,
        host_id_tlv=core.pool.host_id_tlv(local),
        signature_2=compat.r2_signature_2,
    )
    core.stop_initiating(association)
    core.install_session(association, session, Direction.INBOUND, path)
    if association.checks is None:
        core.install_session(association, session, Direction.OUTBOUND, path)
    core.send(session.r2, path, packet.sender_hit)
    core.move(association, Trigger.I2, "I2 accepted")
    association.deadline = now + core.config.exchange_complete_s
    core.adopt(association, session, path, now, began=now)
    checking.begin(core, association, now)


def confirmed(core: Core, association: Association, reason: str, now: float) -> None:
    """R2 has arrived, as something shows: R2-SENT becomes ESTABLISHED."""
    if association.state is State.R2_SENT:
        association.deadline = None
        core.move(association, Trigger.CONFIRMED, reason)
        association.mobility.reconsider_at = now
        core.arm(association)


def _called(core: Core, packet: HipPacket) -> LocalIdentity:
    """The identity an I1 asks for; any suitable one if it asks for none (§4.1.8)."""
    if int(packet.receiver_hit):
        return receiver(core, packet)
    if not core.config.opportunistic:
        raise Dropped(DropReason.OPPORTUNISTIC)
    wanted = hit_suite_of(packet.sender_hit) if is_hit(packet.sender_hit) else 0
    identities = [i for i in core.identities.values() if i.public.version == packet.version]
    if not identities:
        raise Dropped(DropReason.VERSION)
    return next((i for i in identities if i.public.hit_suite == wanted), identities[0])


def _check_sender(core: Core, packet: HipPacket) -> None:
    if not is_hit(packet.sender_hit) or packet.sender_hit in core.identities:
        raise Dropped(DropReason.BAD_SENDER)
    if not core.config.accept(packet.sender_hit):
        raise Dropped(DropReason.POLICY)


def _waits(core: Core, association: Association, now: float) -> bool:
    """Whether an own I1 may still be answered.

    A peer behind a NAT cannot be called, only answered. With two R1 the collision is one of two I2,
    which `_gives_way` is for.
    """
    exchange = association.initiating
    if association.state is not State.I1_SENT or exchange is None:
        return False
    return now < exchange.began + COLLISION_INTERVALS * core.config.retransmit_s


def _answer_again(core: Core, association: Association, used: bytes, path: Path) -> bool:
    """Whether this I2 made the association already: then its R2 was lost, and is sent again."""
    session = association.session
    if session is None or not session.r2 or session.solution != used:
        return False
    if association.state not in {State.R2_SENT, State.ESTABLISHED}:
        raise Dropped(DropReason.REPLAYED_SOLUTION)
    # Where the first one came from: somebody else may play it again.
    core.send(session.r2, association.path or path, association.peer_hit)
    return True


def _gives_way(core: Core, association: Association, now: float) -> bool:
    """Whether an I2 is that of a collision which this host, with the smaller HIT, has won.

    The host with the greater HIT ends as Responder (§6.9 step 5). Its own I2 may come late, when
    the exchange is over already and it has given its part in it up.
    """
    if association.local_hit > association.peer_hit:
        return False
    since = association.established_at
    fresh = since is not None and now < since + core.config.exchange_complete_s
    return association.state is State.I2_SENT or (
        association.state is State.ESTABLISHED and association.initiator and fresh
    )


def _solved(
    core: Core,
    packet: HipPacket,
    local: LocalIdentity,
    solution: Solution,
    path: Path,
    now: float,
) -> Generation:
    """The generation of a puzzle that this host made for this peer, which has solved it (§6.9).

    Raises Dropped.
    """
    version, compat = VERSIONS[packet.version], core.config.compat(packet.sender_hit)
    group = require(packet, DiffieHellman).group
    counter = require(packet, R1Counter) if compat.r1_counter else packet.get(R1Counter)
    core.pool.rotate(now)
    generation = core.pool.generation(counter.counter if counter else None, solution.opaque)
    if generation is None:
        raise Dropped(DropReason.OLD_R1_COUNTER)
    try:
        groups = version.answer_groups(core.config, packet)
    except Unacceptable as unacceptable:
        raise Dropped(unacceptable.reason) from None
    genuine = core.pool.recognise(
        generation=generation,
        identity=local,
        groups=groups,
        difficulty=solution.k,
        opaque=solution.opaque,
        i=solution.i,
        initiator_hit=packet.sender_hit,
        initiator=path.origin,
    )
    if not genuine or group not in groups:
        raise Dropped(DropReason.FOREIGN_PUZZLE)
    if not verify_puzzle(
        version.puzzle_hash(local.hit),
        solution.k,
        solution.i,
        packet.sender_hit,
        local.hit,
        solution.j,
        length=version.puzzle_octets(local.hit),
        bits=compat.puzzle_bits,
        responder_first=compat.puzzle_responder_first,
    ):
        raise Dropped(DropReason.BAD_SOLUTION)
    return generation


def _choice(core: Core, packet: HipPacket, local: LocalIdentity, path: Path, now: float) -> Choice:
    """The Initiator's choices, all of which were offered. Raises Dropped."""
    try:
        return VERSIONS[packet.version].chosen(core.config, packet)
    except Unacceptable as unacceptable:
        if unacceptable.notify is not None:
            notifying.send(core, local, packet.sender_hit, unacceptable.notify, path, now)
        raise Dropped(unacceptable.reason) from None


def _mode(
    core: Core, packet: HipPacket, local: LocalIdentity, path: Path, now: float
) -> int | None:
    """The NAT traversal mode of an I2, one that was offered (RFC 9028 §4.3, §4.7.2)."""
    mode = accept_mode(core.config.nat, packet, relayed=path.relay_to is not None)
    if mode == 0:
        notifying.send(
            core,
            local,
            packet.sender_hit,
            NotifyType.NO_VALID_NAT_TRAVERSAL_MODE_PARAMETER,
            path,
            now,
            packet.raw[:HEADER_LENGTH],
        )
        raise Dropped(DropReason.NAT_MODE)
    return mode


def _candidates(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    theirs: LocatorSet,
    mode: int,
    path: Path,
    now: float,
) -> Parameter:
    """The own transport addresses, for R2; pairs with those of the peer are made (§4.3)."""
    offer = Offer(
        candidates=offering.own_candidates(core, path, now, relayed=modes.by_relays(session)),
        pacing_s=agreed_pacing(core.config.nat, packet, mode),
    )
    offer = offering.without_conflicts(core, association, offer, session.outbound_spi)
    way = modes.check_way(core, association, session)
    checking.prepare(core, association, way, offer, theirs, began=now)
    locators = offering.own_locators(core, offer, session.inbound_spi)
    if modes.tells_openly(session):
        return locators
    key = session.hip_keys.outgoing_encryption
    return offering.encrypted(core, session.version, session.choice, key, locators)


def _host_identity(core: Core, packet: HipPacket, choice: Choice, keys: HipKeys) -> HostIdentity:
    """The Initiator's Host Identity, in clear or inside ENCRYPTED, checked against its HIT."""
    version = VERSIONS[packet.version]
    host_id = packet.get(HostId)
    if host_id is None:
        encrypted = require(packet, Encrypted)
        try:
            inner = parse_parameters(
                version.decrypt(choice, keys.incoming_encryption, encrypted.data), version.number
            )
        except (IdentityError, WireError):
            raise Dropped(DropReason.DECRYPTION) from None
        host_id = next((p for p in inner if isinstance(p, HostId)), None)
        if host_id is None:
            raise Dropped(DropReason.DECRYPTION)
    return identity_of(core, host_id, packet)
