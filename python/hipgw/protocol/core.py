"""What the parts of the HIP machine share: tables, counters, and the effects of the moment."""

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, TypeVar

from hipgw.errors import LocalProtocolError, WireError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keymat import EspKeys
from hipgw.protocol import requester
from hipgw.protocol.association import Association, Mobility, Session
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import (
    CancelPuzzle,
    Closed,
    Direction,
    Effect,
    Established,
    Failed,
    InstallSA,
    PacketTrace,
    RemoveSA,
    SendDatagram,
    SendStun,
    StateChanged,
)
from hipgw.protocol.esp_formats import esp_format
from hipgw.protocol.mobile_router import client
from hipgw.protocol.nat.reflexive import ReflexiveAddresses
from hipgw.protocol.nat.stun_table import StunTable
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.protocol.r1_pool import R1Pool
from hipgw.protocol.rate_limit import RateLimit
from hipgw.protocol.registrar import Registrar
from hipgw.protocol.registration import Wanted
from hipgw.protocol.rendezvous.clients import RendezvousClients
from hipgw.protocol.retransmission import Retransmission
from hipgw.protocol.states import State
from hipgw.protocol.timers import Timers
from hipgw.protocol.transitions import TRANSITIONS, Trigger
from hipgw.wire.checksum import PseudoHeader
from hipgw.wire.insertion import with_parameters
from hipgw.wire.packet import HipPacket, PacketType, set_checksum
from hipgw.wire.parameters import Parameter, RelayTo, ViaRvs

if TYPE_CHECKING:
    from hipgw.protocol.mobile_router.router import MobileRouter

Required = TypeVar("Required", bound=Parameter)

SPI_MIN = 256
"""Lower values are reserved (RFC 4303 §2.1)."""
REKEY_JITTER = 0.1
"""Share of the keys' lifetime that chance takes off, so that not all are renewed at once."""
UP = frozenset({State.R2_SENT, State.ESTABLISHED})


