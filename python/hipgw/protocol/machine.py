"""The HIP machine: bytes and the time go in, effects come out (RFC 7401, RFC 7402)."""

import math
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from itertools import islice

from hipgw.errors import LocalProtocolError
from hipgw.identity.hit import hit_version, is_hit
from hipgw.identity.host_identity import LocalIdentity
from hipgw.protocol import (
    association_infos,
    closing,
    due,
    initiator,
    mobility,
    probing,
    reachability,
    registration_infos,
    rekeying,
    requester,
    responder,
    updating,
)
from hipgw.protocol.association_infos import AssociationInfo
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.core import UP, Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.protocol.effects import Effect
from hipgw.protocol.mobile_router import correspondent
from hipgw.protocol.mobile_router.clients import ClientInfo
from hipgw.protocol.mobile_router.router import MobileRouter
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.nat import discovery, restart
from hipgw.protocol.nat.reflexive import Reflexive
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.reception import Reception
from hipgw.protocol.registration import RegistrationInfo
from hipgw.protocol.states import State
from hipgw.wire.icmp import TooBig

_NO_NEW_EXCHANGE = UP | {State.I1_SENT, State.I2_SENT}


class HipMachine:
    """All associations of this host, and everything that exists before one does.

    It does no I/O and reads no clock. `now` is in seconds and must not run backwards; `random`
    returns as many unpredictable octets as it is asked for. Call `timer_expired` when
    `next_timer` says so; ask anew after every call. Bytes from outside never raise: what is
    wrong with them is counted by `DropReason`.
    """

    def __init__(
        self,
        config: MachineConfig,
        identities: Sequence[LocalIdentity],
        random: Callable[[int], bytes],
        now: float,
    ) -> None:
        """*identities*: own Host Identities, the preferred one first; at least one."""
        self._core = Core(config, identities, random, now)
        self._preferred = identities[0]
        self._reception = Reception(self._core, random)
        registrar = config.registrar
        if registrar is not None and registrar.mobile_router is not None:
            self._core.mobile_router = MobileRouter(registrar.mobile_router, random)

    # -- inputs ------------------------------------------------------------------------------

    def connect(
        self,
        peer_hit: IPv6Address | None,
        paths: Sequence[Path],
        now: float,
        *,
        local_hit: IPv6Address | None = None,
    ) -> list[Effect]:
        """Begin a base exchange, unless one is under way or done.

        The I1 goes along all paths; the one that is answered first is used. A HIT of None is
        opportunistic. Raises LocalProtocolError if it cannot be begun at all.
        """
        core = self._core
        local = self._caller(peer_hit) if local_hit is None else core.identities.get(local_hit)
        if local is None:
            raise LocalProtocolError(f"{local_hit} is not a HIT of this host")
        if peer_hit in core.identities:
            raise LocalProtocolError(f"{peer_hit} is this host itself")
        if peer_hit is None and not core.config.opportunistic:
            raise LocalProtocolError(
                "opportunistic mode is off", hint="set hip.opportunistic = true to allow it"
            )
        if not paths:
            raise LocalProtocolError(f"there is no address to reach {peer_hit} at")
        if peer_hit is not None:
            known = core.find(local.hit, peer_hit)
            if known is not None and known.state in _NO_NEW_EXCHANGE:
                return []
        try:
            initiator.begin(core, local, peer_hit, paths, now)
        except Dropped as dropped:
            core.drops[dropped.reason] += 1
            raise LocalProtocolError("too many associations are being made") from None
        return self._drain()

    def recall(self, peer_hit: IPv6Address, paths: Sequence[Path], now: float) -> list[Effect]:
        """Mobile router: call a client that was registered before this host was restarted.

        As `connect`, and the client is offered the service again as soon as it has answered. With
        many clients the caller does this a few at a time.
        """
        effects = self.connect(peer_hit, paths, now)
        for association in self._core.with_peer(peer_hit):
            if association.initiating is not None:
                association.initiating.recalls = True
        return effects

    def found_at(self, peer_hit: IPv6Address, paths: Sequence[Path], now: float) -> list[Effect]:
        """A peer that is being called and has not answered may be here as well; else nothing."""
        for association in self._core.with_peer(peer_hit):
            initiator.widen(self._core, association, paths, now)
        return self._drain()

    def datagram_received(self, data: bytes, path: Path, now: float) -> list[Effect]:
        """Process one HIP packet, without any UDP marker; never raises."""
        self._reception.take(data, path, now)
        return self._drain()

    def transit_received(
        self, data: bytes, transit: Transit, now: float, *, inside: bool
    ) -> list[Effect]:
        """Mobile router: pass on a HIP packet (without any UDP marker); never raises.

        *inside*: whether it came from there. What is for this host itself is for
        `datagram_received`; what is for a client of its rendezvous server or relay may come by
        either.
        """
        core = self._core
        core.now = now
        router = core.mobile_router
        if router is not None:
            pass_on = router.going_out if inside else router.coming_in
            try:
                pass_on(core, data, transit, now)
            except Dropped as dropped:
                if not self._reception.take_for_served(data, transit, dropped.reason, now):
                    core.drops[dropped.reason] += 1
        return self._drain()

    def outside_changed(self, places: Sequence[Place], now: float) -> list[Effect]:
        """Mobile router: these are the own places outside now, the best first.

        Without any, clients wait for one.
        """
        if self._core.mobile_router is not None:
            self._core.mobile_router.outside_changed(self._core, places, now)
        return self._drain()

    def spis_used(self, public_spis: Sequence[int], now: float) -> None:
        """Mobile router: data flowed by these public SPIs lately."""
        if self._core.mobile_router is not None:
            self._core.mobile_router.used(public_spis, now)

    def outside_place(self, client_hit: IPv6Address, peer_hit: IPv6Address) -> Place | None:
        """Mobile router: where data of a client for a correspondent leaves from.

        None while there is no way. Ask again after `LendSpi`, and when the own places have changed.
        """
        router = self._core.mobile_router
        return router.place_of(client_hit, peer_hit) if router is not None else None

    def mobile_router_clients(self) -> list[ClientInfo]:
        """Mobile router: all that are registered, and where; those of whom `recall` is to know."""
        router = self._core.mobile_router
        return router.infos(self._core) if router is not None else []

    def timer_expired(self, now: float) -> list[Effect]:
        """Do whatever is due."""
        core = self._core
        core.now = now
        if core.mobile_router is not None:
            core.mobile_router.timer_expired(core, now)
        if core.rendezvous is not None:
            core.rendezvous.expire(core, now)
        associations = core.timers.expired(now)
        try:
            for association in associations:
                due.look_at(core, association, now)
        finally:
            # Also those whose time has moved away, and whatever happens to one of them.
            for association in associations:
                core.arm(association)
        return self._drain()

    def puzzle_solved(self, request: int, j: bytes | None, now: float) -> list[Effect]:
        """The answer to `SolvePuzzle`; None if it was not found in time."""
        try:
            initiator.puzzle_solved(self._core, request, j, now)
        except Dropped as dropped:
            self._core.drops[dropped.reason] += 1
        return self._drain()

    def data_received(self, spi: int, now: float) -> list[Effect]:
        """An authentic ESP packet came in on this inbound SPI: R2 has arrived (§4.4.3)."""
        association = self._core.by_inbound_spi.get(spi)
        if association is not None:
            association.last_traffic = now
            responder.confirmed(self._core, association, "data came in", now)
            rekeying.data_came(self._core, association, spi, now)
        return self._drain()

    def sa_used(self, spi: int, packets: int, octets: int, now: float) -> list[Effect]:
        """So much went by an inbound or outbound security association by now.

        *spi* is the inbound one of the pair, or the outbound one; its keys are renewed in time.
        """
        association = self._core.by_inbound_spi.get(spi)
        if association is not None and association.state in UP:
            rekeying.used(self._core, association, packets, octets, now)
        return self._drain()

    def rekey(self, peer_hit: IPv6Address, now: float, *, dh: bool = True) -> list[Effect]:
        """Renew the ESP keys of a peer now; nothing happens while that is under way.

        Raises LocalProtocolError without an association.
        """
        up = [one for one in self._core.with_peer(peer_hit) if one.state in UP]
        if not up:
            raise LocalProtocolError(
                f"there is no association with {peer_hit}",
                hint="`hipgw connect` makes one; `hipgw associations` lists those there are",
            )
        for association in up:
            rekeying.begin(self._core, association, now, dh=dh)
        return self._drain()

    def addresses_changed(self, addresses: Sequence[IPAddress], now: float) -> list[Effect]:
        """All usable own addresses are these now, of both families, the best first (RFC 8046).

        Without any, associations wait for one. A mobile router tells its clients those inside, and
        everybody else those outside: call `outside_changed` before this.
        """
        self._core.reflexive.keep_only(addresses)
        if self._core.rendezvous is not None:
            # Whom this host cannot write to any more has to be told where it is.
            for hit in self._core.rendezvous.displaced(addresses):
                self._core.rendezvous.wake(self._core, hit)
        mobility.addresses_changed(self._core, addresses, now)
        for association in list(self._core.associations.values()):
            restart.moved(self._core, association, now)
        discovery.addresses_changed(self._core, now)
        return self._drain()

    def reflexive_address(self, seen: Reflexive, now: float, *, lifetime_s: float) -> None:
        """A STUN server has told how it sees an own transport address (RFC 9028 §4.2).

        That is a candidate for *lifetime_s* seconds, or until the own address goes.
        """
        if seen.local[0] in self._core.own_addresses:
            self._core.reflexive.learn(seen, now + lifetime_s)

    def stun_received(self, data: bytes, path: Path, now: float) -> list[Effect]:
        """Process a STUN message that answers no question of this host to a server; never raises.

        Peers check paths by them (RFC 5770 §4.6).
        """
        self._reception.take_stun(data, path, now)
        return self._drain()

    def source_changed(self, spi: int, source: Path, now: float) -> list[Effect]:
        """Authentic data on an inbound SPI came by another path than before (a NAT, say).

        Nothing is sent there before the peer is known to be there.
        """
        association = self._core.by_inbound_spi.get(spi)
        if association is not None:
            reachability.source_seen(self._core, association, source, now)
        return self._drain()

    def path_silent(self, peer_hit: IPv6Address, now: float) -> list[Effect]:
        """A peer is not heard any more, though the link is up: try all other pairs of addresses.

        If the path was found by connectivity checks, they are begun anew (RFC 9028 §4.9).
        """
        for association in self._core.with_peer(peer_hit):
            reachability.search(self._core, association, now)
            restart.silent(self._core, association, now)
        return self._drain()

    def data_sent(self, peer_hit: IPv6Address, now: float) -> list[Effect]:
        """Data went to a peer lately, so that no keepalive is due."""
        for association in self._core.with_peer(peer_hit):
            if association.state in UP:
                mobility.data_sent(self._core, association, now)
        return self._drain()

    def traffic_seen(self, peer_hit: IPv6Address, now: float) -> None:
        """Data flowed to or from a peer: its association is in use."""
        self._core.pool.rotate(now)
        for association in self._core.with_peer(peer_hit):
            association.last_traffic = now

    def discover_path_mtu(self, peer_hit: IPv6Address, route_mtu: int, now: float) -> list[Effect]:
        """Find out how large packets to a peer may be, *route_mtu* octets at most (RFC 8899).

        To be called once an association is established and whenever its path changes; begins
        anew each time. `PathMtuChanged` tells what is found.
        """
        for association in self._core.with_peer(peer_hit):
            probing.begin(self._core, association, route_mtu, now)
        return self._drain()

    def data_flows(self, peer_hit: IPv6Address, now: float, *, one_way: bool) -> list[Effect]:
        """Data went to or came from a peer in the last seconds.

        *one_way*: it only went there, so what was sent may have been too large for the path.
        """
        for association in self._core.with_peer(peer_hit):
            probing.data_flows(self._core, association, now, one_way=one_way)
            if not one_way:
                association.mobility.heard_at = now
                reachability.heard(self._core, association, now)
        return self._drain()

    def packet_too_big(self, message: TooBig, now: float) -> list[Effect]:
        """An ICMP message came in: a packet was too large for a link. It may be forged."""
        probing.too_big(self._core, message, now)
        return self._drain()

    def close(
        self, peer_hit: IPv6Address, now: float, *, reason: str = "closed locally"
    ) -> list[Effect]:
        """Close the association with a peer, or stop making one."""
        core = self._core
        for association in core.with_peer(peer_hit):
            if association.initiating is not None:
                core.fail(association, reason, now)
            else:
                closing.begin(core, association, reason, now)
        return self._drain()

    def close_all(self, now: float, *, reason: str = "shutting down") -> list[Effect]:
        """Close every association.

        Of those in compact form a bounded number: each CLOSE is signed. The others find out when
        they renew their registration.
        """
        if self._core.rendezvous is not None:
            self._core.rendezvous.wake_some(self._core)
        for association in list(self._core.associations.values()):
            closing.begin(self._core, association, reason, now)
        return self._drain()

    def ping(self, peer_hit: IPv6Address, now: float) -> tuple[int, list[Effect]]:
        """Send an authenticated echo; `PingReply` bears the number returned here.

        Raises LocalProtocolError without an association.
        """
        request = updating.ping(self._core, peer_hit, now)
        return request, self._drain()

    def register(
        self, peer_hit: IPv6Address, reg_types: Sequence[int], lifetime_s: float, now: float
    ) -> list[Effect]:
        """Want these services of a peer from now on (RFC 8003).

        They are asked for in the next base exchange, or now if there is an association, and
        renewed for as long as that lasts. `RegistrationChanged` tells what becomes of it.
        """
        requester.want(self._core, peer_hit, reg_types, lifetime_s, now)
        return self._drain()

    def unregister(self, peer_hit: IPv6Address, now: float) -> list[Effect]:
        """Want no service of a peer any more."""
        requester.cancel(self._core, peer_hit, now)
        return self._drain()

    # -- views -------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When to call `timer_expired` at the latest; None for never.

        There may turn out to be nothing to do then.
        """
        when, rendezvous = self._core.timers.next(), self._core.rendezvous
        router = self._core.mobile_router
        if router is not None and (due := router.next_timer()) is not None:
            when = due if when is None else min(when, due)
        if rendezvous is not None and (expiry := rendezvous.next_timer()) < math.inf:
            return expiry if when is None else min(when, expiry)
        return when

    def associations(self, peer_hit: IPv6Address | None = None) -> list[AssociationInfo]:
        """Every association, or those with one peer, as others may see them."""
        core = self._core
        known = core.associations.values() if peer_hit is None else core.with_peer(peer_hit)
        return [association_infos.describe(core, association) for association in known]

    def held_registrations(self) -> list[RegistrationInfo]:
        """Those of this host with others."""
        return [one for one in registration_infos.awake(self._core) if not one.registrar]

    def registrations(self, *, most: int | None = None) -> list[RegistrationInfo]:
        """Every registration in force, of this host and with it, or the first *most* of them."""
        return list(islice(registration_infos.everybody(self._core), most))

    def reflexive_addresses(self, now: float) -> list[Reflexive]:
        """Own transport addresses as STUN servers and relays see them, the newest first."""
        return self._core.reflexive.current(now)

    @property
    def association_count(self) -> int:
        """How many associations there are, in whatever state."""
        return len(self._core.associations) + self.resting_count

    @property
    def resting_count(self) -> int:
        """How many of these are kept in compact form, as clients of the rendezvous server."""
        rendezvous = self._core.rendezvous
        return rendezvous.resting_count if rendezvous is not None else 0

    @property
    def rendezvous_count(self) -> int:
        """How many clients are registered for rendezvous here."""
        return len(self._core.rendezvous) if self._core.rendezvous is not None else 0

    def is_up(self, peer_hit: IPv6Address) -> bool:
        """Whether data can flow to a peer now."""
        rendezvous = self._core.rendezvous
        if rendezvous is not None and rendezvous.is_resting(peer_hit):
            return True
        return any(association.state in UP for association in self._core.with_peer(peer_hit))

    def is_asking(self, address: IPAddress) -> bool:
        """Whether an opportunistic attempt waits for an answer from an address."""
        return address in self._core.opportunistic

    def may_be_cut_off(self, peer_hit: IPv6Address, now: float) -> bool:
        """Whether a silent peer may be there and just be without a network for a while.

        That is one behind a mobile router, unless that one has said lately that it has a network.
        """
        sessions = [one.session for one in self._core.with_peer(peer_hit)]
        return any(correspondent.may_be_cut_off(one, now) for one in sessions if one is not None)

    @property
    def cut_off(self) -> bool:
        """Whether this host is behind mobile routers, and none of them has a network outside."""
        routers = self._core.mobile_routers.values()
        return bool(routers) and all(one.registrations.held.cut_off for one in routers)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Packets by type, sent, received, and relayed by rendezvous, and drops by reason."""
        core = self._core
        return {
            "sent": dict(core.sent),
            "received": dict(core.received),
            "relayed": self._reception.relayed,
            "drops": {reason.value: core.drops[reason] for reason in DropReason},
        }

    def puzzle_difficulty(self, now: float) -> int:
        """K that an Initiator gets at this moment."""
        return self._core.pool.difficulty(now)

    @property
    def local_hit(self) -> IPv6Address:
        """The preferred one of the own HITs."""
        return self._preferred.hit

    @property
    def r1_counter(self) -> int:
        """The current R1 generation."""
        return self._core.pool.counter

    # -- inside ------------------------------------------------------------------------------

    def _caller(self, peer_hit: IPv6Address | None) -> LocalIdentity:
        """The own identity to call a peer with: the preferred one of its HIT's version."""
        if peer_hit is None or not is_hit(peer_hit):
            return self._preferred
        version = hit_version(peer_hit)
        for identity in (self._preferred, *self._core.identities.values()):
            if identity.public.version == version:
                return identity
        raise LocalProtocolError(
            f"this host has no Host Identity of HIP version {version}, and {peer_hit} is of that",
            hint="set identity.key_file_v1 to an RSA or DSA key" if version == 1 else "",
        )

    def _drain(self) -> list[Effect]:
        effects, self._core.effects = self._core.effects, []
        return effects
