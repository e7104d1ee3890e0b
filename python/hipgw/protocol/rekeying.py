"""New keys and SPIs for a pair of ESP security associations (RFC 7402 §6.8 to §6.10).

Both ends know everything about the new pair once each has the other's ESP_INFO. From then on the
new inbound one is there. The new outbound one takes over when it is certain that the peer is as
far: when it has acknowledged, or sends by its own. The old inbound one stays a while for packets
that are still on their way.
"""

from hipgw.errors import IdentityError
from hipgw.identity.dh import DhKeyPair
from hipgw.identity.esp_suites import esp_suite
from hipgw.protocol import closing, paths, sa_pairs, update_tasks
from hipgw.protocol.agreement import esp_keys
from hipgw.protocol.association import Association, Rekey, Session
from hipgw.protocol.core import SPI_MIN, UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Direction, Rekeyed
from hipgw.protocol.esp_formats import esp_format
from hipgw.protocol.mobile_router import client
from hipgw.protocol.mobile_router.labels import wire_spi
from hipgw.protocol.path import Path
from hipgw.protocol.update_tasks import UpdateTask
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import DiffieHellman, EspInfo, Parameter

WAIT_S = 20.0
"""How long a peer that has acknowledged may take for its part (§6.8 step 5)."""
RESTARTS_MAX = 3
"""How often it is asked anew then, before the association is given up."""
AGAIN_S = 30.0
"""After a rekeying that could not be begun, until the next try."""
UNUSED_S = 60.0
"""How long an old inbound SA stays if no packet comes on the new one; else `GRACE_S`."""
SHORT_SEQUENCE_PACKETS = 1 << 31
"""Half of the sequence numbers of 32 bits, which must not be used up (RFC 4303 §3.3.3)."""
LAST_INDEX = 0xFFFF
"""ESP_INFO has 16 bits for the KEYMAT index."""


def begin(core: Core, association: Association, now: float, *, dh: bool) -> bool:
    """Have the keys renewed (§6.8), by a new Diffie-Hellman if *dh*; False if it cannot be now."""
    session, path = association.session, association.path
    if association.state not in UP or session is None or path is None or session.rekey:
        return False
    if not core.is_own(path) or session.compat.bare_updates:
        return False
    rekey = _new(core, session, dh=dh or not _keymat_lasts(session, session.keymat.index))
    session.rekey = rekey
    _ask(core, association, session, rekey, path, now)
    return True


def ready(core: Core, session: Session) -> None:
    """Have a rekeying there that is not asked for yet: an announcement is to carry it."""
    if session.rekey is None:
        dh = not _keymat_lasts(session, session.keymat.index)
        session.rekey = _new(core, session, dh=dh)


def received(
    core: Core,
    association: Association,
    session: Session,
    packet: HipPacket,
    info: EspInfo,
    source: Path,
    now: float,
) -> list[Parameter]:
    """Process ESP_INFO of a new UPDATE (§6.9); returns what the answer is to carry, if anything.

    What is returned needs a SEQ; pass the task of it to `answered`. Raises Dropped.
    """
    if info.old_spi == info.new_spi:
        # For middleboxes only (RFC 8046 §5.3).
        return []
    if not info.new_spi:
        sa_pairs.withdraw(core, association, session, info.old_spi, now)
        return []
    rekey, spare = session.rekey, session.spare_of(info.old_spi)
    if (
        info.new_spi == session.outbound_spi
        or session.spare_of(info.new_spi) is not None
        or (rekey is not None and rekey.peer is not None and rekey.peer.new_spi == info.new_spi)
    ):
        # The peer asks in another UPDATE for the same, as it has moved meanwhile: so the answer
        # is lost, and would be a while at its old address.
        if rekey is not None and rekey.task is not None and not rekey.acknowledged:
            update_tasks.send_again(core, association, rekey.task, source)
            # It is there, so it is not to be given up for not having answered so far.
            rekey.task.retransmission = core.retransmission(now)
            core.arm(association)
        return []
    if info.new_spi < SPI_MIN:
        raise Dropped(DropReason.BAD_SPI)
    if info.old_spi == session.outbound_spi:
        replaced = session.inbound_spi
    elif spare is not None:
        replaced = spare.inbound_spi
    elif not info.old_spi:
        replaced = 0
        sa_pairs.check_room(session)
    else:
        raise Dropped(DropReason.BAD_SPI)
    if rekey is not None and rekey.old_spi != replaced:
        # One after the other. The peer asks again.
        raise Dropped(DropReason.UNEXPECTED)
    dh = packet.get(DiffieHellman)
    if dh is not None and (info.keymat_index != 0 or dh.group != session.dh_group):
        raise Dropped(DropReason.BAD_DH)
    if dh is not None and not core.dh_limit.allow(association.peer_hit, now):
        # It costs this host more than the peer, which may use one value again and again.
        raise Dropped(DropReason.RATE_LIMIT)

    if rekey is not None and rekey.peer is not None:
        # It began anew, so it has given up what it had asked for.
        _forget(core, association, session, now)
        rekey = None
    answer: list[Parameter] = []
    if rekey is None:
        # A peer that gives a new key wants secrecy from what may come out later: join it.
        index = max(session.keymat.index, info.keymat_index)
        renew = dh is not None or not _keymat_lasts(session, index)
        rekey = session.rekey = _new(core, session, dh=renew)
        rekey.old_spi, rekey.replaces = replaced, spare
        if not renew:
            rekey.index = index
        answer = parameters(session, rekey)
    rekey.wire_spi = wire_spi(packet, info.new_spi)
    rekey.peer, rekey.peer_dh = info, dh.public_value if dh is not None else None
    if not _prepare(core, association, session, rekey):
        _forget(core, association, session, now)
        raise Dropped(DropReason.BAD_DH)
    if rekey.acknowledged:
        _finish(core, association, session, now)
    core.arm(association)
    return answer