class Dropped(Exception):  # noqa: N818 - an outcome, not an error
    """Ends the processing of a packet; never leaves the machine."""

    def __init__(self, reason: DropReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Core:
    """State of the machine, and the few operations that every part of it needs."""

    def __init__(
        self,
        config: MachineConfig,
        identities: Sequence[LocalIdentity],
        random: Callable[[int], bytes],
        now: float,
    ) -> None:
        if not identities:
            raise LocalProtocolError("a HIP machine needs a Host Identity of its own")
        self.config = config
        self.identities = {identity.hit: identity for identity in identities}
        self._own_hits = frozenset(identity.hit.packed for identity in identities)
        self.versions = frozenset(identity.version for identity in identities)
        """Of HIP, those that this host speaks."""
        self.random = random
        self.pool = R1Pool(config, random, now)
        self.pool.prepare(list(identities))
        self.associations: dict[tuple[IPv6Address, IPv6Address], Association] = {}
        self.opportunistic: dict[IPAddress, Association] = {}
        """Attempts without a known HIT, by the address that was called."""
        self.by_inbound_spi: dict[int, Association] = {}
        self.puzzles: dict[int, Association] = {}
        self.timers: Timers[Association] = Timers()
        self.i1_limit = RateLimit(config.i1_per_source, random(16))
        self.notify_limit = RateLimit(2, random(16))
        self.update_limit = RateLimit(20, random(16))
        self.too_big_limit = RateLimit(50, random(16))
        self.peer_too_big_limit = RateLimit(5, random(16))
        self.hint_limit = RateLimit(2, random(16))
        self.locators_limit = RateLimit(8, random(16))
        self.dh_limit = RateLimit(50, random(16))
        self.stun_limit = RateLimit(100, random(16))
        self.own_addresses: tuple[IPAddress, ...] = ()
        """Usable ones, the best first; empty while nobody has told."""
        self.addresses_known = False
        """Whether somebody has told, if only that there are none."""
        self.reflexive = ReflexiveAddresses()
        """As STUN servers and relays see them."""
        self.stun = StunTable()
        """Whom this host checks paths with by STUN."""
        self.registrar = Registrar(config.registrar, random) if config.registrar else None
        rendezvous = config.registrar.rendezvous if config.registrar else None
        self.rendezvous = RendezvousClients(rendezvous) if rendezvous else None
        """Who is registered for rendezvous."""
        self.now = now
        """As of the last input that told."""
        self.wanted: dict[IPv6Address, Wanted] = {}
        """Services that this host wants, by the registrar's HIT."""
        self.rendezvous_servers: dict[IPv6Address, Association] = {}
        """Those where this host is registered, by HIT."""
        self.mobile_routers: dict[IPv6Address, Association] = {}
        """Those where this host is registered, by HIT."""
        self.mobile_router: MobileRouter | None = None
        """The own one."""
        self.drops: Counter[DropReason] = Counter()
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.effects: list[Effect] = []
        self._next_request = 0

    # -- output ------------------------------------------------------------------------------

    def send(
        self,
        data: bytes,
        path: Path,
        peer_hit: IPv6Address | None,
        *,
        tail: bytes = b"",
        dont_fragment: bool = False,
    ) -> None:
        """Send a packet whose checksum field is zero; it is filled in where the path needs it.

        With an unknown own address the checksum cannot be made here: plain IP needs one. *tail* are
        octets behind the packet, which the receiver ignores (RFC 8200 §4.7).
        """
        name = PacketType(data[2] & 0x7F).name
        self.sent[name] += 1
        told: Parameter | None = None
        if path.relay_to is not None:
            # Tells the relay where to (RFC 9028 §4.8).
            told = RelayTo(*path.relay_to)
        elif path.via is not None:
            told = ViaRvs((path.via,))
        if told is not None:
            try:
                data = with_parameters(data, [told])
            except WireError:
                self.drops[DropReason.MALFORMED] += 1
                return
        if path.transport is Transport.RAW and path.local is not None:
            data = set_checksum(data, PseudoHeader(path.local, path.remote))
        data += tail
        self.effects.append(SendDatagram(data, path, dont_fragment))
        self.effects.append(PacketTrace(Direction.OUTBOUND, name, peer_hit, path, len(data)))

    def send_stun(self, message: bytes, path: Path, peer_hit: IPv6Address) -> None:
        """Send a STUN message to a peer."""
        self.sent["STUN"] += 1
        self.effects.append(SendStun(message, path))
        self.effects.append(PacketTrace(Direction.OUTBOUND, "STUN", peer_hit, path, len(message)))

    def move(self, association: Association, trigger: Trigger, reason: str) -> None:
        """Change the state as the table says, and tell of it."""
        old = association.state
        new = TRANSITIONS[old, trigger]
        association.state = new
        if new is not old:
            self.effects.append(
                StateChanged(association.local_hit, association.peer_hit, old, new, reason)
            )

    def request_number(self) -> int:
        """A number that names a puzzle or a ping."""
        self._next_request += 1
        return self._next_request

    def is_own(self, path: Path) -> bool:
        """Whether the local end of a path is (still) an address of this host, as far as known."""
        return path.local is None or not self.addresses_known or path.local in self.own_addresses

    def own_for(self, association: Association) -> tuple[IPAddress, ...]:
        """Own addresses that a peer is written to from, and told of, the best first."""
        if self.mobile_router is None:
            return self.own_addresses
        return self.mobile_router.own_for(self, association)

    # -- security associations ---------------------------------------------------------------

    def new_spi(self) -> int:
        """A random SPI that is not in use for inbound traffic here (RFC 7402 §3.4)."""
        while True:
            spi = int.from_bytes(self.random(4), "big")
            lent = self.mobile_router.spis.by_public if self.mobile_router is not None else ()
            if spi >= SPI_MIN and spi not in self.by_inbound_spi and spi not in lent:
                return spi

    def install(
        self,
        association: Association,
        direction: Direction,
        *,
        spi: int,
        session: Session,
        keys: EspKeys,
        path: Path,
        verified: bool = True,
        wire_spi: int = 0,
    ) -> None:
        """Have one security association installed, by its half of *keys*."""
        inbound = direction is Direction.INBOUND
        if inbound:
            self.by_inbound_spi[spi] = association
        if association.checks is not None and association.checks.permit_at is not None:
            # A data relay has to know the new SPI.
            association.checks.permit_at = 0.0
        self.effects.append(
            InstallSA(
                direction,
                association.local_hit,
                association.peer_hit,
                spi,
                session.esp_suite,
                keys.incoming_encryption if inbound else keys.outgoing_encryption,
                keys.incoming_authentication if inbound else keys.outgoing_authentication,
                path,
                verified,
                esp_format(session.version, session.compat),
                wire_spi,
            )
        )

    def install_session(
        self, association: Association, session: Session, direction: Direction, path: Path
    ) -> None:
        """Have one security association of a new session installed."""
        inbound = direction is Direction.INBOUND
        self.install(
            association,
            direction,
            spi=session.inbound_spi if inbound else session.outbound_spi,
            session=session,
            keys=session.esp_keys,
            path=path,
            wire_spi=0 if inbound else session.label,
        )

    def uninstall(self, association: Association, session: Session) -> None:
        """Have all security associations of a session removed."""
        current = association.session
        kept = current.outbound_spi if current is not None and current is not session else 0
        inbound = [session.inbound_spi, *session.other_inbound_spis()]
        for direction, spi in (
            (Direction.OUTBOUND, session.outbound_spi),
            *((Direction.INBOUND, spi) for spi in inbound),
        ):
            # A restarted peer may have drawn the same SPI again.
            if spi and not (direction is Direction.OUTBOUND and spi == kept):
                self.effects.append(
                    RemoveSA(direction, association.local_hit, association.peer_hit, spi)
                )
        for spi in inbound:
            self.by_inbound_spi.pop(spi, None)

    def schedule_rekey(self, association: Association, session: Session, now: float) -> None:
        """The ESP keys are new: decide when their time is over.

        The Initiator of the base exchange is a little earlier, so that both ends seldom begin at
        once.
        """
        lifetime_s = self.config.rekey_s
        if lifetime_s <= 0:
            session.rekey_at = None
            return
        share = REKEY_JITTER * int.from_bytes(self.random(2), "big") / 65536
        share += REKEY_JITTER if association.initiator else 0
        session.rekey_at = now + lifetime_s * (1 - share)
        self.arm(association)

    # -- associations ------------------------------------------------------------------------

    def is_for_nobody(self, data: bytes) -> bool:
        """Whether the octets of a packet name a receiver that is none of the own HITs."""
        hit = data[24:40]
        return len(hit) == 16 and hit not in self._own_hits and any(hit)

    def find(self, local_hit: IPv6Address, peer_hit: IPv6Address) -> Association | None:
        """The association of a pair of HITs."""
        if self.rendezvous is not None:
            self.rendezvous.wake(self, peer_hit)
        return self.associations.get((local_hit, peer_hit))

    def with_peer(self, peer_hit: IPv6Address) -> list[Association]:
        """The associations with a peer, at most one for each of the own identities."""
        if self.rendezvous is not None:
            self.rendezvous.wake(self, peer_hit)
        found = (self.associations.get((hit, peer_hit)) for hit in self.identities)
        return [association for association in found if association is not None]

    def check_room(self) -> None:
        """Raise Dropped when no further association can be remembered."""
        if len(self.associations) >= self.config.associations_max:
            raise Dropped(DropReason.TABLE_FULL)

    def create(self, local: LocalIdentity, peer_hit: IPv6Address) -> Association:
        """Begin to remember a peer. Raises Dropped when the table is full."""
        self.check_room()
        association = Association(local=local, peer_hit=peer_hit)
        self.associations[local.hit, peer_hit] = association
        return association

    def forget(self, association: Association) -> None:
        """Remove everything about a peer."""
        self.stop_initiating(association)
        self.drop_registrations(association, "the association is over")
        association.closing = None
        association.deadline = None
        self.timers.disarm(association)
        if association.session is not None:
            self.uninstall(association, association.session)
            association.session = None
        key = (association.local_hit, association.peer_hit)
        if self.associations.get(key) is association:
            del self.associations[key]
        self.stun.remove(association)
        self.hang_up(association)

    def drop_registrations(self, association: Association, reason: str) -> None:
        """Both sides forget what one has registered for at the other, and how they met."""
        self.end_checks(association)
        requester.drop(self, association, reason)
        if self.registrar is not None:
            self.registrar.drop(self, association, reason)

    def end_checks(self, association: Association) -> None:
        """Forget how a path was found, and look for none any more."""
        checks, association.checks = association.checks, None
        if checks is not None:
            checks.way.cancel_all(association)

    def call(self, association: Association, address: IPAddress) -> None:
        """Have an opportunistic attempt wait for an answer from an address, the last one alone."""
        before = self.opportunistic.get(address)
        if before is association:
            return
        self.opportunistic[address] = association
        association.called.append(address)
        if before is not None:
            before.called.remove(address)
            if not before.called:
                self.forget(before)

    def hang_up(self, association: Association) -> None:
        """An opportunistic attempt is over, or has got to know whom it talks to."""
        for address in association.called:
            del self.opportunistic[address]
        association.called.clear()

    def arm(self, association: Association) -> None:
        """See to it that the machine is called in time for an association."""
        when = association.next_timer(self.config.ual_s)
        if when is not None:
            self.timers.arm(association, when)

    def stop_initiating(self, association: Association) -> None:
        """End an own base exchange: its puzzle, its timer, its unused security association."""
        exchange = association.initiating
        if exchange is None:
            return
        association.initiating = None
        if exchange.puzzle_request is not None:
            self.puzzles.pop(exchange.puzzle_request, None)
            self.effects.append(CancelPuzzle(exchange.puzzle_request))
        if exchange.session is not None and exchange.session is not association.session:
            self.uninstall(association, exchange.session)

    def adopt(
        self, association: Association, session: Session, path: Path, now: float, *, began: float
    ) -> None:
        """A base exchange is complete: its session is in force, the one before goes."""
        before = association.session
        association.session = session
        association.path = path
        association.closing = None
        association.pings.clear()
        association.updates.clear()
        association.path_mtu = None
        association.last_traffic = now
        association.mobility = mobility = Mobility(
            home=association.mobility.home, rendezvous=association.mobility.rendezvous
        )
        mobility.locators.begin(path.remote, path.locator_port)
        mobility.family = path.remote.version
        mobility.preferred = path.local
        mobility.announced = (path.local,) if path.local is not None else ()
        # What there is to announce has to wait until R2 is there.
        mobility.reconsider_at = now if association.initiator else None
        if path.transport is Transport.UDP and self.config.keepalive_s > 0:
            mobility.keepalive_at = now + self.config.keepalive_s
        association.established_at = now
        association.exchange_s = now - began
        self.schedule_rekey(association, session, now)
        self.arm(association)
        if before is not None and before is not session:
            self.uninstall(association, before)
        client.met(self, association, now)
        if association.checks is not None:
            return  # data has to wait for a path (RFC 9028 §4.6)
        self.effects.append(
            Established(
                association.local_hit,
                association.peer_hit,
                path,
                association.initiator,
                now - began,
            )
        )

    def fail(self, association: Association, reason: str, now: float) -> None:
        """Give an own base exchange up."""
        self.stop_initiating(association)
        self.move(association, Trigger.GIVE_UP, reason)
        association.deadline = now + self.config.failed_s
        self.arm(association)
        peer_hit = None if association.called else association.peer_hit
        self.effects.append(Failed(association.local_hit, peer_hit, reason))

    def tell_closed(self, association: Association, reason: str) -> None:
        """Data cannot flow any more."""
        if association.session is not None:
            self.uninstall(association, association.session)
        association.pings.clear()
        association.updates.clear()
        association.path_mtu = None
        self.drop_registrations(association, reason)
        self.effects.append(Closed(association.local_hit, association.peer_hit, reason))

    def retransmission(self, now: float) -> Retransmission:
        """The timer of an exchange whose first packet has just left."""
        config = self.config
        return Retransmission(
            now,
            first_s=config.retransmit_s,
            limit_s=config.retransmit_max_s,
            retries=config.retries,
            random=self.random,
        )


def require(packet: HipPacket, kind: type[Required]) -> Required:
    """A parameter that the packet must have. Raises Dropped."""
    found = packet.get(kind)
    if found is None:
        raise Dropped(DropReason.MISSING_PARAMETER)
    return found


def receiver(core: Core, packet: HipPacket) -> LocalIdentity:
    """The own identity a packet is for. Raises Dropped."""
    identity = core.identities.get(packet.receiver_hit)
    if identity is None:
        raise Dropped(DropReason.NOT_OUR_HIT)
    return identity