def answered(session: Session, task: UpdateTask) -> None:
    """The answer that `received` asked for is under way."""
    if session.rekey is not None:
        session.rekey.task = task


def data_came(core: Core, association: Association, spi: int, now: float) -> None:
    """The first authentic packet on an inbound SA: the peer has gone over to it."""
    session = association.session
    if session is None:
        return
    rekey = session.rekey
    if rekey is not None and rekey.keys is not None and spi == rekey.new_spi:
        _finish(core, association, session, now)
    if spi == session.inbound_spi:
        for old in session.retired:
            old.until = min(old.until, now + sa_pairs.GRACE_S)
        core.arm(association)


def used(core: Core, association: Association, packets: int, octets: int, now: float) -> None:
    """One of the two security associations has carried so much by now: renew it in time."""
    config, session = core.config, association.session
    short = session is not None and not esp_format(session.version, session.compat).esn
    if (
        (config.rekey_packets and packets >= config.rekey_packets)
        or (config.rekey_octets and octets >= config.rekey_octets)
        or (short and packets >= SHORT_SEQUENCE_PACKETS)
    ):
        begin(core, association, now, dh=config.rekey_dh)


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Do what is due."""
    session = association.session
    if session is None:
        return
    due = [old for old in session.retired if old.until <= now]
    for old in due:
        sa_pairs.remove_inbound(core, association, old.spi)
    session.retired = [old for old in session.retired if old.until > now]
    if session.rekey is not None:
        _look_after(core, association, session, session.rekey, now)
    elif session.rekey_at is not None and session.rekey_at <= now:
        session.rekey_at = now + AGAIN_S
        begin(core, association, now, dh=core.config.rekey_dh)


def _look_after(
    core: Core, association: Association, session: Session, rekey: Rekey, now: float
) -> None:
    """Ask anew a peer that has acknowledged, but not done its part (§6.8 step 5).

    With the same SPI and key: whatever the peer has made of the first request, it must not end
    with other keys than this host. For the same reason a request is never just forgotten.
    """
    if rekey.deadline is None or rekey.deadline > now:
        return
    if association.path is not None and not core.is_own(association.path):
        rekey.deadline = now + WAIT_S
        return
    rekey.restarts += 1
    if rekey.restarts > RESTARTS_MAX or association.path is None:
        closing.begin(core, association, "the peer does not renew its keys", now)
        return
    _ask(core, association, session, rekey, association.path, now)


def _ask(
    core: Core,
    association: Association,
    session: Session,
    rekey: Rekey,
    path: Path,
    now: float,
) -> None:
    """Send the own part as a request."""
    rekey.acknowledged, rekey.deadline = False, None
    rekey.task = update_tasks.begin(
        core,
        association,
        session,
        parameters(session, rekey),
        [path],
        now,
        acknowledged=acknowledged,
        abandoned=abandoned,
        routes=paths.current,
    )


def _new(core: Core, session: Session, *, dh: bool) -> Rekey:
    # From the cryptographic libraries, as in the base exchange.
    own_dh = DhKeyPair.generate(session.dh_group) if dh else None
    return Rekey(
        new_spi=core.new_spi(),
        index=0 if dh else session.keymat.index,
        own_dh=own_dh,
        old_spi=session.inbound_spi,
    )


def parameters(session: Session, rekey: Rekey) -> list[Parameter]:
    """The own part of a rekeying, as it is sent."""
    own: list[Parameter] = [EspInfo(rekey.index, rekey.old_spi, rekey.new_spi)]
    if rekey.own_dh is not None:
        own.append(session.version.diffie_hellman(rekey.own_dh))
    return own


def _keymat_lasts(session: Session, index: int) -> bool:
    """Whether four more ESP keys can be drawn from an index on."""
    lengths = esp_suite(session.esp_suite)
    wanted = 2 * (lengths.encryption_key_length + lengths.authentication_key_length)
    return index + wanted <= min(LAST_INDEX, session.keymat.limit)


def acknowledged(
    core: Core,
    association: Association,
    task: UpdateTask,
    _packet: HipPacket,
    _path: Path,
    now: float,
) -> None:
    """An UPDATE was acknowledged: if it is the own part, the peer has it."""
    session = association.session
    if session is None or session.rekey is None or session.rekey.task is not task:
        return
    session.rekey.acknowledged = True
    if session.rekey.keys is not None:
        _finish(core, association, session, now)
    else:
        session.rekey.deadline = now + WAIT_S
        core.arm(association)


def abandoned(core: Core, association: Association, task: UpdateTask, now: float) -> None:
    """An UPDATE was not: if it is the own part, the peer is gone (RFC 7401 §6.11 step 4).

    Unless it was heard since it was asked: then the way back was broken meanwhile, as after a move.
    """
    session, path = association.session, association.path
    rekey = session.rekey if session is not None else None
    if session is None or rekey is None or rekey.task is not task:
        return
    # The last answer may have been on its way for as long as the longest wait for one.
    since = min(task.sent, now - core.config.retransmit_max_s)
    heard = association.mobility.heard_at > since
    if heard and path is not None and rekey.restarts < RESTARTS_MAX:
        rekey.restarts += 1
        _ask(core, association, session, rekey, path, now)
        return
    closing.begin(core, association, "no answer to UPDATE (rekeying)", now)


def _prepare(core: Core, association: Association, session: Session, rekey: Rekey) -> bool:
    """Both parts are known: draw the keys (§6.10 steps 1 to 3); False if that cannot be."""
    peer, path = rekey.peer, association.path
    if peer is None or path is None:
        return False
    hits = association.local_hit, association.peer_hit
    try:
        if rekey.own_dh is None and rekey.peer_dh is None:
            keymat = session.keymat
            keymat.index = max(rekey.index, peer.keymat_index)
        else:
            own = rekey.own_dh or session.own_dh
            secret = own.shared_secret(rekey.peer_dh or session.peer_dh)
            keymat = session.version.keymat(
                secret, session.salt, hits, session.puzzle_hash, session.compat
            )
        rekey.keys = esp_keys(keymat, *hits, session.esp_suite, session.compat)
    except IdentityError:
        return False
    rekey.keymat = keymat
    core.install(
        association,
        Direction.INBOUND,
        spi=rekey.new_spi,
        session=session,
        keys=rekey.keys,
        path=path,
    )
    return True


def _finish(core: Core, association: Association, session: Session, now: float) -> None:
    """Send by the new security association from now on (§6.10 step 4)."""
    rekey, path = session.rekey, association.path
    if rekey is None or rekey.keys is None or rekey.keymat is None or path is None:
        return
    if rekey.peer is None:
        return
    mobility = association.mobility
    if rekey.task not in (mobility.announcement, *mobility.challenges.values()):
        # Those two ask for more than keys.
        update_tasks.cancel(association, rekey.task)
    old_outbound = session.outbound_spi
    session.keymat = rekey.keymat
    session.own_dh = rekey.own_dh or session.own_dh
    session.peer_dh = rekey.peer_dh or session.peer_dh
    session.rekey = None
    if rekey.old_spi != session.inbound_spi:
        sa_pairs.keep_spare(core, association, session, rekey, now, now + UNUSED_S)
        core.arm(association)
        return
    sa_pairs.retire(core, association, session, session.inbound_spi, now + UNUSED_S)
    session.inbound_spi, session.outbound_spi = rekey.new_spi, rekey.peer.new_spi
    session.wire_spi_before, session.wire_spi = session.wire_spi, rekey.wire_spi
    session.esp_keys = rekey.keys
    session.rekeyed += 1
    sa_pairs.rebind(association, old_outbound, session.outbound_spi)
    sa_pairs.in_use_now(core, association, session, old_outbound, now)
    renewed = rekey.own_dh is not None or rekey.peer_dh is not None
    core.effects.append(
        Rekeyed(
            association.local_hit,
            association.peer_hit,
            session.inbound_spi,
            session.outbound_spi,
            renewed,
        )
    )
    core.arm(association)
    client.changed(core, association, now)


def _forget(core: Core, association: Association, session: Session, now: float) -> None:
    """Give a rekeying up; the pair in force stays."""
    rekey, mobility = session.rekey, association.mobility
    if rekey is None:
        return
    update_tasks.cancel(association, rekey.task)
    if rekey.task is not None and rekey.task is mobility.announcement:
        # Own addresses were announced along with it: that has to be done without it.
        mobility.announcement, mobility.announced, mobility.reconsider_at = None, (), now
    if rekey.keys is not None:
        sa_pairs.remove_inbound(core, association, rekey.new_spi)
    session.rekey = None
    core.arm(association)
